"""The operator's records: written if nothing came between, read when their version moves, passed over where they do not fit."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.net.addresses import AddressRefusedError
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.catalog import Catalog, DataPolicy, PriceParts
from junctor.domain.errors import ChangedMeanwhileError, InvalidFieldError, ResourceNotFoundError
from junctor.domain.overlay import Discount, Misfit, PassedOver, PriceOverride, PrivateEndpoint
from junctor.ports.table import Found, Key, PutNew, Set, UnavailableError, UnknownOutcomeError
from junctor.records import catalog as records
from junctor.records import keys
from junctor.records.tables import CATALOG
from junctor.usecases import catalog_changes
from junctor.usecases.catalog_changes import CatalogChanges
from junctor.usecases.catalog_overlay import CatalogOverlay, Ground, read
from tests.support.faulty_table import FaultyTable, Lost
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

ENDPOINT = "groq/openai/gpt-oss-120b"
PARTS = PriceParts(input=5, output=6)
OVERRIDE = PriceOverride(endpoint=ENDPOINT, parts=PARTS, as_of="", version=0)
DISCOUNT = Discount(subject="groq", off_ppm=10)
OWN = PrivateEndpoint(
    provider="vllm-eu",
    model="lab/own",
    upstream_model="own",
    base_url="https://a.example/v1",
    parts=PriceParts(input=0, output=0, cache_read=0),
    as_of="",
    version=0,
    credential="ENDPOINT_KEY_A",
    parameters=("max_tokens",),
    data_policy=DataPolicy(zdr=True, trains=False),
)


class Told(NotedTelemetry):
    """Keeps events too."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Mapping[str, str | int]]] = []

    def event(self, name: str, fields: Mapping[str, str | int]) -> None:
        """Keep the event."""
        self.events.append((name, fields))


class Places:
    """Allows every address but those in `refused`, and notes which are watched."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.watched: list[str] = []

    async def problem(self, base_url: str, *, resolved: bool) -> str | None:
        """Judge an address."""
        return "is refused" if base_url in self.refused else None

    def watch(self, base_url: str) -> None:
        """Note an address."""
        if base_url in self.refused:
            raise AddressRefusedError
        self.watched.append(base_url)


class Instance:
    """An instance of a deployment: its catalogue, and what an operator may do through it."""

    def __init__(self, store: SimulatedStore) -> None:
        self.table = FaultyTable(store.table(CATALOG))
        self.catalog = PackagedCatalog()
        self.places = Places()
        self.told = Told()
        ground = Ground(self.catalog, self.places, {"ollama"})
        self.overlay = CatalogOverlay(self.table, SeededDice(), self.told, ground)
        self.changes = CatalogChanges(self.table, LoopClock(), SeededDice(1), self.overlay)

    def price(self, endpoint: str = ENDPOINT) -> int | None:
        """Return the price of an input token that is in force."""
        return self.catalog.current().prices[endpoint][0].parts.input


@pytest.fixture
async def store() -> SimulatedStore:
    """Return a store with the table."""
    made = SimulatedStore()
    await made.create([CATALOG])
    return made


@pytest.fixture
def one(store: SimulatedStore) -> Instance:
    """Return an instance."""
    return Instance(store)


async def test_records_come_back_as_they_were_written(one: Instance) -> None:
    """A price or an address would be another after a restart."""
    timed = msgspec.structs.replace(OVERRIDE, valid_from=100, valid_to=200, note="n")
    assert await one.changes.set_price(OVERRIDE, None) == 1
    assert await one.changes.set_price(timed, 1) == 2
    assert await one.changes.set_discount(DISCOUNT, 2) == 3
    assert await one.changes.set_endpoint(OWN, None) == 4
    overlay, unread = await read(one.table, SeededDice())
    day = overlay.overrides[0].as_of
    assert len(day) == len("2026-11-22")
    stamped = msgspec.structs.replace
    assert set(overlay.overrides) == {stamped(OVERRIDE, as_of=day, version=1), stamped(timed, as_of=day, version=2)}
    assert (overlay.discounts, unread, overlay.version) == ((DISCOUNT,), (), 4)
    assert overlay.endpoints == (stamped(OWN, as_of=day, version=4),)


async def test_another_instance_follows_and_reads_one_item_while_nothing_changes(store: SimulatedStore, one: Instance) -> None:
    """Instances would charge different prices for ever, or read all records every few seconds."""
    other = Instance(store)
    listed = other.price()
    assert not await other.overlay.refresh()
    assert other.table.calls == {"get": 1}
    await one.changes.set_price(OVERRIDE, None)
    assert other.price() == listed
    assert await other.overlay.refresh()
    assert (other.price(), one.price()) == (5, listed)
    other.table.calls.clear()
    assert not await other.overlay.refresh()
    assert other.table.calls == {"get": 1}
    await one.changes.remove_price(ENDPOINT, None, None)
    assert await other.overlay.refresh()
    assert other.price() == listed


async def test_a_lagging_replica_changes_nothing(one: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stale answer would have the instance work out all that it knows of its catalogue again."""
    await one.changes.set_price(OVERRIDE, None)
    await one.overlay.refresh()
    held, get = one.catalog.current(), one.table.get

    async def lagging(key: Key, *, consistent: bool = True) -> Found:
        return await get(key, consistent=True) if consistent else Found(None)

    monkeypatch.setattr(one.table, "get", lagging)
    assert not await one.overlay.refresh()
    assert one.catalog.current() is held


