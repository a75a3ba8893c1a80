"""The benchmark itself: it runs as a whole, has every figure that it promises, and leaves nothing behind."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.bench.measure import DIRECT, JUNCTOR, JUNCTOR_DYNAMODB, LOADS, OURS

ROOT = Path(__file__).parents[2]
RUN_S = 120


async def test_a_small_run_has_every_figure(tmp_path: Path) -> None:
    """A server or load that is silently missing would let Junctor get slower unseen."""
    file = tmp_path / "bench.json"
    size = ("--rounds", "1", "--requests", "16", "--seconds", "0.1", "--no-parts", "--timed", "5", "--streams", "40")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench", *size, "--json", str(file), stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    try:
        async with asyncio.timeout(RUN_S):
            said, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()

    servers = (DIRECT, *OURS)
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
        assert row["calls_per_s"]["least"] > 0
    compared = {(row["figure"].partition(",")[0], row["server"]) for row in kept["report"]["comparisons"]}
    assert compared == {(load.name, server) for load in LOADS for server in (JUNCTOR, JUNCTOR_DYNAMODB)}
    assert [one["server"] for one in kept["report"]["residents"]] == list(OURS)
    assert kept["machine"]["cores"] > 0
    assert (kept["peers"], kept["missing"]) == ([], [])
    assert kept["cancelled"]["closing"]["streams"] == 5
    assert kept["cancelled"]["growth"]["points"][-1][0] == 40


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
