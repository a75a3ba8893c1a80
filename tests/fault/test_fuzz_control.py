"""The fuzzed requests to what manages a deployment: each method is reached, and what must not end as it did is named."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest
from msgspec.structs import replace

from junctor.domain.errors import JunctorError
from junctor.usecases.members import Members
from junctor.v1.account_service_pb2 import GetOrganisationRequest
from tests.fault.fuzz_control import ControlCase, answered, make_control_case, wrong
from tests.fault.fuzz_judge import MESSAGE_MAX_BYTES, Ending
from tests.support.control_requests import CALLERS, METHODS, sound
from tests.support.control_town import ControlTown
from tests.support.scopes import allowed

CASE = ControlCase(0, "", "GetOrganisation", "operator", GetOrganisationRequest(organisation="o").SerializeToString(), "")
OK = Ending("OK", whole=True)


@pytest.fixture
def town() -> Iterator[ControlTown]:
    """Return a town with a house."""
    with closing(ControlTown(1)) as made:
        made.run(made.refurnish())
        yield made


def test_whoever_may_ask_has_a_sound_request_answered(town: ControlTown) -> None:
    """Else all requests to a method are refused at once, and nothing is tried behind."""
    for name, request in sound(town.house).items():
        scopes = allowed(METHODS[name].containing_service.name, name)
        for who in ("operator", "manager", "caller"):
            if CALLERS[who] in scopes:
                town.run(town.refurnish())
                body = sound(town.house)[name].SerializeToString()
                town.run(town.call(name, body, town.house.keys[who]))
            else:
                with pytest.raises(JunctorError) as caught:
                    town.run(town.call(name, request.SerializeToString(), town.house.keys[who]))
                assert caught.value.reason == "SCOPE_MISSING"


def test_every_method_is_asked_by_everyone(town: ControlTown) -> None:
    """Else a method, or who calls it, is left out, and nobody sees it."""
    cases = [make_control_case(Random(number), town.house) for number in range(3000)]
    assert {(case.method, case.caller) for case in cases} >= {(method, who) for method in METHODS for who in CALLERS} - {
        (method, who) for method in ("ListModels", "ListProviders") for who in CALLERS
    }
    assert {case.method for case in cases} == METHODS.keys()
    assert cases[:50] == [make_control_case(Random(number), town.house) for number in range(50)]


@pytest.mark.parametrize(
    "ending",
    [
        Ending("UNKNOWN"),
        Ending("INTERNAL", "INTERNAL"),
        Ending("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
        Ending("UNAVAILABLE", "LEDGER_UNAVAILABLE"),
        Ending("UNAUTHENTICATED", "API_KEY_INVALID"),
        Ending("NOT_FOUND", "MODEL_NOT_FOUND"),
        Ending("OK"),
        Ending("INVALID_ARGUMENT", "INVALID_FIELD", trailers=6145),
    ],
)
def test_an_ending_that_a_method_does_not_have_is_named(ending: Ending) -> None:
    """The fuzzer would wave through the very errors that it is there to find."""
    assert wrong(CASE, ending) is not None
    assert wrong(CASE, OK) is None


def test_bad_requests_may_not_be_answered() -> None:
    """What cannot be read, says what nobody knows, is too large or comes with another's key could be answered unnoticed."""
    for spoilt in (
        replace(CASE, body=b"\x0a\xff"),
        replace(CASE, body=CASE.body + b"\xf8\x07\x01"),
        replace(CASE, body=bytes(MESSAGE_MAX_BYTES + 1)),
        replace(CASE, caller="caller"),
        replace(CASE, method="AddCredits", caller="manager"),
    ):
        assert wrong(spoilt, OK) is not None
    assert wrong(replace(CASE, caller="manager"), Ending("UNAUTHENTICATED", "API_KEY_INVALID")) is None


def test_a_method_that_waits_for_ever_is_named(town: ControlTown, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that hangs would hang the fuzzer, or pass it by."""

    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Members, "update", stuck)
    found = []
    for number in range(400):
        try:
            answered(Random(number), town)
        except AssertionError as error:
            found.append(str(error))
    assert found
    assert all(told.startswith("UpdateMember,") and "DEADLINE_EXCEEDED" in told for told in found)
