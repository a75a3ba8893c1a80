"""Which credentials are at hand: numbered variables, weights, and what a shared secret brings and takes away."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.secrets import shared
from junctor.adapters.secrets.credentials import CredentialsAtHand
from junctor.adapters.secrets.environment import EnvironmentSecrets
from junctor.adapters.secrets.shared import SharedSecret, SharedSecretError
from junctor.domain.catalog import Provider
from junctor.domain.routing import Credential
from junctor.ports.secrets import Peppers
from tests.support.virtual_loop import VirtualLoop

PEPPERS = Peppers(1, {1: b"p" * 32})
SECRET = "sk-canary"
PROVIDERS = {
    "acme": Provider(slug="acme", name="Acme", credentials=("ACME_API_KEY", "ACME_TOKEN")),
    "gpu": Provider(slug="gpu", name="Ours", credentials=("ENDPOINT_KEY_GPU",)),
    "open": Provider(slug="open", name="Open"),
}


def environment(**values: str) -> EnvironmentSecrets:
    """Return the secrets of an environment."""
    return EnvironmentSecrets(values, PEPPERS)


def names(found: Mapping[str, tuple[Credential, ...]], slug: str = "acme") -> list[str]:
    """Name a provider's credentials."""
    return [each.name for each in found[slug]]


