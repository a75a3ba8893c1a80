"""What an error of botocore says of a request: judged, never sent, or sent and not answered."""

import asyncio
from collections.abc import Mapping

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from moto import mock_aws

from junctor.adapters.tables.dynamodb_boto3 import explain
from junctor.adapters.tables.dynamodb_sender import (
    ComplaintError,
    MalformedError,
    NeverSentError,
    SendError,
    UnansweredError,
)
from junctor.adapters.tables.dynamodb_values import Attributes, AttributeValue
from tests.support.tables import fake_credentials, moto_sender

OLD = {"pk": {"S": "P"}, "raw": {"B": b"x"}}
READ: Attributes = {"pk": AttributeValue(text="P"), "raw": AttributeValue(data=b"x")}


def answer(code: object, status: int = 400, **more: object) -> ClientError:
    """Return an error that DynamoDB answered with."""
    response = {"Error": {"Code": code, "Message": "secret words"}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(response, "PutItem")  # type: ignore[arg-type]


MEANINGS: list[tuple[ClientError | BotoCoreError, type[SendError], bool]] = [
    (ReadTimeoutError(endpoint_url="x"), UnansweredError, False),
    (ConnectionClosedError(endpoint_url="x"), UnansweredError, False),
    # A connection's TLS may also break under an answer.
    (SSLError(endpoint_url="x", error=OSError("secret words")), UnansweredError, False),
    (EndpointConnectionError(endpoint_url="x"), NeverSentError, False),
    (ConnectTimeoutError(endpoint_url="x"), NeverSentError, False),
    (ProxyConnectionError(proxy_url="x"), NeverSentError, False),
    (NoCredentialsError(), NeverSentError, True),
    (NoRegionError(), NeverSentError, True),
    (ParamValidationError(report="secret words"), MalformedError, False),
    (answer(5), UnansweredError, False),
    (answer("TransactionCanceledException", CancellationReasons="secret words"), UnansweredError, False),
]


@pytest.mark.parametrize(("error", "expected", "lasting"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_an_error_says_whether_the_request_left(
    error: ClientError | BotoCoreError, expected: type[SendError], lasting: bool
) -> None:
    """A write that may have been done would be sent again, or one that never left be called unknown."""
    told = explain(error)
    assert type(told) is expected
    assert "secret" not in str(told)
    assert (isinstance(told, NeverSentError) and told.lasting) is lasting


def test_an_answer_is_handed_on_with_its_items() -> None:
    """The callers would not see what was in their way, nor why."""
    told = explain(answer("ConditionalCheckFailedException", Item=OLD))
    assert isinstance(told, ComplaintError)
    assert (told.status, told.complaint.code, told.complaint.item) == (400, "ConditionalCheckFailedException", READ)
    reasons: list[Mapping[str, object]] = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": OLD, "Message": "m"}]
    told = explain(answer("TransactionCanceledException", 503, CancellationReasons=reasons))
    assert isinstance(told, ComplaintError)
    assert told.complaint.cancellation_reasons is not None
    assert [(reason.code, reason.item) for reason in told.complaint.cancellation_reasons] == [
        ("None", None),
        ("ConditionalCheckFailed", READ),
    ]
    assert told.status == 503


def test_botocores_own_retries_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would silently send an addition again whose first try was applied."""
    fake_credentials(monkeypatch)
    with mock_aws():
        sender = moto_sender()
        assert sender.client.meta.config.retries == {  # type: ignore[attr-defined]  # set when it is made
            "total_max_attempts": 1,
            "mode": "standard",
        }
        asyncio.run(sender.close())


async def test_whoever_comes_after_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that pauses between two tries while the server stops would end as a fault of ours."""
    fake_credentials(monkeypatch)
    with mock_aws():
        sender = moto_sender()
        await sender.close()
        with pytest.raises(NeverSentError) as told:
            await sender.send("GetItem", {})
    assert told.value.lasting
