"""From a call to a plan: every endpoint once, in catalogue order, with a reason for each that is left out."""

import msgspec
import pytest

from junctor.domain.account import Caller
from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog, Endpoint, Model, PriceCard, PriceParts, Provider
from junctor.domain.completion import CompletionSpec, ImagePart, Message, Role, TextPart
from junctor.domain.errors import ModelNotFoundError
from junctor.domain.health import HealthSnapshot
from junctor.domain.routing import Plan, RoutingPreferences
from junctor.policy import routing

NOW_S = 1_000_000
CARD = PriceCard(version="1", parts=PriceParts(input=1, output=1), source="s", as_of="d")
PICTURE = ImagePart("https://a.example/x.png")


def endpoint(provider: str, **fields: object) -> Endpoint:
    """Return an endpoint of lab/model that nothing speaks against."""
    made = Endpoint(
        id=f"{provider}/lab/model",
        model="lab/model",
        provider=provider,
        upstream_model="m",
        dialect="d",
        base_url="https://a.example",
    )
    return msgspec.structs.replace(made, **fields)


def planned(
    *endpoints: Endpoint,
    credentials: dict[str, tuple[str, ...]] | None = None,
    prices: dict[str, tuple[PriceCard, ...]] | None = None,
    model: str = "lab/model",
    picture: bool = False,
) -> Plan:
    """Plan a call for lab/model in a catalogue of these endpoints, all of them priced and with credentials unless said so."""
    providers = {
        served.provider: Provider(slug=served.provider, name="P", credentials=("KEY", "SPARE")) for served in endpoints
    }
    providers["open"] = Provider(slug="open", name="Open")
    catalog = Catalog(
        version="1",
        built_at="",
        models={
            slug: Model(slug=slug, name="M", aliases=aliases)
            for slug, aliases in {"lab/model": ("model", "lab/old"), "lab/bare": (), "lab/model-mini": ()}.items()
        },
        providers=providers,
        endpoints={"lab/model": endpoints},
        prices={served.id: (CARD,) for served in endpoints} if prices is None else prices,
    )
    keys = dict.fromkeys(providers, ("SPARE",)) if credentials is None else credentials
    parts = (TextPart("a"), PICTURE) if picture else (TextPart("a"),)
    spec = CompletionSpec(model=model, messages=(Message(Role.SYSTEM, (TextPart("s"),)), Message(Role.USER, parts)))
    call = Call(caller=Caller("A", "K"), spec=spec, preferences=RoutingPreferences(), deadline_at=0.0)
    return routing.plan(call, Snapshots(catalog, HealthSnapshot({}), keys, NOW_S * 1000))


def tried(plan: Plan) -> list[str]:
    """Name the providers that would be tried, in order."""
    return [candidate.endpoint.provider for candidate in plan.candidates]


def left_out(plan: Plan) -> dict[str, str]:
    """Name the providers that would not be tried, and why."""
    return {exclusion.endpoint.provider: exclusion.reason for exclusion in plan.excluded}


def test_endpoints_are_tried_in_catalogue_order() -> None:
    """The dear endpoint would be asked before the cheap one that stands above it."""
    assert tried(planned(endpoint("b"), endpoint("a"), endpoint("c"))) == ["b", "a", "c"]


def test_at_most_three_are_tried_and_the_rest_is_named() -> None:
    """A call could walk through sixty providers, or an endpoint vanish from its own report."""
    plan = planned(*(endpoint(name) for name in "abcde"))
    assert tried(plan) == ["a", "b", "c"]
    assert left_out(plan) == {"d": "BEYOND_FALLBACK_LIMIT", "e": "BEYOND_FALLBACK_LIMIT"}


def test_an_endpoint_that_is_left_out_takes_no_place() -> None:
    """Three dead entries at the head of the list would make a model unreachable."""
    plan = planned(*(endpoint(name, base_url="") for name in "abc"), endpoint("d"))
    assert tried(plan) == ["d"]
    assert left_out(plan) == dict.fromkeys("abc", "NOT_RUNNING")


