"""Secrets planted wherever a call has room for one, on every path that ends in an error: `python -m tests.security.canaries`.

Each call carries canaries of its own: in what should be an API key, in the prompt, in tools, names and free JSON, and in what a
provider answers, who quotes the request that he got, credential and all. None may be found in an error, but for what a provider
says of a caller's own mistake (errors.md), and that without the credential; and none in any log.
"""

import argparse
import asyncio
import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from unittest import mock
from uuid import UUID

import grpc.aio
from msgspec import Struct, field

from junctor.adapters.providers.gateway import Gateway
from junctor.domain.account import KeyScope
from junctor.ports.table import UnavailableError
from junctor.v1.completion_pb2 import ROLE_USER, CompletionSpec, Message, Part, TextPart, Tool
from junctor.v1.router_service_pb2 import CompleteRequest, EmbedInput, EmbedRequest, ExplainRequest, StreamRequest
from tests.support.faulty_table import break_ledger
from tests.support.harness import Router, running_router
from tests.support.hearing import Heard, hear
from tests.support.pipeline import FIRST, MODEL, bearer
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Close,
    Request,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Wait,
    chat_body,
    chat_chunk,
    chunk,
    event,
    status,
)

SECRETS = 10_000
SIGN = "cnry"
"""How every canary begins."""
CANARY = re.compile(rb"cnry[0-9a-f]+")
CREDENTIAL = f"{SIGN}00feed5eed00"
TIMEOUT_S, SHORT_S = 10.0, 0.05
QUOTING = frozenset(
    {"INVALID_ARGUMENT CONTEXT_LENGTH_EXCEEDED", "INVALID_ARGUMENT CONTENT_POLICY", "INVALID_ARGUMENT INVALID_FIELD"}
)
"""The endings with which a provider's own words about a caller's mistake come, where it was the provider that refused."""

Asked = CompleteRequest | StreamRequest | ExplainRequest
METHODS: dict[str, type[Asked]] = {"Complete": CompleteRequest, "Stream": StreamRequest, "Explain": ExplainRequest}
Answer = Callable[[str], list[Step]]
"""What a provider does with a text full of canaries."""


def _plain(code: int, text: str) -> list[Step]:
    return status(code, text.encode(), {"location": f"http://127.0.0.1:1/{text[:20]}", "retry-after": text[:20]})


def _coded(code: int, word: str, text: str) -> list[Step]:
    return status(code, _error(text, word))


def _error(text: str, word: str) -> bytes:
    return json.dumps({"error": {"message": text, "code": word, "type": text, "metadata": {"raw": text}}}).encode()


CODES = (302, 400, 401, 402, 403, 404, 410, 413, 422, 429, 500, 503)
WORDS = ("context_length_exceeded", "content_policy_violation", "invalid_api_key", "rate_limit_exceeded", "other")
APART = Wait(0.02)
BEGUN = Send(STREAM_HEAD + chunk(chat_chunk({"content": "word"})))
ANSWERS: tuple[Answer, ...] = (
    *(partial(_plain, code) for code in CODES),
    *(partial(_coded, code, word) for code in CODES for word in WORDS),
    lambda text: status(200, text.encode()),
    lambda text: status(200, _error(text, "other")),
    lambda text: status(200, _error(text, "context_length_exceeded")),
    lambda text: [Send(f"HTTP/1.1 {text}\r\n\r\n".encode()), Close()],
    lambda text: [Send(f"HTTP/1.1 200 OK\r\ncontent-encoding: {text[:50]}\r\n\r\n".encode()), Close()],
    lambda text: [Send(text.encode()), Reset()],
    lambda text: [Send(STREAM_HEAD + chunk(event({"error": {"message": text}}))), Close()],
    lambda text: [BEGUN, APART, Send(chunk(event({"error": {"message": text, "code": "other"}}))), Close()],
    lambda text: [BEGUN, APART, Send(chunk(b"data: " + text.encode() + b"\n\n")), Close()],
    lambda text: [BEGUN, APART, Send(chunk(b"data: {" + text.encode())), Reset()],
)
SPOILT: dict[str, Callable[[CompletionSpec, str], object]] = {
    "no number": lambda spec, _: setattr(spec, "temperature", float("nan")),
    "an unknown field": lambda spec, text: spec.MergeFromString(b"\xc2\x3e" + bytes([len(text)]) + text.encode()),
    "free JSON": lambda spec, text: setattr(spec, "extra_json", '{"a":' + text),
    "a reserved key": lambda spec, text: setattr(spec, "extra_json", json.dumps({"model": text, text: text, "stream": text})),
    "a tool's schema": lambda spec, text: spec.tools.add(name=text, parameters_json="[" + text),
    "a tool's name": lambda spec, text: spec.tools.add(name=text + " \n", parameters_json="{}"),
    "a tool that was chosen": lambda spec, text: setattr(spec.tool_choice, "function_name", text),
    "stops": lambda spec, text: spec.stop.sequences.extend([text] * 9),
    "metadata": lambda spec, text: spec.metadata.update({f"{text}{number}": text for number in range(40)}),
    "a role": lambda spec, text: spec.messages.add(role=77).parts.add().text.CopyFrom(TextPart(text=text)),
    "an address": lambda spec, text: setattr(spec.messages[0].parts.add().image, "url", f"ftp://{text}/"),
    "a call's arguments": lambda spec, text: spec.messages[0].tool_calls.add(id=text, name=text, arguments_json="{" + text),
}


