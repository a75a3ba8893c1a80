"""Model servers of other people on this machine: told apart by what they answer, and never waited for."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.local import discovery
from junctor.adapters.local.discovery import Found, Served, discover, slug
from junctor.bootstrap import up
from junctor.bootstrap.discovered import Discovery, additions_of
from junctor.settings import Settings
from tests.support.harness import running_router
from tests.support.world import LoopClock, NotedTelemetry

OLLAMA = {
    "/api/tags": {
        "models": [
            {"name": "llama3.2:latest", "digest": "a", "details": {"family": "llama"}},
            {"name": "nomic-embed-text:latest", "digest": "b"},
            {"name": "gpt-oss:120b-cloud", "digest": "c", "remote_host": "https://ollama.example"},
        ]
    },
    "/v1/models": {"object": "list", "data": [{"id": "llama3.2:latest", "object": "model", "owned_by": "library"}]},
}
STUDIO = {
    "/api/v0/models": {
        "object": "list",
        "data": [
            {
                "id": "qwen2.5-7b-instruct",
                "type": "llm",
                "state": "loaded",
                "loaded_context_length": 8192,
                "max_context_length": 32768,
            },
            {"id": "qwen2-vl", "type": "vlm", "state": "not-loaded", "max_context_length": 32768},
            {"id": "text-nomic", "type": "embeddings", "state": "not-loaded"},
        ],
    },
    "/v1/models": {"object": "list", "data": [{"id": "qwen2.5-7b-instruct", "owned_by": "organization_owner"}]},
    "/api/tags": {"error": "Unexpected endpoint or method. (GET /api/tags)"},
}
LLAMA = {
    "/v1/models": {
        "models": [{"name": "m.gguf", "model": "m.gguf", "digest": "", "details": {"format": "gguf"}}],
        "object": "list",
        "data": [{"id": "m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}],
    },
    "/api/tags": {"models": [{"name": "m.gguf", "model": "m.gguf", "digest": ""}]},
}
VLLM = {"/v1/models": {"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm", "max_model_len": 40960}]}}

Answer = Callable[[str], bytes]


def answers(pages: Mapping[str, Any], *, length: bool = True) -> Answer:
    """Answer these paths as JSON, others with 404."""

    def answer(path: str) -> bytes:
        body = json.dumps(pages.get(path, {})).encode()
        said = b"Content-Length: %d\r\n" % len(body) if length else b""
        status = b"200 OK" if path in pages else b"404 Not Found"
        return b"HTTP/1.1 " + status + b"\r\n" + said + b"Content-Type: application/json\r\n\r\n" + body

    return answer


@asynccontextmanager
async def server(answer: Answer, *, closes: bool = True) -> AsyncGenerator[int, None]:
    """Listen on a free port; yields it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            writer.write(answer(path))
            await writer.drain()
            if not closes:
                await reader.read()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a loaded machine time; the tests of what is too slow take less again."""
    monkeypatch.setattr(discovery, "LOOK_S", 10.0)


async def test_the_four_kinds_are_told_apart_wherever_they_listen() -> None:
    """A model would be listed under another server's name, or ask a server for what it cannot do."""
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(server(answers(pages))) for pages in (VLLM, OLLAMA, LLAMA, STUDIO)]
        found = {server.kind: server.models for server in await discover(ports)}
    assert found == {
        "vllm": (Served("Qwen/Qwen3-8B", 40960),),
        "ollama": (Served("llama3.2:latest"),),
        "llama-server": (Served("m.gguf", 2048),),
        "lmstudio": (Served("qwen2.5-7b-instruct", 8192), Served("qwen2-vl")),
    }