async def test_a_catalogue_held_by_a_call_does_not_change(one: Instance) -> None:
    """A call under way would be charged another price than the one under which its ceiling was held."""
    held = one.catalog.current()
    before = held.prices[ENDPOINT]
    await one.changes.set_price(OVERRIDE, None)
    await one.changes.set_endpoint(OWN, None)
    await one.overlay.refresh()
    assert held.prices[ENDPOINT] == before
    assert "lab/own" not in held.models
    assert one.price() == 5
    assert one.places.watched == [OWN.base_url]


async def test_records_outlive_another_catalogue_beneath(one: Instance) -> None:
    """An import, or a server found on this machine, would bring listed prices back in silence."""
    await one.changes.set_price(OVERRIDE, None)
    await one.overlay.refresh()
    beneath = one.catalog.beneath()
    one.catalog.replace(msgspec.structs.replace(beneath, version="imported"))
    assert (one.price(), one.catalog.current().version) == (5, "imported+1")
    one.catalog.discovered(lambda catalog: msgspec.structs.replace(catalog, version="found"))
    assert (one.price(), one.catalog.current().version) == (5, "found+1")


async def test_a_change_against_another_version_is_refused(one: Instance) -> None:
    """Two operators would undo each other's work without noticing."""
    await one.changes.set_price(OVERRIDE, 0)
    for change in (
        one.changes.set_discount(DISCOUNT, 0),
        one.changes.set_endpoint(OWN, 2),
        one.changes.remove_price(ENDPOINT, None, 0),
    ):
        with pytest.raises(ChangedMeanwhileError):
            await change
    assert (await read(one.table, SeededDice()))[0].version == 1


async def test_changes_at_the_same_time_all_land(store: SimulatedStore) -> None:
    """One of several operators, or scripts, at work would lose his change."""
    instances = [Instance(store) for _ in range(4)]
    subjects = ("groq", "mistral", "deepseek", "openai")
    work = zip(instances, subjects, strict=True)
    await asyncio.gather(*(each.changes.set_discount(Discount(subject=name, off_ppm=5), None) for each, name in work))
    overlay, _ = await read(instances[0].table, SeededDice())
    assert {found.subject for found in overlay.discounts} == set(subjects)
    assert overlay.version == 4


