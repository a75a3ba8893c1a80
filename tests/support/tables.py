"""The stores that the contract suite holds to one port, each opened empty, with one sample table, and closed at the end.

Real engines join where `poe engines` installed them. JUNCTOR_TEST_DYNAMODB_ENDPOINT adds a DynamoDB of the owner's choice (an
emulator, or AWS itself with `aws` as its value); it takes credentials from the usual chain, makes tables of a name of its own
and deletes them.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import boto3
import msgspec
import pytest
from moto import mock_aws

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.dynamodb_boto3 import Boto3Sender
from junctor.adapters.tables.dynamodb_sender import Sender
from junctor.adapters.tables.dynamodb_signed import Patience, SignedSender
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.adapters.tables.sqlite import SqliteStore
from junctor.ports.table import Done, IndexSpec, Item, Key, Page, Query, Refused, Store, Table, TableSpec
from tests.bench.dynamodb_stub import serve_dynamodb
from tests.support.engines.process import Engines

BY_DUE = IndexSpec(name="by-due", partition="shard", sort="due")
SAMPLE = TableSpec(name="sample", indexes=(BY_DUE,), stream=True)

ENDPOINT = os.environ.get("JUNCTOR_TEST_DYNAMODB_ENDPOINT")
REGION = os.environ.get("AWS_REGION", "us-east-1")

ENGINES = ["ministack", "dynoxide"]
ENGINE_TIMEOUT_S = 30.0
"""How long an engine may take to answer: generous, as the machine may be busy."""

BY_BOTO3 = "ministack by boto3"
"""moto is reached by boto3 too, but bears nothing at once: here the other sender is held to all of it."""

STUB = "stub"
"""The signed sender over HTTP without any engine: what holds everywhere, and what the stub of benches is held to."""

ADAPTERS = ["simulated", "sqlite", "moto", STUB, *ENGINES, BY_BOTO3, *(["endpoint"] if ENDPOINT else [])]
CONCURRENT = [name for name in ADAPTERS if name != "moto"]
"""moto has no lock: it loses acknowledged writes under concurrency."""


def moto_sender() -> Boto3Sender:
    """Return a sender to moto, whose one thread keeps it from meeting itself. mock_aws must be active.

    moto takes the place of what botocore sends, so no other sender can be held to it.
    """
    boto3.DEFAULT_SESSION = _session()  # mock_aws forgets it at its end, as it forgets any
    return Boto3Sender(endpoint_url=None, region="us-east-1", threads=1)


def moto_store() -> DynamoStore:
    """Return a store over moto. mock_aws must be active."""
    return DynamoStore(moto_sender(), "test-")


@cache
def _session() -> boto3.session.Session:
    """Return the session of all stores over boto3: making one, and a first client of it, takes longer than most tests."""
    return boto3.session.Session()


async def open_store(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, engines: Engines) -> AsyncIterator[Store]:
    """Yield one store, with the sample table made."""
    if name == "simulated":
        store: Store = SimulatedStore(seed=1)
        await store.create([SAMPLE])
        yield store
        await store.close()
    elif name == "sqlite":
        store = SqliteStore(folder / "store.sqlite3")
        await store.create([SAMPLE])
        yield store
        await store.close()
    elif name == "moto":
        fake_credentials(monkeypatch)
        with mock_aws():
            store = moto_store()
            await store.create([SAMPLE])
            yield store
            await store.close()
    elif name == "endpoint":
        async with dynamo_store(None if ENDPOINT == "aws" else ENDPOINT, SAMPLE) as store:
            yield store
    elif name == STUB:
        fake_credentials(monkeypatch)
        async with serve_dynamodb() as url, dynamo_store(url, SAMPLE) as store:
            yield store
    elif name == BY_BOTO3:
        fake_credentials(monkeypatch)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", _session())
        async with dynamo_store(engines.shared("ministack").url, SAMPLE, by_boto3=True) as store:
            yield store
    else:
        fake_credentials(monkeypatch)
        async with dynamo_store(engines.shared(name).url, SAMPLE) as store:
            yield store


def signed_sender(url: str | None, *, patience_s: float = ENGINE_TIMEOUT_S) -> SignedSender:
    """Return the usual sender; `patience_s` is of the loop's seconds."""
    patience = Patience(connect_s=patience_s, answer_s=patience_s)
    return SignedSender(endpoint_url=url, region=REGION, clock=SystemClock(), patience=patience)


@asynccontextmanager
async def dynamo_store(
    url: str | None, spec: TableSpec, *, by_boto3: bool = False, patience_s: float = ENGINE_TIMEOUT_S
) -> AsyncIterator[DynamoStore]:
    """Yield a store with one table, whose name nobody else uses; it is deleted at the end."""
    if by_boto3:
        sender: Sender = Boto3Sender(endpoint_url=url, region=REGION, connect_s=patience_s, answer_s=patience_s)
    else:
        sender = signed_sender(url, patience_s=patience_s)
    store = DynamoStore(sender, f"junctor-test-{uuid.uuid4().hex[:12]}-")
    await store.create([spec])
    try:
        yield store
    finally:
        await store.calls.write("DeleteTable", {"TableName": store.name_of(spec)})
        await store.close()


def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 find made-up credentials and nothing of this machine."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(params=ADAPTERS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: Engines
) -> AsyncIterator[Store]:
    """Return each adapter in turn."""
    async for opened in open_store(request.param, tmp_path, monkeypatch, engines):
        yield opened


@pytest.fixture
def table(store: Store) -> Table:
    """Return the sample table."""
    return store.table(SAMPLE)


@pytest.fixture(params=CONCURRENT)
async def shared_table(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: Engines
) -> AsyncIterator[Table]:
    """Return the sample table on each adapter that may be used by many at once, and that honours tokens."""
    async for opened in open_store(request.param, tmp_path, monkeypatch, engines):
        yield opened.table(SAMPLE)


def done(answer: Done | Refused) -> Done:
    """Return an answer that must be Done."""
    assert isinstance(answer, Done), answer
    return answer


def refused(answer: Done | Refused) -> Refused:
    """Return an answer that must be Refused."""
    assert isinstance(answer, Refused), answer
    return answer


def item(partition: str = "P", sort: str = "S", **attributes: object) -> Item:
    """Return an item."""
    return {"pk": partition, "sk": sort, **attributes}  # type: ignore[dict-item]


KEY = Key("P", "S")
"""The key of `item()`."""


async def stored(table: Table, key: Key = KEY) -> Item | None:
    """Return what is in the table under a key."""
    return (await table.get(key)).item


async def all_pages(table: Table, query: Query) -> list[Page]:
    """Return all pages of a query, from the first to the last."""
    pages = [await table.query(query)]
    while pages[-1].next is not None:
        assert len(pages) < 1000
        following = msgspec.structs.replace(query, after=pages[-1].next)
        pages.append(await table.query(following))
    return pages


async def all_items(table: Table, query: Query) -> list[Item]:
    """Return the items of all pages of a query."""
    return [found for page in await all_pages(table, query) for found in page.items]
