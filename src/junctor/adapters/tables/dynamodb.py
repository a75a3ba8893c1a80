"""The table port on DynamoDB, over boto3's low-level client in a bounded pool of threads.

DynamoDB judges every condition itself; this module writes requests and reads answers. botocore's own retries are off, because
they would repeat writes whose fate is not known; `dynamodb_calls` repeats what is safe to repeat. A put that was tried twice
may come back refused with the caller's own item in it: callers look for their own id. What a refusal cost is worked out here,
since DynamoDB does not tell it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

from junctor.adapters.tables.dynamodb_calls import TRIES, Attributes, Calls, RefusedCall
from junctor.adapters.tables.dynamodb_create import create_table
from junctor.adapters.tables.dynamodb_expressions import key_part, operation_parts, query_parts
from junctor.adapters.tables.dynamodb_values import decode_item, encode_item
from junctor.adapters.tables.paging import check_query, place_of, start_of, token_of
from junctor.adapters.tables.rules import write_units
from junctor.adapters.tables.values import check_batch, check_key, check_operation, check_transaction, table_token
from junctor.ports.table import (
    Capacity,
    Change,
    Condition,
    ConflictError,
    Delete,
    Done,
    Found,
    Item,
    Key,
    Operation,
    Page,
    PutNew,
    Query,
    Refused,
    TableSpec,
    ThrottledError,
    UnavailableError,
    UnknownOutcomeError,
    Update,
)

BATCH_GET_MAX = 100
BATCH_PUT_MAX = 25

_COUNTED = {"ReturnConsumedCapacity": "TOTAL"}

_Answer: TypeAlias = Mapping[str, object]


class DynamoStore:
    """The tables of one account and region whose names begin with `table_prefix`, as `junctor-dev-`.

    `endpoint_url` None is AWS itself; credentials come from boto3's usual chain.
    `timeout_s` bounds a connect, and each wait for an answer.
    """

    def __init__(
        self,
        *,
        endpoint_url: str | None,
        region: str,
        table_prefix: str,
        threads: int = 16,
        timeout_s: float = 3.0,
    ) -> None:
        import boto3  # noqa: PLC0415 - slow to import, and only wanted where DynamoDB is
        from botocore.config import Config  # noqa: PLC0415 - the same

        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=threads,
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
        )
        self.client = boto3.client("dynamodb", endpoint_url=endpoint_url, region_name=region, config=config)
        self.calls = Calls(threads)
        self._prefix = table_prefix

    def table(self, spec: TableSpec) -> "DynamoTable":
        """Return the table made from this spec."""
        return DynamoTable(self, spec, self.name_of(spec))

    def name_of(self, spec: TableSpec) -> str:
        """Return a table's full name."""
        return self._prefix + spec.name

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing, and wait until they can be used."""
        for spec in specs:
            await self.calls.write(partial(create_table, self.client, self.name_of(spec), spec))

    async def close(self) -> None:
        """Wait for what was sent, and let go of threads and connections."""
        await self.calls.close()
        await asyncio.to_thread(self.client.close)


class DynamoTable:
    """One table on DynamoDB."""

    def __init__(self, store: DynamoStore, spec: TableSpec, name: str) -> None:
        self._client = store.client
        self._calls = store.calls
        self._spec = spec
        self._name = name

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        request = {"TableName": self._name, "Key": key_part(check_key(key)), "ConsistentRead": consistent, **_COUNTED}
        answer = await self._calls.read(self._client.get_item, **request)
        return Found(_item(answer, "Item"), Capacity(read_units=_units(answer)))

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""
        index = check_query(self._spec, query)
        parts = query_parts(index, query, start_of(index, query))
        answer = await self._calls.read(self._client.query, TableName=self._name, **parts, **_COUNTED)
        items = tuple(decode_item(item) for item in cast("list[Attributes]", answer.get("Items", [])))
        last = _item(answer, "LastEvaluatedKey")
        place = None if last is None else place_of(index, last)
        return Page(items, None if place is None else token_of(place), Capacity(read_units=_units(answer)))

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._write(self._client.put_item, PutNew(item))

    async def update(self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change]) -> Done | Refused:
        """Change one item if all conditions hold."""
        return await self._write(
            self._client.update_item, Update(key, tuple(conditions), tuple(changes)), ReturnValues="ALL_NEW"
        )

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away if all conditions hold."""
        return await self._write(self._client.delete_item, Delete(key, tuple(conditions)))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations or none."""
        entries: list[dict[str, object]] = []
        for operation in check_transaction(self._spec, operations, token):
            name, parts = operation_parts(operation)
            entries.append({name: {"TableName": self._name, **parts}})
        request = {"TransactItems": entries, "ClientRequestToken": table_token(self._name, token), **_COUNTED}
        try:
            answer = await self._calls.write(self._client.transact_write_items, **request)
        except RefusedCall as refusal:
            return _refused(refusal, 2.0 * len(entries))
        return Done(None, Capacity(write_units=_units(answer)))

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently."""
        wanted = [key_part(key) for key in dict.fromkeys(check_key(key) for key in keys)]
        items: list[Item] = []
        units = 0.0
        fruitless = 0
        while wanted:
            request = {self._name: {"Keys": wanted[:BATCH_GET_MAX], "ConsistentRead": True}}
            answer = await self._calls.read(self._client.batch_get_item, RequestItems=request, **_COUNTED)
            found = cast("Mapping[str, list[Attributes]]", answer.get("Responses", {})).get(self._name, [])
            items.extend(decode_item(item) for item in found)
            units += _units(answer)
            left = cast("Mapping[str, Mapping[str, list[dict[str, dict[str, str]]]]]", answer.get("UnprocessedKeys", {}))
            undone = left.get(self._name, {}).get("Keys", [])
            fruitless = await self._after(fruitless, undone=len(undone), sent=len(wanted[:BATCH_GET_MAX]))
            wanted = [*undone, *wanted[BATCH_GET_MAX:]]
        return Page(tuple(items), None, Capacity(read_units=units))

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items over whatever was there."""
        waiting: list[object] = [
            {"PutRequest": {"Item": encode_item(item)}} for item in check_batch(self._spec, items).values()
        ]
        total = len(waiting)
        units = 0.0
        fruitless = 0
        try:
            while waiting:
                batch = waiting[:BATCH_PUT_MAX]
                request = {self._name: batch}
                answer: _Answer = await self._calls.write(self._client.batch_write_item, RequestItems=request, **_COUNTED)
                units += _units(answer)
                undone = cast("Mapping[str, list[object]]", answer.get("UnprocessedItems", {})).get(self._name, [])
                waiting = [*undone, *waiting[BATCH_PUT_MAX:]]
                fruitless = await self._after(fruitless, undone=len(undone), sent=len(batch))
        except (ConflictError, ThrottledError, UnavailableError) as error:
            if len(waiting) == total:
                raise
            raise UnknownOutcomeError("some items of a batch were written, and then no more") from error
        return Capacity(write_units=units)

    async def _after(self, fruitless: int, *, undone: int, sent: int) -> int:
        """Return how many batches in a row did nothing, after a pause if this one left something undone.

        Raises ThrottledError when they are too many.
        """
        fruitless = fruitless + 1 if undone == sent else 0
        if fruitless == TRIES:
            raise ThrottledError("the table is asked too much")
        if undone:
            await self._calls.pause(max(1, fruitless))
        return fruitless

    async def _write(self, send: Callable[..., _Answer], operation: Operation, **more: object) -> Done | Refused:
        _, parts = operation_parts(check_operation(self._spec, operation))
        try:
            answer = await self._calls.write(send, TableName=self._name, **parts, **more, **_COUNTED)
        except RefusedCall as refusal:
            return _refused(refusal, 0.0)
        return Done(_item(answer, "Attributes"), Capacity(write_units=_units(answer)))


def _refused(refusal: RefusedCall, units: float) -> Refused:
    """Write a refusal; `units` is the least that it cost."""
    old = None if refusal.old is None else decode_item(refusal.old)
    return Refused(old, refusal.index, Capacity(write_units=max(units, write_units(old))))


def _item(answer: _Answer, name: str) -> Item | None:
    attributes = cast("Attributes | None", answer.get(name))
    return decode_item(attributes) if attributes else None


def _units(answer: _Answer) -> float:
    counted = answer.get("ConsumedCapacity", ())
    entries = cast("Sequence[Mapping[str, float]]", counted if isinstance(counted, list) else [counted])
    return sum(float(entry.get("CapacityUnits", 0.0)) for entry in entries if entry)
