"""Calls that are refused, and bugs of ours: the right status, the right details, and no secret in either."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.rpc import status_pb2

from junctor.client import JunctorRpcError, complete_request
from junctor.client.errors import read_status
from junctor.domain.lease import SlotState
from junctor.v1 import completion_pb2, router_service_pb2, routing_pb2
from tests.support.harness import Router, running_router
from tests.support.pipeline import (
    MODEL,
    PATIENCE_S,
    SERVICE,
    bearer,
    ended,
    events_of,
    line_of,
    log_lines,
    one_endpoint,
    raw_channel,
    refusal,
    slots,
)
from tests.support.scripted_upstream import chat_answer, status

TRAILERS_MAX_BYTES = 6 * 1024
NEVER = chat_answer("never")
UNKNOWN_FIELD = b"\xfa\x3f\x01x"
"""Field 1023, length-delimited."""


async def _raw(router: Router, body: bytes, method: str = "Complete", **options: int) -> grpc.aio.AioRpcError:
    """Return the error of a call with these bytes, which must fail."""
    async with raw_channel(router, **options) as channel:
        raw = channel.unary_unary(f"/{SERVICE}/{method}", request_serializer=bytes, response_deserializer=bytes)
        call = raw(body, metadata=bearer(router.api_key), timeout=PATIENCE_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    return caught.value


def _typed(error: grpc.aio.AioRpcError) -> JunctorRpcError:
    return read_status(error.code().name, error.details() or "", error.trailing_metadata() or ())


def _trailer_bytes(error: grpc.aio.AioRpcError) -> int:
    """Count the trailing metadata at its largest: each byte of the message as three, binary values as base64."""
    binary = sum(len(key) + 4 * (len(value) + 2) // 3 for key, value in error.trailing_metadata() or ())
    return binary + 3 * len((error.details() or "").encode())


async def test_malformed_bytes(tmp_path: Path) -> None:
    """Else a client with a bug is told UNKNOWN, and looks for ours."""
    async with one_endpoint(tmp_path, NEVER) as (router, upstream):
        for body in (b"\xff\xff\xff", b"\x0a\x7f", b"\x0a\x04\x0a\x02\xff\xfe", b"\x0b" * 200):
            for method in ("Complete", "Stream"):
                error = _typed(await _raw(router, body, method))
                assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
                assert error.field_violations[0][0] == "request"
        assert upstream.requests == []
        assert await slots(router) == []
        assert log_lines(router, "incident") == []


def _nested(change: Callable[[router_service_pb2.CompleteRequest], Any]) -> bytes:
    request = complete_request("Hi", model=MODEL)
    request.spec.tools.add(name="t")
    request.spec.response_format.json_schema.name = "s"
    change(request)
    return request.SerializeToString()


NESTED: dict[str, Callable[[router_service_pb2.CompleteRequest], Any]] = {
    "request": lambda request: request.MergeFromString(UNKNOWN_FIELD),
    "spec": lambda request: request.spec.MergeFromString(UNKNOWN_FIELD),
    "spec.messages[0]": lambda request: request.spec.messages[0].MergeFromString(UNKNOWN_FIELD),
    "spec.messages[0].parts[0]": lambda request: request.spec.messages[0].parts[0].MergeFromString(UNKNOWN_FIELD),
    "spec.messages[0].parts[0].text": lambda request: request.spec.messages[0].parts[0].text.MergeFromString(UNKNOWN_FIELD),
    "spec.tools[0]": lambda request: request.spec.tools[0].MergeFromString(UNKNOWN_FIELD),
    "spec.response_format": lambda request: request.spec.response_format.MergeFromString(UNKNOWN_FIELD),
    "preferences": lambda request: request.preferences.MergeFromString(UNKNOWN_FIELD),
}


@pytest.mark.parametrize("path", NESTED)
async def test_unknown_fields(tmp_path: Path, path: str) -> None:
    """Else a limit or a wish that this version does not know is ignored in silence, and costs money."""
    async with one_endpoint(tmp_path, NEVER) as (router, upstream):
        error = _typed(await _raw(router, _nested(NESTED[path])))
        assert upstream.requests == []
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert [field for field, _ in error.field_violations] == [path]
    assert "1023" in error.field_violations[0][1]


def _enum(change: Callable[[router_service_pb2.CompleteRequest], Any]) -> bytes:
    request = complete_request("Hi", model=MODEL)
    change(request)
    return request.SerializeToString()


ENUMS: dict[str, Callable[[router_service_pb2.CompleteRequest], Any]] = {
    "spec.messages[0].role": lambda request: request.spec.messages[0].MergeFromString(b"\x08\x63"),
    "spec.tool_choice.mode": lambda request: request.spec.tool_choice.MergeFromString(b"\x08\x63"),
}


@pytest.mark.parametrize("path", ENUMS)
async def test_unknown_enum_values(tmp_path: Path, path: str) -> None:
    """Else a role or a mode that this version does not know is taken for another."""
    async with one_endpoint(tmp_path, NEVER) as (router, _):
        error = _typed(await _raw(router, _enum(ENUMS[path])))
    assert error.reason == "INVALID_FIELD"
    assert path in [field for field, _ in error.field_violations]


async def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Else a caller mends one field a call."""
    async with one_endpoint(tmp_path, NEVER) as (router, _), router.client() as client:
        preferences = routing_pb2.RoutingPreferences(order=[""])
        wrong = client.complete("Hi", model=MODEL, temperature=9.0, max_tokens=0, request_id="x", preferences=preferences)
        error = await refusal(wrong)
    fields = {field for field, _ in error.field_violations}
    assert {"spec.temperature", "spec.max_tokens", "request_id", "preferences.order[0]"} <= fields


