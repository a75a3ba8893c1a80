"""A whole answer from a provider that does well, badly, or nothing: always a Completion or a Failure, and in time."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping

import msgspec
import pytest

from junctor.adapters.net.face import Limits
from junctor.adapters.providers.dialect import Encoded, Quirks, StreamDecoder
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.domain.catalog import Endpoint
from junctor.domain.completion import Completion, CompletionSpec, TextPart, Usage
from junctor.domain.routing import Failure, FailureKind, Timers
from tests.support.gateway_rig import MESSAGES, SECRET, SPEC, TIMERS, candidate, gateway
from tests.support.scripted_upstream import (
    Close,
    Request,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Stall,
    Step,
    Wait,
    chat_answer,
    head,
    refused_base_url,
    status,
)

SHORT = Timers(connect_s=0.2, first_token_s=0.2, idle_s=0.2, total_s=0.2)


async def ask(script: Script, timers: Timers = TIMERS, secrets: Mapping[str, str] | None = None) -> Completion | Failure:
    """Ask a provider that answers with this script."""
    async with ScriptedUpstream(script) as upstream, gateway(secrets, Limits(answer_bytes_max=512 * 1024)) as gate:
        return await asyncio.wait_for(gate.complete(candidate(upstream.base_url), SPEC, timers), 10.0)


async def failed(script: Script, timers: Timers = TIMERS, secrets: Mapping[str, str] | None = None) -> Failure:
    """Ask a provider that cannot answer."""
    answer = await ask(script, timers, secrets)
    assert isinstance(answer, Failure)
    assert SECRET not in repr(answer)
    assert not answer.committed
    return answer


async def test_a_whole_answer() -> None:
    """The plainest call of all: asked in the provider's words, under our key, and read back with its usage."""
    async with ScriptedUpstream(chat_answer("Hello.", usage=(7, 3))) as upstream, gateway() as gate:
        answer = await gate.complete(candidate(upstream.base_url), SPEC, TIMERS)
    assert isinstance(answer, Completion)
    assert answer.choices[0].message.parts == (TextPart("Hello."),)
    assert answer.usage == Usage(input_tokens=7, output_tokens=3)
    request = upstream.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["content-type"] == "application/json"
    assert request.json["model"] == "model"
    assert not request.json.get("stream")


async def test_time_to_first_token_is_measured() -> None:
    """Endpoints are chosen by this figure; if it were 0 for all, the slow ones would be chosen as often."""
    answer = await ask([Wait(0.1), *chat_answer("late")])
    assert isinstance(answer, Completion)
    assert 0.09 < answer.time_to_first_token_s < 5.0


async def test_dropped_parameters_are_told() -> None:
    """A parameter that was left out in silence looks to the caller like a model that ignores it."""
    spec = CompletionSpec(model="test/model", messages=MESSAGES, top_k=5)
    async with ScriptedUpstream(chat_answer("Hello.")) as upstream, gateway() as gate:
        answer = await gate.complete(candidate(upstream.base_url), spec, TIMERS)
    assert isinstance(answer, Completion)
    assert answer.dropped == ("top_k",)
    assert "top_k" not in upstream.requests[0].json


async def test_quirks_of_the_row_are_heeded() -> None:
    """Mistral refuses max_completion_tokens, so a row that is not read is a provider that cannot be called."""
    spec = CompletionSpec(model="test/model", messages=MESSAGES, max_tokens=9)
    for provider, field in (("openai", "max_completion_tokens"), ("mistral", "max_tokens")):
        async with ScriptedUpstream(chat_answer("Hello.")) as upstream, gateway() as gate:
            endpoint = candidate(upstream.base_url, provider=provider, parameters=("max_tokens",))
            await gate.complete(endpoint, spec, TIMERS)
        assert upstream.requests[0].json[field] == 9


async def test_no_credential_means_no_header() -> None:
    """An endpoint that asks for no key must not be shown one."""
    async with ScriptedUpstream(chat_answer("Hello.")) as upstream, gateway() as gate:
        await gate.complete(candidate(upstream.base_url, credential=None), SPEC, TIMERS)
    assert "authorization" not in upstream.requests[0].headers


