"""CatalogService's use case: what a filter means, what order, who sees what, and what is said of an endpoint."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from junctor.domain.account import KeyScope
from junctor.domain.call import Snapshots
from junctor.domain.catalog import DataPolicy, PriceCard
from junctor.domain.errors import InvalidFieldError, ModelNotAllowedError, ModelNotFoundError
from junctor.domain.health import Cause, EndpointHealth, Uptime
from junctor.doors.rpc.catalog import methods
from junctor.usecases.catalog import ModelSort
from junctor.usecases.catalog_sight import Opening, Status, age_days, status
from junctor.v1 import catalog_service_pb2 as pb
from tests.support.routes import NOW_S, call, card, endpoint, health, left_out, plan, tried, world
from tests.support.shelf import MANAGER, Shelf
from tests.support.virtual_loop import run_virtual

Scenario = Callable[[Shelf], Awaitable[None]]
DAY_S = 86_400


def play(snapshots: Snapshots, scenario: Scenario) -> None:
    """Play a scenario beside a catalogue."""

    async def main() -> None:
        await scenario(Shelf(snapshots))

    run_virtual(main())


def three() -> Snapshots:
    """Return three models: lab/a at two providers, lab/b and maker/c at one each."""
    return world(
        endpoint("p", "lab/a", context_tokens=1_000, parameters=("tools",), input_modalities=("text", "image")),
        endpoint("q", "lab/a", context_tokens=9_000, parameters=("seed",)),
        endpoint("q", "lab/b", context_tokens=5_000, parameters=("tools", "seed")),
        endpoint("r", "maker/c"),
        prices={"p": card(900), "q": card(300), "r": card(500, input=None)},
        measured={
            "p": health(time_to_first_token_ms=100.0, throughput_tokens_per_s=20.0),
            "q": health(time_to_first_token_ms=300.0, throughput_tokens_per_s=80.0),
        },
        aliases={"lab/a": ("alpha",)},
    )


def test_the_service_is_a_row_for_each_method_and_any_key() -> None:
    """A method would not be served, or someone with a valid key could not see what he pays for."""
    rows = methods(Shelf(three()).reader)
    service = pb.DESCRIPTOR.services_by_name["CatalogService"]
    assert {name: row.request.DESCRIPTOR.full_name for name, row in rows.items()} == {
        method.name: method.input_type.full_name for method in service.methods
    }
    assert {row.scopes for row in rows.values()} == {frozenset(KeyScope)}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["lab/a", "lab/b", "maker/c"]),
        ({"words": ("lab",)}, ["lab/a", "lab/b"]),
        ({"words": ("lab", "alph")}, ["lab/a"]),
        ({"providers": ("q",)}, ["lab/a", "lab/b"]),
        ({"providers": ("p", "r")}, ["lab/a", "maker/c"]),
        ({"input_modalities": ("image",)}, ["lab/a"]),
        ({"output_modalities": ("text",)}, ["lab/a", "lab/b", "maker/c"]),
        ({"parameters": ("tools", "seed")}, ["lab/b"]),
        ({"context_tokens_min": 5_000}, ["lab/a", "lab/b"]),
        ({"context_tokens_min": 5_001}, ["lab/a"]),
        ({"input_picousd_max": 300}, ["lab/a", "lab/b"]),
        ({"output_picousd_max": 500}, ["lab/a", "lab/b", "maker/c"]),
        ({"input_picousd_max": 10**9}, ["lab/a", "lab/b"]),
        ({"input_modalities": ("image",), "input_picousd_max": 300}, []),
        ({"reachable_only": True}, ["lab/a", "lab/b"]),
    ],
)
def test_a_model_is_listed_if_one_endpoint_is_all_that_is_wanted(wanted: dict[str, Any], found: list[str]) -> None:
    """A list would promise what no endpoint does, or hide what one does."""

    async def scenario(shelf: Shelf) -> None:
        assert await shelf.slugs(**wanted) == found

    play(three(), scenario)


def test_figures_are_of_the_endpoints_that_are_wanted() -> None:
    """A model would be listed as cheap at a provider where it is not."""

    async def scenario(shelf: Shelf) -> None:
        every = (await shelf.models(words=("alpha",)))[0]
        assert (every.context_tokens, every.cheapest, every.throughput_tokens_per_s) == (9_000, (300, 300), 80.0)
        assert every.time_to_first_token_ms == 100.0
        dear = (await shelf.models(providers=("p",)))[0]
        assert (dear.context_tokens, dear.cheapest, dear.throughput_tokens_per_s) == (1_000, (900, 900), 20.0)
        unknown = (await shelf.models(providers=("r",)))[0]
        assert (unknown.context_tokens, unknown.cheapest, unknown.throughput_tokens_per_s) == (None, None, None)
        assert unknown.time_to_first_token_ms is None

    play(three(), scenario)


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        (ModelSort.NAME, ["lab/a", "lab/b", "maker/c"]),
        (ModelSort.PRICE, ["lab/a", "lab/b", "maker/c"]),
        (ModelSort.CONTEXT, ["lab/a", "lab/b", "maker/c"]),
        (ModelSort.NEWEST, ["maker/c", "lab/b", "lab/a"]),
        (ModelSort.THROUGHPUT, ["lab/a", "lab/b", "maker/c"]),
        (ModelSort.LATENCY, ["lab/a", "lab/b", "maker/c"]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_what_is_sorted_by_comes_first_and_what_is_not_known_last(sort: ModelSort, found: list[str], size: int) -> None:
    """The cheapest, largest, newest or fastest model would not be found at the top, or pages would cut the order."""

    async def scenario(shelf: Shelf) -> None:
        shelf.with_models(created_on={"c": "2026-02-01", "b": "2025-12-31"})
        assert await shelf.slugs(size=size, sort=sort) == found

    play(three(), scenario)


def test_what_can_be_reached_sets_the_price() -> None:
    """A list would show a price at which nobody here can buy."""
    snapshots = world(
        endpoint("p", "lab/a"),
        endpoint("q", "lab/a"),
        prices={"p": card(900), "q": card(300)},
        credentials={"p": ("KEY",)},
    )

    async def scenario(shelf: Shelf) -> None:
        assert (await shelf.models())[0].cheapest == (900, 900)
        shelf.snapshots = msgspec.structs.replace(shelf.snapshots, credentials={})
        assert (await shelf.models())[0].cheapest == (300, 300)

    play(snapshots, scenario)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"providers": ("p", "nobody")}, "providers[1]"),
        ({"parameters": ("telepathy",)}, "parameters[0]"),
        ({"input_modalities": ("smell",)}, "input_modalities[0]"),
        ({"output_modalities": ("image",)}, "output_modalities[0]"),
    ],
)
def test_a_filter_that_names_what_there_is_not_is_refused(wanted: dict[str, Any], path: str) -> None:
    """A slip in a name would look like an empty market."""

    async def scenario(shelf: Shelf) -> None:
        with pytest.raises(InvalidFieldError) as refused:
            await shelf.models(**wanted)
        assert [field for field, _ in refused.value.violations] == [path]

    play(three(), scenario)


@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_size": 1_001}, {"page_token": "x" * 5_000}, {"page_token": "Ünfug"}]
)
@pytest.mark.parametrize(
    ("method", "request_type", "asked"),
    [
        ("ListModels", pb.ListModelsRequest, {}),
        ("ListEndpoints", pb.ListEndpointsRequest, {"model": "lab/a"}),
        ("ListProviders", pb.ListProvidersRequest, {}),
    ],
)
def test_a_page_that_there_is_not_is_refused(
    method: str, request_type: Any, asked: dict[str, Any], fields: dict[str, Any]
) -> None:
    """One request could make the server gather without bound, or begin anew where it should go on."""

    async def scenario(shelf: Shelf) -> None:
        with pytest.raises(InvalidFieldError) as refused:
            await methods(shelf.reader)[method].handle(MANAGER, request_type(**asked, **fields))
        assert [field for field, _ in refused.value.violations] == list(fields)

    play(three(), scenario)


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
def test_a_name_that_no_model_has_is_refused(name: str) -> None:
    """A slip of a program would be searched for among all names, and logged whole."""

    async def scenario(shelf: Shelf) -> None:
        rows = methods(shelf.reader)
        for method, request in (
            ("GetModel", pb.GetModelRequest(model=name)),
            ("ListEndpoints", pb.ListEndpointsRequest(model=name)),
        ):
            with pytest.raises(InvalidFieldError):
                await rows[method].handle(MANAGER, request)

    play(three(), scenario)


def test_a_key_sees_what_it_may_use() -> None:
    """A team would be shown models that refuse it, or learn what others of its organisation may use."""

    async def scenario(shelf: Shelf) -> None:
        some = shelf.user(allowed_models=("lab/b", "maker/c", "gone/x"))
        assert await shelf.slugs(some) == ["lab/b", "maker/c"]
        with pytest.raises(ModelNotAllowedError):
            shelf.reader.model(some, "alpha")
        with pytest.raises(ModelNotAllowedError):
            shelf.reader.endpoints(some, "lab/a", 100, "")
        here = shelf.user(allowed_providers=("p",))
        assert await shelf.slugs(here) == ["lab/a"]
        endpoints, _ = shelf.reader.endpoints(here, "alpha", 100, "")
        assert [seen.endpoint.id for seen in endpoints] == ["p/lab/a"]
        with pytest.raises(ModelNotAllowedError):
            shelf.reader.model(here, "lab/b")
        providers, _ = await shelf.reader.providers(here, 100, "")
        assert [(seen.provider.slug, len(seen.endpoints)) for seen in providers] == [("p", 1)]
        assert await shelf.slugs(shelf.user()) == ["lab/a", "lab/b", "maker/c"]
        assert await shelf.slugs(shelf.user(allowed_models=())) == []

    play(three(), scenario)


def test_a_slip_in_a_name_is_answered_with_near_ones() -> None:
    """A person would have to guess how a model is called, or be told of one that he may not use."""

    async def scenario(shelf: Shelf) -> None:
        with pytest.raises(ModelNotFoundError) as refused:
            shelf.reader.model(MANAGER, "lab/aa")
        assert refused.value.metadata["near"].split(", ")[0] == "lab/a"
        bound = shelf.user(allowed_models=("lab/b",))
        with pytest.raises(ModelNotFoundError) as refused:
            shelf.reader.model(bound, "lab/aa")
        assert refused.value.metadata["near"] == "lab/b"

    play(three(), scenario)


def test_what_is_said_to_be_reachable_is_what_a_plan_tries() -> None:
    """The catalogue and routing would contradict each other, and a person would not know whom to believe."""
    snapshots = world(
        endpoint("here"),
        endpoint("stopped", base_url=""),
        endpoint("strange", dialect="e"),
        endpoint("closed"),
        endpoint("unpriced"),
        endpoint("expired"),
        prices={"unpriced": (), "expired": msgspec.structs.replace(card(), valid_to=NOW_S)},
        credentials=dict.fromkeys(("here", "stopped", "strange", "unpriced", "expired"), ("KEY",)),
        dialects=frozenset({"d"}),
    )

    async def scenario(shelf: Shelf) -> None:
        endpoints, _ = shelf.reader.endpoints(MANAGER, "lab/model", 100, "")
        seen = {row.endpoint.provider: row.reason for row in endpoints}
        found = plan(snapshots, call())
        assert [name for name, reason in seen.items() if not reason] == tried(found) == ["here"]
        assert {name: reason for name, reason in seen.items() if reason} == left_out(found)
        assert [row.dialect_spoken for row in endpoints] == [True, True, False, True, True, True]

    play(snapshots, scenario)


def test_variables_are_named_where_they_alone_are_missing() -> None:
    """A person would set a key, and still not reach what he was promised."""
    snapshots = world(
        endpoint("open"), endpoint("closed"), endpoint("unpriced"), prices={"unpriced": ()}, credentials={"open": ("KEY",)}
    )

    async def scenario(shelf: Shelf) -> None:
        endpoints, _ = shelf.reader.endpoints(MANAGER, "lab/model", 100, "")
        assert {row.endpoint.provider: row.variables for row in endpoints} == {
            "open": (),
            "closed": ("KEY", "SPARE"),
            "unpriced": (),
        }
        model = shelf.reader.model(MANAGER, "lab/model")
        assert model.openings == (Opening("closed", ("KEY", "SPARE")),)
        providers, _ = await shelf.reader.providers(MANAGER, 100, "")
        assert {row.provider.slug: row.credential_count for row in providers} == {"closed": 0, "open": 1, "unpriced": 0}
        assert {row.provider.slug: (row.reached, row.openable) for row in providers} == {
            "closed": (0, 1),
            "open": (1, 0),
            "unpriced": (0, 0),
        }
        assert {row.variables for row in providers} == {("KEY", "SPARE")}

    play(snapshots, scenario)


def test_variables_of_an_address_are_named_together_with_a_key() -> None:
    """A person would set his key for a cloud, and never learn that its region or project is missing too."""
    lacking: dict[str, Any] = {"base_url": "", "address_variables": ("REGION", "PROJECT")}
    snapshots = world(
        endpoint("closed", **lacking),
        endpoint("keyed", **lacking),
        endpoint("stopped", base_url=""),
        endpoint("strange", dialect="e", **lacking),
        endpoint("unpriced", **lacking),
        prices={"unpriced": ()},
        credentials=dict.fromkeys(("keyed", "stopped", "strange", "unpriced"), ("KEY",)),
        dialects=frozenset({"d"}),
    )

    async def scenario(shelf: Shelf) -> None:
        endpoints, _ = shelf.reader.endpoints(MANAGER, "lab/model", 100, "")
        assert {row.reason for row in endpoints} == {"NOT_RUNNING"}
        assert {row.endpoint.provider: row.variables for row in endpoints} == {
            "closed": ("REGION and PROJECT and KEY", "REGION and PROJECT and SPARE"),
            "keyed": ("REGION and PROJECT",),
            "stopped": (),
            "strange": (),
            "unpriced": (),
        }
        openings = {opening.provider for opening in shelf.reader.model(MANAGER, "lab/model").openings}
        assert openings == {"closed", "keyed"}
        providers, _ = await shelf.reader.providers(MANAGER, 100, "")
        assert {row.provider.slug: row.variables for row in providers} == {
            "closed": ("REGION and PROJECT and KEY", "REGION and PROJECT and SPARE"),
            "keyed": ("REGION and PROJECT",),
            "stopped": (),
            "strange": (),
            "unpriced": (),
        }

    play(snapshots, scenario)


def test_the_price_in_force_and_the_next_one() -> None:
    """A person would plan with a price that is over, or be surprised by one that was known to come."""
    old, now, soon, later = (
        msgspec.structs.replace(card(price), version=str(price), valid_from=start, valid_to=end)
        for price, start, end in (
            (1, None, NOW_S - 10),
            (2, NOW_S - 10, NOW_S + 10),
            (3, NOW_S + 10, NOW_S + 20),
            (4, NOW_S + 20, None),
        )
    )
    snapshots = world(endpoint("p"), endpoint("q"), prices={"p": (later, old, now, soon)})

    async def scenario(shelf: Shelf) -> None:
        (first, second), _ = shelf.reader.endpoints(MANAGER, "lab/model", 100, "")
        assert (first.price, first.next_price) == (now, soon)
        assert second.price is not None
        assert second.next_price is None
        shelf.snapshots = msgspec.structs.replace(shelf.snapshots, now_ms=(NOW_S + 30) * 1000)
        (first, _), _ = shelf.reader.endpoints(MANAGER, "lab/model", 100, "")
        assert (first.price, first.next_price) == (later, None)

    play(snapshots, scenario)


@pytest.mark.parametrize(
    ("as_of", "days"), [("2026-08-18", 3), ("2026-08-21", 0), ("2026-08-22", 0), ("2025-08-21", 365), ("lately", None)]
)
def test_a_price_knows_its_age(as_of: str, days: int | None) -> None:
    """Nobody would see that a price is a year old."""
    written = PriceCard(version="1", parts=card().parts, source="s", as_of=as_of)
    assert age_days(written, 1_787_270_400_000 + DAY_S * 1000 // 2) == days


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        (health(), Status.NORMAL),
        (health(degraded=True), Status.DEGRADED),
        (health(uptime=Uptime(0.95)), Status.NORMAL),
        (health(uptime=Uptime(0.949, 1.0, 1.0)), Status.DEGRADED),
        (health(uptime=Uptime(None, 0.8)), Status.DEGRADED),
        (health(uptime=Uptime(None, None, 0.79), degraded=True), Status.FALLBACK_ONLY),
        (health(uptime=Uptime(1.0), open=True, cause=Cause.FLEET), Status.OPEN),
        (health(uptime=Uptime(0.79), open=True, cause=Cause.UPTIME), Status.FALLBACK_ONLY),
    ],
)
def test_how_an_endpoint_does_in_one_word(measured: EndpointHealth, word: Status) -> None:
    """A person would trust an endpoint that routing avoids."""
    assert status(measured) is word


def test_a_providers_own_policy_stands_where_an_endpoint_has_none() -> None:
    """A person would not see what becomes of what he sends."""
    own = DataPolicy(trains=True)
    snapshots = world(endpoint("p", data_policy=own), endpoint("q"))

    async def scenario(shelf: Shelf) -> None:
        (first, second), _ = shelf.reader.endpoints(MANAGER, "lab/model", 100, "")
        assert (first.data_policy, second.data_policy) == (own, DataPolicy())

    play(snapshots, scenario)


def test_the_version_counts_what_there_is() -> None:
    """Nobody could tell which catalogue a router uses."""
    found = Shelf(three()).reader.version()
    assert (found.version, found.models, found.endpoints, found.providers, found.priced_endpoints) == ("1", 4, 4, 3, 4)
