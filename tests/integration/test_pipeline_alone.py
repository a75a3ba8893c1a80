"""A model with one endpoint that fails: what errors.md says, and nothing else; and endpoints that are slow, moody or choosy."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from junctor.client import JunctorRpcError
from junctor.client.requests import Conversation
from junctor.domain.lease import SlotState
from junctor.v1.completion_pb2 import FinishReason
from tests.support.harness import Router
from tests.support.pipeline import (
    FIRST,
    MODEL,
    PATIENCE_S,
    SECOND,
    ended,
    events_of,
    one_endpoint,
    outcomes,
    refusal,
    text_of,
    two_endpoints,
)
from tests.support.scripted_upstream import (
    Request,
    Stall,
    Step,
    Wait,
    chat_answer,
    chat_stream,
    refused_base_url,
    status,
)
from tests.support.upstream_faults import ERROR, STREAM_FAULTS, WHOLE_FAULTS

TIMEOUT_S = 1.25
"""The caller's deadline: what an endpoint that stalls takes of a test."""
ENDS = {
    "THROTTLED": ("UNAVAILABLE", "UPSTREAM_CAPACITY", 20.0),
    "TIMED_OUT": ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", None),
}
"""The error of a call whose only endpoint failed so, and how long the caller is asked to wait; UNAVAILABLE for all others."""
FAULTS = [*((False, fault) for fault in WHOLE_FAULTS), *((True, fault) for fault in STREAM_FAULTS)]
PREFILLED: Conversation = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "A fruit is the"}]


async def _refused(router: Router, *, streamed: bool, prompt: Conversation = "Hi") -> JunctorRpcError:
    async with router.client() as client:
        if streamed:
            return await refusal(events_of(client.stream(prompt, model=MODEL, timeout_s=TIMEOUT_S)))
        return await refusal(client.complete(prompt, model=MODEL, timeout_s=TIMEOUT_S))


@pytest.mark.parametrize(("streamed", "fault"), FAULTS)
async def test_the_only_endpoint_fails(tmp_path: Path, streamed: bool, fault: str) -> None:
    """Else a caller is charged for nothing, waits for ever, or cannot tell whether to try again."""
    script, outcome = (STREAM_FAULTS if streamed else WHOLE_FAULTS)[fault]
    async with one_endpoint(tmp_path, script) as (router, _):
        error = await _refused(router, streamed=streamed)
        record = await ended(router)
    assert (error.code, error.reason, error.retry_after_s) == ENDS.get(outcome, ("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", None))
    assert "It broke" not in str(error)
    assert (record.state, record.cost_nanousd) == (SlotState.VOID, 0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_nobody_listens(tmp_path: Path, streamed: bool) -> None:
    """Else a provider that is down looks like a bug of ours."""
    async with one_endpoint(tmp_path, [Stall()]) as (router, _):
        with refused_base_url() as nowhere:
            router.core.catalog.locate(FIRST, nowhere)
            error = await _refused(router, streamed=streamed)
    assert (error.code, error.reason, error.metadata["attempt_count"]) == ("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", "2")


@pytest.mark.parametrize("streamed", [False, True])
async def test_throttled_without_a_hint(tmp_path: Path, streamed: bool) -> None:
    """Else callers come back at once to an endpoint that is full, or never."""
    async with one_endpoint(tmp_path, status(429, ERROR)) as (router, upstream):
        error = await _refused(router, streamed=streamed)
    assert (error.reason, error.retry_after_s) == ("UPSTREAM_CAPACITY", 1.0)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_slow_first_token_is_waited_for(tmp_path: Path, streamed: bool) -> None:
    """Else a model that thinks is given up for a dearer one, and both are paid for."""

    def slow(request: Request) -> Iterator[Step]:
        good = chat_stream(["good"]) if streamed else chat_answer("good")
        yield Wait(0.3)
        yield from good(request) if callable(good) else good

    async with two_endpoints(tmp_path, slow, status(500)) as rig, rig.router.client() as client:
        if streamed:
            events = await events_of(client.stream("Hi", model=MODEL, timeout_s=PATIENCE_S))
            assert text_of(events) == "good"
            route = events[-1].finished.route
        else:
            route = (await client.complete("Hi", model=MODEL, timeout_s=PATIENCE_S)).route
    assert outcomes(route.attempts) == [(FIRST, "SERVED")]


async def test_a_primary_that_comes_and_goes(tmp_path: Path) -> None:
    """Else callers notice that a provider restarts."""
    moods = iter([True, False, True, True, False, True])

    def answer(_: Request) -> Iterable[Step]:
        return chat_answer("good") if next(moods) else status(503)

    async with two_endpoints(tmp_path, answer, chat_answer("good")) as rig, rig.router.client() as client:
        served = [(await client.complete("Hi", model=MODEL)).route.endpoint for _ in range(6)]
    assert served == [FIRST, SECOND, FIRST, FIRST, SECOND, FIRST]


async def test_content_that_a_provider_filters_is_told_as_it_is(tmp_path: Path) -> None:
    """Else half a sentence passes for a whole one, or a filtered answer is asked for again elsewhere and paid twice."""
    filtered = chat_answer("I", finish="content_filter")
    async with two_endpoints(tmp_path, filtered, chat_answer("never")) as rig, rig.router.client() as client:
        answer = await client.complete("Hi", model=MODEL)
    assert answer.choices[0].finish_reason == FinishReason.FINISH_REASON_CONTENT_FILTER
    assert outcomes(answer.route.attempts) == [(FIRST, "SERVED")]


async def test_an_endpoint_that_takes_no_beginning_of_an_answer_is_passed_by(tmp_path: Path) -> None:
    """Else a caller who begins an answer is refused although another endpoint would go on with it."""
    async with two_endpoints(tmp_path, status(400, ERROR), chat_answer("good")) as rig, rig.router.client() as client:
        answer = await client.complete(PREFILLED, model=MODEL)
    assert outcomes(answer.route.attempts) == [(FIRST, "REQUEST_REFUSED"), (SECOND, "SERVED")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fallback_that_takes_no_beginning_of_an_answer(tmp_path: Path, streamed: bool) -> None:
    """Else a caller is told that his request is wrong, when the endpoint that takes it was only down for a moment."""
    async with two_endpoints(tmp_path, status(503), status(400, ERROR)) as rig:
        error = await _refused(rig.router, streamed=streamed, prompt=PREFILLED)
    assert (error.code, error.reason) == ("UNAVAILABLE", "UPSTREAM_UNAVAILABLE")


async def test_a_beginning_that_nobody_takes_is_the_callers_to_change(tmp_path: Path) -> None:
    """Else a caller sends again and again what no endpoint takes."""
    async with two_endpoints(tmp_path, status(400, ERROR), status(400, ERROR)) as rig:
        error = await _refused(rig.router, streamed=False, prompt=PREFILLED)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
