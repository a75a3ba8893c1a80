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
from junctor.domain.call import Outcome
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import FinishReason, Usage
from junctor.domain.credits import Interval
from junctor.domain.generation import Generation
from junctor.domain.lease import Lease, Leg, Slot, SlotState
from junctor.domain.rates import Rates
from junctor.domain.routing import Candidate
from junctor.doors.codec.checks import Limits
from junctor.policy import api_keys
from junctor.ports.table import Equals, Item, Remove, Set
from junctor.records import accounts, generations, ids, keys, leases
from junctor.records.tables import ALL_TABLES, CORE, OPEN_LEASES
from tests.support.world import VOID, expected, paid, settled

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


def full() -> tuple[Generation, Outcome]:
    """Return the largest generation that the packaged catalogue and the limits allow, as it is opened and as it ends."""
    catalog = PackagedCatalog().current()
    endpoints = [endpoint for served in catalog.endpoints.values() for endpoint in served]
    place = Slot(ULID, ULID, ids.SLOT_NUMBER_MAX)
    opened = Generation(
        id=ids.generation_id(place),
        slot=place,
        state=SlotState.OPEN,
        api_key="z" * api_keys.LOOKUP_CHARS,
        requested_model="x" * Limits().model_bytes_max,
        started_at_ms=LAST_MS,
        deadline_at_ms=LAST_MS,
        streamed=True,
        hold_nanousd=LARGEST - 1,
    )
    endpoint = Endpoint(
        id=max((endpoint.id for endpoint in endpoints), key=len),
        model=max((endpoint.model for endpoint in endpoints), key=len),
        provider=max((endpoint.provider for endpoint in endpoints), key=len),
        upstream_model="m",
        dialect="d",
        base_url="https://a.example",
    )
    version = max((card.version for cards in catalog.prices.values() for card in cards), key=len)
    outcome = Outcome(
        state=SlotState.SETTLED,
        cost_nanousd=LARGEST,
        candidate=Candidate(endpoint, None, PriceCard(version=version, parts=PriceParts(), source="s", as_of="d")),
        usage=msgspec.structs.replace(Usage(*range(LARGEST, LARGEST - 10, -1)), estimated=True),
        finish_reason=max(FinishReason, key=lambda reason: len(reason.value)),
        upstream_id='"' * generations.UPSTREAM_ID_MAX,
        time_to_first_token_ms=LAST_MS,
    )
    return opened, outcome


def ended(opened: Generation, outcome: Outcome, now_ms: int) -> Item:
    """Return a slot's item after its end."""
    _, changes = generations.ending(opened, outcome, now_ms)
    return {**generations.item(opened), **{change.attribute: change.value for change in changes if isinstance(change, Set)}}


def stored(item: Item) -> Item:
    """Return an item as a store would hand it back."""
    return check_item(CORE, item)


def test_the_largest_slot_fits_into_one_write_unit() -> None:
    """Every generation would cost twice as many write units, and a larger one might not be stored at all."""
    opened, outcome = full()
    item = ended(opened, outcome, LAST_MS)
    largest = generations.generation_of(item, opened.slot)
    for field in msgspec.structs.fields(Generation):
        assert getattr(largest, field.name) != field.default, field.name
    assert item_size(item) <= SLOT_BYTES_MAX


@pytest.mark.parametrize(
    "given",
    [
        generation(),
        generation(streamed=True, hold_nanousd=5),
        generation(requested_model='€ "\n', api_key=""),
        full()[0],
    ],
)
def test_a_generation_comes_back_as_it_was(given: Generation) -> None:
    """A record of what was asked would change by being stored."""
    item = stored(generations.item(given))
    assert generations.generation_of(item, given.slot) == given
    assert generations.state_of(item) is SlotState.OPEN


@pytest.mark.parametrize("outcome", [settled(3, 7), settled(4), paid(0), VOID, full()[1]])
def test_a_generation_that_ended_says_how(outcome: Outcome) -> None:
    """A record of what was billed would tell another story, so that nobody could work out the charge again."""
    opened = generation(streamed=True, hold_nanousd=5)
    item = stored(ended(opened, outcome, 9))
    assert generations.generation_of(item, opened.slot) == expected(opened, outcome, 9)
    assert generations.cost_of(item) == outcome.cost_nanousd


@pytest.mark.parametrize(
    ("told", "kept"), [("x" * 65, "x" * 64), ("€" * 30, "€" * 21), ("a\n\0b\x7f\ud800", "ab"), ("\t" * 99, "")]
)
def test_a_provider_s_id_is_cut_to_what_can_be_kept_and_shown(told: str, kept: str) -> None:
    """A provider could make each of our writes cost more, or fail, by what it calls a generation."""
    item = stored(ended(generation(), msgspec.structs.replace(settled(1), upstream_id=told), 9))
    assert generations.generation_of(item, generation().slot).upstream_id == kept


def test_a_slot_does_not_repeat_its_key() -> None:
    """Each record would hold what its key says already, and outgrow its write unit."""
    item = generations.item(generation())
    assert {"id", "slot", "account", "lease"}.isdisjoint(item)
    assert item["sk"] == "SLOT#000007"


def test_the_form_of_a_slot_stays_as_it_is() -> None:
    """Slots that were written yesterday could not be read, or be read as something else."""
    opened = generation(streamed=True, hold_nanousd=5)
    item = ended(opened, settled(1, 7), 9)
    assert item["asked"] == '["lab/model",1,2,true]'
    assert item["answer"] == '["lab/model","p","p/lab/model","7","up-1","stop",1,1,2,3,4,5,false,7,8,9,10]'
    others = {name: value for name, value in item.items() if name not in {"pk", "sk", "ttl", "asked", "answer"}}
    assert others == {"state": "SETTLED", "api_key": "key", "hold_nanousd": 7, "cost_nanousd": 7, "ended_at_ms": 9}


def test_ending_a_slot_writes_little_if_it_is_still_open() -> None:
    """A settlement could overwrite another end, or lose what was written at the opening."""
    conditions, changes = generations.ending(generation(hold_nanousd=7), settled(1, 7), 9)
    assert conditions == (Equals("state", "OPEN"),)
    assert [change.attribute for change in changes] == ["cost_nanousd", "ended_at_ms", "state", "answer"]
    _, changes = generations.ending(generation(hold_nanousd=7), VOID, 9)
    assert changes == (Set("cost_nanousd", 0), Set("ended_at_ms", 9), Set("state", "VOID"))


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