def test_each_reason_is_named() -> None:
    """An operator would not see which of his endpoints lacks a credential, and which a price."""
    given = [endpoint(name) for name in ("keyless", "unpriced", "half", "blind")]
    plan = planned(
        endpoint("asleep", base_url=""),
        *given,
        endpoint("seeing", input_modalities=("text", "image")),
        credentials=dict.fromkeys(("asleep", "unpriced", "half", "blind", "seeing"), ("SPARE",)),
        prices={
            "half/lab/model": (msgspec.structs.replace(CARD, parts=PriceParts(input=1)),),
            **{f"{name}/lab/model": (CARD,) for name in ("asleep", "keyless", "blind", "seeing")},
        },
        picture=True,
    )
    assert tried(plan) == ["seeing"]
    assert left_out(plan) == {
        "asleep": "NOT_RUNNING",
        "keyless": "CREDENTIALS_MISSING",
        "unpriced": "PRICE_UNKNOWN",
        "half": "PRICE_UNKNOWN",
        "blind": "MODALITY_UNSUPPORTED",
    }


@pytest.mark.parametrize("picture", [True, False])
def test_every_endpoint_appears_once(picture: bool) -> None:
    """An endpoint would be tried twice, or be in neither list."""
    given = [endpoint(f"p{place}", base_url="x" * (place % 3)) for place in range(20)]
    plan = planned(*given, picture=picture)
    places = [*(candidate.endpoint for candidate in plan.candidates), *(exclusion.endpoint for exclusion in plan.excluded)]
    assert sorted(places, key=lambda served: served.id) == sorted(given, key=lambda served: served.id)


def test_a_candidate_carries_its_credential_and_price() -> None:
    """A call would be sent with another provider's key, or be billed at another card."""
    (candidate,) = planned(endpoint("a"), credentials={"a": ("SPARE", "KEY"), "b": ("KEY",)}).candidates
    assert (candidate.credential, candidate.price) == ("SPARE", CARD)
    (candidate,) = planned(endpoint("open"), credentials={}).candidates
    assert candidate.credential is None


def card(version: str, valid_from: int | None, valid_to: int | None) -> PriceCard:
    """Return a price card of this validity."""
    return msgspec.structs.replace(CARD, version=version, valid_from=valid_from, valid_to=valid_to)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ((), None),
        ((card("1", None, None),), "1"),
        ((card("1", NOW_S + 1, None),), None),
        ((card("1", NOW_S, None),), "1"),
        ((card("1", None, NOW_S),), None),
        ((card("1", None, NOW_S + 1),), "1"),
        ((card("1", None, NOW_S), card("2", NOW_S, None)), "2"),
        ((card("1", NOW_S - 5, NOW_S + 5), card("2", None, None)), "1"),
    ],
)
@pytest.mark.parametrize("millisecond", [0, 999])
def test_the_price_in_force_is_taken(cards: tuple[PriceCard, ...], expected: str | None, millisecond: int) -> None:
    """A call would be billed at a price of yesterday, or of tomorrow."""
    found = routing.price_in_force(cards, NOW_S * 1000 + millisecond)
    assert (found.version if found else None) == expected


@pytest.mark.parametrize("name", ["lab/model", "model", "lab/old"])
def test_a_model_is_found_by_its_aliases(name: str) -> None:
    """Callers who use another name of the same model would be refused."""
    assert tried(planned(endpoint("a"), model=name)) == ["a"]


def test_a_model_without_endpoints_has_an_empty_plan() -> None:
    """A model that is only listed would end calls in a bug."""
    assert planned(endpoint("a"), model="lab/bare") == Plan(())


def test_an_unknown_model_is_refused_with_near_names() -> None:
    """A caller would not see that he only mistyped."""
    with pytest.raises(ModelNotFoundError) as caught:
        planned(endpoint("a"), model="lab/modle")
    assert caught.value.metadata["near"].split(", ")[0] == "lab/model"
    with pytest.raises(ModelNotFoundError) as caught:
        planned(endpoint("a"), model="zzz" * 40)
    assert caught.value.metadata["near"] == ""