@pytest.mark.parametrize(("length", "closes"), [(True, True), (True, False), (False, True)])
async def test_an_answer_ends_where_it_says_or_with_its_connection(*, length: bool, closes: bool) -> None:
    """A server that keeps connections open would never be found."""
    async with server(answers(VLLM, length=length), closes=closes) as port:
        assert [found.kind for found in await discover([port])] == ["vllm"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _path: b"",
        lambda _path: b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
        lambda _path: b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        lambda _path: b"HTTP/1.1 200 OK\r\n\r\n<html>",
        lambda _path: b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{}",
        lambda _path: b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        lambda _path: b"x" * (2 << 20),
        lambda _path: b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
        answers({"/v1/models": {"data": []}, "/api/tags": {"models": []}}),
        answers({"/v1/models": {"data": [{"id": "gpt-4", "owned_by": "somebody"}]}}),
        answers({"/v1/models": {"data": [{"id": 5, "owned_by": "vllm"}]}}),
        answers({"/v1/models": {"data": [{"id": "a", "owned_by": "vllm"}, {"id": "b", "owned_by": "llamacpp"}]}}),
        answers({"/v1/models": {"data": [{"id": "\u0000", "owned_by": "vllm"}, {"id": "", "owned_by": "vllm"}]}}),
        answers({"/v1/models": {"data": [{"id": "x" * 300, "owned_by": "vllm"}]}}),
    ],
)
async def test_whoever_else_answers_is_passed_over(answer: Answer) -> None:
    """Some other server on a usual port would stop `junctor up`, or be offered as a model."""
    async with server(answer) as port:
        assert await discover([port]) == ()


async def test_a_silent_port_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`junctor up` would hang on whatever listens and says nothing."""
    monkeypatch.setattr(discovery, "LOOK_S", 0.05)
    async with server(lambda _path: b"", closes=False) as port:
        async with asyncio.timeout(10):
            assert await discover([port, 1]) == ()


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("ollama", "llama3.2:latest", "ollama/llama3.2"),
        ("ollama", "llama3.2:1b", "ollama/llama3.2-1b"),
        ("ollama", "hf.co/Bartowski/Llama-3:Q4_K_M", "ollama/hf.co-bartowski-llama-3-q4_k_m"),
        ("vllm", "Qwen/Qwen3-8B", "vllm/qwen-qwen3-8b"),
    ],
)
def test_names_become_slugs_without_variants(kind: str, name: str, expected: str) -> None:
    """A tag after a colon would be taken for a way to sort, and the model never be found."""
    assert slug(kind, name) == expected


def test_what_is_found_costs_nothing_and_says_so() -> None:
    """A model on one's own machine would be refused for want of a price, or be charged for."""
    found = (Found("ollama", "http://127.0.0.1:11434/v1", (Served("a:latest"), Served("A"), Served("b", 2048))),)
    rows = additions_of(found, "2026-11-22")
    assert [(row.id, row.upstream_model, row.context_tokens) for row in rows.endpoints] == [
        ("ollama/ollama/a", "a:latest", None),
        ("ollama/ollama/b", "b", 2048),
    ]
    (card,) = rows.prices["ollama/ollama/b"]
    assert (card.parts.input, card.parts.output, card.source, card.as_of) == (0, 0, "local", "2026-11-22")
    assert [(row.slug, row.credentials) for row in rows.providers] == [("ollama", ())]


async def test_the_catalogue_follows_what_comes_and_goes() -> None:
    """A server started after `junctor up` would not be seen, or one that ended would be asked for ever."""
    catalog, ports = PackagedCatalog(), [1]
    before = catalog.current()
    found = Discovery(catalog, LoopClock(), NotedTelemetry(), ports)
    assert not await found.look()
    assert catalog.current() is before
    async with server(answers(VLLM)) as port:
        ports[0] = port
        assert await found.look()
        assert not await found.look()
        assert catalog.current().endpoints["vllm/qwen-qwen3-8b"][0].base_url == f"http://127.0.0.1:{port}/v1"
        assert catalog.beneath() is catalog.current()
    assert await found.look()
    assert "vllm" not in catalog.current().providers


async def test_up_shows_what_it_found_unless_told_not_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a server running would not learn that it is reachable, or could not keep Junctor from asking it."""
    async with running_router(tmp_path, {}) as router, server(answers(VLLM)) as port:
        monkeypatch.setattr(up, "Discovery", partial(Discovery, ports=[port]))
        for discover_, expected in (("off", []), ("on", [("vLLM", "1 model")])):
            settings = Settings.from_environment({"JUNCTOR_DISCOVER": discover_})
            async with up._discovery(router.core, settings):
                rows = [row for row in up._reachable(router.core) if row[0] == "vLLM"]
            assert rows == expected
