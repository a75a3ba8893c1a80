"""Which sender a deployment has, and what it brings with it."""

import asyncio

import pytest

from junctor.adapters.tables.dynamodb import DynamoStore
from junctor.adapters.tables.dynamodb_boto3 import Boto3Sender
from junctor.adapters.tables.dynamodb_signed import SignedSender
from junctor.bootstrap.core import open_store
from junctor.settings import Settings
from tests.support.fresh_python import modules_after
from tests.support.tables import fake_credentials

STORE = {"JUNCTOR_DYNAMODB_ENDPOINT": "http://127.0.0.1:8000"}
OPENED = (
    "from junctor.bootstrap.core import open_store; from junctor.settings import Settings; "
    f"open_store(Settings.from_environment({STORE!r}))"
)


@pytest.mark.parametrize(("named", "kind"), [({}, SignedSender), ({"JUNCTOR_DYNAMODB_SENDER": "boto3"}, Boto3Sender)])
def test_the_settings_name_the_sender(
    named: dict[str, str], kind: type[SignedSender | Boto3Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever needs a proxy could not use DynamoDB at all; or everybody would pay for it."""
    fake_credentials(monkeypatch)
    store = open_store(Settings.from_environment({**STORE, **named}))
    assert isinstance(store, DynamoStore)
    assert isinstance(store.calls._sender, kind)
    asyncio.run(store.close())


def test_the_signed_sender_is_opened_without_aws_libraries() -> None:
    """A server's start would take a quarter of a second longer."""
    loaded = modules_after(OPENED)
    assert "junctor" in loaded
    assert not loaded & {"boto3", "botocore"}
