"""Nouns as items and back: nothing lost, nothing stored twice, and a slot small enough for one write unit."""

import random
from typing import Any

import msgspec
import pytest

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.tables.values import check_item, item_size
from junctor.domain.account import (
    Account,
    ApiKey,
    GrantKind,
    KeyScope,
    KeySecret,
    Member,
    MemberRole,
    RecurringGrant,
    Workspace,
)
from junctor.domain.completion import FinishReason
from junctor.domain.credits import Interval
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Leg, Slot, SlotState
from junctor.domain.rates import Rates
from junctor.doors.codec.checks import Limits
from junctor.policy import api_keys
from junctor.ports.table import Equals, Item, Remove, Set
from junctor.records import accounts, generations, ids, keys, leases
from junctor.records.tables import ALL_TABLES, CORE, OPEN_LEASES

ULID = "7" + "Z" * 25
SLOT_BYTES_MAX = 1_000
LAST_MS = 2**48 - 1
LARGEST = 2**63 - 1


def generation(**fields: Any) -> Generation:
    """Return an OPEN generation with some fields changed."""
    place = Slot(ULID, ULID, 7)
    opened = Generation(
        id=ids.generation_id(place),
        slot=place,
        state=SlotState.OPEN,
        api_key="key",
        requested_model="lab/model",
        started_at_ms=1,
        deadline_at_ms=2,
    )
    return msgspec.structs.replace(opened, **fields)


def full() -> Generation:
    """Return the largest generation that the packaged catalogue and the limits allow, with every field set."""
    catalog = PackagedCatalog().current()
    endpoints = [endpoint for served in catalog.endpoints.values() for endpoint in served]
    place = Slot(ULID, ULID, ids.SLOT_NUMBER_MAX)
    return Generation(
        id=ids.generation_id(place),
        slot=place,
        state=max(SlotState, key=lambda state: len(state.value)),
        api_key="z" * api_keys.LOOKUP_CHARS,
        requested_model="x" * Limits().model_bytes_max,
        started_at_ms=LAST_MS,
        deadline_at_ms=LAST_MS,
        streamed=True,
        hold_nanousd=LARGEST,
        cost_nanousd=LARGEST,
        model=max((endpoint.model for endpoint in endpoints), key=len),
        provider=max((endpoint.provider for endpoint in endpoints), key=len),
        endpoint=max((endpoint.id for endpoint in endpoints), key=len),
        price_version=max((card.version for cards in catalog.prices.values() for card in cards), key=len),
        upstream_id="u" * generations.UPSTREAM_ID_MAX,
        input_tokens=LARGEST,
        output_tokens=LARGEST,
        cache_read_tokens=LARGEST,
        cache_write_tokens=LARGEST,
        reasoning_tokens=LARGEST,
        estimated=True,
        finish_reason=max((reason.value for reason in FinishReason), key=len),
        time_to_first_token_ms=LAST_MS,
        ended_at_ms=LAST_MS,
    )


def stored(item: Item) -> Item:
    """Return an item as a store would hand it back."""
    return check_item(CORE, item)


def test_the_largest_slot_fits_into_one_write_unit() -> None:
    """Every generation would cost twice as many write units, and a larger one might not be stored at all."""
    largest = full()
    for field in msgspec.structs.fields(Generation):
        assert getattr(largest, field.name) != field.default, field.name
    assert item_size(generations.item(largest)) <= SLOT_BYTES_MAX


@pytest.mark.parametrize(
    "given",
    [
        generation(),
        generation(streamed=True, hold_nanousd=5),
        generation(state=SlotState.VOID, ended_at_ms=9),
        generation(state=SlotState.SETTLED, cost_nanousd=0, time_to_first_token_ms=0, ended_at_ms=9),
        generation(requested_model="€ ", api_key=""),
        full(),
    ],
)
def test_a_generation_comes_back_as_it_was(given: Generation) -> None:
    """A record of what was billed would change by being stored, or a cost of nothing become an unknown one."""
    item = stored(generations.item(given))
    assert generations.generation_of(item, given.slot) == given
    assert generations.state_of(item) is given.state


def test_a_slot_does_not_repeat_its_key() -> None:
    """Each record would hold what its key says already, and outgrow its write unit."""
    item = generations.item(generation())
    assert {"id", "slot", "account", "lease"}.isdisjoint(item)
    assert item["sk"] == "SLOT#000007"


def test_ending_a_slot_writes_what_changed_if_it_is_still_open() -> None:
    """A settlement could overwrite another end, or lose what was written at the opening."""
    opened = generation(streamed=True)
    ended = msgspec.structs.replace(opened, state=SlotState.SETTLED, input_tokens=3, cost_nanousd=0, ended_at_ms=9)
    conditions, changes = generations.ending(opened, ended)
    assert conditions == (Equals("state", "OPEN"),)
    assert set(changes) == {Set("state", "SETTLED"), Set("input_tokens", 3), Set("cost_nanousd", 0), Set("ended_at_ms", 9)}