@pytest.mark.parametrize("secrets", [{}, {"KEY": "two\r\nlines: x"}])
async def test_a_secret_that_is_gone_or_bad_is_a_credential_failure(secrets: dict[str, str]) -> None:
    """Without its key an endpoint is to be passed over, and never asked without one."""
    async with ScriptedUpstream(chat_answer("Hello.")) as upstream, gateway(secrets) as gate:
        answer = await gate.complete(candidate(upstream.base_url), SPEC, TIMERS)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CREDENTIAL
    assert not upstream.requests


async def test_refused() -> None:
    """Nobody listens: the next endpoint is tried."""
    with refused_base_url() as base_url:
        async with gateway() as gate:
            answer = await gate.complete(candidate(base_url), SPEC, TIMERS)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CONNECT


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([Reset()], FailureKind.RESET),
        ([Close()], FailureKind.RESET),
        ([Send(head(200, {"content-length": "100"})), Wait(0.02), Reset()], FailureKind.RESET),
        ([Send(head(200, {"content-length": "100"}) + b"{"), Wait(0.02), Close()], FailureKind.RESET),
        ([Send(b"NOT HTTP\r\n\r\n")], FailureKind.MALFORMED),
        (status(200, b""), FailureKind.MALFORMED),
        (status(200, b"<html>"), FailureKind.MALFORMED),
        (status(200, b"{}"), FailureKind.MALFORMED),
        (status(200, b'{"choices": [{"message": {"content": "\xff"}}]}'), FailureKind.MALFORMED),
        (status(200, b"[" * 100_000), FailureKind.MALFORMED),
        (status(200, b" " * 600_000), FailureKind.MALFORMED),
        (status(200, b'{"error": {"message": "no capacity", "code": 503}}'), FailureKind.SERVER),
        (status(302, headers={"location": "http://127.0.0.1:9/"}), FailureKind.REDIRECT),
        (status(400, b'{"error": {"message": "bad"}}'), FailureKind.REQUEST),
        (status(401), FailureKind.CREDENTIAL),
        (status(404), FailureKind.MODEL_GONE),
        (status(500, b"oh"), FailureKind.SERVER),
        (status(204), FailureKind.MALFORMED),
    ],
)
async def test_what_goes_wrong_is_a_failure(script: list[Step], kind: FailureKind) -> None:
    """The kind decides between next endpoint, another key, and telling the caller."""
    assert (await failed(script)).kind is kind


async def test_retry_after_is_heard() -> None:
    """A provider that says when to come back and is asked before that throttles for longer."""
    failure = await failed(status(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "7"}))
    assert (failure.kind, failure.http_status, failure.retry_after_s) == (FailureKind.THROTTLED, 429, 7.0)


@pytest.mark.parametrize("body_end", [[Wait(0.02), Reset()], [Stall()]], ids=["reset", "stalled"])
async def test_a_refusal_without_its_body_is_still_a_refusal(body_end: list[Step]) -> None:
    """A 429 whose body never comes is no reason to take the endpoint for broken."""
    failure = await failed([Send(head(429, {"content-length": "50", "retry-after": "3"})), *body_end])
    assert (failure.kind, failure.retry_after_s) == (FailureKind.THROTTLED, 3.0)


@pytest.mark.parametrize("script", [[Stall()], [Send(head(200, {"content-length": "9"}) + b"{"), Stall()]])
async def test_no_whole_answer_in_time_is_the_deadline(script: list[Step]) -> None:
    """A caller's deadline ends the call; it says nothing of other endpoints."""
    assert (await failed(script, SHORT)).kind is FailureKind.DEADLINE


async def test_a_drip_is_the_deadline() -> None:
    """One byte at a time must not stretch a call beyond its deadline."""

    def drip(_request: Request) -> Iterator[Step]:
        yield Send(head(200, {"content-length": "1000"}))
        while True:
            yield Send(b" ")
            yield Wait(0.02)

    assert (await failed(drip, SHORT)).kind is FailureKind.DEADLINE


async def test_a_kept_connection_that_dies_is_a_connect_failure() -> None:
    """It is the one failure that the same endpoint may mend, by a new connection."""
    async with ScriptedUpstream(chat_answer("one"), [Close()]) as upstream, gateway() as gate:
        one = await gate.complete(candidate(upstream.base_url), SPEC, TIMERS)
        two = await gate.complete(candidate(upstream.base_url), SPEC, TIMERS)
    assert isinstance(one, Completion)
    assert isinstance(two, Failure)
    assert two.kind is FailureKind.CONNECT


