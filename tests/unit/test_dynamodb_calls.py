"""What an answer of DynamoDB, or none, means for the caller, and which calls are sent again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest

from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.dynamodb_calls import Calls, LastingError, RefusedCall, explain
from junctor.adapters.tables.dynamodb_create import create_table
from junctor.adapters.tables.dynamodb_sender import (
    Answer,
    Complaint,
    ComplaintError,
    Counted,
    ExpiryState,
    MalformedError,
    NeverSentError,
    Reason,
    SendError,
    TableState,
    UnansweredError,
    WantedKeys,
)
from junctor.adapters.tables.dynamodb_values import Attributes, AttributeValue
from junctor.ledger import trying
from junctor.ports.table import (
    Add,
    ConflictError,
    Key,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnknownOutcomeError,
    Update,
)
from junctor.records.tables import CORE
from tests.support.pipeline import PATIENCE_S
from tests.support.tables import KEY, SAMPLE, done, item, refused
from tests.support.virtual_loop import run_virtual
from tests.support.world import SeededDice

OLD: Attributes = {"pk": AttributeValue(text="P")}


def told(code: str, status: int = 400, old: Attributes | None = None) -> ComplaintError:
    """Return an error that DynamoDB answered with."""
    return ComplaintError(status, Complaint(f"com.amazonaws.dynamodb.v20120810#{code}", old))


def cancelled(*codes: str, old: Attributes | None = None) -> ComplaintError:
    """Return a cancelled transaction; the refused operations show this old item."""
    reasons = [Reason(code, old if code == "ConditionalCheckFailed" else None) for code in codes]
    return ComplaintError(400, Complaint("TransactionCanceledException", None, reasons))


MEANINGS: list[tuple[SendError, type[Exception], type[Exception]]] = [
    (told("ThrottlingException"), ThrottledError, ThrottledError),
    (told("ProvisionedThroughputExceededException"), ThrottledError, ThrottledError),
    (told("TransactionConflictException"), ConflictError, ConflictError),
    (told("TransactionInProgressException"), UnknownOutcomeError, UnknownOutcomeError),
    (told("ValidationException"), ValueError, ValueError),
    (told("IdempotentParameterMismatchException"), ValueError, ValueError),
    (told("AccessDeniedException"), LastingError, LastingError),
    (told("ResourceNotFoundException"), LastingError, LastingError),
    (told("InternalServerError", 500), UnavailableError, UnknownOutcomeError),
    (told("ServiceUnavailable", 503), UnavailableError, UnknownOutcomeError),
    (told("", 502), UnavailableError, UnknownOutcomeError),
    (told("ThrottlingException", 503), ThrottledError, ThrottledError),
    (told("", 301), LastingError, LastingError),
    (UnansweredError("secret words"), UnavailableError, UnknownOutcomeError),
    (NeverSentError("our words"), UnavailableError, UnavailableError),
    (NeverSentError("our words", lasting=True), LastingError, LastingError),
    (MalformedError("secret words"), ValueError, ValueError),
    (cancelled("None", "TransactionConflict"), ConflictError, ConflictError),
    (cancelled("ConditionalCheckFailed", "TransactionConflict"), ConflictError, ConflictError),
    (cancelled("ThrottlingError", "None"), ThrottledError, ThrottledError),
    (cancelled("None", "ValidationError"), ValueError, ValueError),
    (cancelled("ValidationError", "ConditionalCheckFailed"), RefusedCall, RefusedCall),
    (cancelled(), LastingError, LastingError),
]


@pytest.mark.parametrize(("error", "reading", "writing"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_an_error_means_one_thing(error: SendError, reading: type[Exception], writing: type[Exception]) -> None:
    """A write whose fate is unknown would be taken for refused and made again; or words of others would reach a caller."""
    for writes, expected in ((False, reading), (True, writing)):
        meaning = explain(error, writes=writes)
        assert isinstance(meaning, expected)
        assert isinstance(meaning, LastingError) == (expected is LastingError)
        assert "secret" not in str(meaning)


def test_a_refusal_names_its_place_and_shows_the_item() -> None:
    """A caller could not look for his own id in the item that was in the way."""
    meaning = explain(cancelled("None", "ConditionalCheckFailed", "ConditionalCheckFailed", old=OLD), writes=True)
    assert isinstance(meaning, RefusedCall)
    assert (meaning.index, meaning.old) == (1, OLD)
    meaning = explain(told("ConditionalCheckFailedException", old=OLD), writes=True)
    assert isinstance(meaning, RefusedCall)
    assert (meaning.index, meaning.old) == (0, OLD)
    nothings: list[Attributes | None] = [None, {}]
    for nothing in nothings:
        meaning = explain(told("ConditionalCheckFailedException", old=nothing), writes=True)
        assert isinstance(meaning, RefusedCall)
        assert meaning.old is None


class _Scripted:
    """Sends nothing: raises or returns what comes next, or what a function makes of the request."""

    def __init__(self, *outcomes: "SendError | Answer | Callable[[Mapping[str, object]], Answer]") -> None:
        self._outcomes = list(outcomes)
        self.sent: list[tuple[str, Mapping[str, object]]] = []

    async def send(self, operation: str, request: Mapping[str, object]) -> Answer:
        self.sent.append((operation, request))
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, SendError):
            raise outcome
        return outcome if isinstance(outcome, Answer) else outcome(request)

    async def close(self) -> None:
        """Have nothing to close."""


class _NoPause:
    def uniform(self, low: float, high: float) -> float:
        return low


class _FullPause:
    def uniform(self, low: float, high: float) -> float:
        return high


@pytest.mark.parametrize("error", [error for error, _, _ in MEANINGS], ids=lambda value: repr(value)[:60])
async def test_nothing_is_sent_twice(error: SendError) -> None:
    """An addition would be made twice; or a table in trouble would get the tries of its callers times those made here."""
    for call in ("write", "read"):
        sender = _Scripted(error)
        with pytest.raises((StoreError, ValueError, RefusedCall)):
            await getattr(Calls(sender, _NoPause()), call)("UpdateItem", {"a": 1})
        assert sender.sent == [("UpdateItem", {"a": 1})]


def test_pauses_grow_to_a_bound() -> None:
    """A batch would press a table that puts its parts off, or wait for ever."""
    calls = Calls(_Scripted(Answer()), _FullPause())

    async def waited(attempt: int) -> float:
        began = asyncio.get_running_loop().time()
        await calls.pause(attempt)
        return asyncio.get_running_loop().time() - began

    pauses = [run_virtual(waited(attempt)) for attempt in (1, 2, 3, 4, 5, 6, 5_000)]
    assert pauses == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.2, 0.2])


def _store(*outcomes: "SendError | Answer | Callable[[Mapping[str, object]], Answer]") -> tuple[DynamoStore, _Scripted]:
    sender = _Scripted(*outcomes)
    store = DynamoStore(sender, "test-")
    store.calls._dice = _NoPause()
    return store, sender


async def test_a_table_that_cannot_be_used_is_named() -> None:
    """A router would start with a wrong prefix or role, and tell every caller to come again in a second."""

    def refuse(request: Mapping[str, object]) -> Answer:
        if request["TableName"] == "test-sample":
            raise told("ResourceNotFoundException")
        return Answer()

    store, _ = _store(refuse)
    await store.check([CORE])
    with pytest.raises(LastingError, match=r"^test-sample: .*JUNCTOR_TABLE_PREFIX"):
        await store.check([CORE, SAMPLE])


@pytest.mark.parametrize("error", [told("ThrottlingException"), told("InternalServerError", 500), UnansweredError()])
async def test_a_table_that_only_has_trouble_keeps_nothing_from_starting(error: SendError) -> None:
    """A moment's outage would keep new instances from starting after it."""
    store, sender = _store(error)
    await store.check([SAMPLE])
    assert len(sender.sent) == 1


