"""Organisations and keys as they are made: the secret exists once, and a repeated write makes nothing twice."""

import pytest

from junctor.adapters.tables.faults import Fault
from junctor.domain.account import ApiKey, KeyScope, KeySecret
from junctor.domain.errors import ResourceNotFoundError
from junctor.ledger import trying
from junctor.policy import api_keys
from junctor.ports.table import Item, UnknownOutcomeError
from junctor.records import accounts, keys
from junctor.records.tables import CORE
from junctor.usecases.accounts import Accounts
from tests.support.stage import Stage, on_stage
from tests.support.world import EPOCH_MS, SeededDice


def api_keys_in(stage: Stage) -> list[ApiKey]:
    """Return all keys in the table."""
    return [accounts.api_key_of(item) for item in stage.store.items(CORE) if item["sk"] == "KEY"]


def test_an_organisation_is_stored() -> None:
    """An account would exist in the answer only, or be missing where all are listed."""

    async def scenario(stage: Stage) -> None:
        account = await stage.accounts.create_organisation("Société")
        items = {str(item["sk"]): item for item in stage.store.items(CORE)}
        assert accounts.account_of(items["ORG"]) == account
        assert items[account.id]["pk"] != items["ORG"]["pk"]
        assert (account.name, account.created_at_ms) == ("Société", EPOCH_MS)
        assert (await stage.accounts.create_organisation("Société")).id != account.id

    on_stage(scenario)


@pytest.mark.parametrize("scope", KeyScope)
def test_a_key_is_stored_as_its_digest_only(scope: KeyScope) -> None:
    """Whoever reads the table could call in a customer's name."""

    async def scenario(stage: Stage) -> None:
        account = "" if scope is KeyScope.OPERATOR else (await stage.accounts.create_organisation("o")).id
        text = await stage.accounts.create_api_key(account, "ci", scope)
        parsed = api_keys.parse(text)
        assert parsed is not None
        (found,) = api_keys_in(stage)
        digest = api_keys.digest(b"2" * 32, text.encode())
        assert found == ApiKey(
            lookup_id=parsed.lookup_id,
            account=account,
            name="ci",
            secrets=(KeySecret(tag=text[-7:], digest=digest, pepper_version=2),),
            created_at_ms=EPOCH_MS,
            scope=scope,
        )
        dump = repr(stage.store.items(CORE))
        assert text not in dump
        assert text[16:68] not in dump
        assert api_keys.parse(digest.hex()) is None

    on_stage(scenario)


def test_a_key_is_made_for_an_organisation_that_exists() -> None:
    """A mistyped organisation would get keys that never open anything."""

    async def scenario(stage: Stage) -> None:
        with pytest.raises(ResourceNotFoundError):
            await stage.accounts.create_api_key("NOBODY", "ci")
        assert api_keys_in(stage) == []

    on_stage(scenario)


def test_a_lookup_id_that_is_taken_is_not_overwritten() -> None:
    """One customer's key would replace another's."""

    async def scenario(stage: Stage) -> None:
        account = (await stage.accounts.create_organisation("o")).id
        first = await Accounts(stage.table, stage.vault, stage.clock, SeededDice(7)).create_api_key(account, "first")
        taken: Item = {**accounts.api_key_item(api_keys_in(stage)[0]), "name": "other"}
        stage.store.put(CORE, keys.api_key(first[3:15]), taken)
        again = Accounts(stage.table, stage.vault, stage.clock, SeededDice(7))  # its dice fall as the first ones did
        second = await again.create_api_key(account, "second")
        assert second[3:15] != first[3:15]
        assert {key.name: key.lookup_id for key in api_keys_in(stage)} == {"other": first[3:15], "second": second[3:15]}

    on_stage(scenario)


@pytest.mark.parametrize("fault", [Fault.DUPLICATED, Fault.REPLY_LOST])
def test_a_write_that_is_repeated_makes_one_key(fault: Fault) -> None:
    """Each repeated write would leave a live key behind that nobody knows of."""

    async def scenario(stage: Stage) -> None:
        account = (await stage.accounts.create_organisation("o")).id
        stage.store.dice.inject(fault)
        stage.store.dice.inject(fault)
        text = await stage.accounts.create_api_key(account, "ci")
        assert [key.lookup_id for key in api_keys_in(stage)] == [text[3:15]]

    on_stage(scenario)


def test_a_key_whose_fate_is_unknown_is_not_shown() -> None:
    """A customer would be given a key that may never open anything."""

    async def scenario(stage: Stage) -> None:
        account = (await stage.accounts.create_organisation("o")).id
        stage.store.dice.inject(Fault.NONE, *[Fault.DROPPED] * trying.TRIES)
        with pytest.raises(UnknownOutcomeError):
            await stage.accounts.create_api_key(account, "ci")

    on_stage(scenario)