@pytest.mark.parametrize("code", [200, 400, 401, 500])
async def test_a_quoted_secret_is_blanked(code: int) -> None:
    """Providers quote the key they refuse, and a caller is shown some refusals."""
    failure = await failed(
        lambda request: status(
            code, b'{"error": {"message": "no: %s", "code": "x"}}' % request.headers["authorization"].encode()
        )
    )
    assert failure.message == "no: Bearer [secret]"


async def test_cancelling_closes() -> None:
    """A caller who hangs up must stop the model that he will not pay for."""
    async with ScriptedUpstream([Stall()]) as upstream, gateway() as gate:
        asking = asyncio.create_task(gate.complete(candidate(upstream.base_url), SPEC, TIMERS))
        await upstream.arrived()
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        await upstream.requests[0].gone()


class WatchedDialect(OpenAIChat):
    """A dialect that notes of each whole answer on which thread it was read, and whether log probabilities were asked for."""

    def __init__(self) -> None:
        self.readings: list[tuple[bool, bool]] = []

    def decode(self, body: bytes, *, logprobs: bool = False) -> Completion | Failure:
        """Note and read."""
        self.readings.append((threading.current_thread() is threading.main_thread(), logprobs))
        return super().decode(body, logprobs=logprobs)


@pytest.mark.parametrize(
    ("text", "asked"), [("Hello.", None), ("x" * (1 << 20), None), ("x" * (1 << 20), True), ("Hello.", True)]
)
async def test_long_answers_are_read_beside_the_event_loop(text: str, *, asked: bool | None) -> None:
    """One answer full of log probabilities would hold up all other calls of the process, or be read without them."""
    dialect = WatchedDialect()
    spec = msgspec.structs.replace(SPEC, logprobs=asked)
    async with ScriptedUpstream(chat_answer(text)) as upstream, gateway(dialect=dialect) as gate:
        answer = await gate.complete(candidate(upstream.base_url, parameters=("logprobs",)), spec, TIMERS)
    assert isinstance(answer, Completion)
    assert answer.choices[0].message.parts == (TextPart(text),)
    assert dialect.readings == [(text == "Hello.", bool(asked))]


class SlowDialect(OpenAIChat):
    """A dialect that takes its time, and notes how many answers it reads at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def decode(self, body: bytes, *, logprobs: bool = False) -> Completion | Failure:
        """Note, wait and read."""
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(0.05)
        self.now -= 1
        return super().decode(body, logprobs=logprobs)


async def test_long_answers_are_read_one_after_another() -> None:
    """A few of them at once would keep the event loop from its turns, and host names from being looked up."""
    dialect = SlowDialect()
    async with ScriptedUpstream(chat_answer("x" * (1 << 20))) as upstream, gateway(dialect=dialect) as gate:
        asked = (gate.complete(candidate(upstream.base_url), SPEC, TIMERS) for _ in range(3))
        answers = await asyncio.gather(*asked)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert dialect.most == 1


class BrokenDialect:
    """A dialect with a bug in each place where it reads."""

    def encode(self, endpoint: Endpoint, spec: CompletionSpec, quirks: Quirks, *, stream: bool) -> Encoded:
        """Write an empty request."""
        return Encoded("/x", b"{}")

    def decode(self, body: bytes, *, logprobs: bool = False) -> Completion | Failure:
        """Fail as a bug does."""
        raise TypeError("a bug")

    def decoder(self) -> StreamDecoder:
        """Fail as a bug does."""
        raise TypeError("a bug")

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Fail as a bug does."""
        raise TypeError("a bug")


@pytest.mark.parametrize("script", [chat_answer("Hello."), status(500)])
async def test_a_bug_of_ours_is_no_failure_of_theirs(script: list[Step]) -> None:
    """A bug that passes for an upstream failure ejects healthy endpoints and is never mended."""
    async with ScriptedUpstream(script) as upstream, gateway(dialect=BrokenDialect()) as gate:
        with pytest.raises(TypeError, match="a bug"):
            await gate.complete(candidate(upstream.base_url), SPEC, TIMERS)
        with pytest.raises(TypeError, match="a bug"):
            await anext(gate.stream(candidate(upstream.base_url), SPEC, TIMERS))