async def test_the_same_record_again_changes_nothing(one: Instance) -> None:
    """A script that runs daily would make every instance read all records daily, and date all prices anew."""
    assert await one.changes.set_price(OVERRIDE, None) == 1
    assert await one.changes.set_price(OVERRIDE, None) == 1
    assert await one.changes.set_discount(DISCOUNT, None) == 2
    assert await one.changes.set_discount(DISCOUNT, None) == 2
    assert await one.changes.set_discount(msgspec.structs.replace(DISCOUNT, off_ppm=11), None) == 3
    assert [found.off_ppm for found in (await one.changes.list()).overlay.discounts] == [11]


async def test_a_lost_answer_does_no_harm(one: Instance) -> None:
    """An operator would be told that a change failed which had landed."""
    one.table.next("transact", Lost(UnknownOutcomeError()))
    assert await one.changes.set_price(OVERRIDE, 0) == 1
    one.table.next("transact", Lost(UnknownOutcomeError()))
    assert await one.changes.remove_price(ENDPOINT, None, 1) == 2
    assert (await one.changes.list()).overlay.overrides == ()


@pytest.mark.parametrize(
    ("wanted", "field", "text"),
    [
        (msgspec.structs.replace(OVERRIDE, endpoint="groq/lab/gone"), "price_override.endpoint", "no such endpoint"),
        (Discount(subject="gone", off_ppm=1), "discount.subject", "no such provider"),
        (msgspec.structs.replace(OWN, provider="groq"), "private_endpoint.provider", "belongs to the catalogue"),
        (msgspec.structs.replace(OWN, provider="ollama"), "private_endpoint.provider", "belongs to the catalogue"),
        (msgspec.structs.replace(OWN, base_url="http://bad"), "private_endpoint.base_url", "is refused"),
    ],
)
async def test_what_does_not_fit_is_not_written(one: Instance, wanted: Any, field: str, text: str) -> None:
    """A slip would be found by callers and not by its author."""
    one.places.refused.add("http://bad")
    ways: Mapping[Any, Any] = {
        PriceOverride: one.changes.set_price,
        Discount: one.changes.set_discount,
        PrivateEndpoint: one.changes.set_endpoint,
    }
    with pytest.raises(InvalidFieldError, match=text) as caught:
        await ways[type(wanted)](wanted, None)
    assert caught.value.violations[0][0] == field
    assert (await read(one.table, SeededDice()))[0].version == 0


async def test_no_record_may_keep_another_from_fitting(one: Instance) -> None:
    """A new endpoint with another key would take its provider's older one out of force."""
    await one.changes.set_endpoint(OWN, None)
    first = msgspec.structs.replace(OWN, model="a/sorts-first", credential=None)
    with pytest.raises(InvalidFieldError, match="another credential"):
        await one.changes.set_endpoint(first, None)
    assert await one.changes.set_endpoint(msgspec.structs.replace(OWN, credential=None), None) == 2


