"""The default form of `poe fuzz-wire`, and what its judge must see."""

import asyncio
from pathlib import Path

import grpc.aio
import pytest
from msgspec.structs import replace

from junctor.v1.completion_pb2 import ROLE_USER, CompletionSpec, Message, Part, TextPart, Tool
from junctor.v1.router_service_pb2 import CompleteRequest
from tests.fault import fuzz_wire
from tests.fault.fuzz_cases import Case, make_case
from tests.fault.fuzz_judge import JSON_DEPTH_MAX, MESSAGES_MAX, STRING_MAX_BYTES, Ending, faults, wrong
from tests.fault.fuzz_wire import DECODABLE_LEAST, fuzz
from tests.support.fuzz_bytes import varint

GOOD = CompleteRequest(
    spec=CompletionSpec(model="m", messages=[Message(role=ROLE_USER, parts=[Part(text=TextPart(text="hi"))])])
)
CASE = Case(index=0, kind="", mutated=True, method="Complete", body=GOOD.SerializeToString(), metadata=(), credentials="")


async def test_whatever_is_sent_ends_as_errors_md_says(tmp_path: Path) -> None:
    """A malformed request would hang, crash or confuse the server, or be answered with an error nobody can act upon."""
    report = await fuzz(tmp_path, requests=range(2000), seed=7)
    assert report.violations == ()
    assert report.decodable_share >= DECODABLE_LEAST
    # Else the requests never got past the door, and nothing was tried behind it.
    assert report.endings["mutated", "OK", ""] >= 20
    assert report.endings["credentials", "UNAUTHENTICATED", "API_KEY_INVALID"] >= 20
    assert sum(number for (_, _, reason), number in report.endings.items() if reason.startswith("REQUEST_")) >= 5
    assert report.endings["control", "OK", ""] >= 20
    assert {reason for group, _, reason in report.endings if group == "control"} >= {"INVALID_FIELD", "SCOPE_MISSING"}


def test_a_seed_makes_the_same_requests_again() -> None:
    """A finding could not be reproduced, and so not be mended."""
    assert [make_case(5, index, "key-1") for index in range(50)] == [make_case(5, index, "key-1") for index in range(50)]
    assert make_case(5, 7, "key-1") != make_case(6, 7, "key-1")


@pytest.mark.parametrize(
    "ending",
    [
        Ending("UNKNOWN"),
        Ending("INTERNAL", "INTERNAL"),
        Ending("DEADLINE_EXCEEDED"),
        Ending("UNAVAILABLE", "UPSTREAM_UNAVAILABLE"),
        Ending("INVALID_ARGUMENT"),
        Ending("OK", whole=False),
        Ending("INVALID_ARGUMENT", "INVALID_FIELD", trailers=6145),
        Ending("INVALID_ARGUMENT", "INVALID_FIELD", message="é" * 600, trailers=3000),
    ],
)
def test_an_ending_that_errors_md_does_not_know_is_named(ending: Ending) -> None:
    """The fuzzer would wave through the very errors that it is there to find."""
    assert wrong(CASE, ending) is not None
    assert wrong(CASE, Ending("OK", whole=True)) is None


def test_bad_requests_may_not_be_answered() -> None:
    """Unreadable, oversized or unauthenticated calls could be served, and the fuzzer would not notice."""
    answered = Ending("OK", whole=True)
    assert wrong(replace(CASE, body=b"\x0a\xff"), answered) is not None
    assert wrong(replace(CASE, body=CASE.body + bytes(300_000)), answered) is not None
    assert wrong(replace(CASE, credentials="missing"), answered) is not None
    assert wrong(replace(CASE, credentials="missing"), Ending("UNAUTHENTICATED", "API_KEY_INVALID")) is None


@pytest.mark.parametrize(
    "spec",
    [
        CompletionSpec(temperature=float("nan")),
        CompletionSpec(logit_bias={1: float("inf")}),
        CompletionSpec(user="x" * (STRING_MAX_BYTES + 1)),
        CompletionSpec(messages=[Message()] * (MESSAGES_MAX + 1)),
        CompletionSpec(extra_json="NaN"),
        CompletionSpec(tools=[Tool(parameters_json='{"a":')]),
        CompletionSpec(extra_json='{"a":' * (JSON_DEPTH_MAX + 1) + "1" + "}" * (JSON_DEPTH_MAX + 1)),
        CompletionSpec.FromString(varint(99 << 3) + b"\x01"),
        CompletionSpec(messages=[Message.FromString(b"\x08\x4d")]),
    ],
)
def test_what_may_never_be_taken_is_known(spec: CompletionSpec) -> None:
    """A server that ignores such a field, or passes it on, would pass for one that refuses it."""
    assert list(faults(CompleteRequest(spec=spec)))


def test_a_name_that_is_none_may_not_be_taken() -> None:
    """A server that takes any text for a request id would pass, and cut names would meet."""
    named = CompleteRequest(spec=GOOD.spec, request_id="6F1B0C9E-58aa-4c5e-9d5b-0123456789ab")
    assert list(faults(named)) == []
    taken = replace(CASE, body=named.SerializeToString())
    assert wrong(taken, Ending("ALREADY_EXISTS", "REQUEST_COMPLETED")) is None
    assert wrong(CASE, Ending("ALREADY_EXISTS", "REQUEST_COMPLETED")) is not None
    assert list(faults(CompleteRequest(spec=GOOD.spec, request_id=named.request_id[1:])))


def test_a_sound_request_has_no_fault() -> None:
    """Every answer would be held against the server."""
    sound = CompletionSpec(extra_json='{"a":' * JSON_DEPTH_MAX + "1" + "}" * JSON_DEPTH_MAX, user="x" * STRING_MAX_BYTES)
    assert list(faults(GOOD)) == []
    assert list(faults(CompleteRequest(spec=sound))) == []


async def test_what_is_late_once_is_told_and_what_is_late_again_is_a_violation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that stood still would fail the build, or a server that is always slow would pass it."""
    waits_s = {3: iter((1.1, 0.0)), 5: iter((1.1, 1.1))}
    send = fuzz_wire._send

    async def slow(channel: grpc.aio.Channel, case: Case) -> Ending:
        ending = await send(channel, case)
        await asyncio.sleep(next(waits_s[case.index]) if case.index in waits_s else 0.0)
        return ending

    monkeypatch.setattr(fuzz_wire, "_send", slow)
    monkeypatch.setattr(fuzz_wire, "LATE_S", 1.0)
    monkeypatch.setattr(fuzz_wire, "CONCURRENCY", 1)
    report = await fuzz(tmp_path, requests=range(8), seed=7)
    assert [late.split(",")[0] for late in report.late] == ["request 3", "request 5"]
    (violation,) = report.violations
    assert violation.startswith("request 5,")
    assert "and alone 1." in violation
