"""The benchmark itself: it runs as a whole, has every figure that it promises, and leaves nothing behind."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.bench.measure import COMPARED, DIRECT, LOADS

ROOT = Path(__file__).parents[2]
RUN_S = 60


async def test_a_small_run_has_every_figure(tmp_path: Path) -> None:
    """A server or load that is silently missing would let Junctor get slower unseen."""
    file = tmp_path / "bench.json"
    options = ("--rounds", "1", "--requests", "16", "--seconds", "0.3", "--json", str(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench", *options, stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    try:
        async with asyncio.timeout(RUN_S):
            said, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()

    servers = (DIRECT, *COMPARED)
    table = {tuple(line.split()[:2]) for line in said.decode().splitlines()}
    assert {(load.name, server) for load in LOADS for server in servers} <= table

    kept = json.loads(file.read_bytes())
    rows = kept["report"]["rows"]
    assert [(row["load"], row["server"]) for row in rows] == [(load.name, server) for load in LOADS for server in servers]
    for row in rows:
        assert row["calls"] > 0
        assert 0 < row["p50_us"]["least"] <= row["p50_us"]["median"] <= row["p99_us"]["most"]
        assert (row["cpu_us"] is None) == (row["server"] == DIRECT)
        assert row["cpu_us"] is None or row["cpu_us"]["least"] > 0
    compared = [row["figure"] for row in kept["report"]["comparisons"]]
    assert len(compared) == len(LOADS) + 2
    assert all(any(figure.startswith(load.name) for figure in compared) for load in LOADS)
    assert kept["machine"]["cores"] > 0
    ledger = kept["parts"]["ledger"]
    assert 0 < ledger["tasks_us"] + ledger["ceiling_us"] < ledger["whole_us"]
    assert 0 < kept["parts"]["plans_us"]["8"] < kept["parts"]["plans_us"]["50"]


async def test_a_server_ends_when_its_starter_does() -> None:
    """A benchmark that is broken off would leave servers behind, which then disturb every later one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.child", "provider", "", stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(RUN_S):
            assert json.loads(await process.stdout.readline())["port"] > 0
            process.stdin.write(b"cpu\n")
            assert json.loads(await process.stdout.readline()) > 0
            process.stdin.close()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