async def test_there_is_a_bound_to_records(one: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """One script gone wrong would make every look of every instance slow."""
    monkeypatch.setattr(catalog_changes, "RECORDS_MAX", 2)
    await one.changes.set_price(OVERRIDE, None)
    await one.changes.set_discount(DISCOUNT, None)
    with pytest.raises(InvalidFieldError, match="more than 2"):
        await one.changes.set_endpoint(OWN, None)


async def test_removing_what_is_not_there_is_told(one: Instance) -> None:
    """A slip in a name would look like success, and the record stay."""
    await one.changes.set_price(OVERRIDE, None)
    for removal, kind in (
        (one.changes.remove_price(ENDPOINT, 100, None), "price_override"),
        (one.changes.remove_discount("groq", None), "discount"),
        (one.changes.remove_endpoint("vllm-eu/lab/own", None), "private_endpoint"),
    ):
        with pytest.raises(ResourceNotFoundError) as caught:
            await removal
        assert caught.value.kind == kind


async def test_what_stops_fitting_is_passed_over_and_told_once(store: SimulatedStore, one: Instance) -> None:
    """A record that no longer fits would take the others down, or fill the log every few seconds."""
    other = Instance(store)
    other.places.refused.add(OWN.base_url)
    for change in (one.changes.set_price(OVERRIDE, None), one.changes.set_endpoint(OWN, None)):
        await change
    await other.overlay.look()
    await other.overlay.look()
    said = [("catalogue change passed over", {"record": "vllm-eu/lab/own", "reason": "ADDRESS_REFUSED"})]
    assert other.told.events == said
    assert (other.price(), other.places.watched) == (5, [])
    assert "lab/own" not in other.catalog.current().models
    assert (await other.changes.list()).passed_over == (PassedOver("vllm-eu/lab/own", Misfit.ADDRESS_REFUSED),)
    other.catalog.replace(_without(other.catalog.beneath(), ENDPOINT))
    await other.overlay.look()
    await other.overlay.look()
    gone = ("catalogue change passed over", {"record": ENDPOINT, "reason": "ENDPOINT_MISSING"})
    assert other.told.events == [*said, gone]


async def test_a_record_of_another_version_is_passed_over_and_can_be_removed(one: Instance) -> None:
    """A downgrade would stop at a record that it cannot read, or never be rid of it."""
    await one.changes.set_price(OVERRIDE, None)
    for kind, record in (("OVERRIDE", "x"), ("LATER", {"a": 1})):
        await one.table.put_new(_raw(kind, record))
    await one.table.update(keys.overlay_version(), (), (Set("version", 7),))
    await one.overlay.look()
    assert one.price() == 5
    assert {found.name for found in one.overlay.passed_over} == {"odd@0"}
    await one.changes.remove_price("odd", None, None)
    assert [found.reason for found in (await one.changes.list()).passed_over] == [Misfit.UNREADABLE]


async def test_a_store_that_is_down_leaves_what_is_in_force(one: Instance) -> None:
    """An outage of the store would bring listed prices back, or end the looking."""
    await one.changes.set_price(OVERRIDE, None)
    await one.overlay.look()
    one.table.always("get", UnavailableError())
    await one.overlay.look()
    assert (one.price(), one.told.events) == (5, [("catalogue changes not read", {"error": "UnavailableError"})])
    one.table.heal()
    await one.changes.remove_price(ENDPOINT, None, None)
    await one.overlay.look()
    assert one.price() != 5


async def test_a_change_between_two_pages_is_read_again(one: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance would keep half of a change for ever, believing that it has all of it."""
    await one.changes.set_price(OVERRIDE, None)
    query = one.table.query

    async def meanwhile(wanted: Any) -> Any:
        page = await query(wanted)
        monkeypatch.undo()
        await one.changes.set_discount(DISCOUNT, None)
        return page

    monkeypatch.setattr(one.table, "query", meanwhile)
    assert await one.overlay.refresh()
    assert await one.overlay.refresh()
    assert not await one.overlay.refresh()
    assert one.catalog.current().prices["groq/openai/gpt-oss-20b"][0].version.endswith("-10ppm")


def _without(catalog: Catalog, endpoint: str) -> Catalog:
    kept = {slug: tuple(row for row in served if row.id != endpoint) for slug, served in catalog.endpoints.items()}
    return msgspec.structs.replace(catalog, endpoints=kept)


def _raw(kind: str, record: Any) -> Any:
    return PutNew({**keys.attributes(keys.overlay_record(kind, "odd@0")), "record": record}).item


def test_names_tell_records_apart() -> None:
    """Two prices of one endpoint would overwrite each other, or one record would be kept twice."""
    later = msgspec.structs.replace(OVERRIDE, valid_from=5)
    names = [records.name_of(record) for record in (OVERRIDE, later, DISCOUNT, OWN)]
    assert names == [f"{ENDPOINT}@0", f"{ENDPOINT}@5", "groq", "vllm-eu/lab/own"]
