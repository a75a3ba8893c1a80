"""The table port on DynamoDB: items and typed operations in its own words, by whichever sender carries them there.

DynamoDB judges every condition itself; this module writes requests and reads answers, one for each call of the port. Only a
batch is sent in parts, for as long as each of them gets it on. A put that its caller tried twice may come back refused with the
caller's own item in it. What a refusal cost is worked out here, since DynamoDB does not tell it.
"""

import asyncio
from collections.abc import Mapping, Sequence

from junctor.adapters.tables.dynamodb_calls import Calls, LastingError, RefusedCall
from junctor.adapters.tables.dynamodb_create import create_table
from junctor.adapters.tables.dynamodb_expressions import key_part, operation_parts, query_parts
from junctor.adapters.tables.dynamodb_sender import Answer, Sender, WantedKeys
from junctor.adapters.tables.dynamodb_values import Attributes, decode_item, encode_item
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
_NEW = {"ReturnValues": "ALL_NEW"}
_NOTHING: Mapping[str, str] = {}
_NO_KEYS = WantedKeys()
_NOBODYS = Key("nobody", "nothing")
"""A key under which no item lies."""


class DynamoStore:
    """The tables of one account and region whose names begin with `table_prefix`, as `junctor-dev-`."""

    def __init__(self, sender: Sender, table_prefix: str) -> None:
        self.calls = Calls(sender)
        self._prefix = table_prefix

    def table(self, spec: TableSpec) -> "DynamoTable":
        """Return the table made from this spec."""
        return DynamoTable(self.calls, spec, self.name_of(spec))

    def name_of(self, spec: TableSpec) -> str:
        """Return a table's full name."""
        return self._prefix + spec.name

    async def create(self, specs: Sequence[TableSpec]) -> None:
        """Make the tables that are missing, and wait until they can be used."""
        for spec in specs:
            await create_table(self.calls, self.name_of(spec), spec)

    async def check(self, specs: Sequence[TableSpec]) -> None:
        """Raise LastingError, which names the table, if one of these cannot be read by this caller and will not be.

        Each is asked once, all at the same time. What may pass, such as an outage, raises nothing.
        """
        answers = await asyncio.gather(*(self.table(spec).get(_NOBODYS) for spec in specs), return_exceptions=True)
        for spec, answer in zip(specs, answers, strict=True):
            if isinstance(answer, LastingError):
                raise LastingError(f"{self.name_of(spec)}: {answer}", answer.code) from answer

    async def close(self) -> None:
        """Wait for what was sent, and let go of every resource."""
        await self.calls.close()


