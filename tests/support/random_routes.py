"""Random catalogues and calls for routing, dense in what may go wrong; all follow from the given source of chance."""

from random import Random
from typing import Any

from junctor.domain.account import Caller
from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import DataPolicy, Endpoint, PriceCard, PriceParts, PriceTier, Quantization
from junctor.domain.completion import ImagePart, JsonObjectFormat, Message, Part, Reasoning, Role, TextPart, Tool
from junctor.domain.health import EndpointHealth, Percentiles
from junctor.domain.routing import Credential, MaxPrice, Partition, Sort, SortBy
from tests.support.routes import NOW_S, call, endpoint, world

PROVIDERS = tuple("abcdefgh")
MODELS = ("lab/model", "lab/next", "lab/model:free", "lab/bare")
ALIASES = {"lab/next": ("next", "~lab/next-latest"), "lab/model:free": (), "lab/bare": ()}
NAMES = ("lab/model", "lab/next", "next", "~lab/next-latest", "lab/model:free", "lab/bare", "lab/model:floor", "next:nitro")
NAMES_OF_KEYS = ("KEY", "KEY_2", "KEY_3")
PARAMETERS = ("tools", "response_format", "reasoning", "temperature", "max_tokens", "service_tier")
FLAGS = (None, False, True)


def any_world(dice: Random) -> Snapshots:
    """Draw snapshots of a few models at a few providers, some of which lack something."""
    rows = [
        _endpoint(dice, provider, model)
        for model in MODELS[:3]
        for provider in dice.sample(PROVIDERS, dice.choice((1, 3, 5, 8, 8)))
    ]
    measured = {provider: _health(dice) for provider in PROVIDERS if dice.random() < 0.6}
    return world(
        *rows,
        *(endpoint(provider, "lab/other") for provider in PROVIDERS),
        prices={provider: _cards(dice) for provider in PROVIDERS},
        measured=measured if dice.random() < 0.7 else {},
        credentials={provider: _credentials(dice) for provider in PROVIDERS if dice.random() < 0.9},
        aggregators=tuple(dice.sample(PROVIDERS, 2)),
        fees_ppm=dict.fromkeys(dice.sample(PROVIDERS, 2), 55_000),
        aliases=ALIASES,
        seed=dice.getrandbits(64),
        dialects=dice.choice((None, frozenset({"d"}))),
    )


def any_call(dice: Random) -> Call:
    """Draw a call for these models."""
    words: Part = TextPart("x" * dice.choice((5, 400, 4_000)))
    parts = (words, ImagePart("https://a.example/x.png")) if dice.random() < 0.1 else (words,)
    turns = [Message(Role.SYSTEM, (TextPart("Be brief."),)), Message(Role.USER, parts)]
    if dice.random() < 0.3:
        turns.append(Message(Role.ASSISTANT, (TextPart("So."),)))
    fields: dict[str, Any] = {
        "model": dice.choice(NAMES[:6]),
        "models": tuple(dice.sample(NAMES[:6], dice.choice((0, 0, 1, 3)))),
        "messages": tuple(turns),
        "max_tokens": dice.choice((None, None, 10, 500, 5_000)),
        "service_tier": dice.choice((*[None] * 8, "flex", "priority")),
    }
    if dice.random() < 0.3:
        fields |= {"tools": (Tool("f"),), "response_format": JsonObjectFormat(), "reasoning": Reasoning(effort="low")}
    prefer = _preferences(dice) if dice.random() < 0.5 else {}
    if "sort" not in prefer and dice.random() < 0.2:
        fields["model"] = dice.choice(NAMES)
    caller = Caller("A", "K", allowed_models=_some(dice, MODELS), allowed_providers=_some(dice, PROVIDERS))
    return call(caller=caller, prefer=prefer, **fields)


def _credentials(dice: Random) -> tuple[Credential, ...]:
    return tuple(Credential(name, dice.choice((0.1, 1.0, 3.0))) for name in dice.choice((NAMES_OF_KEYS[:1], NAMES_OF_KEYS)))


