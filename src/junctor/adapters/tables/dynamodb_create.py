"""Makes a table on DynamoDB from its spec, for development and tests; a deployment's tables come from template.yaml."""

import asyncio
import contextlib

from junctor.adapters.tables.dynamodb_calls import Calls, LastingError
from junctor.ports.table import PARTITION, SORT, StoreError, TableSpec, UnavailableError

POLL_S = 1.0
"""How long to wait between two looks at a table that is being made."""

POLLS_MAX = 120

LOOKS_FAILED_MAX = 3
"""How many of these looks may meet trouble of DynamoDB before that is told."""


async def create_table(calls: Calls, name: str, spec: TableSpec) -> None:
    """Make a table where it is missing, and wait until it can be used. Raises StoreError, ValueError."""
    try:
        await calls.write("CreateTable", _request(name, spec))
    except LastingError as error:
        if error.code != "ResourceInUseException":
            raise
    await _usable(calls, name)
    if spec.ttl is None:
        return
    known = await calls.read("DescribeTimeToLive", {"TableName": name})
    if known.time_to_live_description.time_to_live_status not in {"ENABLED", "ENABLING"}:
        expiry = {"Enabled": True, "AttributeName": spec.ttl}
        # Another process may have been quicker: then DynamoDB says that there is nothing to change.
        with contextlib.suppress(ValueError):
            await calls.write("UpdateTimeToLive", {"TableName": name, "TimeToLiveSpecification": expiry})


async def _usable(calls: Calls, name: str) -> None:
    """Wait until a table can be used. Raises StoreError."""
    failed = 0
    for _ in range(POLLS_MAX):
        try:
            if (await calls.read("DescribeTable", {"TableName": name})).table.table_status == "ACTIVE":
                return
        except LastingError as error:
            # A table that was made a moment ago may not be known everywhere.
            if error.code != "ResourceNotFoundException":
                raise
        except StoreError:
            failed += 1
            if failed == LOOKS_FAILED_MAX:
                raise
        await asyncio.sleep(POLL_S)
    raise UnavailableError("a table is not ready to be used")


def _request(name: str, spec: TableSpec) -> dict[str, object]:
    attributes = {PARTITION, SORT, *(attribute for index in spec.indexes for attribute in (index.partition, index.sort))}
    request: dict[str, object] = {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": attribute, "AttributeType": "S"} for attribute in sorted(attributes)],
        "KeySchema": _key_schema(PARTITION, SORT),
        "BillingMode": "PAY_PER_REQUEST",
    }
    if spec.stream:
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    if spec.indexes:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _key_schema(index.partition, index.sort),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in spec.indexes
        ]
    return request


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]