async def test_unknown_model(tmp_path: Path) -> None:
    """Else a typing error in a model's name costs a search."""
    async with one_endpoint(tmp_path, NEVER) as (router, _), router.client() as client:
        error = await refusal(client.complete("Hi", model="openai/gpt-oss-120"))
        line = await line_of(router)
        assert await slots(router) == []
    assert (error.code, error.reason, error.metadata["model"]) == ("NOT_FOUND", "MODEL_NOT_FOUND", "openai/gpt-oss-120")
    assert MODEL in error.metadata["near"]
    assert (line["status"], line["requested_model"]) == ("MODEL_NOT_FOUND", "openai/gpt-oss-120")


async def test_no_eligible_endpoint(tmp_path: Path) -> None:
    """Else an operator who forgot a key is told that a provider is down."""
    async with running_router(tmp_path, {}, credentials={}) as router, router.client() as client:
        error = await refusal(client.complete("Hi", model=MODEL))
        assert await slots(router) == []
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NO_ELIGIBLE_ENDPOINT")
    assert "CREDENTIALS_MISSING: " in error.metadata["excluded_by"]
    assert ": CREDENTIALS_MISSING" in error.metadata["excluded"]


async def test_details_stay_small(tmp_path: Path) -> None:
    """Else an error of a model with many endpoints arrives, at random, as another error."""
    async with running_router(tmp_path, {}, credentials={}) as router:
        catalog = router.core.catalog.current()
        endpoint = catalog.endpoints[MODEL][0]
        many = tuple(msgspec.structs.replace(endpoint, id=f"{endpoint.id}-{number:0100}") for number in range(2000))
        crowded = msgspec.structs.replace(catalog, endpoints={**catalog.endpoints, MODEL: many})
        router.core.catalog._catalog = crowded
        raw = await _raw(router, complete_request("Hi", model=MODEL).SerializeToString())
    error = _typed(raw)
    assert _trailer_bytes(raw) <= TRAILERS_MAX_BYTES
    assert error.reason == "NO_ELIGIBLE_ENDPOINT"
    assert error.metadata["excluded_by"] == "CREDENTIALS_MISSING: 2000"
    assert error.metadata["truncated"] == "true"
    assert endpoint.id in error.metadata["excluded"]


@pytest.mark.parametrize("name", ["🦜" * 60, "🦜" * 256, "x" * 256, "x" * 5000, "a/\x00\n\x7f", "%" * 128])
async def test_details_stay_small_whatever_the_caller_wrote(tmp_path: Path, name: str) -> None:
    """Else a caller can make an error of ours arrive as something else, or break a log line."""
    async with one_endpoint(tmp_path, NEVER) as (router, _):
        raw = await _raw(router, complete_request("Hi", model=name).SerializeToString())
    assert raw.code().name in {"NOT_FOUND", "INVALID_ARGUMENT"}
    assert _typed(raw).reason in {"MODEL_NOT_FOUND", "INVALID_FIELD"}
    assert _trailer_bytes(raw) <= TRAILERS_MAX_BYTES