async def test_a_put_whose_first_try_was_applied_shows_ones_own_item() -> None:
    """A lease would be taken for another owner's, and its money lost until it expires."""
    mine = {name: AttributeValue(text=text) for name, text in (("pk", "P"), ("sk", "S"), ("owner", "me"))}
    store, sender = _store(told("ThrottlingException"), told("ConditionalCheckFailedException", old=mine))
    answer = await trying.put_new(store.table(SAMPLE), SeededDice(), item(owner="me"))
    assert refused(answer).old == item(owner="me")
    assert len(sender.sent) == 2


def _entries(request: Mapping[str, object]) -> Sequence[dict[str, object]]:
    wanted = request["RequestItems"]
    assert isinstance(wanted, dict)
    entries = wanted["test-sample"]
    return entries if isinstance(entries, list) else entries["Keys"]


async def test_what_a_batch_left_undone_is_sent_again() -> None:
    """Items that DynamoDB put off would be lost without a word."""
    written: list[object] = []

    def write_one(request: Mapping[str, object]) -> Answer:
        first, *rest = _entries(request)
        written.append(first)
        return Answer(unprocessed_items={"test-sample": rest} if rest else {}, consumed_capacity=[Counted(1.0), None])

    store, _ = _store(write_one)
    items = [item(sort=str(number)) for number in range(5)]
    assert (await store.table(SAMPLE).batch_put(items)).write_units == 5
    assert [str(entry).count("PutRequest") for entry in written] == [1] * 5
    assert len({str(entry) for entry in written}) == 5

    def get_one(request: Mapping[str, object]) -> Answer:
        first, *rest = _entries(request)
        left = {"test-sample": WantedKeys(rest)} if rest else {}  # type: ignore[arg-type] # keys are items
        return Answer(responses={"test-sample": [msgspec.convert(first, Attributes)]}, unprocessed_keys=left)

    store, _ = _store(get_one)
    found = (await store.table(SAMPLE).batch_get([Key("P", str(number)) for number in range(5)])).items
    assert sorted(map(repr, found)) == sorted(map(repr, items))


