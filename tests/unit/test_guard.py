"""What surrounds every call, where it is cut from this side: what its caller is told depends on how far it came."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from junctor.domain.errors import JunctorError
from junctor.doors.rpc import control, gate
from junctor.doors.rpc.guard import Ending, Guard, interrupted
from junctor.usecases.trail import Trail
from tests.support.doors import new_gate


class Noted:
    """Stands for a trail: keeps what the line of the call would say."""

    def __init__(self) -> None:
        self.generation_id = ""
        self.caller: object | None = None
        self.usage = SimpleNamespace(output_tokens=7)
        self.status = ""

    def close(self, status: str) -> None:
        """Note the status."""
        self.status = status

    def incident(self, _error: BaseException) -> str:
        """Return its name."""
        return "incident-1"


def told(ending: Ending, cut: gate.Cut, *, begun: bool = True, **known: Any) -> tuple[str, str, JunctorError]:
    """Cut a call of which so much is known, whose request is there or not; return how its line ends, and what he is told."""
    noted = Noted()
    for name, value in known.items():
        setattr(noted, name, value)
    trails: Callable[[str], Any] = lambda _method: noted  # noqa: E731 - a stand-in for a class

    async def called() -> None:
        with new_gate().visit() as visit:
            async with Guard(trails, ending).call("Stream"):
                visit.expect("account")
                if begun:
                    visit.received(0)
                visit.end(cut)
                await asyncio.Event().wait()

    with pytest.raises(JunctorError) as caught:
        asyncio.run(called())
    return noted.status, caught.value.reason, caught.value


def test_a_generation_that_was_cut_names_its_charge() -> None:
    """Its caller would try again by himself what he pays for already, or could not find what he pays for."""
    status, reason, error = told(interrupted, gate.Cut.READING, generation_id="gen-1")
    assert status == reason == "STREAM_INTERRUPTED"
    assert error.metadata == {"generation_id": "gen-1", "delivered_tokens": "7", "cost_nanousd": ""}


@pytest.mark.parametrize(("cut", "reason"), [(gate.Cut.DRAINING, "DRAINING"), (gate.Cut.READING, "DEADLINE_EXCEEDED")])
def test_a_call_that_cost_nothing_may_be_repeated(cut: gate.Cut, reason: str) -> None:
    """Its caller would be told of a charge that there is not."""
    status, told_reason, _ = told(interrupted, cut)
    assert status == told_reason == reason


@pytest.mark.parametrize(("begun", "reason"), [(False, "DRAINING"), (True, "OUTCOME_UNKNOWN")])
def test_a_change_that_was_cut_may_have_been_made(begun: bool, reason: str) -> None:
    """A manager would be told that nothing was done, and pay in twice; or not to repeat what was never asked."""
    status, told_reason, _ = told(control.unfinished, gate.Cut.DRAINING, begun=begun, caller=object())
    assert status == told_reason == reason


@pytest.mark.parametrize(
    ("raised", "status"), [(None, "OK"), (asyncio.CancelledError(), "CANCELLED"), (LookupError(), "INTERNAL")]
)
async def test_how_other_calls_end(raised: BaseException | None, status: str) -> None:
    """A bug would leave as it is, with its text, or a caller's own cancel as an error of ours."""
    noted: Any = Noted()
    seen: BaseException | None = None
    try:
        with new_gate().visit():
            async with Guard(lambda _method: noted).call("Complete") as trail:
                assert isinstance(trail, Noted | Trail)
                if raised is not None:
                    raise raised
    except (asyncio.CancelledError, JunctorError) as error:
        seen = error
    assert noted.status == status
    assert (type(seen).__name__ if seen else "OK") == {"INTERNAL": "InternalError", "CANCELLED": "CancelledError"}.get(
        status, "OK"
    )
