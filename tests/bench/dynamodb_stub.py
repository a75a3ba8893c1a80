"""A DynamoDB that costs next to nothing and never waits: `python -m tests.bench.dynamodb_stub` prints its port, and serves.

HTTP/1.1 on loopback over the simulated store, for as much of the low-level API as the adapter speaks: its expressions are read
back into the port's own words, so an expression that the adapter never writes is refused. Signatures are not checked, nothing
is durable, nothing is ever forgotten. The process ends when its standard input does.

    async with serve_dynamodb() as url: ...  # JUNCTOR_DYNAMODB_ENDPOINT=url, and made-up credentials
    async with stub_process() as url: ...    # the same in a process of its own
"""

import asyncio
import re
import sys
import zlib
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import msgspec

from junctor.adapters.tables.dynamodb_values import Attributes, AttributeValue, decode_item, decode_value, encode_item
from junctor.adapters.tables.paging import place_of, start_of, token_of
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.bootstrap import native
from junctor.ports.table import (
    PARTITION,
    SORT,
    Absent,
    Add,
    AtLeast,
    Change,
    Check,
    Condition,
    Delete,
    Done,
    Equals,
    Exists,
    IndexSpec,
    Item,
    Key,
    Operation,
    PutNew,
    Query,
    Refused,
    Remove,
    Set,
    StoreError,
    Table,
    TableSpec,
    Update,
    Value,
)

Json: TypeAlias = dict[str, Any]

START_S = 60.0
_END_S = 10.0
_ROOT = Path(__file__).parents[2]
_CAPITAL = re.compile(r"(?=[A-Z])")
_TARGET = re.compile(rb"(?i)\r\nx-amz-target: *DynamoDB_20120810\.(\w+)")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CLAUSE = re.compile(
    r"attribute_exists\((?P<exists>#n\d+)\)|attribute_not_exists\((?P<absent>#n\d+)\)"
    r"|attribute_type\((?P<name>#n\d+), :v\d+\) AND (?P=name) (?P<sign>=|>=) (?P<value>:v\d+)"
)
_CHANGES = re.compile(r"(SET|ADD|REMOVE) ((?:(?! SET | ADD | REMOVE ).)+)")
_SORT_WANTED = re.compile(r"(?:#n\d+ BETWEEN (:v\d+) AND (:v\d+)|begins_with\(#n\d+, (:v\d+)\))")


class RefusedError(Exception):
    """What the low-level API answers with an error: its name, and what more is told."""

    def __init__(self, kind: str, **more: object) -> None:
        super().__init__(kind)
        self.body = {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "the stub says so", **more}