class DynamoTable:
    """One table on DynamoDB."""

    def __init__(self, calls: Calls, spec: TableSpec, name: str) -> None:
        self._calls = calls
        self._spec = spec
        self._name = name
        self._named = {"TableName": name, **_COUNTED}

    @property
    def spec(self) -> TableSpec:
        """Return what the table was made from."""
        return self._spec

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        request = {"TableName": self._name, "Key": key_part(check_key(key)), "ConsistentRead": consistent, **_COUNTED}
        answer = await self._calls.read("GetItem", request)
        return Found(_item(answer.item), Capacity(read_units=_units(answer)))

    async def query(self, query: Query) -> Page:
        """Read one page of a partition's items."""
        index = check_query(self._spec, query)
        parts = query_parts(index, query, start_of(index, query))
        answer = await self._calls.read("Query", {"TableName": self._name, **parts, **_COUNTED})
        items = tuple([decode_item(item) for item in answer.items])
        last = _item(answer.last_evaluated_key)
        place = None if last is None else place_of(index, last)
        return Page(items, None if place is None else token_of(place), Capacity(read_units=_units(answer)))

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item if its key is free."""
        return await self._write("PutItem", PutNew(item))

    def begin_put_new(self, item: Item) -> asyncio.Task[Done | Refused]:
        """Begin to write an item if its key is free."""
        return asyncio.get_running_loop().create_task(self.put_new(item))

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change one item if all conditions hold."""
        return await self._write("UpdateItem", Update(key, tuple(conditions), tuple(changes)), _NEW if returning else _NOTHING)

    async def delete(self, key: Key, conditions: Sequence[Condition] = ()) -> Done | Refused:
        """Take one item away if all conditions hold."""
        return await self._write("DeleteItem", Delete(key, tuple(conditions)))

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations or none."""
        entries: list[dict[str, object]] = []
        for operation in check_transaction(self._spec, operations, token):
            name, parts = operation_parts(operation)
            entries.append({name: {"TableName": self._name, **parts}})
        request = {"TransactItems": entries, "ClientRequestToken": table_token(self._name, token), **_COUNTED}
        try:
            answer = await self._calls.write("TransactWriteItems", request)
        except RefusedCall as refusal:
            return _refused(refusal, 2.0 * len(entries))
        return Done(None, Capacity(write_units=_units(answer)))

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items, consistently."""
        wanted = [key_part(key) for key in dict.fromkeys(check_key(key) for key in keys)]
        items: list[Item] = []
        units = 0.0
        pauses = 0
        while wanted:
            request = {self._name: {"Keys": wanted[:BATCH_GET_MAX], "ConsistentRead": True}}
            answer = await self._calls.read("BatchGetItem", {"RequestItems": request, **_COUNTED})
            items.extend([decode_item(item) for item in answer.responses.get(self._name, [])])
            units += _units(answer)
            undone = answer.unprocessed_keys.get(self._name, _NO_KEYS).keys
            pauses = await self._after(pauses, undone=len(undone), sent=len(wanted[:BATCH_GET_MAX]))
            wanted = [*undone, *wanted[BATCH_GET_MAX:]]
        return Page(tuple(items), None, Capacity(read_units=units))

    async def batch_put(self, items: Sequence[Item]) -> Capacity:
        """Write many items over whatever was there."""
        waiting: list[dict[str, object]] = [
            {"PutRequest": {"Item": encode_item(item)}} for item in check_batch(self._spec, items).values()
        ]
        total = len(waiting)
        units = 0.0
        pauses = 0
        try:
            while waiting:
                batch = waiting[:BATCH_PUT_MAX]
                answer = await self._calls.write("BatchWriteItem", {"RequestItems": {self._name: batch}, **_COUNTED})
                units += _units(answer)
                undone = answer.unprocessed_items.get(self._name, [])
                waiting = [*undone, *waiting[BATCH_PUT_MAX:]]
                pauses = await self._after(pauses, undone=len(undone), sent=len(batch))
        except (ConflictError, ThrottledError, UnavailableError) as error:
            if len(waiting) == total:
                raise
            raise UnknownOutcomeError("some items of a batch were written, and then no more") from error
        return Capacity(write_units=units)

    async def _after(self, pauses: int, *, undone: int, sent: int) -> int:
        """Return how many pauses were made in a batch, after another one if this part of it left something undone.

        Raises ThrottledError if it did nothing at all; DynamoDB itself answers so (API reference: BatchGetItem).
        """
        if undone >= sent:
            raise ThrottledError("the table is asked too much")
        if undone:
            pauses += 1
            await self._calls.pause(pauses)
        return pauses

    async def _write(self, name: str, operation: Operation, more: Mapping[str, str] = _NOTHING) -> Done | Refused:
        _, request = operation_parts(check_operation(self._spec, operation))
        request.update(self._named, **more)
        try:
            answer = await self._calls.write(name, request)
        except RefusedCall as refusal:
            return _refused(refusal, 0.0)
        try:
            written = _item(answer.attributes)
        except ValueError as error:
            raise UnknownOutcomeError("the write was done, and left what is not understood") from error
        return Done(written, Capacity(write_units=_units(answer)))


def _refused(refusal: RefusedCall, units: float) -> Refused:
    """Write a refusal; `units` is the least that it cost."""
    old = _item(refusal.old)
    return Refused(old, refusal.index, Capacity(write_units=max(units, write_units(old))))


def _item(attributes: Attributes | None) -> Item | None:
    return decode_item(attributes) if attributes else None


def _units(answer: Answer) -> float:
    counted = answer.consumed_capacity
    if isinstance(counted, list):
        return sum([entry.capacity_units for entry in counted if entry is not None])
    return 0.0 if counted is None else counted.capacity_units
