"""An error as its caller gets it: whole, machine-readable, and always small enough that grpc carries it."""

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from junctor.domain import errors
from junctor.domain.routing import Attempt, AttemptOutcome
from junctor.doors import status
from junctor.doors.rpc.details import STATUS_BYTES_MAX, rich_status
from tests.support.grpc_metadata import trailer_bytes
from tests.support.sample_errors import EVERY, Make, attempts, exclusions

HOSTILE = {
    "plain": "x" * 20_000,
    "percent": "%" * 20_000,
    "wide": "💥" * 20_000,
    "accents": "é" * 20_000,
    "marks": "e" + "\u0301" * 20_000,
    "controls": "\x00\r\n\x7f\u202e" * 4_000,
    "surrogates": "\ud800" * 20_000,
    "middling": "💥" * 510,
    "short": "x",
    "empty": "",
}
TRAILERS_BYTES_MAX = 6 * 1024


def details_of(written: status_pb2.Status) -> dict[str, Message]:
    """Return the details of a status, by the name of their type."""
    found: dict[str, Message] = {}
    for packed in written.details:
        name = packed.type_url.rpartition(".")[2]
        detail = getattr(error_details_pb2, name)()
        assert packed.Unpack(detail)
        assert name not in found
        found[name] = detail
    return found


def info_of(error: errors.JunctorError) -> error_details_pb2.ErrorInfo:
    """Return an error's ErrorInfo."""
    info = details_of(rich_status(error))["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    return info


def test_the_samples_are_every_error() -> None:
    """An error that is not among the samples would be tested by nothing."""
    assert set(EVERY) == set(status.STATUS)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("make", EVERY.values(), ids=[kind.__name__ for kind in EVERY])
def test_every_error_fits_whatever_is_in_it(make: Make, text: str) -> None:
    """Past eight kilobytes grpc turns an error into another one, and the caller repeats what he must not."""
    error = make(HOSTILE[text], 5_000)
    written = rich_status(error)
    assert written.ByteSize() <= STATUS_BYTES_MAX
    assert trailer_bytes(written) <= TRAILERS_BYTES_MAX
    assert written.code == status.row(error).code
    info = details_of(written)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (error.reason, "junctor")
    assert written.message.isprintable()
    assert all(value.isprintable() for value in info.metadata.values())
    assert set(error.metadata) <= set(info.metadata)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 2_000])
def test_violations_are_listed_and_cut_with_a_sign(count: int) -> None:
    """A caller would mend what he was told, and believe that it was all."""
    written = rich_status(errors.InvalidFieldError(*((f"spec.f{number}", "is wrong") for number in range(count))))
    found = details_of(written)
    bad = found["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    told = [(violation.field, violation.description) for violation in bad.field_violations]
    assert told == [(f"spec.f{number}", "is wrong") for number in range(min(count, 16))]
    info = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert ("truncated" in info.metadata) is (count > 16)
    assert info.metadata["field"] == "spec.f0"


def test_exclusions_are_counted_and_the_first_named() -> None:
    """A caller whose constraints leave no endpoint would not learn which of them it was."""
    few = info_of(errors.NoEligibleEndpointError("lab/model", exclusions("p/lab/model", 3)))
    assert few.metadata["excluded_by"] == "CREDENTIALS_MISSING: 1, PRICE_UNKNOWN: 2"
    assert few.metadata["excluded"].count("p/lab/model: ") == 3
    assert few.metadata["model"] == "lab/model"
    assert "truncated" not in few.metadata
    many = info_of(errors.NoEligibleEndpointError("lab/model", exclusions("p/lab/model", 2_000)))
    assert many.metadata["excluded_by"] == "CREDENTIALS_MISSING: 1000, PRICE_UNKNOWN: 1000"
    assert many.metadata["truncated"] == "true"


def test_attempts_are_told_without_bodies() -> None:
    """A caller would not learn where his call was tried, or would read a provider's words."""
    tried = (
        Attempt("p", "p/lab/model", AttemptOutcome.THROTTLED, 12, 429),
        Attempt("q", "q/lab/model", AttemptOutcome.TIMED_OUT, 34),
    )
    info = info_of(errors.UpstreamUnavailableError("Failed.", tried))
    assert info.metadata["attempts"] == "p/lab/model: throttled (12 ms); q/lab/model: timed_out (34 ms)"
    assert info.metadata["attempt_count"] == "2"
    assert "truncated" not in info.metadata
    assert info_of(errors.UpstreamUnavailableError("Failed.", attempts("p", 100))).metadata["truncated"] == "true"


@pytest.mark.parametrize(
    ("error", "expected_ms"),
    [
        (errors.LedgerUnavailableError("x", 1.0), 1_000),
        (errors.OverloadedError("x", 0.25), 250),
        (errors.UpstreamCapacityError("x", (), 1.5), 1_500),
        (errors.UpstreamCapacityError("x", (), 0.0), 0),
        (errors.UpstreamCapacityError("x", (), 8.64e19), 86_400_000),
        (errors.UpstreamCapacityError("x", (), float("inf")), 86_400_000),
        (errors.DrainingError("x"), None),
        (errors.UpstreamUnavailableError("x", ()), None),
        (errors.DeadlineError("x"), None),
    ],
)
def test_retry_info_is_there_where_a_time_is_known(error: errors.JunctorError, expected_ms: int | None) -> None:
    """Callers would retry at once, or a provider's absurd hint turn the error into a bug of ours."""
    retry = details_of(rich_status(error)).get("RetryInfo")
    assert (retry is None) is (expected_ms is None)
    if isinstance(retry, error_details_pb2.RetryInfo):
        assert retry.retry_delay.ToMilliseconds() == expected_ms


def test_a_missing_model_is_named() -> None:
    """A caller would not see which of his names is wrong, nor what he may have meant."""
    found = details_of(rich_status(errors.ModelNotFoundError("lab/modle", ("lab/model", "lab/mode"))))
    info, resource = found["ErrorInfo"], found["ResourceInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert isinstance(resource, error_details_pb2.ResourceInfo)
    assert info.metadata["near"] == "lab/model, lab/mode"
    assert (resource.resource_type, resource.resource_name) == ("model", "lab/modle")


def test_a_provider_s_refusal_is_told_in_its_words() -> None:
    """The caller could not mend a request that only the provider understands."""
    found = details_of(rich_status(errors.RequestRefusedError("Refused.", provider_message="bad\ntop_k")))
    bad = found["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [violation.description for violation in bad.field_violations] == ["bad top_k"]


def test_an_incident_says_nothing_but_its_id() -> None:
    """The text of an exception could carry a secret or a prompt to the caller."""
    written = rich_status(errors.InternalError("abcd"))
    assert details_of(written).keys() == {"ErrorInfo"}
    assert dict(info_of(errors.InternalError("abcd")).metadata) == {"incident": "abcd"}
    assert "abcd" not in written.message


def test_short_texts_are_whole() -> None:
    """A message would be cut although there is room."""
    text = "Zu große Anfrage: 100 %"
    written = rich_status(errors.OverloadedError(text, stage="é" * 200))
    assert written.message == text
    assert info_of(errors.OverloadedError(text, stage="é" * 200)).metadata["stage"] == "é" * 200
    assert rich_status(errors.OverloadedError("x" * 474)).message == "x" * 474
    assert rich_status(errors.OverloadedError("x" * 475)).message == "x" * 471 + "…"
