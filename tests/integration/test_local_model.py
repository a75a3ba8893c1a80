"""The real model in the real llama.cpp: the first answer that a newcomer to Junctor sees.

Needs the package xllamacpp, and once the network (93 MB, kept in the user's cache folder as `junctor up` keeps it).
"""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import platformdirs
import pytest
import pytest_asyncio

from junctor.adapters.local.messages import MODEL_ALIAS
from junctor.adapters.local.process import LocalModel, LocalModelError, Running, available, unavailable_line
from junctor.adapters.local.weights import WeightsError, fetch

pytestmark = pytest.mark.skipif(not available(), reason=unavailable_line())

TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def weights() -> Path:
    """Give the real weights, fetched where they are not yet in the cache."""
    try:
        return fetch(platformdirs.user_cache_path("junctor") / "models", lambda done, total: None)
    except WeightsError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture
async def running(weights: Path, tmp_path: Path) -> AsyncIterator[Running]:
    """Start the model for one test; nothing may listen at its address afterwards."""
    model = LocalModel()
    running = await model.start(weights, tmp_path / "model.log")
    try:
        yield running
    finally:
        await model.stop()
    address = httpx.URL(running.base_url)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address.host, address.port or 0), 5).close()


@pytest_asyncio.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """Open a plain HTTP client that has the key."""
    headers = {"Authorization": f"Bearer {running.api_key}"}
    async with httpx.AsyncClient(base_url=running.base_url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        yield client


def ask(**fields: object) -> dict[str, object]:
    """Write a request whose answer is always the same."""
    messages = [{"role": "user", "content": "Name three fruits."}]
    return {"model": MODEL_ALIAS, "messages": messages, "temperature": 0, "max_tokens": 24, **fields}


async def test_answers(client: httpx.AsyncClient) -> None:
    """Else the first call after `junctor up` fails, or costs an unknown number of tokens."""
    answer = (await client.post("/chat/completions", json=ask())).raise_for_status().json()
    assert "Bananas" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["model"] == MODEL_ALIAS
    assert answer["usage"]["prompt_tokens"] > 10
    assert 5 < answer["usage"]["completion_tokens"] <= 24


async def test_streams_with_usage(client: httpx.AsyncClient) -> None:
    """Else a stream from the local model cannot be shown step by step, or cannot be billed."""
    body = ask(stream=True, stream_options={"include_usage": True})
    async with client.stream("POST", "/chat/completions", json=body) as response:
        lines = [line async for line in response.raise_for_status().aiter_lines()]
    chunks = [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
    assert "Bananas" in "".join(texts)
    assert sum(1 for text in texts if text) > 3
    assert chunks[-1]["usage"]["completion_tokens"] > 5


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"temperature": 1.5, "seed": 1, "top_k": 1}, "1. Bananas\n2. Oranges\n3. Grapes"),
        ({"temperature": 1.5, "seed": 1, "top_p": 0.01}, "1. Bananas\n2. Oranges\n3. Grapes"),
        ({"temperature": 1.5, "seed": 1, "min_p": 1.0}, "1. Bananas\n2. Oranges\n3. Grapes"),
        ({"stop": ["Oranges"]}, "1. Bananas\n2. "),
        ({"max_tokens": 3}, "1. Ban"),
    ],
)
async def test_understands_what_the_catalogue_says(client: httpx.AsyncClient, fields: dict[str, object], content: str) -> None:
    """Else the catalogue promises a parameter that the local model ignores."""
    answer = (await client.post("/chat/completions", json=ask(**fields))).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == content


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
async def test_penalties_change_the_answer(client: httpx.AsyncClient, penalty: str) -> None:
    """Else the catalogue promises a penalty that the local model ignores."""
    answer = (await client.post("/chat/completions", json=ask(**{penalty: 2.0}))).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] != "1. Bananas\n2. Oranges\n3. Grapes"


async def test_seed_repeats(client: httpx.AsyncClient) -> None:
    """Else the catalogue promises a seed that the local model ignores."""
    answers = []
    for seed in (1, 1, 2):
        answer = (await client.post("/chat/completions", json=ask(temperature=1.5, seed=seed))).raise_for_status().json()
        answers.append(answer["choices"][0]["message"]["content"])
    assert answers[0] == answers[1] != answers[2]


async def test_follows_a_schema(client: httpx.AsyncClient) -> None:
    """Else the catalogue promises a response format that the local model ignores."""
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "choice", "schema": {**schema, "additionalProperties": False}}}
    answer = (await client.post("/chat/completions", json=ask(response_format=wanted))).raise_for_status().json()
    assert msgspec.json.decode(answer["choices"][0]["message"]["content"])["colour"] in {"red", "blue"}
    answer = (
        (await client.post("/chat/completions", json=ask(response_format={"type": "json_object"}))).raise_for_status().json()
    )
    assert isinstance(msgspec.json.decode(answer["choices"][0]["message"]["content"]), dict)


async def test_strangers_are_refused(running: Running, client: httpx.AsyncClient) -> None:
    """Else any user of the machine can use the model past Junctor's limits."""
    answer = await client.post("/chat/completions", json=ask(), headers={"Authorization": "Bearer guess"})
    assert answer.status_code == 401
    assert running.api_key not in answer.text


async def test_prompts_stay_out_of_the_log(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Else what people ask lies in a file on disk."""
    messages = [{"role": "user", "content": "Keep xylophone-4711 to yourself."}]
    (await client.post("/chat/completions", json=ask(messages=messages))).raise_for_status()
    log = read(tmp_path / "model.log")
    assert "model" in log
    assert "xylophone" not in log


def read(path: Path) -> str:
    """Read the log."""
    return path.read_text(encoding="utf-8", errors="replace")


async def test_weights_that_are_none(tmp_path: Path) -> None:
    """Else a damaged file in the cache ends in silence instead of an error that leads to the log."""
    broken = tmp_path / "broken.gguf"
    write(broken, b"GGUF" + bytes(64))
    with pytest.raises(LocalModelError, match=r"while it was loading; its log is .*model\.log"):
        await LocalModel().start(broken, tmp_path / "model.log")
    assert "broken.gguf" in read(tmp_path / "model.log")


def write(path: Path, content: bytes) -> None:
    """Write a file."""
    path.write_bytes(content)
