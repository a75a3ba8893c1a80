"""Where requests to DynamoDB go, and who signs them: as botocore has it, and without ever holding up the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from junctor.adapters.net.line import Target
from junctor.adapters.tables.dynamodb_chain import Chain, Identity, Standing
from junctor.adapters.tables.dynamodb_sender import NeverSentError
from junctor.adapters.tables.dynamodb_signature import AccessKey, Signer
from tests.support.scripted_upstream import PATIENCE_S
from tests.support.tables import fake_credentials

REGION = "eu-central-1"
TARGET = Target("127.0.0.1", 80, None)


class Case(NamedTuple):
    """What an operator set, and where requests are to go for it."""

    environ: dict[str, str]
    url: str | None
    host: str
    port: int = 443
    region: str = REGION


CASES = {
    "the region's": Case({}, None, "dynamodb.eu-central-1.amazonaws.com"),
    "FIPS": Case({"AWS_USE_FIPS_ENDPOINT": "true"}, None, "dynamodb-fips.us-east-1.amazonaws.com", region="us-east-1"),
    "the environment's": Case({"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"}, None, "127.0.0.1", 8000),
    "the setting's": Case({"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1"}, "https://vpc.example", "vpc.example"),
    "the account's": Case({"AWS_ACCOUNT_ID": "123456789012"}, None, "123456789012.ddb.eu-central-1.amazonaws.com"),
}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_credentials(monkeypatch)


@pytest.mark.parametrize("name", CASES)
def test_a_place_is_botocores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests would go to another DynamoDB than boto3's: another region's, or past the private way out of a network."""
    case = CASES[name]
    for variable, value in case.environ.items():
        monkeypatch.setenv(variable, value)
    standing = Chain(case.url, case.region).look()
    secure = case.port == 443
    assert standing.target == Target(case.host, case.port, case.host if secure else None)
    head = standing.signer.head("GetItem", b"{}", 0).decode()
    assert f"\r\nhost: {case.host if secure else f'{case.host}:{case.port}'}\r\n" in head
    assert f"/{case.region}/dynamodb/aws4_request" in head


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000/a/path"), ("AWS_PROFILE", "missing"), ("AWS_ENDPOINT_URL", "x y")],
)
def test_a_place_that_cannot_be_used_is_told(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call would be signed wrongly, or be tried again and again, and nobody be told why."""
    monkeypatch.setenv(name, value)
    with pytest.raises(NeverSentError) as told:
        Chain(None, REGION).look()
    assert told.value.lasting
    assert ("boto3" in str(told.value)) == ("path" in value)


def test_keys_that_cannot_be_renewed_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure of whoever issues keys would be passed on as if it was for ever, or end as a fault of ours."""
    chain = Chain("http://127.0.0.1:8000", REGION)
    chain.look()
    assert chain._found is not None

    def fail() -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(chain._found[1], "get_frozen_credentials", fail)
    with pytest.raises(NeverSentError) as told:
        chain.look()
    assert not told.value.lasting
    assert "secret" not in str(told.value)


class _Looks:
    """Finds a new key at each look, when it may. `fails` makes looks fail."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.fails = False
        self.looked = 0
        self.threads: set[int] = set()

    def __call__(self) -> Standing:
        assert self.may.wait(PATIENCE_S)
        self.threads.add(threading.get_ident())
        self.looked += 1
        if self.fails:
            raise NeverSentError("our words")
        key = AccessKey(str(self.looked), "secret", None)
        return Standing(TARGET, key, Signer(key, REGION, "h"))


@pytest.fixture
def looks() -> _Looks:
    """Return looks."""
    return _Looks()


@pytest.fixture
async def identity(looks: _Looks) -> AsyncIterator[Identity]:
    """Return an identity that is closed in the end."""
    made = Identity(looks)
    yield made
    looks.may.set()
    made.close()


def present_id(identity: Identity) -> str:
    """Return which key is used at present."""
    standing = identity.present()
    assert standing is not None
    return standing.key.id


async def looked(identity: Identity) -> None:
    """Wait until the thread has looked."""
    assert identity._looking is not None
    await asyncio.wait((identity._looking,), timeout=PATIENCE_S)


async def test_many_callers_look_once_and_in_a_thread(identity: Identity, looks: _Looks) -> None:
    """Each of a thousand first calls would ask for keys, or all of them stand still meanwhile."""
    looks.may.clear()
    impatient = asyncio.create_task(identity.found(PATIENCE_S))
    asked = [asyncio.create_task(identity.found(PATIENCE_S)) for _ in range(5)]
    await asyncio.sleep(0)
    impatient.cancel()
    looks.may.set()
    assert {standing.key.id for standing in await asyncio.gather(*asked)} == {"1"}
    assert looks.looked == 1
    assert threading.get_ident() not in looks.threads


async def test_keys_are_renewed_beside_the_calls(identity: Identity, looks: _Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys would end in use, or each call in the moment of renewal would wait for it, or fail with it."""
    assert (await identity.found(PATIENCE_S)).key.id == "1"
    assert present_id(identity) == "1"
    assert looks.looked == 1
    identity._due = 0.0
    looks.may.clear()
    looks.fails = True
    assert present_id(identity) == "1"
    looks.may.set()
    await looked(identity)
    assert looks.looked == 2
    identity._due = 0.0
    looks.fails = False
    assert present_id(identity) == "1"
    await looked(identity)
    assert present_id(identity) == "3"


async def test_a_look_that_takes_too_long_is_not_waited_for(identity: Identity, looks: _Looks) -> None:
    """Where keys are slow to come, calls would hang past their deadlines."""
    looks.may.clear()
    with pytest.raises(NeverSentError) as told:
        await identity.found(0.01)
    assert not told.value.lasting


async def test_another_key_is_one_that_was_not_refused(
    identity: Identity, looks: _Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key would be tried again for ever; or of many refused calls each would look."""
    refused = await identity.found(PATIENCE_S)
    found = await asyncio.gather(*(identity.another(refused, PATIENCE_S) for _ in range(3)))
    assert {standing.key.id for standing in found if standing is not None} == {"2"}
    assert looks.looked == 2
    monkeypatch.setattr(looks, "looked", 1)
    assert await identity.another(found[0] or refused, PATIENCE_S) is None


def test_a_program_for_keys_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every call would end as a fault of ours, and nobody be told why."""
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {tmp_path / 'missing'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(NeverSentError) as told:
        Chain("http://127.0.0.1:8000", REGION).look()
    assert "missing" not in str(told.value)
