"""20,000 of the inputs of `poe fuzz`, and what it must see."""

import pytest

from junctor.adapters.providers import refusals
from junctor.adapters.providers.dialects.openai_chat import reading
from junctor.adapters.providers.sse import SseParser
from junctor.domain.completion import Usage
from junctor.doors import status
from junctor.doors.codec import generations
from junctor.doors.codec.checks import Checks
from tests.fault.fuzz_inputs import READERS, fuzz

INPUTS = 20_000
ENOUGH = 100


def test_every_input_comes_to_what_its_reader_promises() -> None:
    """Else bytes that somebody else wrote become a bug of ours, or money that nobody spent."""
    report = fuzz(INPUTS, 7)
    assert report.violations == []
    assert report.inputs == sum(report.endings.values()) == INPUTS
    # Else nearly all was refused at once, and nothing was tried behind.
    for ending in (("request", "taken"), ("events", "read"), ("answer", "answer"), ("stream", "stream")):
        assert report.endings[ending] >= ENOUGH
    for service in ("AccountService", "CatalogAdminService", "CatalogService", "UsageService"):
        assert report.endings["control", f"{service}: OK"] >= ENOUGH // 2
    assert {ending.partition(":")[0] for reader, ending in report.endings if reader == "refusal"} >= {"throttled", "credential"}


def test_a_seed_makes_the_same_inputs_again() -> None:
    """A finding could not be reproduced, and so not be mended."""
    again = fuzz(600, 7).endings
    assert again == fuzz(600, 7).endings != fuzz(600, 1).endings


def _nothing(*_: object) -> None:
    raise LookupError


@pytest.mark.parametrize(
    ("reader", "broken", "name", "by"),
    [
        ("request", Checks, "done", _nothing),
        ("control", generations, "generation", _nothing),
        ("events", SseParser, "close", lambda self: (id(self),)),
        ("answer", reading, "usage_of", lambda _: Usage(input_tokens=-1)),
        ("stream", reading, "usage_of", lambda _: Usage(output_tokens=1, reasoning_tokens=2)),
        ("refusal", refusals, "retry_after_s", lambda *_, **__: float("nan")),
        ("status", status, "row", lambda _: status.StatusRow(2, 500)),
    ],
)
def test_a_reader_that_breaks_its_promise_is_named(
    reader: str, broken: object, name: str, by: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the fuzzer waves through what it is there to find."""
    assert reader in {known for known, _ in READERS}
    monkeypatch.setattr(broken, name, by)
    found = fuzz(1_200, 1).violations
    assert any(violation.startswith(f"{reader},") for violation in found)
