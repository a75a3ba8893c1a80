"""Our signatures of requests are those of AWS: whatever is sent, bit by bit as botocore's own signer makes them."""

from datetime import UTC, datetime
from random import Random

import pytest
from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from junctor.adapters.tables.dynamodb_signature import AccessKey, Signer

RANDOM_REQUESTS = 300
SIGNED = ("x-amz-date", "authorization", "x-amz-security-token")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/+="
HOSTS = ("dynamodb.eu-central-1.amazonaws.com", "127.0.0.1:8000", "[::1]:4566", "123456789012.ddb.us-east-1.amazonaws.com")
OPERATIONS = ("GetItem", "PutItem", "UpdateItem", "TransactWriteItems", "BatchWriteItem")


def headers_of(head: bytes) -> dict[str, str]:
    """Return the headers of a request."""
    first, *lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    assert first == "POST / HTTP/1.1"
    return dict(line.split(": ", 1) for line in lines)


def by_botocore(key: AccessKey, region: str, sent: dict[str, str], body: bytes) -> dict[str, str]:
    """Return the headers that botocore would sign this request with, at its clock."""
    own = {name: sent[name] for name in ("content-type", "x-amz-target", "host")}
    request = AWSRequest("POST", f"https://{sent['host']}/", data=body, headers=own)
    SigV4Auth(Credentials(key.id, key.secret, key.token), "dynamodb", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def test_every_signature_is_botocores(monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB would refuse every request, or those with a session's token, at midnight, or to an unusual port."""
    random = Random(1)
    for _ in range(RANDOM_REQUESTS):
        text = ["".join(random.choices(LETTERS, k=random.randint(16, 60))) for _ in range(3)]
        key = AccessKey(text[0], text[1], random.choice((None, text[2])))
        region = random.choice(("eu-central-1", "us-gov-west-1", "cn-north-1"))
        signer = Signer(key, region, random.choice(HOSTS))
        for _ in range(2):
            body = random.randbytes(random.choice((0, 2, 700, 5000)))
            at_s = random.choice((1_767_225_599, 1_767_225_600, random.randint(0, 2**32)))
            sent = headers_of(signer.head(random.choice(OPERATIONS), body, at_s))
            at = datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None)
            monkeypatch.setattr(auth, "get_current_datetime", lambda at=at: at)
            wanted = by_botocore(key, region, sent, body)
            assert {name: sent.get(name) for name in SIGNED} == {name: wanted.get(name) for name in SIGNED}
            assert sent["content-length"] == str(len(body))


def test_a_signer_turns_with_the_day() -> None:
    """A key of yesterday would sign today's requests, all of which DynamoDB would refuse."""
    midnight = 1_767_225_600
    used, new = (Signer(AccessKey("id", "secret", None), "us-east-1", "h") for _ in range(2))
    assert b"/20251231/" in used.head("GetItem", b"{}", midnight - 1)
    assert b"/20260101/" in new.head("GetItem", b"{}", midnight)
    assert used.head("GetItem", b"{}", midnight) == new.head("GetItem", b"{}", midnight)


def test_a_secret_is_not_shown() -> None:
    """A key that stands in a message or a log would be everybody's."""
    assert "hush" not in repr(AccessKey("id", "hush", "hush"))
