"""What broken exchanges mean for routing, and what becomes of a secret."""

import pytest

from junctor.adapters.net import errors
from junctor.adapters.net.headers import prepared
from junctor.adapters.providers.auth import Authorization, authorize
from junctor.adapters.providers.failures import classify
from junctor.adapters.providers.registry import Auth
from junctor.domain.routing import Failure, FailureKind
from tests.support.gateway_rig import SECRET, FixedSecrets


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.NeverSentError, FailureKind.CONNECT),
        (errors.ConnectionLostError, FailureKind.RESET),
        (errors.TooLargeError, FailureKind.MALFORMED),
        (errors.BadProtocolError, FailureKind.MALFORMED),
        (errors.TimedOutError, FailureKind.DEADLINE),
    ],
)
def test_every_transport_error_has_its_kind(error: type[errors.TransportError], kind: FailureKind) -> None:
    """A reset taken for a connect error would be sent twice to the same endpoint, and charged twice."""
    assert classify(error("why"), FailureKind.DEADLINE) == Failure(kind=kind, message="why")


def test_no_transport_error_is_left_out() -> None:
    """A new error without a kind would end a call as a bug of ours."""
    for error in errors.TransportError.__subclasses__():
        classify(error("why"), FailureKind.TIMEOUT)


def test_a_timeout_is_what_its_bound_stands_for() -> None:
    """The caller's deadline ends the call; an endpoint's slowness leads to the next one."""
    late = errors.TimedOutError("late")
    assert classify(late, FailureKind.TIMEOUT, committed=True) == Failure(
        kind=FailureKind.TIMEOUT, message="late", committed=True
    )


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        (Auth(), {"authorization": f"Bearer {SECRET}"}),
        (Auth(style="header", header="x-api-key"), {"x-api-key": SECRET}),
        (Auth(style="none"), {}),
    ],
)
def test_the_secret_goes_where_the_row_says(auth: Auth, headers: dict[str, str]) -> None:
    """A secret in the wrong header is a 401 from a healthy provider, or a secret shown to one that asked for none."""
    authorization = authorize(auth, "KEY", FixedSecrets({"KEY": SECRET}))
    assert isinstance(authorization, Authorization)
    fields = dict(prepared(headers).fields)
    json = {b"content-type": b"application/json"}
    assert dict(authorization.whole.fields) == {**json, b"accept": b"application/json", **fields}
    assert dict(authorization.streamed.fields) == {**json, b"accept": b"text/event-stream", **fields}


@pytest.mark.parametrize("secret", ["", "two\r\nlines: x", "tab\x00null", "€uro", " blank", "blank\n", "a\x7fb"])
def test_a_bad_secret_is_a_credential_failure(secret: str) -> None:
    """A key pasted with a line break must neither crash the call nor write headers of its own, nor be told to anyone."""
    failure = authorize(Auth(), "KEY", FixedSecrets({"KEY": secret}))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.CREDENTIAL
    assert not secret or secret not in repr(failure)


def test_a_secret_that_changed_is_used() -> None:
    """After a rotation the old key would be sent until the next start, and every call of the provider refused."""
    secrets = {"KEY": SECRET}
    for secret in (SECRET, "another-one"):
        secrets["KEY"] = secret
        authorization = authorize(Auth(), "KEY", FixedSecrets(secrets))
        assert isinstance(authorization, Authorization)
        assert (b"authorization", f"Bearer {secret}".encode()) in authorization.whole.fields


def test_a_secret_shows_nowhere() -> None:
    """A repr in a log or a provider's quotation in an error would hand the key to whoever reads it."""
    authorization = authorize(Auth(), "KEY", FixedSecrets({"KEY": SECRET}))
    assert isinstance(authorization, Authorization)
    assert SECRET not in repr(authorization) + repr(authorization.whole) + repr(authorization.streamed)
    quoting = Failure(kind=FailureKind.REQUEST, code=SECRET, message=f"bad key {SECRET}! again: {SECRET[:10]}")
    scrubbed = authorization.scrub(quoting)
    assert SECRET[:10] not in repr(scrubbed)
    assert scrubbed.message.startswith("bad key ")
    innocent = Failure(kind=FailureKind.SERVER, message="overloaded")
    assert authorization.scrub(innocent) == innocent


def test_no_header_value_can_end_its_line() -> None:
    """A value with a line break would let its author write further headers."""
    headers = prepared({"a": "b c", "d": "é"})
    assert headers.fields == ((b"a", b"b c"), (b"d", b"\xe9"))
    assert headers.lines == b"a: b c\r\nd: \xe9\r\n"
    for value in ("a\r\nb: c", "a\nb", "a\rb", "\x00", "", " a", "a ", "snow \u2603"):
        with pytest.raises(errors.BadHeaderError):
            prepared({"a": "b", "x": value})
