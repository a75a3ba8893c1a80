"""Plans of random calls in random catalogues, against a plain reading of the rules that is written apart from the code."""

import asyncio
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts, Quantization
from junctor.domain.completion import ImagePart, Reasoning, TextPart
from junctor.domain.errors import ModelNotAllowedError, UpstreamUnavailableError
from junctor.domain.routing import Candidate, Failure, FailureKind, MaxPrice, Partition, Plan, SortBy, Timers
from junctor.policy import bounds, pricing, routing
from junctor.usecases import attempt, settle
from junctor.usecases.explain import explain
from junctor.usecases.instance_health import InstanceHealth
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.support.random_routes import any_call, any_world
from tests.support.routes import NOW_S, reseeded
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

EXAMPLES = 800
REQUESTS, REQUESTS_A_WORLD = 10_000, 10
SEEDS = st.randoms(use_true_random=True)
PLACES = {"BEYOND_FALLBACK_LIMIT", "FALLBACK_NOT_ALLOWED"}


def named(asked: Call, snapshots: Snapshots) -> list[str]:
    """Return the models that a call names, by a plain reading."""
    found: list[str] = []
    for name in (asked.spec.model, *asked.spec.models):
        bare = name.removesuffix(":floor").removesuffix(":nitro")
        rows = snapshots.catalog.models.values()
        found += [row.slug for row in rows if bare == row.slug or bare in row.aliases]
    return list(dict.fromkeys(found))


def planned(dice: Random) -> tuple[Call, Snapshots, Plan | None]:
    """Draw a call and plan it; None if the caller's key allows none of its models."""
    snapshots, asked = any_world(dice), any_call(dice)
    try:
        return asked, snapshots, routing.plan(asked, snapshots)
    except ModelNotAllowedError:
        assert asked.caller.allowed_models is not None
        assert not set(asked.caller.allowed_models).intersection(named(asked, snapshots))
        return asked, snapshots, None


def card_of(row: Endpoint, asked: Call, snapshots: Snapshots) -> PriceCard | None:
    """Return the card that prices a call at an endpoint."""
    tier = asked.spec.service_tier if "service_tier" in row.parameters else None
    for card in snapshots.catalog.prices[row.id]:
        if (card.valid_from is None or card.valid_from <= NOW_S) and (card.valid_to is None or card.valid_to > NOW_S):
            return card if pricing.is_known(card, tier) else None
    return None


def speaks_against(row: Endpoint, asked: Call, snapshots: Snapshots) -> set[str]:
    """Return every reason not to ask an endpoint, by a plain reading of the table."""
    spec, wish, caller = asked.spec, asked.preferences, asked.caller
    kinds = {*wish.quantizations, *([Quantization.MXFP8] if Quantization.FP8 in wish.quantizations else [])}
    policy = row.data_policy or snapshots.catalog.providers[row.provider].data_policy
    longest = spec.max_tokens or 0
    rules = {
        "NOT_RUNNING": not row.base_url,
        "DIALECT_UNSUPPORTED": snapshots.dialects is not None and row.dialect not in snapshots.dialects,
        "CREDENTIALS_MISSING": row.provider not in snapshots.credentials,
        "MODEL_NOT_ALLOWED": caller.allowed_models is not None and row.model not in caller.allowed_models,
        "PROVIDER_NOT_ALLOWED": caller.allowed_providers is not None and row.provider not in caller.allowed_providers,
        "PROVIDER_NOT_IN_ONLY": wish.only is not None and row.provider not in wish.only,
        "PROVIDER_IGNORED": row.provider in wish.ignore,
        "FALLBACK_NOT_ALLOWED": bool(wish.order) and not wish.allow_fallbacks and row.provider not in wish.order,
        "QUANTIZATION": bool(kinds) and row.quantization not in kinds,
        "DATA_COLLECTION": wish.data_collection is False
        and not (policy.trains is False and (policy.retains is False or policy.zdr is True)),
        "ZDR": wish.zdr and policy.zdr is not True,
        "PARAMETERS_UNSUPPORTED": wish.require_parameters and not parameters(asked).issubset(row.parameters),
        "MODALITY_UNSUPPORTED": pictures(asked) > 0 and "image" not in row.input_modalities,
        "OUTPUT_TOO_SHORT": row.output_tokens_max is not None and longest > row.output_tokens_max,
        "CONTEXT_TOO_SHORT": row.context_tokens is not None and text_bytes(asked) // 8 + longest > row.context_tokens,
    }
    return {word for word, holds in rules.items() if holds} | price_speaks_against(row, asked, snapshots)


