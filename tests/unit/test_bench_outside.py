"""The benchmark and programs of others: how they are pinned, called, watched, sampled and ended."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from tests.bench import peers, resident
from tests.bench.callers import CallError, HttpCaller
from tests.bench.exchange import Scenario, pieces
from tests.bench.outside import places
from tests.bench.outside.places import MissingError
from tests.bench.peers import KINDS, PEERS, Kind
from tests.bench.sampling import RATE, folded
from tests.support.engines.places import Place
from tests.support.scripted_upstream import PATIENCE_S, STREAM_HEAD, Close, ScriptedUpstream, Send, chat_answer, chunk, status

ROOT = Path(__file__).parents[2]
HERE = Path(places.__file__).parent
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what processes cost is known on Linux alone")


def _port(upstream: ScriptedUpstream) -> int:
    return int(upstream.base_url.split(":")[2].split("/")[0])


@pytest.mark.parametrize("name", ["litellm", "py-spy"])
def test_every_python_package_has_a_version_and_hashes_and_no_address(name: str) -> None:
    """A package could be exchanged under a known name, or an address of one machine be asked for by others."""
    text = (HERE / f"requirements-{name}.txt").read_text(encoding="utf-8")
    packages = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    assert all(re.match(r"[a-z0-9._\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in packages)
    assert f"{name}=={places.pinned((HERE / f'requirements-{name}.in').read_text(encoding='utf-8'))}" in text
    assert "://" not in text


def test_every_node_package_has_a_version_and_a_hash_and_no_address() -> None:
    """The same, for what npm installs."""
    text = (HERE / "portkey" / "package-lock.json").read_text(encoding="utf-8")
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}
    assert packages["node_modules/@portkey-ai/gateway"]["version"]
    assert all(package["version"] and package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in text


def test_a_program_that_cannot_be_installed_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package index there would be no figures at all; or half an installation would be measured."""

    def fail(_: Place) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    program = places.litellm()
    assert program.place.folder.is_relative_to(tmp_path)
    for _ in range(2):
        with pytest.raises(MissingError, match="litellm could not be installed: CalledProcessError"):
            places.installed(places.Program(program.version, program.place, fail))
    assert not program.place.installed