async def test_a_batch_that_does_not_get_on_is_given_up() -> None:
    """A throttled table would be asked again and again for each try of a caller; or half a batch would be called nothing."""
    progress = [0]

    def write_nothing(request: Mapping[str, object]) -> Answer:
        rest = list(_entries(request))[progress.pop() if progress else 0 :]
        return Answer(unprocessed_items={"test-sample": rest})

    store, sender = _store(write_nothing)
    table = store.table(SAMPLE)
    with pytest.raises(ThrottledError):
        await table.batch_put([item()])
    assert len(sender.sent) == 1
    progress.append(1)
    with pytest.raises(UnknownOutcomeError):
        await table.batch_put([item(), item(sort="other")])

    def put_off_more(request: Mapping[str, object]) -> Answer:
        return Answer(unprocessed_items={"test-sample": [*_entries(request)] * 2})

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(UnknownOutcomeError):
            await _store(put_off_more)[0].table(SAMPLE).batch_put([item()])


async def test_a_transaction_carries_its_token() -> None:
    """DynamoDB could not tell a repeated transaction, or would refuse a token that is too long."""
    store, sender = _store(Answer())
    for token in ("short", "l" * 37, "l" * 38, "é"):
        done(await store.table(SAMPLE).transact([Update(KEY, (), (Add("count", 1),))], token))
    tokens = [str(request["ClientRequestToken"]) for _, request in sender.sent]
    assert len(set(tokens)) == 4
    assert all(len(token) <= 36 and token.isascii() for token in tokens)


@pytest.mark.parametrize("made", [Answer(), told("ResourceInUseException")], ids=["new", "there"])
def test_a_table_is_waited_for(made: Answer | ComplaintError) -> None:
    """A deployment's first calls would fail; or its second start would, or expired items would stay for ever."""
    sender = _Scripted(
        made,
        told("ResourceNotFoundException"),
        UnansweredError(),
        told("ThrottlingException"),
        Answer(table=TableState("CREATING")),
        Answer(table=TableState("ACTIVE")),
        Answer(time_to_live_description=ExpiryState("DISABLED")),
        told("ValidationException"),
    )
    run_virtual(create_table(Calls(sender, _NoPause()), "test-sample", SAMPLE))
    looks = ["DescribeTable"] * 5
    assert [name for name, _ in sender.sent] == ["CreateTable", *looks, "DescribeTimeToLive", "UpdateTimeToLive"]


def test_a_table_that_cannot_be_made_is_an_error() -> None:
    """Whoever may not make tables, or waits for one that never comes, would wait for ever or go on without."""
    refused = told("AccessDeniedException")
    for outcomes, sent in (((refused,), 1), ((Answer(), refused), 2), ((Answer(), UnansweredError()), 4), ((Answer(),), 121)):
        sender = _Scripted(*outcomes)
        with pytest.raises(UnavailableError):
            run_virtual(create_table(Calls(sender, _NoPause()), "test-sample", SAMPLE))
        assert len(sender.sent) == sent


async def test_an_update_whose_answer_makes_no_sense_was_done() -> None:
    """A debit that was taken would be called a mistake of the caller's."""
    strange = {"pk": AttributeValue(text="P"), "sk": AttributeValue(text="S"), "sum": AttributeValue()}
    store, _ = _store(Answer(attributes=strange))
    with pytest.raises(UnknownOutcomeError):
        await store.table(SAMPLE).update(KEY, [], [Add("count", 1)])
