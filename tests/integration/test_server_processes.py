"""`junctor up` and `junctor serve` as whoever starts them meets them: real processes, signals and exit statuses."""

import asyncio
import base64
import json
import socket
from pathlib import Path

import platformdirs
import pytest

from junctor.adapters.local import process, weights
from junctor.client import AsyncClient
from tests.support.child import START_S, Child, child
from tests.support.http2 import HEADERS, RST_STREAM, Peer, opening
from tests.support.pipeline import MODEL, PATIENCE_S, events_of, kinds, refusal, text_of
from tests.support.scripted_upstream import ScriptedUpstream, status

SQLITE = {"JUNCTOR_STORE": "sqlite"}


async def _up(running: Child) -> str:
    """Wait until `junctor up` has told everything, and return its address."""
    address = (await running.line_with("gRPC")).split()[1]
    await running.line_with("Ctrl-C")
    return address


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def _keys(running: Child) -> list[str]:
    return [word for line in running.lines for word in line.split() if word.startswith("jk-")]


async def _is_answered(target: str, key: str) -> None:
    """Make a call that a router without any provider key answers by saying so."""
    async with AsyncClient(target, key) as client:
        error = await refusal(client.complete("Hi", model=MODEL))
    assert error.reason == "NO_ELIGIBLE_ENDPOINT"


async def test_up_and_up_again(tmp_path: Path) -> None:
    """Else a newcomer has no key, a new one at every start, or finds the old one void."""
    async with child("up", tmp_path) as running:
        target = await _up(running)
        (key,) = _keys(running)
        assert (tmp_path / "first-key").read_text().strip() == key
        await _is_answered(target, key)
        assert await running.terminate() == 0
        assert running.lines[-1] == "Stopped."
    async with child("up", tmp_path) as running:
        target = await _up(running)
        assert _keys(running) == []
        await _is_answered(target, key)
        assert await running.terminate() == 0
    secrets = [tmp_path / name for name in ("first-key", "pepper")]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert key not in (tmp_path / "log.jsonl").read_text()


async def test_serve(tmp_path: Path) -> None:
    """Else the production server does not start, does not say where it listens, or ends with calls on its hands."""
    async with child("up", tmp_path) as running:
        await _up(running)
        (key,) = _keys(running)
        assert await running.terminate() == 0
    async with child("serve", tmp_path, SQLITE) as running:
        listening = json.loads(await running.line_with("listening"))
        await _is_answered(f"127.0.0.1:{listening['fields']['port']}", key)
        assert await running.terminate() == 0
        lines = [json.loads(line) for line in running.lines]
    assert [line["event"] for line in lines if line["kind"] == "event"] == [
        "listening",
        "listening for managers",
        "draining",
        "stopped",
    ]
    assert [line["status"] for line in lines if line["kind"] == "request"] == ["NO_ELIGIBLE_ENDPOINT"]
    assert lines[-1]["fields"] == {"unfinished_settlements": 0}


async def test_nobody_else_writes_into_the_log(tmp_path: Path) -> None:
    """Else whoever reaches the port, without a key, puts lines into the log that nothing can read that reads it."""
    async with child("serve", tmp_path, {**SQLITE, "JUNCTOR_PEPPER": f"1:{'00' * 32}"}) as running:
        port = json.loads(await running.line_with("listening"))["fields"]["port"]
        for header in (("grpc-timeout", "soon"), ("grpc-encoding", "unheard-of"), ("x-bin", "*"), ("Upper", "case")):
            async with Peer(port) as peer:
                await peer.send(opening(peer.next_stream(), "/junctor.v1.RouterService/Complete", header))
                async with asyncio.timeout(PATIENCE_S):
                    await peer.until(RST_STREAM if header[0] in {"x-bin", "Upper"} else HEADERS)
        assert await running.terminate() == 0
    assert [line for line in running.lines if not line.startswith("{")] == []