class Stub:
    """The tables."""

    def __init__(self) -> None:
        self._store = SimulatedStore()
        self._specs: dict[str, TableSpec] = {}

    async def answer(self, operation: str, asked: Json) -> tuple[int, bytes]:
        """Answer a request of the low-level API with a status and a body."""
        work = getattr(self, _CAPITAL.sub("_", operation).lower(), _unknown)
        try:
            return 200, msgspec.json.encode(await work(asked))
        except RefusedError as refused:
            return 400, msgspec.json.encode(refused.body)
        except (ValueError, TypeError, KeyError):
            return 400, msgspec.json.encode(RefusedError("ValidationException").body)
        except StoreError:
            return 500, msgspec.json.encode(RefusedError("InternalServerError").body)

    def _table(self, name: str) -> Table:
        if name not in self._specs:
            raise RefusedError("ResourceNotFoundException")
        return self._store.table(self._specs[name])

    async def _create_table(self, asked: Json) -> Json:
        name = asked["TableName"]
        if name in self._specs:
            raise RefusedError("ResourceInUseException")
        indexes = [
            IndexSpec(name=index["IndexName"], partition=partition["AttributeName"], sort=sort["AttributeName"])
            for index in asked.get("GlobalSecondaryIndexes", [])
            for partition, sort in [index["KeySchema"]]
        ]
        self._specs[name] = TableSpec(name=name, indexes=tuple(indexes), ttl=None)
        await self._store.create([self._specs[name]])
        return {}

    async def _describe_table(self, asked: Json) -> Json:
        self._table(asked["TableName"])
        return {"Table": {"TableStatus": "ACTIVE"}}

    async def _delete_table(self, asked: Json) -> Json:
        del self._specs[asked["TableName"]]
        return {}

    async def _describe_time_to_live(self, asked: Json) -> Json:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED"}}

    async def _get_item(self, asked: Json) -> Json:
        found = await self._table(asked["TableName"]).get(_key(asked["Key"]), consistent=asked["ConsistentRead"])
        item = {} if found.item is None else {"Item": encode_item(found.item)}
        return {**item, "ConsumedCapacity": {"CapacityUnits": found.capacity.read_units}}

    async def _query(self, asked: Json) -> Json:
        table = self._table(asked["TableName"])
        index = next((index for index in table.spec.indexes if index.name == asked.get("IndexName")), None)
        query = _query(asked)
        if "ExclusiveStartKey" in asked:
            place = place_of(index, _item(asked["ExclusiveStartKey"]))
            assert place is not None
            query = msgspec.structs.replace(query, after=token_of(place))
        page = await table.query(query)
        more = {}
        if page.next is not None:
            place = start_of(index, msgspec.structs.replace(query, after=page.next))
            assert place is not None
            names = (PARTITION, SORT) if index is None else (index.partition, index.sort, PARTITION, SORT)
            more = {"LastEvaluatedKey": {name: {"S": part} for name, part in zip(names, place, strict=True)}}
        items = [encode_item(item) for item in page.items]
        return {"Items": items, "ConsumedCapacity": {"CapacityUnits": page.capacity.read_units}, **more}

    async def _put_item(self, asked: Json) -> Json:
        return _written(await self._table(asked["TableName"]).put_new(_item(asked["Item"])))

    async def _update_item(self, asked: Json) -> Json:
        changes, returning = _changes(asked), asked.get("ReturnValues") == "ALL_NEW"
        table = self._table(asked["TableName"])
        return _written(await table.update(_key(asked["Key"]), _conditions(asked), changes, returning=returning))

    async def _delete_item(self, asked: Json) -> Json:
        return _written(await self._table(asked["TableName"]).delete(_key(asked["Key"]), _conditions(asked)))

    async def _transact_write_items(self, asked: Json) -> Json:
        entries = [(kind, parts) for entry in asked["TransactItems"] for kind, parts in entry.items()]
        operations = [_operation(kind, parts) for kind, parts in entries]
        answer = await self._table(entries[0][1]["TableName"]).transact(operations, asked["ClientRequestToken"])
        if isinstance(answer, Refused):
            reasons: list[Json] = [{"Code": "None"} for _ in operations]
            reasons[answer.index] = {"Code": "ConditionalCheckFailed", **_old(answer.old)}
            raise RefusedError("TransactionCanceledException", CancellationReasons=reasons)
        return {"ConsumedCapacity": [{"CapacityUnits": answer.capacity.write_units + answer.capacity.read_units}]}

    async def _batch_get_item(self, asked: Json) -> Json:
        ((name, wanted),) = asked["RequestItems"].items()
        page = await self._table(name).batch_get([_key(key) for key in wanted["Keys"]])
        counted = [{"CapacityUnits": page.capacity.read_units}]
        return {"Responses": {name: [encode_item(item) for item in page.items]}, "ConsumedCapacity": counted}

    async def _batch_write_item(self, asked: Json) -> Json:
        ((name, entries),) = asked["RequestItems"].items()
        capacity = await self._table(name).batch_put([_item(entry["PutRequest"]["Item"]) for entry in entries])
        return {"ConsumedCapacity": [{"CapacityUnits": capacity.write_units}]}


class _Connection(asyncio.Protocol):
    """One kept connection: a request, its answer, and again."""

    _transport: asyncio.Transport

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = self._received[:end]
        length, target = _LENGTH.search(head), _TARGET.search(head)
        whole = end + (int(length[1]) if length else 0)
        if len(self._received) >= whole:
            asked, self._received = self._received[end:whole], self._received[whole:]
            self._answering = asyncio.create_task(self._answer(target[1].decode() if target else "", asked))

    async def _answer(self, operation: str, asked: bytes) -> None:
        status, body = await self._stub.answer(operation, msgspec.json.decode(asked))
        head = (
            f"HTTP/1.1 {status} Said\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\nx-amz-crc32: {zlib.crc32(body)}\r\n"
            "x-amzn-RequestId: STUBSTUBSTUBSTUBSTUBSTUBSTUBSTUBSTUBSTUBSTUBSTUBSTUB\r\n\r\n"
        )
        self._transport.write(head.encode() + body)