def price_speaks_against(row: Endpoint, asked: Call, snapshots: Snapshots) -> set[str]:
    """Return every reason that lies in an endpoint's price; a free model's price is gone once it is paid for."""
    card, most = card_of(row, asked, snapshots), asked.preferences.max_price
    if card is None:
        return {"PRICE_UNKNOWN", "PAID"} if row.model.endswith(":free") else {"PRICE_UNKNOWN"}
    parts = (card.parts, *(tier.parts for tier in card.tiers))
    if row.model.endswith(":free") and any(any(msgspec.structs.astuple(held)) for held in parts):
        return {"PRICE_UNKNOWN", "PAID"}
    if most is None:
        return set()
    tier = asked.spec.service_tier if "service_tier" in row.parameters else None
    tokens = bounds.input_bound(bounds.size(asked.spec), row.context_tokens)
    found = [
        pricing.prices_in_force(card, min(size, tokens), NOW_S * 1000, service)
        for size in (0, 199, 200, tokens)
        for service in (tier, None)
    ]
    return {"MAX_PRICE"} if any(dearer(prices, most) for prices in found) else set()


def dearer(prices: PriceParts, most: MaxPrice) -> bool:
    """Tell whether a unit costs more than the most that may be paid for it."""
    return (
        (most.input_picousd is not None and (prices.input or 0) > most.input_picousd)
        or (most.output_picousd is not None and (prices.output or 0) > most.output_picousd)
        or (most.request_picousd is not None and (prices.request or 0) > most.request_picousd)
    )


def pictures(asked: Call) -> int:
    """Count the pictures that are sent."""
    return sum(isinstance(part, ImagePart) for turn in asked.spec.messages for part in turn.parts)


def text_bytes(asked: Call) -> int:
    """Count the bytes of all text; what is sent here is ASCII."""
    texts = sum(len(part.text) for turn in asked.spec.messages for part in turn.parts if isinstance(part, TextPart))
    return texts + sum(len(tool.name) for tool in asked.spec.tools)


