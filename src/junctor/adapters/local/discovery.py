"""Which model servers of other people run on this machine? Ollama, LM Studio, llama-server and vLLM, on their usual ports.

A port says nothing of who listens there, so each is told by what it answers: vLLM and llama-server sign their list of models,
LM Studio has a list of its own form, and Ollama its tags, which llama-server imitates and so comes before. Whoever answers
otherwise is passed over in silence. Only loopback is asked, with no credentials, and never longer than LOOK_S.

A limit is taken only where the server names the one in force: what a model was trained with is more than what a server allows.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

LOOK_S: Final = 0.3
"""How long one look at a port may take, in seconds."""
PORTS: Final = (11434, 1234, 8080, 8000)
"""Where Ollama, LM Studio, llama-server and vLLM listen if nobody says otherwise."""
MODELS_MAX: Final = 200
ANSWER_BYTES_MAX: Final = 1 << 20
HOST: Final = "127.0.0.1"

_NAME_CHARS_MAX: Final = 200
_SLUG_CHARS_MAX: Final = 100
_NOT_IN_SLUGS: Final = re.compile(r"[^a-z0-9._]+")
_OK: Final = re.compile(rb"HTTP/1\.[01] 200(?: |\r)")
_EMBEDS: Final = re.compile(r"embed|bert|(?:^|[/-])(?:bge|gte|e5)[-_]")
_OWNERS: Final = {"vllm": "vllm", "llamacpp": "llama-server"}


class Served(Struct, frozen=True):
    """A model of a server: its own name of it, and the context in force if it is known."""

    name: str
    context_tokens: int | None = None


class Found(Struct, frozen=True):
    """A server, by the slug of its kind."""

    kind: str
    base_url: str
    models: tuple[Served, ...]


class _Meta(Struct, frozen=True):
    """What llama-server tells of a model (xllamacpp 2026.10): `n_ctx` is in force, `n_ctx_train` is not."""

    n_ctx: int | None = None


class _Listed(Struct, frozen=True):
    """An entry of /v1/models: `owned_by` is the signature, `max_model_len` vLLM's limit, `meta` llama-server's."""

    id: str = ""
    owned_by: str = ""
    max_model_len: int | None = None
    meta: _Meta | None = None

    @property
    def context_tokens(self) -> int | None:
        """Return the context in force, None if it is not told."""
        return _positive(self.max_model_len) or _positive(self.meta.n_ctx if self.meta else None)


class _Models(Struct, frozen=True):
    data: tuple[_Listed, ...]


class _OfStudio(Struct, frozen=True):
    """An entry of LM Studio's /api/v0/models."""

    id: str
    type: str
    state: str
    loaded_context_length: int | None = None


class _StudioModels(Struct, frozen=True):
    data: tuple[_OfStudio, ...]


class _Tag(Struct, frozen=True):
    """An entry of Ollama's /api/tags. `remote_host` is set where the model runs elsewhere, for an account's money."""

    name: str
    digest: str
    remote_host: str = ""


class _Tags(Struct, frozen=True):
    models: tuple[_Tag, ...]


async def discover(ports: Sequence[int] = PORTS) -> tuple[Found, ...]:
    """Look at all ports at once, and return the servers found, each kind once: the first in the order of the ports."""
    looked = await asyncio.gather(*map(_look, ports))
    kinds: dict[str, Found] = {}
    for found in looked:
        if found is not None and found.models:
            kinds.setdefault(found.kind, found)
    return tuple(kinds.values())


def slug(kind: str, name: str) -> str:
    """Return a model's slug: `ollama/llama3.2` for Ollama's `llama3.2:latest`."""
    return f"{kind}/{_slug(name)}"


async def _look(port: int) -> Found | None:
    try:
        async with asyncio.timeout(LOOK_S):
            paths = ("/v1/models", "/api/v0/models", "/api/tags")
            listed, of_studio, tags = await asyncio.gather(*(_get(port, path) for path in paths))
    except TimeoutError:
        return None
    models = _read(listed, _Models)
    owners = {_OWNERS.get(entry.owned_by) for entry in models.data} if models else set()
    kind = next(iter(owners)) if len(owners) == 1 else None
    if models and kind:
        served = [Served(entry.id, entry.context_tokens) for entry in models.data]
    elif (studio := _read(of_studio, _StudioModels)) is not None:
        kind = "lmstudio"
        usable = [entry for entry in studio.data if entry.type in {"llm", "vlm"}]
        served = [Served(entry.id, _positive(entry.loaded_context_length)) for entry in usable]
    elif (tagged := _read(tags, _Tags)) is not None:
        kind = "ollama"
        served = [Served(entry.name) for entry in tagged.models if not entry.remote_host]
    else:
        return None
    return Found(kind, f"http://{HOST}:{port}/v1", tuple(filter(_is_usable, served))[:MODELS_MAX])


def _is_usable(served: Served) -> bool:
    """Tell whether a model can be named, and answers: an embedding model does not."""
    name = served.name
    named = 0 < len(name) <= _NAME_CHARS_MAX and name.isprintable() and bool(_slug(name))
    return named and _EMBEDS.search(name.lower()) is None


def _slug(name: str) -> str:
    """Return a server's name of a model as the latter half of a slug; a colon would begin a variant there."""
    return _NOT_IN_SLUGS.sub("-", name.lower().removesuffix(":latest")).strip("-")[:_SLUG_CHARS_MAX]


def _positive(count: int | None) -> int | None:
    return count if count is not None and count > 0 else None


F = TypeVar("F", _Models, _StudioModels, _Tags)


def _read(body: bytes, form: type[F]) -> F | None:
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def _get(port: int, path: str) -> bytes:
    """Return the body of an answer of 200, empty if there is none. HTTP/1.0, so that no server sends it in chunks."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port, limit=ANSWER_BYTES_MAX)
    except OSError:
        return b""
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n\r\n".encode())
        return await _body(reader)
    except (OSError, EOFError, asyncio.LimitOverrunError):
        return b""
    finally:
        writer.transport.abort()


async def _body(reader: asyncio.StreamReader) -> bytes:
    """Read an answer to its end, or as far as it says that it goes. A server may keep the connection open all the same."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not _OK.match(head):
        return b""
    length = re.search(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})[ \t]*\r\n", head.lower())
    if length is not None:
        return await reader.readexactly(min(int(length[1]), ANSWER_BYTES_MAX))
    parts: list[bytes] = []
    while (part := await reader.read(ANSWER_BYTES_MAX)) and sum(map(len, parts)) <= ANSWER_BYTES_MAX:
        parts.append(part)
    return b"".join(parts)
