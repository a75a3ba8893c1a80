"""Makes a table on DynamoDB from its spec, for development and tests; a deployment's tables come from template.yaml."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from junctor.ports.table import PARTITION, SORT, TableSpec

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import CreateTableInputTypeDef, KeySchemaElementTypeDef

POLL_S = 1
"""How long to wait between two looks at a table that is being made."""

POLLS_MAX = 120


def create_table(client: "DynamoDBClient", name: str, spec: TableSpec) -> None:
    """Make a table where it is missing, and wait until it can be used. Raises botocore's errors."""
    with _ignoring("ResourceInUseException"):
        client.create_table(**_request(name, spec))
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": POLL_S, "MaxAttempts": POLLS_MAX})
    if spec.ttl is None:
        return
    known = client.describe_time_to_live(TableName=name).get("TimeToLiveDescription", {})
    if known.get("TimeToLiveStatus") not in {"ENABLED", "ENABLING"}:
        # Another process may have been quicker: then DynamoDB says that there is nothing to change.
        with _ignoring("ValidationException"):
            client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": spec.ttl})


def _request(name: str, spec: TableSpec) -> "CreateTableInputTypeDef":
    attributes = {PARTITION, SORT, *(attribute for index in spec.indexes for attribute in (index.partition, index.sort))}
    request: CreateTableInputTypeDef = {
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


def _key_schema(partition: str, sort: str) -> "list[KeySchemaElementTypeDef]":
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


@contextlib.contextmanager
def _ignoring(code: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != code:
            raise