@pytest.mark.parametrize(
    "lease",
    [
        Lease(id=ULID, account="A", scope="A", owner="O", until_ms=1, exp_ms=2, width=16),
        Lease(
            id=ULID,
            account="A",
            scope="A",
            owner="O",
            until_ms=1,
            exp_ms=LAST_MS,
            width=16,
            amount_nanousd=7,
            legs=(Leg("main", 3), Leg("grant", 4)),
            windows=("w1", "w2"),
        ),
    ],
)
def test_a_lease_comes_back_as_it_was_and_is_in_the_index_of_open_ones(lease: Lease) -> None:
    """A lease of an instance that died would not be found, and its money be bound for ever."""
    item = stored(leases.item(lease))
    assert leases.lease_of(item) == lease
    assert int(str(item[OPEN_LEASES.partition])) < leases.OPEN_SHARDS
    assert item[OPEN_LEASES.sort] == f"{lease.exp_ms:015d}"


def test_open_leases_are_spread_over_the_shards() -> None:
    """All leases would lie in one partition, which bears only a thousand writes a second."""
    shards = set()
    rng = random.Random(0)
    for number in range(500):
        lease_id = ids.ulid(1_790_000_000_000 + number, rng.randbytes(10))
        lease = Lease(id=lease_id, account="A", scope="A", owner="O", until_ms=1, exp_ms=2, width=16)
        shards.add(leases.item(lease)[OPEN_LEASES.partition])
    assert len(shards) == leases.OPEN_SHARDS


@pytest.mark.parametrize(
    "account",
    [
        Account(id="A", name="Société €", created_at_ms=5),
        Account(
            id="A",
            name="n",
            created_at_ms=5,
            disabled=True,
            recurring_grant=RecurringGrant(kind=GrantKind.METERED, amount_nanousd=LARGEST, interval=Interval.MONTH),
            low_balance_nanousd=0,
            ver=3,
        ),
    ],
)
def test_an_organisation_comes_back_as_it_was(account: Account) -> None:
    """An account would lose its name, its grant, or that it was disabled."""
    item, entry = (stored(write.item) for write in accounts.new_account(account))
    assert accounts.account_of(item) == account
    assert entry["pk"] != item["pk"]
    assert entry["sk"] == account.id


def test_members_and_workspaces_come_back_until_they_are_removed() -> None:
    """A member who has left would still be one, or one who stays be lost."""
    member = Member(account="A", id="m", name="", role=MemberRole.BILLING, created_at_ms=5, disabled=True)
    workspace = Workspace(account="A", id="m", name="Büro", created_at_ms=5, ver=2)
    their, its = stored(accounts.member_item(member)), stored(accounts.workspace_item(workspace))
    assert (accounts.member_of(their), accounts.workspace_of(its)) == (member, workspace)
    assert their["sk"] != its["sk"]
    assert accounts.member_of({**their, accounts.GONE: True}) is None
    assert accounts.workspace_of({**its, accounts.GONE: True}) is None


SECRET = KeySecret(tag="t", digest=bytes(range(32)), pepper_version=1)


@pytest.mark.parametrize(
    "key",
    [
        ApiKey(lookup_id="abc", account="A", name="n", secrets=(SECRET,), created_at_ms=5),
        ApiKey(
            lookup_id="abc",
            account="",
            name="",
            secrets=(SECRET, KeySecret(tag="u", digest=b"\xff" * 32, pepper_version=2, until_ms=7)),
            created_at_ms=5,
            scope=KeyScope.OPERATOR,
            disabled=True,
            expires_at_ms=0,
            workspace="w",
            member="m",
            allowed_models=(),
            allowed_providers=("p", "q"),
            rates=Rates(requests_per_min=1, concurrency=2),
            ver=9,
        ),
    ],
)
def test_an_api_key_comes_back_as_it_was(key: ApiKey) -> None:
    """A disabled or expired key would open again by being stored, or one that allows no model allow all."""
    item = stored(accounts.api_key_item(key))
    assert accounts.api_key_of(item) == key
    assert stored(item) == item


def test_a_change_writes_what_differs_for_the_version_that_it_knows() -> None:
    """One administrator's change would undo another's, or what was lifted stay in force."""
    old = ApiKey(lookup_id="abc", account="A", name="n", secrets=(SECRET,), created_at_ms=5, workspace="w", ver=4)
    new = msgspec.structs.replace(old, name="other", workspace=None, allowed_models=("a/b",))
    change = accounts.change(old, new)
    assert change.key == keys.api_key("abc")
    assert change.conditions == (Equals("ver", 4),)
    assert set(map(repr, change.changes)) == set(
        map(repr, [Set("name", "other"), Set("allowed_models", ["a/b"]), Remove("workspace"), Set("ver", 5)])
    )


def test_tables_have_names_of_their_own() -> None:
    """Two families of items would lie in one table by accident."""
    assert len({spec.name for spec in ALL_TABLES}) == len(ALL_TABLES)
    assert CORE in ALL_TABLES