@pytest.mark.parametrize("method", ["Embed"])
async def test_methods_of_a_later_version(tmp_path: Path, method: str) -> None:
    """Else a client cannot tell a method that is to come from a mistake of his."""
    async with one_endpoint(tmp_path, NEVER) as (router, _):
        error = _typed(await _raw(router, b"", method))
    assert (error.code, error.reason, error.metadata) == ("UNIMPLEMENTED", "UNIMPLEMENTED", {"method": method})


async def test_unknown_method(tmp_path: Path) -> None:
    """Else a client of another API believes that it has found a broken one."""
    async with one_endpoint(tmp_path, NEVER) as (router, _):
        error = await _raw(router, b"", "Sing")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_message_over_the_limit(tmp_path: Path) -> None:
    """Else one caller's message fills the router's memory."""
    settings = {"JUNCTOR_MESSAGE_IN_MAX_BYTES": "64 KiB"}
    async with one_endpoint(tmp_path, chat_answer("Hi."), settings=settings) as (router, _), router.client() as client:
        error = await refusal(client.complete("x" * 70_000, model=MODEL))
        assert error.code == "RESOURCE_EXHAUSTED"
        assert (await client.complete("x" * 60_000, model=MODEL)).generation_id


BUGS = {"planning": "junctor.policy.routing.plan", "asking a provider": "junctor.adapters.providers.gateway.authorize"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("stage", BUGS)
async def test_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool, stage: str) -> None:
    """Else a bug of ours tells callers its text, which may hold anything, or leaves nobody a trace to follow."""

    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("secret-canary")

    monkeypatch.setattr(BUGS[stage], broken)
    async with one_endpoint(tmp_path, NEVER) as (router, _), router.client() as client:
        call = events_of(client.stream("Hi", model=MODEL)) if streamed else client.complete("Hi", model=MODEL)
        error = await refusal(call)
        incident = await line_of(router, "incident")
        line = await line_of(router)
        if stage == "planning":
            assert await slots(router) == []
        else:
            assert (await ended(router)).state is SlotState.VOID
    assert (error.code, error.reason, error.metadata) == ("INTERNAL", "INTERNAL", {"incident": incident["incident"]})
    assert (line["status"], line["incident"]) == ("INTERNAL", incident["incident"])
    assert incident["chain"][0]["error"] == "builtins.RuntimeError"
    assert any("broken" in frame for frame in incident["chain"][0]["frames"])
    assert "canary" not in str(error) + repr(error.metadata) + router.log.read_text()


CANARIES = {"prompt": "canary-prompt", "answer": "canary-answer", "key": "made-up-groq"}
SPOKEN = f"{CANARIES['prompt']} {CANARIES['answer']} {CANARIES['key']}".encode()


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        (status(500, b'{"error": {"message": "%b"}}' % SPOKEN), False),
        (status(401, b'{"error": {"message": "%b"}}' % SPOKEN), False),
        (status(200, b'{"error": {"message": "%b"}}' % SPOKEN), False),
        (status(200, b"%b" % SPOKEN), False),
        (status(400, b'{"error": {"message": "%b"}}' % SPOKEN), True),
    ],
)
async def test_secrets_stay_inside(tmp_path: Path, script: Any, shown: bool) -> None:
    """Else what a provider repeats of a prompt or of our key is in a log, or in an error that somebody else reads.

    Only where the provider refuses the request itself does its text go to the caller, and our key never.
    """
    async with one_endpoint(tmp_path, script) as (router, _):
        request = complete_request(
            CANARIES["prompt"], model=MODEL, user="canary-user", metadata={"canary-name": "canary-value"}
        )
        raw = await _raw(router, request.SerializeToString())
        log = router.log.read_text()
    trailers = dict(raw.trailing_metadata() or ())["grpc-status-details-bin"]
    told = str(status_pb2.Status.FromString(bytes(trailers))) + (raw.details() or "")
    assert "canary" not in log
    assert CANARIES["key"] not in log + told
    assert router.api_key not in log + told
    assert ("canary" in told) is shown


async def test_prompt_in_a_violation(tmp_path: Path) -> None:
    """Else a log line tells what a caller wrote wrong."""
    async with one_endpoint(tmp_path, NEVER) as (router, _), router.client() as client:
        tool = completion_pb2.Tool(name="t", parameters_json="canary-schema")
        error = await refusal(client.complete("canary-prompt", model=MODEL, tools=[tool], extra_json="canary-extra"))
        log = router.log.read_text()
    assert {field for field, _ in error.field_violations} == {"spec.tools[0].parameters_json", "spec.extra_json"}
    assert "canary" not in log + str(error) + repr(error.field_violations)