def _yes(_: str) -> list[Step]:
    return status(200, chat_body({"content": "yes"}))


ASTRAY = ("nobody/nothing", "openai/gpt-4o-mini")
"""Models that no call gets to: nobody has it, and no credential opens it."""
KEYS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: f"jk-{text}",
    lambda text: f"jk-{text[:12]}-{(text * 4)[:52]}-0000000",
    lambda text: f"Bearer {text}",
    lambda text: text * 40,
)


class Findings(Struct):
    """What a run met: how many canaries were planted, how calls ended, and where canaries came out."""

    planted: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)


class _Run:
    """One router, one provider, and the calls in their order."""

    _api_key: str
    _others: tuple[str, ...]
    _channel: grpc.aio.Channel

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._answer: Answer = ANSWERS[0]
        self.found = Findings()

    async def begin(self, router: Router, channel: grpc.aio.Channel) -> None:
        """Take the router that is to be called, and have keys made with which no call is answered."""
        self._api_key = router.api_key
        self._channel = channel
        accounts = router.core.accounts
        poor = await accounts.create_api_key((await accounts.create_organisation("poor")).id, "poor")
        self._others = poor, await accounts.create_api_key(router.account, "manager", KeyScope.MANAGEMENT)

    def play(self, request: Request) -> Iterator[Step]:
        """Answer as it is the turn, with all that the provider knows: the request, and a text of its own."""
        return iter(self._answer(f"{self.canary()} {request.headers.get('authorization', '')} {request.body.decode()}"))

    async def refused_key(self) -> None:
        """Call with what is no key of ours."""
        key = self._rng.choice(KEYS)(self.canary())
        await self._call(key, lambda _: None)

    async def refused_field(self, kind: str) -> None:
        """Call with a request that no door takes."""
        await self._call(self._api_key, lambda spec: SPOILT[kind](spec, self.canary()))

    async def turned_away(self) -> None:
        """Call for what cannot be had, with keys that do not do, and a method that is not built."""
        for model in ASTRAY:
            await self._call(self._api_key, partial(_ask_for, model), upstream=True)
        for key in self._others:
            await self._call(key, lambda _: None, upstream=True)
        request = EmbedRequest(model=MODEL, inputs=[EmbedInput(text=self.canary())])
        await self._hear("Embed", request)

    async def twice(self) -> None:
        """Call by a name that a call had, with the same request and with another."""
        self._answer = _yes
        request = CompleteRequest(spec=self._spec(), request_id=str(UUID(int=self._rng.getrandbits(128), version=4)))
        other = CompleteRequest(spec=self._spec(), request_id=request.request_id)
        for each in (request, request, other):
            await self._hear("Complete", each)

    async def given_up(self) -> None:
        """Call a provider that has begun and says no more, and leave."""
        self._answer = lambda _: [BEGUN, Stall()]
        request = StreamRequest(spec=self._spec()).SerializeToString()
        with suppress(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await hear(self._channel, "Stream", request, bearer(self._api_key), TIMEOUT_S)
        self.found.endings["CANCELLED"] += 1

    async def failed(self, answer: Answer) -> None:
        """Call a provider that fails, in both ways."""
        self._answer = answer
        for method in ("Complete", "Stream"):
            await self._call(self._api_key, lambda _: None, upstream=True, method=method)

    async def late(self) -> None:
        """Call a provider that says nothing, with little patience."""
        self._answer = lambda _: [Stall()]
        await self._call(self._api_key, lambda _: None, upstream=True, timeout_s=SHORT_S)

    async def bug(self) -> None:
        """Call while our own code fails, with an error that tells all."""
        with mock.patch.object(Gateway, "_prepare", side_effect=RuntimeError(self.canary())):
            await self._call(self._api_key, lambda _: None, upstream=True)

    async def store_down(self, answer: Answer) -> None:
        """Call while nothing can be written, with errors that tell all."""
        self._answer = answer
        await self._call(self._api_key, lambda _: None, upstream=True, method="Complete")

    async def _hear(self, method: str, request: CompleteRequest | EmbedRequest) -> None:
        body = request.SerializeToString()
        self._judge(await hear(self._channel, method, body, bearer(self._api_key), TIMEOUT_S), self._api_key)

    async def _call(
        self,
        api_key: str,
        spoil: Callable[[CompletionSpec], object],
        *,
        upstream: bool = False,
        timeout_s: float = TIMEOUT_S,
        method: str = "",
    ) -> None:
        method = method or self._rng.choice(("Complete", "Stream") if upstream else ("Complete", "Stream", "Explain"))
        request = METHODS[method](spec=self._spec())
        spoil(request.spec)
        heard = await hear(self._channel, method, request.SerializeToString(), bearer(api_key), timeout_s)
        self._judge(heard, api_key, upstream=upstream)

    def _judge(self, heard: Heard, api_key: str, *, upstream: bool = False) -> None:
        """Count an ending, and note what should not have been told with it."""
        self.found.endings[heard.how] += 1
        secret = api_key.encode() if api_key in {self._api_key, *self._others} else b""
        quoted = upstream and heard.how in QUOTING
        told = {*CANARY.findall(heard.told)} if not quoted else {*CANARY.findall(heard.told)} & {CREDENTIAL.encode()}
        if heard.how != "OK" and (told or (secret and secret in heard.told)):
            self.found.leaks.append(f"{heard.how}: {heard.told[:300]!r}")

    def _spec(self) -> CompletionSpec:
        said = Message(role=ROLE_USER, name=self.canary(), parts=[Part(text=TextPart(text=self.canary()))])
        tool = Tool(name=self.canary(), description=self.canary(), parameters_json=json.dumps({self.canary(): 1}))
        spec = CompletionSpec(model=MODEL, messages=[said], tools=[tool], user=self.canary(), max_tokens=9)
        spec.metadata[self.canary()] = self.canary()
        spec.extra_json = json.dumps({f"x_{self.canary()}": self.canary()})
        return spec

    def canary(self) -> str:
        """Make another one."""
        self.found.planted += 1
        return f"{SIGN}{self._rng.getrandbits(48):012x}"


async def hunt(folder: Path, secrets: int, seed: int = 1) -> Findings:
    """Plant at least so many canaries, along all paths in turn, and look for them."""
    heard_by_logs = Kept()
    logging.getLogger().addHandler(heard_by_logs)
    try:
        async with _running(folder, seed) as (run, router):
            while run.found.planted < secrets:
                for answer in ANSWERS:
                    await run.failed(answer)
                for kind in SPOILT:
                    await run.refused_field(kind)
                for _ in KEYS:
                    await run.refused_key()
                await run.turned_away()
                await run.twice()
                await run.given_up()
                await run.late()
                await run.bug()
            table = break_ledger(router)
            for method in ("put_new", "update", "transact"):
                table.always(method, UnavailableError(run.canary()))
            for answer in (lambda text: status(500, text.encode()), _yes):
                await run.store_down(answer)
            table.heal()
            written: Mapping[str, bytes] = {"log": router.log.read_bytes(), "logging": "\n".join(heard_by_logs.lines).encode()}
            for name, text in written.items():
                run.found.leaks += [f"{name}: {found!r}" for found in sorted({*CANARY.findall(text)})[:5]]
            assert router.log.stat().st_size > 0
            return run.found
    finally:
        logging.getLogger().removeHandler(heard_by_logs)


@asynccontextmanager
async def _running(folder: Path, seed: int) -> AsyncGenerator[tuple[_Run, Router], None]:
    """Run a router whose only endpoint is at a provider that quotes all it hears."""
    run = _Run(seed)
    async with (
        ScriptedUpstream(run.play) as upstream,
        running_router(folder, {FIRST: upstream.base_url}, credentials={"GROQ_API_KEY": CREDENTIAL}) as router,
        grpc.aio.insecure_channel(router.target) as channel,
    ):
        await run.begin(router, channel)
        yield run, router


def _ask_for(model: str, spec: CompletionSpec) -> None:
    spec.model = model


class Kept(logging.Handler):
    """Keeps what any library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record as it would be written."""
        self.lines.append(self.format(record))


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.canaries", description="Look for secrets in errors and logs."
    )
    parser.add_argument("--secrets", type=int, default=SECRETS, help="how many to plant (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="junctor-canaries-") as folder:
        found = asyncio.run(hunt(Path(folder), options.secrets, options.seed))
    for how, number in sorted(found.endings.items()):
        print(f"{how:<50} {number:>7}")
    print(
        f"{found.planted} canaries, {sum(found.endings.values())} calls, {len(found.leaks)} leaks", *found.leaks[:20], sep="\n"
    )
    return 1 if found.leaks else 0


if __name__ == "__main__":
    raise SystemExit(main())
