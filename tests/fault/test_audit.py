"""The judge of `poe kill` is itself judged: it must see what it is there to see."""

import pytest
from msgspec.structs import replace

from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from tests.fault.audit import Notes, Repeated, Told, Usage, violations

RECORD = Generation(
    id="gen-1",
    slot=Slot("account", "lease", 0),
    state=SlotState.SETTLED,
    api_key="key",
    requested_model="junctor/local",
    started_at_ms=1,
    deadline_at_ms=2,
    model="junctor/local",
    provider="local",
    endpoint="local/junctor/local",
    cost_nanousd=7,
    input_tokens=3,
    output_tokens=4,
)
TOLD = Told(
    generation_id="gen-1",
    streamed=False,
    model="junctor/local",
    provider="local",
    endpoint="local/junctor/local",
    usage=Usage(3, 4),
    cost_nanousd=7,
    pending=False,
    price_nanousd=7,
)


def test_what_agrees_is_let_pass() -> None:
    """The judge would cry wolf, and a real loss would drown in it."""
    notes = Notes()
    notes.answered.append(TOLD)
    notes.opened.append("gen-1")
    assert violations(notes, {"gen-1": RECORD}) == ()


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (None, "no record"),
        (replace(RECORD, state=SlotState.OPEN), "OPEN"),
        (replace(RECORD, state=SlotState.VOID), "VOID"),
        (replace(RECORD, output_tokens=5), "usage"),
        (replace(RECORD, estimated=True), "usage"),
        (replace(RECORD, endpoint="local/other"), "endpoint"),
        (replace(RECORD, provider="other"), "provider"),
        (replace(RECORD, model="other/model"), "model"),
        (replace(RECORD, streamed=True), "streamed"),
    ],
)
def test_a_record_that_differs_from_its_answer_is_named(record: Generation | None, word: str) -> None:
    """A lost or wrong record would pass for a sound one, and the kill loop would prove nothing."""
    notes = Notes()
    notes.answered.append(TOLD)
    (found,) = violations(notes, {} if record is None else {"gen-1": record})
    assert word in found


def test_one_generation_for_two_answers_is_named() -> None:
    """Two callers would share a record, and one of the two generations would never be billed."""
    notes = Notes()
    notes.answered += [TOLD, TOLD]
    assert violations(notes, {"gen-1": RECORD}) == ("gen-1 was answered 2 times",)


def test_output_before_a_durable_slot_is_named() -> None:
    """A caller could read a stream that no record will ever know of."""
    notes = Notes()
    notes.opened.append("gen-2")
    assert violations(notes, {"gen-1": RECORD}) == ("gen-2 was opened to a caller and has no record",)


def test_a_pending_bill_may_be_open_still_but_never_lost() -> None:
    """Either an honest "billing pending" would be called a loss, or a lost record would hide behind those words."""
    notes = Notes()
    notes.answered.append(replace(TOLD, cost_nanousd=None, pending=True))
    assert violations(notes, {"gen-1": replace(RECORD, state=SlotState.OPEN)}) == ()
    assert violations(notes, {}) == ("gen-1 was answered and has no record",)


def test_a_debit_of_another_sum_is_named() -> None:
    """A caller could be told one sum and be charged another, or the wrong price."""
    notes = Notes()
    notes.answered.append(TOLD)
    found = violations(notes, {"gen-1": replace(RECORD, cost_nanousd=8)})
    assert found == ("gen-1 was answered with cost 7, its record has 8", "gen-1 cost 8, and its price is 7")
    notes.answered[:] = [replace(TOLD, price_nanousd=9)]
    assert violations(notes, {"gen-1": RECORD}) == ("gen-1 cost 7, and its price is 9",)
    notes.answered[:] = [replace(TOLD, price_nanousd=9, capped=True)]
    assert violations(notes, {"gen-1": RECORD}) == ()
    notes.answered[:] = [replace(TOLD, cost_nanousd=None)]
    assert violations(notes, {"gen-1": RECORD}) == ("gen-1 was answered without a cost, and not as pending",)


def test_a_call_that_is_charged_twice_is_named() -> None:
    """A request that was sent again after a crash could be charged twice."""
    twin = replace(RECORD, id="gen-2")
    assert violations(Notes(), {"gen-1": RECORD, "gen-2": twin}) == ("one call was charged 2 times: gen-1, gen-2",)
    assert violations(Notes(), {"gen-1": RECORD, "gen-2": replace(twin, state=SlotState.EXPIRED)}) == ()


def test_a_refused_call_that_is_charged_is_named() -> None:
    """UNAVAILABLE promises that nothing was charged, as libraries repeat it by themselves."""
    notes = Notes()
    notes.refused.add(Usage(3, 4))
    assert violations(notes, {"gen-1": RECORD}) == ("a call was refused and charged all the same: gen-1",)
    assert violations(notes, {"gen-1": replace(RECORD, state=SlotState.VOID)}) == ()


@pytest.mark.parametrize("record", [None, replace(RECORD, state=SlotState.EXPIRED), replace(RECORD, cost_nanousd=8)])
def test_a_request_that_was_not_answered_as_is_said_is_named(record: Generation | None) -> None:
    """A caller who asks again would be sent away with an answer that never was."""
    notes = Notes()
    notes.repeated.append(Repeated("gen-1", 7))
    assert violations(notes, {"gen-1": RECORD}) == ()
    assert len(violations(notes, {} if record is None else {"gen-1": record})) == 1