def test_portkey_is_missing_without_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Node would get no figures at all."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="node is not here"):
        KINDS["portkey"].program()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_asked_at_the_stub_and_nowhere_else(name: str, tmp_path: Path) -> None:
    """A gateway that asks a real provider would be measured over the internet, and with somebody's money."""
    base_url = "http://127.0.0.1:1234/v1"
    kind = KINDS[name]
    said = " ".join((*kind.command("program", tmp_path, 99, base_url), *kind.headers(base_url).values()))
    written = "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    assert "99" in said
    assert base_url in said + written


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a peer be what the command line says that is put into the list; it names the port as PORT."""
    place = Place("stand-in", tmp_path / "stand-in", Path(sys.executable))
    place.folder.mkdir()
    place.mark.touch()
    line: list[str] = []
    kind = Kind(
        program=lambda: places.Program("1", place, lambda _: None),
        command=lambda program, folder, port, base_url: [
            *([] if "NOT A PROGRAM" in line else [program]),
            *(str(port) if word == "PORT" else word for word in line),
        ],
        environment={},
        headers=lambda _: {},
        health="/",
    )
    monkeypatch.setitem(peers.KINDS, "litellm", kind)
    return line


@LINUX
async def test_a_peer_is_there_while_it_is_measured_and_gone_afterwards(stand_in: list[str]) -> None:
    """A gateway would be measured before it listens, its cost be that of another process, or it stay behind."""
    stand_in += ["-m", "http.server", "PORT", "--bind", "127.0.0.1"]
    async with asyncio.timeout(PATIENCE_S), peers.serving("litellm", "http://127.0.0.1:1/v1") as peer:
        assert peer.start_s > 0
        assert resident.group(peer.leader) == [peer.leader]
        _, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        writer.close()
        await writer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", peer.port)


@LINUX
@pytest.mark.parametrize(("line", "said"), [(["-c", "pass"], "ended before it listened"), (["NOT A PROGRAM"], "cannot be run")])
async def test_a_peer_that_does_not_start_is_missing(stand_in: list[str], line: list[str], said: str) -> None:
    """A gateway that does not start here would end the benchmark of everything else."""
    stand_in += line
    with pytest.raises(MissingError, match=f"litellm {said}"):
        async with asyncio.timeout(PATIENCE_S), peers.serving("litellm", "http://127.0.0.1:1/v1"):
            raise AssertionError


async def test_a_guarded_program_ends_with_whoever_started_it() -> None:
    """A benchmark that is killed would leave gateways behind, which then disturb every later one."""
    program = "import os, time; os.fork(); time.sleep(600)"
    command = (sys.executable, "-m", "tests.bench.outside.guard", sys.executable, "-c", program)
    pipe = asyncio.subprocess.PIPE
    guard = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    assert guard.stdin is not None
    assert guard.stdout is not None
    assert guard.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert int(await guard.stdout.readline()) > 0
            guard.stdin.close()
            assert await guard.wait() == 0
            # All of them hold this end of the pipe, so it ends with the last of them.
            assert await guard.stderr.read() == b""
    finally:
        if guard.returncode is None:
            guard.kill()
            await guard.wait()


async def test_answers_with_a_length_and_in_chunks_are_read_to_the_end() -> None:
    """An answer that is cut short would look fast."""
    (text,) = pieces(Scenario.WHOLE)
    chunks = [Send(STREAM_HEAD), Send(chunk(b"data:  piece00 ")), Send(chunk(b"")[:2]), Send(chunk(b"")[2:])]
    async with ScriptedUpstream(chat_answer(text), chunks) as upstream:
        caller = HttpCaller(_port(upstream), {"authorization": "Bearer made-up"})
        assert await caller.call(Scenario.WHOLE) > 0
        assert await caller.call(Scenario.ONE) > 0
        assert (upstream.connections, upstream.requests[1].headers["authorization"]) == (1, "Bearer made-up")
        await caller.close()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (status(500, b'{"status":"failure"}'), "wrong answer"),
        ([Send(STREAM_HEAD), Send(chunk(b"piece00")), Close()], "no answer"),
        ([Close()], "no answer"),
    ],
)
async def test_a_wrong_answer_counts_as_none(script: list[Send | Close], said: str) -> None:
    """A gateway that fails quickly would win every comparison."""
    async with ScriptedUpstream(script) as upstream:
        caller = HttpCaller(_port(upstream), {})
        with pytest.raises(CallError, match=said):
            await caller.call(Scenario.WHOLE)
        await caller.close()


def test_memory_is_read_in_bytes() -> None:
    """Memory would be told a thousand times too small, or one field for another."""
    text = "VmPeak:\t 9000 kB\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\nThreads:\t3\n"
    assert resident.status_bytes(text, "VmRSS") == 1_024_000
    assert resident.status_bytes(text, "VmHWM") == 2_048_000
    assert resident.status_bytes("", "VmRSS") == 0


@LINUX
def test_a_group_is_summed_up() -> None:
    """A gateway with workers would be judged by the process that does nothing."""
    group = resident.group(os.getpgid(0))
    assert os.getpid() in group
    alone, twice = resident.memory(os.getpid()), resident.memory(os.getpid(), os.getpid())
    assert 0 < alone.now <= alone.peak
    assert twice.now > alone.now
    assert resident.cpu_s(os.getpid()) > 0


def test_samples_are_summed_up_by_function() -> None:
    """A recursive function would count twice, or the outermost be blamed for all."""
    functions = {one.place: one for one in folded(["main;work;work 30", "main;rest 10", "main 5"])}
    assert list(functions) == ["work", "rest", "main"]
    assert functions["work"].own_s == functions["work"].total_s == 30 / RATE
    assert (functions["main"].own_s, functions["main"].total_s) == (5 / RATE, 45 / RATE)
