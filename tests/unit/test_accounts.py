"""Organisations and keys as they are made: the secret exists once, and a repeated write makes nothing twice."""

import pytest

from junctor.adapters.tables.faults import Fault
from junctor.domain.account import ApiKey, KeyScope
from junctor.policy import api_keys
from junctor.ports.secrets import Peppers
from junctor.ports.table import Item, UnknownOutcomeError
from junctor.records import accounts, keys
from junctor.records.tables import CORE
from junctor.usecases.accounts import Accounts
from tests.support.virtual_loop import run_virtual
from tests.support.world import EPOCH_MS, World

PEPPERS = Peppers(2, {1: b"1" * 32, 2: b"2" * 32})


class Vault:
    """The peppers."""

    def get(self, name: str) -> str | None:
        """No provider keys here."""
        return None

    def peppers(self) -> Peppers:
        """Return the peppers."""
        return PEPPERS


async def open_accounts() -> tuple[World, Accounts]:
    """Return a world and what makes accounts in it."""
    world = await World().open()
    return world, Accounts(world.table, Vault(), world.clock, world.dice)


def api_keys_in(world: World) -> list[ApiKey]:
    """Return all keys in the table."""
    return [accounts.api_key_of(item) for item in world.store.items(CORE) if item["sk"] == "KEY"]


def test_an_organisation_is_stored() -> None:
    """An account would exist in the answer only."""

    async def main() -> None:
        world, makes = await open_accounts()
        account = await makes.create_organisation("Société")
        (item,) = world.store.items(CORE)
        assert accounts.account_of(item) == account
        assert (account.name, account.created_at_ms) == ("Société", EPOCH_MS)
        assert (await makes.create_organisation("Société")).id != account.id

    run_virtual(main())


@pytest.mark.parametrize("scope", KeyScope)
def test_a_key_is_stored_as_its_digest_only(scope: KeyScope) -> None:
    """Whoever reads the table could call in a customer's name."""

    async def main() -> None:
        world, makes = await open_accounts()
        text = await makes.create_api_key("ACCOUNT", "ci", scope)
        parsed = api_keys.parse(text)
        assert parsed is not None
        (found,) = api_keys_in(world)
        assert found == ApiKey(
            lookup_id=parsed.lookup_id,
            account="ACCOUNT",
            name="ci",
            digest=api_keys.digest(b"2" * 32, text.encode()),
            pepper_version=2,
            created_at_ms=EPOCH_MS,
            scope=scope,
        )
        dump = repr(world.store.items(CORE))
        assert text not in dump
        assert text[16:68] not in dump
        assert api_keys.parse(found.digest.hex()) is None

    run_virtual(main())


def test_a_lookup_id_that_is_taken_is_not_overwritten() -> None:
    """One customer's key would replace another's."""

    async def main() -> None:
        world, makes = await open_accounts()
        first = await makes.create_api_key("ACCOUNT", "first")
        taken: Item = {**accounts.api_key_item(api_keys_in(world)[0]), "digest": b"other"}
        world.store.put(CORE, keys.api_key(first[3:15]), taken)
        again = Accounts(world.table, Vault(), world.clock, World().dice)  # its dice fall as the first ones did
        second = await again.create_api_key("ACCOUNT", "second")
        assert second[3:15] != first[3:15]
        assert {key.name: key.digest == b"other" for key in api_keys_in(world)} == {"first": True, "second": False}

    run_virtual(main())


def test_a_write_that_the_store_repeats_makes_one_key() -> None:
    """Each repeated write would leave a live key behind that nobody knows of."""

    async def main() -> None:
        world, makes = await open_accounts()
        world.store.dice.inject(Fault.DUPLICATED)
        text = await makes.create_api_key("ACCOUNT", "ci")
        assert [key.lookup_id for key in api_keys_in(world)] == [text[3:15]]

    run_virtual(main())


def test_a_key_whose_fate_is_unknown_is_not_shown() -> None:
    """A customer would be given a key that may never open anything."""

    async def main() -> None:
        world, makes = await open_accounts()
        world.store.dice.inject(Fault.DROPPED)
        with pytest.raises(UnknownOutcomeError):
            await makes.create_api_key("ACCOUNT", "ci")

    run_virtual(main())