@pytest.mark.parametrize("command", ["up", "serve"])
async def test_second_process_on_the_same_folder(tmp_path: Path, command: str) -> None:
    """Else two processes write one store, or the second one dies with a page of code."""
    async with child("up", tmp_path) as running:
        target = await _up(running)
        async with child(command, tmp_path, SQLITE) as second:
            assert await second.ended() == 1
        (line,) = second.lines
        assert "store.sqlite3 is in use by another process: stop that one, or use another data folder" in line
        await _is_answered(target, _keys(running)[0])


async def test_port_in_use(tmp_path: Path) -> None:
    """Else somebody who starts a second server reads about errors inside a library."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with child("up", tmp_path, {"JUNCTOR_LISTEN": address}) as running:
            assert await running.ended() == 1
    assert f"{address} cannot be listened on: address already in use" in running.lines
    assert not [line for line in running.lines if "Traceback" in line]


@pytest.mark.parametrize("command", ["up", "serve"])
async def test_bad_settings(tmp_path: Path, command: str) -> None:
    """Else an operator mends one setting a start."""
    wrong = {**SQLITE, "JUNCTOR_DRAIN_S": "long", "JUNCTOR_LISTEN": "here", "JUNCTOR_REGOIN": "eu-west-1"}
    async with child(command, tmp_path, wrong) as running:
        assert await running.ended() == 2
    assert sorted(line.partition(":")[0] for line in running.lines) == ["JUNCTOR_DRAIN_S", "JUNCTOR_LISTEN", "JUNCTOR_REGOIN"]
    assert _is_empty(tmp_path)


async def test_serve_without_a_pepper(tmp_path: Path) -> None:
    """Else instances that share a table make keys that only one of them knows."""
    async with child("serve", tmp_path) as running:
        assert await running.ended() == 2
    assert [line.partition(":")[0] for line in running.lines] == ["JUNCTOR_PEPPER"]


@pytest.mark.skipif(not process.available(), reason=process.unavailable_line())
async def test_up_with_the_local_model(tmp_path: Path) -> None:
    """Else the first thing that a newcomer tries, one Complete and one Stream, fails."""
    models = platformdirs.user_cache_path("junctor") / "models"
    if weights.cached(models) is None:
        pytest.skip("the local model's weights are not in the cache")
    settings = {"JUNCTOR_LOCAL_MODEL": "on", "JUNCTOR_CACHE_DIR": str(models.parent)}
    async with child("up", tmp_path, settings) as running:
        target = await _up(running)
        async with AsyncClient(target, _keys(running)[0]) as client:
            answer = await client.complete("Say hello.", model="junctor/local", max_tokens=8, timeout_s=START_S)
            events = await events_of(client.stream("Say hello.", model="junctor/local", max_tokens=8, timeout_s=START_S))
        assert await running.terminate() == 0
    assert answer.choices[0].message.parts[0].text.text
    assert not answer.usage.estimated
    assert answer.usage.output_tokens <= 8
    assert kinds(events)[-1] == "finished"
    assert text_of(events)


async def test_serve_does_not_start_without_its_tables(tmp_path: Path) -> None:
    """A wrong prefix, region or role would look like a store that is slow, at each call of each caller."""
    missing = b'{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no such table"}'
    async with ScriptedUpstream(lambda _: iter(status(400, missing))) as dynamodb:
        settings = {
            "JUNCTOR_STORE": "dynamodb",
            "JUNCTOR_TABLE_PREFIX": "junctor-prod-",
            "JUNCTOR_PEPPER": f"1:{base64.b64encode(b'0' * 32).decode()}",
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.base_url.removesuffix("/v1"),
            "AWS_REGION": "eu-central-1",
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing"),
        }
        async with child("serve", tmp_path, settings) as running:
            assert await running.ended() == 1
    (line,) = [line for line in running.lines if not line.startswith("{")]
    assert line.startswith("junctor-prod-core: the table refuses this caller or is not there: see JUNCTOR_TABLE_PREFIX")
    assert not [line for line in running.lines if "listening" in line]