def parameters(asked: Call) -> set[str]:
    """Name the parameters of a random call."""
    spec = asked.spec
    names: dict[str, object] = {"max_tokens": spec.max_tokens, "service_tier": spec.service_tier, "tools": spec.tools or None}
    names |= {"response_format": spec.response_format, "reasoning": spec.reasoning}
    assert spec.reasoning is None or spec.reasoning == Reasoning(effort="low")
    return {name for name, value in names.items() if value is not None}


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS)
def test_every_endpoint_of_the_models_is_in_the_plan_once(dice: Random) -> None:
    """An endpoint would be tried twice, or be gone without a word."""
    asked, snapshots, found = planned(dice)
    if found is None:
        return
    places = [*(candidate.endpoint.id for candidate in found.candidates), *(row.endpoint.id for row in found.excluded)]
    assert Counter(places) == Counter(row.id for slug in named(asked, snapshots) for row in snapshots.catalog.endpoints[slug])


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS)
def test_whoever_is_tried_may_be_and_whoever_is_not_has_a_true_reason(dice: Random) -> None:
    """A prompt would go where its caller forbade it, or an operator would look for a fault that there is not."""
    asked, snapshots, found = planned(dice)
    if found is None:
        return
    tried = Counter(candidate.endpoint.model for candidate in found.candidates)
    for candidate in found.candidates:
        assert speaks_against(candidate.endpoint, asked, snapshots) == set()
        assert candidate.price == card_of(candidate.endpoint, asked, snapshots)
        assert candidate.health == snapshots.health.endpoints.get(candidate.endpoint.id)
    for row in found.excluded:
        reasons = speaks_against(row.endpoint, asked, snapshots)
        if reasons:
            assert row.reason in reasons
        elif row.reason == "BEYOND_FALLBACK_LIMIT":
            assert tried[row.endpoint.model] == routing.CANDIDATES_MAX
        else:
            assert row.reason == "FALLBACK_NOT_ALLOWED"
            assert not asked.preferences.allow_fallbacks
            together = asked.preferences.sort is not None and asked.preferences.sort.partition is Partition.NONE
            assert sum(tried.values()) == 1 if together else tried[row.endpoint.model] == 1


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS)
def test_the_callers_order_is_kept(dice: Random) -> None:
    """A caller who names his provider first would be served by another while that one is there."""
    asked, snapshots, found = planned(dice)
    if found is None:
        return
    order, sort = asked.preferences.order, asked.preferences.sort
    models = named(asked, snapshots)
    if sort is None or sort.partition is Partition.MODEL:
        places = [models.index(candidate.endpoint.model) for candidate in found.candidates]
        assert places == sorted(places)
        groups = [[c for c in found.candidates if c.endpoint.model == slug] for slug in models]
    else:
        groups = [list(found.candidates)]
    for group in groups:
        ranks = [order.index(c.endpoint.provider) if c.endpoint.provider in order else len(order) for c in group]
        assert ranks == sorted(ranks)
        if sort is not None and sort.by is SortBy.PRICE and not order and not snapshots.health.endpoints:
            costs = [effective_nanousd(c, snapshots) for c in group if fits_well(c, asked)]
            assert all(cost - 2 <= following for cost, following in pairwise(costs))


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(SEEDS)
def test_a_credential_that_cools_is_not_used_while_another_is_not(dice: Random) -> None:
    """A key that was throttled or refused would be asked again at once, though the next one is free."""
    _, snapshots, found = planned(dice)
    for candidate in found.candidates if found else ():
        names = {each.name for each in snapshots.credentials[candidate.endpoint.provider]}
        cooling = candidate.health.cooling if candidate.health else frozenset()
        used = [candidate.credential, *candidate.spare]
        assert Counter(used) == Counter(names - cooling or names)


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(SEEDS)
def test_what_is_down_goes_last_but_for_a_probe(dice: Random) -> None:
    """Calls would wait for a dead endpoint before a live one, or it would never be found out that it is back."""
    asked, snapshots, found = planned(dice)
    prefer = asked.preferences
    if found is None or prefer.order or prefer.sort or prefer.preferred_min_throughput or prefer.preferred_max_latency_ms:
        return
    drawn = [
        slug for slug in named(asked, snapshots) if not any(":" in name for name in (asked.spec.model, *asked.spec.models))
    ]
    for slug in drawn:
        group = [c for c in found.candidates if c.endpoint.model == slug]
        fit = [c for c in group if fits_well(c, asked)]
        downs = [is_down(c, snapshots) for c in fit]
        probing = bool(fit) and fit[0] is group[0] and downs[0] and prefer.allow_fallbacks and is_probed(fit[0], snapshots)
        assert downs[probing:] == sorted(downs[probing:])
        left = [row.endpoint for row in found.excluded if row.endpoint.model == slug and row.reason == "BEYOND_FALLBACK_LIMIT"]
        waiting = [row for row in left if snapshots.health.endpoints.get(row.id) and fits_well(row, asked)]
        if not probing and prefer.allow_fallbacks and fit and fit[0] is group[0]:
            assert not any(is_probed(c, snapshots) for c in fit)
            assert not any(is_probed(row, snapshots) for row in waiting)


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(SEEDS)
def test_the_same_seed_gives_the_same_plan(dice: Random) -> None:
    """What was done could not be found out afterwards."""
    asked, snapshots, found = planned(dice)
    if found is not None:
        afresh = msgspec.structs.replace(snapshots, credentials=dict(snapshots.credentials))
        assert routing.plan(asked, afresh) == found


