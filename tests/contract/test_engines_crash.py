"""An engine killed in the midst of writes and started again on its file: what was acknowledged is there, and money is right."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.ports.table import StoreError, Table
from tests.support.engines.process import Engine, Engines
from tests.support.tables import SAMPLE, fake_credentials, signed_sender
from tests.support.tables_writer import check_written, write_for_ever

BOUND_S = 60.0


@asynccontextmanager
async def running_table(engine: Engine) -> AsyncIterator[Table]:
    """Start an engine, and yield its sample table; at the end nothing is on its way any more, and the engine is dead."""
    await asyncio.to_thread(engine.start)
    store = DynamoStore(signed_sender(engine.url), "test-")
    try:
        await store.create([SAMPLE])
        async with asyncio.timeout(BOUND_S):
            yield store.table(SAMPLE)
    finally:
        await asyncio.to_thread(engine.kill)
        await store.close()


async def killed_after(engine: Engine, round_number: int, writes: int) -> list[str]:
    """Write, kill the engine after so many acknowledged writes, and return all that it acknowledged."""
    acknowledged: list[str] = []
    enough = asyncio.Event()

    def acknowledge(name: str) -> None:
        acknowledged.append(name)
        if len(acknowledged) >= writes:
            enough.set()

    async with running_table(engine) as table:
        writing = asyncio.create_task(write_for_ever(table, round_number, acknowledge))
        await enough.wait()
        await asyncio.to_thread(engine.kill)
        await asyncio.wait([writing])
    met = writing.exception()
    assert isinstance(met, BaseExceptionGroup)
    assert met.split(StoreError)[1] is None
    return acknowledged


async def test_an_acknowledged_write_survives_kill_9(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter would call a write done before DynamoDB has it, and half of a transaction would stay behind."""
    fake_credentials(monkeypatch)
    engine = engines.new("dynoxide")
    acknowledged: list[str] = []
    for round_number, writes in enumerate((1, 60, 400)):
        acknowledged += await killed_after(engine, round_number, writes)
        async with running_table(engine) as table:
            await check_written(table, acknowledged)