def _some(dice: Random, names: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(dice.sample(names, len(names) // 2)) if dice.random() < 0.15 else None


def _endpoint(dice: Random, provider: str, model: str) -> Endpoint:
    return endpoint(
        provider,
        model,
        base_url=dice.choice(("https://a.example",) * 19 + ("",)),
        dialect=dice.choice("d" * 19 + "e"),
        context_tokens=dice.choice((None, 100_000, 100_000, 1_000, 100)),
        output_tokens_max=dice.choice((None, 100_000, 100_000, 1_000, 100)),
        parameters=tuple(dice.sample(PARAMETERS, dice.randrange(7))),
        input_modalities=dice.choice((("text",), ("text", "image"))),
        quantization=dice.choice((Quantization.UNKNOWN, Quantization.FP8, Quantization.MXFP8, Quantization.BF16)),
        data_policy=dice.choice((None, _policy(dice))),
    )


def _policy(dice: Random) -> DataPolicy:
    return DataPolicy(trains=dice.choice(FLAGS), retains=dice.choice(FLAGS), zdr=dice.choice(FLAGS))


def _health(dice: Random) -> EndpointHealth:
    return EndpointHealth(
        success_probability=dice.choice((0.0, 0.5, 0.97, 1.0)),
        time_to_first_token_ms=dice.choice((None, 100.0, 900.0)),
        throughput_tokens_per_s=dice.choice((None, 10.0, 90.0)),
        open=dice.random() < 0.3,
        probe=dice.random() < 0.5,
        degraded=dice.random() < 0.2,
        full=dice.random() < 0.2,
        cooling=frozenset(dice.sample(NAMES_OF_KEYS, dice.choice((0, 0, 1, 2, 3)))),
        ramp=dice.choice((0.0, 0.5, 1.0, 1.0)),
        in_flight=dice.randrange(5),
        cache_read_share=dice.choice((0.0, 0.7)),
    )


def _cards(dice: Random) -> tuple[PriceCard, ...]:
    made = _card(dice, None, None)
    split = NOW_S + dice.choice((-5, 0, 5))
    two = (_card(dice, None, split), _card(dice, split, None))
    return dice.choice((*[(made,)] * 12, two, two, (), (_card(dice, split, None),)))


def _card(dice: Random, valid_from: int | None, valid_to: int | None) -> PriceCard:
    parts = PriceParts(
        input=None if dice.random() < 0.05 else dice.choice((0, 100, 10**6)),
        output=dice.choice((0, 100, 10**6)),
        cache_read=dice.choice((None, 10)),
        request=dice.choice((None, 10**6)),
        image_input=dice.choice((None, 10**6)),
    )
    tiers = (
        PriceTier(parts=PriceParts(input=dice.choice((50, 5_000))), input_tokens_from=200),
        PriceTier(parts=PriceParts(output=dice.choice((50, 5_000))), service_tier="flex"),
    )
    return PriceCard(
        version=f"{dice.random()}",
        parts=parts,
        source="s",
        as_of="d",
        tiers=tiers if dice.random() < 0.4 else (),
        valid_from=valid_from,
        valid_to=valid_to,
    )


def _preferences(dice: Random) -> dict[str, Any]:
    some = tuple(dice.sample(PROVIDERS, dice.randrange(1, 6)))
    wishes: dict[str, Any] = {
        "order": some,
        "only": dice.choice((some, some, some, ())),
        "ignore": some[:2],
        "allow_fallbacks": False,
        "require_parameters": True,
        "data_collection": dice.choice(FLAGS),
        "zdr": True,
        "quantizations": dice.choice(((Quantization.FP8,), (Quantization.BF16, Quantization.UNKNOWN))),
        "sort": Sort(dice.choice(tuple(SortBy)), dice.choice(tuple(Partition))),
        "max_price": MaxPrice(dice.choice((None, 100, 5_000)), dice.choice((None, 100, 5_000)), dice.choice((None, 0))),
        "preferred_min_throughput": Percentiles(p50=50.0),
        "preferred_max_latency_ms": Percentiles(p50=500.0, p90=1.0),
    }
    return {name: wishes[name] for name in sorted(dice.sample(sorted(wishes), dice.choice((1, 1, 1, 2, 3))))}