@asynccontextmanager
async def serve_dynamodb() -> AsyncGenerator[str, None]:
    """Listen on a free loopback port, and yield the address."""
    stub = Stub()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stub), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def stub_process() -> AsyncGenerator[str, None]:
    """Run a stub in a process of its own until the block ends, and yield its address."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE, cwd=_ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), START_S))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _unknown(asked: Json) -> Json:
    raise RefusedError("UnknownOperationException")


def _item(attributes: Json) -> Item:
    return decode_item(msgspec.convert(attributes, Attributes))


def _value(attribute: Json) -> Value:
    return decode_value(msgspec.convert(attribute, AttributeValue))


def _key(attributes: Json) -> Key:
    return Key(attributes[PARTITION]["S"], attributes[SORT]["S"])


def _operation(kind: str, parts: Json) -> Operation:
    if kind == "Put":
        return PutNew(_item(parts["Item"]))
    key, conditions = _key(parts["Key"]), tuple(_conditions(parts))
    if kind == "Update":
        return Update(key, conditions, tuple(_changes(parts)))
    return Delete(key, conditions) if kind == "Delete" else Check(key, conditions)


def _conditions(parts: Json) -> list[Condition]:
    names, values = parts.get("ExpressionAttributeNames", {}), parts.get("ExpressionAttributeValues", {})
    found: list[Condition] = []
    rest = parts.get("ConditionExpression", "")
    while rest:
        clause = _CLAUSE.match(rest)
        if clause is None:
            raise RefusedError("ValidationException")
        rest = rest[clause.end() :].removeprefix(" AND ")
        if clause["exists"]:
            found.append(Exists(names[clause["exists"]]))
        elif clause["absent"]:
            found.append(Absent(names[clause["absent"]]))
        else:
            kind: type[Equals | AtLeast] = Equals if clause["sign"] == "=" else AtLeast
            found.append(kind(names[clause["name"]], cast("Any", _value(values[clause["value"]]))))
    return found


def _changes(parts: Json) -> list[Change]:
    names, values = parts["ExpressionAttributeNames"], parts.get("ExpressionAttributeValues", {})
    found: list[Change] = []
    for verb, entries in _CHANGES.findall(parts["UpdateExpression"]):
        for entry in entries.split(", "):
            name, *rest = entry.split()
            if verb == "SET":
                found.append(Set(names[name], _value(values[rest[-1]])))
            elif verb == "ADD":
                found.append(Add(names[name], cast("int", _value(values[rest[-1]]))))
            else:
                found.append(Remove(names[name]))
    return found


def _query(asked: Json) -> Query:
    values = {placeholder: str(_value(value)) for placeholder, value in asked["ExpressionAttributeValues"].items()}
    partition, _, sort = asked["KeyConditionExpression"].partition(" AND ")
    wanted = _SORT_WANTED.fullmatch(sort)
    return Query(
        partition=values[partition.split()[-1]],
        prefix=values[wanted[3]] if wanted and wanted[3] else "",
        between=(values[wanted[1]], values[wanted[2]]) if wanted and wanted[1] else None,
        index=asked.get("IndexName"),
        limit=asked.get("Limit"),
        consistent=asked["ConsistentRead"],
        descending=not asked["ScanIndexForward"],
    )


def _written(answer: Done | Refused) -> Json:
    if isinstance(answer, Refused):
        raise RefusedError("ConditionalCheckFailedException", **_old(answer.old))
    attributes = {} if answer.item is None else {"Attributes": encode_item(answer.item)}
    return {**attributes, "ConsumedCapacity": {"CapacityUnits": answer.capacity.write_units}}


def _old(item: Item | None) -> Mapping[str, object]:
    return {} if item is None else {"Item": encode_item(item)}


async def _main() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    async with serve_dynamodb() as url:
        print(url.rpartition(":")[2], flush=True)
        await ended.wait()


if __name__ == "__main__":
    native.run(_main())