def of(row: Candidate | Endpoint) -> Endpoint:
    """Return the endpoint."""
    return row.endpoint if isinstance(row, Candidate) else row


def is_cooling(row: Candidate | Endpoint, snapshots: Snapshots) -> bool:
    """Tell whether no credential may be used at an endpoint for now."""
    health = snapshots.health.endpoints.get(of(row).id)
    return health is not None and {each.name for each in snapshots.credentials[of(row).provider]} <= health.cooling


def is_down(row: Candidate | Endpoint, snapshots: Snapshots) -> bool:
    """Tell whether an endpoint is to be tried after those that are not down."""
    health = snapshots.health.endpoints.get(of(row).id)
    return health is not None and (health.open or is_cooling(row, snapshots))


def is_probed(row: Candidate | Endpoint, snapshots: Snapshots) -> bool:
    """Tell whether an endpoint should be tried before all others."""
    health = snapshots.health.endpoints.get(of(row).id)
    return health is not None and health.open and health.probe and not is_cooling(row, snapshots)


def effective_nanousd(candidate: Candidate, snapshots: Snapshots) -> float:
    """Return what a call is expected to cost, with what buying the credits costs on top."""
    fee_ppm = snapshots.catalog.providers[candidate.endpoint.provider].purchase_fee_ppm
    return (candidate.expected_nanousd or 0) * (1 + fee_ppm / 1_000_000)


def fits_well(candidate: Candidate | Endpoint, asked: Call) -> bool:
    """Tell whether an endpoint has what a call asks besides its price."""
    row = of(candidate)
    needed = -(-text_bytes(asked) // 4) + (asked.spec.max_tokens or 0)
    wanted = {"tools", "response_format", "reasoning"} if asked.spec.tools else set()
    return wanted.issubset(row.parameters) and (row.context_tokens is None or needed <= row.context_tokens)


class AllDown:
    """Providers that all fail; `asked` gathers who was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def complete(self, candidate: Candidate, _spec: object, _timers: Timers) -> Failure:
        """Fail."""
        self.asked.append(candidate.endpoint.id)
        return Failure(kind=FailureKind.SERVER)


async def test_explain_tells_the_order_in_which_endpoints_are_tried() -> None:
    """What Explain promises would not be what a call does."""
    dice = Random("explain")
    counts: Counter[int] = Counter()
    far = asyncio.get_running_loop().time() + 3_600
    clock = LoopClock()
    for number in range(REQUESTS):
        if number % REQUESTS_A_WORLD == 0:
            drawn = any_world(dice)
        snapshots, upstream = reseeded(drawn, number), AllDown()
        asked = msgspec.structs.replace(any_call(dice), deadline_at=far)
        health = InstanceHealth(clock, SeededDice(), NotedTelemetry())
        known = SimpleNamespace(snapshots=lambda held=snapshots: held, clock=clock, upstream=upstream, health=health)
        services = cast("Services", known)
        trail = Trail(services, "Explain")
        try:
            told = explain(services, asked, trail)
        except ModelNotAllowedError:
            continue
        counts[len(told.candidates)] += 1
        if told.candidates:
            plan = settle.plan(services, asked, trail)
            with suppress(UpstreamUnavailableError):
                await attempt.whole(services, asked, plan, trail)
        assert [row.candidate.endpoint.id for row in told.candidates] == upstream.asked
        assert all(row.ceiling_nanousd >= 0 for row in told.candidates)
    assert counts.total() > REQUESTS * 0.8
    assert min(counts[count] for count in range(7)) > 50, counts