class Vault:
    """Secrets Manager: answers with what it was told to, and counts."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def get_secret_value(self, **request: str) -> Mapping[str, object]:
        """Give the next answer, the last one for ever."""
        self.asked.append(request["SecretId"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"SecretString": json.dumps(answer) if isinstance(answer, dict) else answer}


class Middle:
    """Chance without any."""

    def uniform(self) -> float:
        """Return the middle."""
        return 0.5

    def draw(self, count: int) -> bytes:
        """Return zeros."""
        return bytes(count)


def sharing(vault: Vault, secrets: EnvironmentSecrets) -> SharedSecret:
    """Return the shared secret of a vault."""
    return SharedSecret("junctor/credentials", secrets, Middle(), lambda: vault)


def refused(code: str) -> ClientError:
    """Return how Secrets Manager says no, with a canary in its text."""
    return ClientError({"Error": {"Code": code, "Message": f"not {SECRET}"}}, "GetSecretValue")


def test_numbered_variables_are_further_credentials() -> None:
    """A second account at a provider would have no effect, or one account count as two."""
    values = {"ACME_API_KEY": "a", "ACME_API_KEY_2": "b", "ACME_API_KEY_3": " a ", "ACME_API_KEY_16": "c", "ACME_TOKEN": "d"}
    beside = {"ACME_API_KEY_1": "e", "ACME_API_KEY_17": "f", "ACME_API_KEY_4": " ", "ACME_TOKEN_2": "b"}
    found = CredentialsAtHand(environment(**values, **beside), {"ACME_API_KEY_2": 3.0}).of(PROVIDERS)
    assert found["acme"] == (
        Credential("ACME_API_KEY"),
        Credential("ACME_API_KEY_2", 3.0),
        Credential("ACME_API_KEY_16"),
        Credential("ACME_TOKEN"),
    )
    assert (found["gpu"], found["open"]) == ((), ())
    assert names(CredentialsAtHand(environment(ACME_API_KEY_2="b"), {}).of(PROVIDERS)) == ["ACME_API_KEY_2"]


def test_a_private_endpoint_is_never_sent_the_key_of_another() -> None:
    """Whoever runs one private endpoint would be handed the key of another that is named alike."""
    secrets = environment(ENDPOINT_KEY_GPU="a", ENDPOINT_KEY_GPU_2="b")
    assert names(CredentialsAtHand(secrets, {}).of(PROVIDERS), "gpu") == ["ENDPOINT_KEY_GPU"]


def test_the_mapping_is_another_one_only_when_something_changed() -> None:
    """Plans would use a credential that is gone, or work everything out anew for each call."""
    secrets = environment(ACME_API_KEY="a")
    at_hand = CredentialsAtHand(secrets, {})
    found = at_hand.of(PROVIDERS)
    assert at_hand.of(PROVIDERS) is found
    assert secrets.share({}) == secrets.share({"ACME_API_KEY": "a"}) == 0
    assert at_hand.of(PROVIDERS) is found
    secrets.add("ACME_API_KEY_2", "b")
    assert names(at_hand.of(PROVIDERS)) == ["ACME_API_KEY", "ACME_API_KEY_2"]
    assert secrets.share({"ACME_API_KEY_2": "other"}) == 1
    assert at_hand.of(PROVIDERS) is not found
    assert at_hand.of(dict(PROVIDERS)) is at_hand.of(at_hand._seen[0] if at_hand._seen else {})


def test_what_is_shared_goes_before_what_is_the_process_s_own() -> None:
    """A key that was replaced for the fleet would go on being used where an old one stands in the environment."""
    secrets = environment(ACME_API_KEY="old")
    assert secrets.share({"ACME_API_KEY": "new", "ACME_TOKEN": " "}) == 1
    assert (secrets.get("ACME_API_KEY"), secrets.get("ACME_TOKEN")) == ("new", None)
    assert secrets.names() == {"ACME_API_KEY"}
    assert secrets.share({}) == 1
    assert secrets.get("ACME_API_KEY") == "old"


async def test_a_shared_secret_is_read_and_read_again() -> None:
    """A key that was added, changed or taken away would need a restart of the fleet."""
    secrets = environment()
    vault = Vault({"ACME_API_KEY": "a", "ACME_API_KEY_2": "b"}, {"ACME_API_KEY": "new"})
    kept = sharing(vault, secrets)
    assert (await kept.read()).changed == 2
    at_hand = CredentialsAtHand(secrets, {})
    assert names(at_hand.of(PROVIDERS)) == ["ACME_API_KEY", "ACME_API_KEY_2"]
    assert (await kept.read()).changed == 2
    assert names(at_hand.of(PROVIDERS)) == ["ACME_API_KEY"]
    assert secrets.get("ACME_API_KEY") == "new"
    assert (await kept.read()).changed == 0
    assert set(vault.asked) == {"junctor/credentials"}


async def test_only_names_of_provider_keys_are_taken() -> None:
    """Whoever may write the secret could put a key of the cloud, or of the control plane, in front of the real one."""
    strange: dict[str, Any] = {
        **dict.fromkeys(
            ("JUNCTOR_PEPPER", "JUNCTOR_LOCAL_KEY", "AWS_SECRET_ACCESS_KEY", "PATH", "acme_api_key", "KEY"), SECRET
        ),
        "ACME_API_KEY_3": 3,
        "ACME_API_KEY_4": None,
        "ENDPOINT_KEY_GPU_IN_PARIS": "p",
    }
    secrets = environment()
    reading = await sharing(Vault({"ACME_API_KEY": "a", **strange}), secrets).read()
    assert secrets.names() == {"ACME_API_KEY", "ENDPOINT_KEY_GPU_IN_PARIS"}
    assert (reading.changed, reading.ignored) == (2, 8)
    wanted = {name for provider in PackagedCatalog().current().providers.values() for name in provider.credentials}
    everything = environment()
    await sharing(Vault(dict.fromkeys(wanted, "a")), everything).read()
    assert wanted - everything.names() == {"JUNCTOR_LOCAL_KEY"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refused("AccessDeniedException"), "this role may not read it"),
        (refused("ResourceNotFoundException"), "there is no such secret"),
        (refused("InternalServiceError"), "refuses"),
        (EndpointConnectionError(endpoint_url=SECRET), "cannot be reached"),
        (RuntimeError(f"{SECRET}: refreshed credentials are still expired"), "cannot be asked"),  # as botocore says it
        (f'{{"ACME_API_KEY": "{SECRET}"', "not a JSON object"),
        (f'["{SECRET}"]', "not a JSON object"),
        (f'{{"ACME_API_KEY": "{SECRET}\ud800"}}', "not a JSON object"),
        (None, "not text"),
    ],
)
async def test_a_secret_that_cannot_be_read_changes_nothing_and_shows_nothing(answer: object, told: str) -> None:
    """An outage of Secrets Manager would take all keys away, or its error would put one into a log."""
    secrets = environment(ACME_API_KEY="a")
    secrets.share({"ACME_API_KEY": "b"})
    version, kept = secrets.version, sharing(Vault(answer), secrets)
    with pytest.raises(SharedSecretError, match=told) as caught:
        await kept.read()
    assert (secrets.get("ACME_API_KEY"), secrets.version) == ("b", version)
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {kept!r} {secrets!r}"
    assert SECRET not in shown
    assert caught.value.__context__ is None or caught.value.__suppress_context__


class Stopped(Exception):
    """The test has seen enough."""


def test_it_is_read_within_five_minutes_and_trouble_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that leaked would stay in use for longer than promised; or a log would fill with one outage."""
    down = refused("InternalServiceError")
    vault = Vault({"ACME_API_KEY": "a"}, {"ACME_API_KEY": "b", "OTHER": ""}, down, down, down, {"ACME_API_KEY": "b"}, down)
    secrets = environment()
    told: list[str] = []
    read_at: list[float] = []

    async def here(fetch: Any) -> Any:
        read_at.append(asyncio.get_running_loop().time())
        if read_at[-1] > 3_000:
            raise Stopped
        return fetch()

    monkeypatch.setattr(asyncio, "to_thread", here)
    loop = VirtualLoop()
    try:
        with pytest.raises(Stopped):
            loop.run_until_complete(sharing(vault, secrets).keep(told.append))
    finally:
        loop.close()
    assert read_at[:7] == [240.0, 480.0, 720.0, 740.0, 760.0, 780.0, 1020.0]
    assert secrets.get("ACME_API_KEY") == "b"
    assert [line.partition(": ")[2] for line in told] == [
        "1 changed",
        "1 changed, and 1 that are no provider's",
        "Secrets Manager refuses to give it; what it held before stays in force",
        "0 changed",
        "Secrets Manager refuses to give it; what it held before stays in force",
    ]
    most_s = shared.EVERY_S * (1 + shared.JITTER) + 4 * shared._TIMEOUT_S
    assert most_s < 300


async def test_the_call_is_one_that_secrets_manager_knows() -> None:
    """A request that the real service refuses would be found out in production."""
    client = boto3.Session("made-up", "made-up", region_name="eu-central-1").client("secretsmanager")
    secrets = environment()
    kept = SharedSecret("junctor/credentials", secrets, Middle(), lambda: client)
    with Stubber(client) as stub:
        stub.add_response("get_secret_value", {"SecretString": '{"ACME_API_KEY": "a"}'}, {"SecretId": "junctor/credentials"})
        stub.add_client_error("get_secret_value", "AccessDeniedException", SECRET)
        assert (await kept.read()).changed == 1
        with pytest.raises(SharedSecretError, match="may not read"):
            await kept.read()
        stub.assert_no_pending_responses()
    client.close()
    made = shared.secrets_manager("eu-central-1")
    assert made.meta.region_name == "eu-central-1"  # type: ignore[attr-defined]
