"""Credits that do and do not suffice: refused before any provider is called, with what would do; shortened; ended in time."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.client import JunctorRpcError
from junctor.domain.catalog import PriceParts
from junctor.domain.credits import Refund
from junctor.domain.lease import SlotState
from junctor.ledger.credits import Booking, read_purses, refund
from junctor.ports.telemetry import Counter
from junctor.v1.completion_pb2 import FinishReason
from tests.support import harness
from tests.support.harness import DOLLAR, Router, credit, running_router
from tests.support.money import SLACK_TOKENS, Told, ask, cost, spent
from tests.support.pipeline import FIRST, MODEL, SECOND, ended, events_of, line_of, refusal, slots, text_of
from tests.support.scripted_upstream import (
    Request,
    Script,
    ScriptedUpstream,
    Step,
    Wait,
    chat_answer,
    chat_events,
    chat_stream,
    sse,
    status,
)

BOTH = pytest.mark.parametrize("streamed", [False, True])
DEFAULT_TOKENS = 8_192
PROMPT_BYTES_MAX = 200
"""More than the prompt and the JSON around it that is held for."""
SOON_S = 0.5
"""Longer than a refusal is remembered."""
GROWING, HELD_UP_AT = 9_000, 5
"""Tokens of an answer that is longer than what is held for by default."""


@asynccontextmanager
async def _with_credit(
    folder: Path, credit_nanousd: int, script: Script, **settings: str
) -> AsyncGenerator[tuple[Router, ScriptedUpstream], None]:
    async with ScriptedUpstream(script) as upstream:
        credentials = {"GROQ_API_KEY": "made-up-groq"}
        chosen = {f"JUNCTOR_{name.upper()}": value for name, value in settings.items()}
        running = running_router(
            folder, {FIRST: upstream.base_url}, settings=chosen, credentials=credentials, credit_nanousd=credit_nanousd
        )
        async with running as router:
            yield router, upstream


async def _short(router: Router, *, streamed: bool, max_tokens: int | None = None) -> JunctorRpcError:
    """Return the refusal of a call that the credits do not cover."""
    error = await refusal(ask(router, streamed=streamed, max_tokens=max_tokens))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_CREDITS")
    return error


def answering(text: str, tokens: tuple[int, int] = (5, 2)) -> Script:
    """Answer in the way that is asked for."""

    def script(request: Request) -> Iterator[Step]:
        return chat_stream([text], usage=tokens)(request) if request.json["stream"] else iter(chat_answer(text, usage=tokens))

    return script


@BOTH
async def test_no_credits(tmp_path: Path, streamed: bool) -> None:
    """Else an organisation without credits is served, and somebody else pays."""
    async with _with_credit(tmp_path, 0, answering("never")) as (router, upstream):
        error = await _short(router, streamed=streamed)
        line = await line_of(router)
        assert upstream.requests == []
        assert await slots(router) == []
    needed = int(error.metadata["needed_nanousd"])
    assert cost(SLACK_TOKENS, DEFAULT_TOKENS) < needed < cost(SLACK_TOKENS + PROMPT_BYTES_MAX, DEFAULT_TOKENS)
    assert {name: error.metadata[name] for name in ("available_nanousd", "leased_nanousd", "affordable_max_tokens")} == {
        "available_nanousd": "0",
        "leased_nanousd": "0",
        "affordable_max_tokens": "0",
    }
    assert error.retry_after_s is None
    assert line["status"] == "INSUFFICIENT_CREDITS"


@BOTH
async def test_what_is_affordable_really_is(tmp_path: Path, streamed: bool) -> None:
    """Else a caller who does as he is told is refused again, or could have had more."""
    available = cost(SLACK_TOKENS, 500)
    async with _with_credit(tmp_path, available, answering("Hi.")) as (router, upstream):
        error = await _short(router, streamed=streamed, max_tokens=4_000)
        affordable = int(error.metadata["affordable_max_tokens"])
        assert error.metadata["available_nanousd"] == str(available)
        assert 500 - PROMPT_BYTES_MAX < affordable < 500
        again = await _short(router, streamed=streamed, max_tokens=affordable + 1)
        assert again.metadata["affordable_max_tokens"] == str(affordable)
        assert upstream.requests == []
        told = await ask(router, streamed=streamed, max_tokens=affordable)
        assert told.cost_nanousd == await spent(router) == cost(5, 2)


@BOTH
async def test_credits_that_are_added_soon_count(tmp_path: Path, streamed: bool) -> None:
    """Else an organisation that has just paid is told for seconds that it has not."""
    async with _with_credit(tmp_path, 0, answering("Hi.")) as (router, _):
        await _short(router, streamed=streamed)
        await credit(router.core, router.account, DOLLAR, "later")
        await asyncio.sleep(SOON_S)
        assert (await ask(router, streamed=streamed)).cost_nanousd == cost(5, 2)


@BOTH
async def test_what_is_free_needs_no_credits(tmp_path: Path, streamed: bool) -> None:
    """Else nobody can try the local model before he has paid."""
    async with (
        ScriptedUpstream(answering("Hi.")) as upstream,
        running_router(tmp_path, {harness.LOCAL: upstream.base_url}, credit_nanousd=0) as router,
    ):
        told = await ask(router, streamed=streamed, model=harness.MODEL)
        record = await router.generation(told.generation_id)
        assert told.cost_nanousd == await spent(router) == 0
    assert record is not None
    assert (record.state, record.cost_nanousd, record.hold_nanousd) == (SlotState.SETTLED, 0, 0)


async def _bound(folder: Path, tokens: int, *, streamed: bool, max_tokens: int | None = None) -> tuple[Told, object]:
    """Answer a call whose money suffices for so many tokens; return what was told, and what max_tokens the provider saw."""
    available = cost(SLACK_TOKENS + PROMPT_BYTES_MAX, tokens)
    async with _with_credit(folder, available, answering("Hi.")) as (router, upstream):
        told = await ask(router, streamed=streamed, max_tokens=max_tokens)
        await spent(router)
        return told, upstream.requests[0].json.get("max_tokens", upstream.requests[0].json.get("max_completion_tokens"))


@BOTH
async def test_a_balance_that_binds_shortens_the_answer(tmp_path: Path, streamed: bool) -> None:
    """Else an answer of which nobody said how long it may be costs more than there is."""
    told, sent = await _bound(tmp_path, DEFAULT_TOKENS, streamed=streamed)
    assert sent == DEFAULT_TOKENS
    assert [(one.parameter, one.sent) for one in told.adjustments] == [("max_tokens", str(DEFAULT_TOKENS))]


@BOTH
async def test_a_balance_that_does_not_bind_adds_nothing(tmp_path: Path, streamed: bool) -> None:
    """Else an answer is cut at a length that its caller never asked for."""
    told, sent = await _bound(tmp_path, 500_000, streamed=streamed)
    assert sent is None
    assert told.adjustments == ()


@BOTH
async def test_a_length_that_is_asked_for_is_not_touched(tmp_path: Path, streamed: bool) -> None:
    """Else a caller gets another length than he asked for and can pay."""
    told, sent = await _bound(tmp_path, 700, streamed=streamed, max_tokens=700)
    assert sent == 700
    assert told.adjustments == ()


@BOTH
@pytest.mark.parametrize("room", [{"output_tokens_max": 1_000}, {"context_tokens": 3_000}])
async def test_a_balance_that_binds_asks_no_endpoint_for_more_than_it_gives(
    tmp_path: Path, streamed: bool, room: dict[str, int]
) -> None:
    """Else a caller who is short of money is told that his request is wrong, by an endpoint that was asked for too much."""
    prompt, most, well = "word " * 1_600, 1_000, answering("Hi.")
    assert callable(well)

    def strict(request: Request) -> Iterator[Step]:
        asked = request.json.get("max_tokens", request.json.get("max_completion_tokens"))
        yield from status(400, b"{}") if asked > most else well(request)

    async with ScriptedUpstream(strict) as one, ScriptedUpstream(answering("no")) as two:
        addresses = {FIRST: one.base_url, SECOND: two.base_url}
        async with running_router(tmp_path, addresses, credit_nanousd=cost(SLACK_TOKENS + len(prompt), 12_000)) as router:
            catalog = router.core.catalog.current()
            rows = [replace(row, **room) if row.id == FIRST else row for row in catalog.endpoints[MODEL]]
            router.core.catalog._catalog = replace(catalog, endpoints={**catalog.endpoints, MODEL: tuple(rows)})
            told = await ask(router, streamed=streamed, prompt=prompt)
    assert (len(one.requests), len(two.requests)) == (1, 0)
    assert [(one.parameter, one.sent) for one in told.adjustments] == [("max_tokens", str(most))]


def _growing(request: Request) -> Iterator[Step]:
    """Stream an answer that is longer than any default, a hundred tokens at a time."""
    return sse(chat_events([{"content": "x" * 400}] * (GROWING // 100), (50, GROWING)), 0.003)


async def test_an_answer_that_grows_has_more_held(tmp_path: Path) -> None:
    """Else long answers are cut, or their end is given away, though the organisation could pay."""
    async with _with_credit(tmp_path, DOLLAR, _growing) as (router, _):
        told = await ask(router, streamed=True)
        record = await router.generation(told.generation_id)
        assert told.cost_nanousd == await spent(router) == cost(50, GROWING)
        assert isinstance(router.core.services.telemetry, LineTelemetry)
        assert router.core.services.telemetry.counts.get((Counter.UNDERCHARGED, ()), 0) == 0
    assert told.finish_reason == FinishReason.FINISH_REASON_STOP
    assert record is not None
    assert record.hold_nanousd == record.cost_nanousd


def _held_up(go_on: asyncio.Event) -> Script:
    """Stream the same answer, and stop soon after its beginning until it may go on."""

    def script(request: Request) -> Iterator[Step]:
        for number, step in enumerate(_growing(request)):
            while number == HELD_UP_AT and not go_on.is_set():
                yield Wait(0.01)
            yield step

    return script


@pytest.mark.parametrize("refunded", [False, True])
async def test_an_answer_that_outgrows_the_credits_is_ended(tmp_path: Path, refunded: bool) -> None:
    """Else an organisation gets, and somebody else pays for, whatever a model can say in one answer."""
    go_on = asyncio.Event()
    async with _with_credit(tmp_path, DOLLAR, _held_up(go_on), output_hold_tokens="1000") as (router, _):
        async with router.client() as client, client.stream("Hi", model=MODEL) as stream:
            events = [await anext(stream)]
            if refunded:
                await _take_back(router)
            go_on.set()
            events += await events_of(stream)
        record = await ended(router)
        assert record.cost_nanousd == await spent(router)
    finished = events[-1].finished
    assert finished.cost.cost_nanousd == record.cost_nanousd
    if not refunded:
        assert (finished.choices[0].native_finish_reason, record.cost_nanousd) == ("stop", cost(50, GROWING))
        return
    choice = finished.choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == (FinishReason.FINISH_REASON_LENGTH, "credits")
    delivered = len(text_of(events)) // 4
    assert 800 <= delivered < GROWING  # the end comes after the read with which four fifths of what is held are reached
    assert (finished.usage.output_tokens, finished.usage.estimated) == (delivered, True)
    assert record.cost_nanousd == min(cost(1, delivered), record.hold_nanousd)


async def test_an_answer_goes_on_while_what_is_held_pays_for_it(tmp_path: Path) -> None:
    """Else a cheap answer ends for want of credits with hardly any of what was set aside spent, as a dearer might have come."""
    go_on = asyncio.Event()
    async with ScriptedUpstream(_held_up(go_on)) as one, ScriptedUpstream(answering("no")) as two:
        addresses, settings = {FIRST: one.base_url, SECOND: two.base_url}, {"JUNCTOR_OUTPUT_HOLD_TOKENS": "1000"}
        async with running_router(tmp_path, addresses, settings=settings, credit_nanousd=100 * DOLLAR) as router:
            catalog = router.core.catalog.current()
            card = catalog.prices[FIRST][0]
            dear = replace(card, parts=replace(card.parts, output=20 * (card.parts.output or 0)))
            router.core.catalog._catalog = replace(catalog, prices={**catalog.prices, SECOND: (dear,)})
            async with router.client() as client, client.stream("Hi", model=MODEL) as stream:
                events = [await anext(stream)]
                await _take_back(router)
                go_on.set()
                events += await events_of(stream)
            record = await ended(router)
    assert events[-1].finished.choices[0].native_finish_reason == "stop"
    assert record.cost_nanousd == cost(50, GROWING) < record.hold_nanousd


async def _take_back(router: Router) -> None:
    """Refund all that is not leased."""
    core = router.core
    (purse,) = await read_purses(core.table, core.services.dice, router.account)
    entry = Refund(account=router.account, id="back", payment="test", purse="main", amount_nanousd=purse.avail_nanousd, at_ms=0)
    assert await refund(core.table, core.services.dice, entry) is Booking.BOOKED


@BOTH
@pytest.mark.parametrize("parts", [PriceParts(), PriceParts(input=150_000), PriceParts(input=-1, output=1)])
async def test_an_unknown_price_is_refused(tmp_path: Path, streamed: bool, parts: PriceParts) -> None:
    """Else a model whose price nobody knows is free, or costs whatever its provider likes."""
    async with _with_credit(tmp_path, DOLLAR, answering("never")) as (router, upstream):
        catalog = router.core.catalog.current()
        cards = {**catalog.prices, FIRST: (replace(catalog.prices[FIRST][0], parts=parts),)}
        router.core.catalog._catalog = replace(catalog, prices=cards)
        error = await refusal(ask(router, streamed=streamed))
        assert upstream.requests == []
        assert await slots(router) == []
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NO_ELIGIBLE_ENDPOINT")
    assert "PRICE_UNKNOWN: 1" in error.metadata["excluded_by"]
