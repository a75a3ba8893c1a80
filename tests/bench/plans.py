"""Measures what a plan costs, in microseconds of one call, over few and many endpoints (`python -m tests.bench.plans`).

Batches of plans are timed and the fastest and the median batch told, as whatever else the machine does only adds. Every plan
has another seed. It judges nothing: the bars (40 us over 8 endpoints, 120 over 50) are printed beside the figures.
"""

import statistics
from time import perf_counter
from typing import Any

from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import PriceCard, PriceParts, PriceTier
from junctor.domain.completion import Message, Role, TextPart, Tool
from junctor.domain.health import EndpointHealth
from junctor.domain.routing import Sort, SortBy
from junctor.policy import routing
from tests.support.routes import TURNS, call, endpoint, health, reseeded, world

BATCHES, BATCH = 60, 60
BARS_US = {8: 40, 50: 120}
CALLS = {
    "plain": call(max_tokens=500),
    "tools": call(max_tokens=500, tools=(Tool("look_up", "Look it up.", "{}"),)),
    "conversation": call(messages=(*TURNS, Message(Role.ASSISTANT, (TextPart("A thing."),)), TURNS[1])),
    "sorted": call(prefer={"sort": Sort(SortBy.PRICE)}),
    "ignoring": call(prefer={"ignore": ("p1", "p2")}),
}


def crowd(count: int, *, measured: bool, tiered: bool) -> Snapshots:
    """Return a model at so many providers: a tenth are aggregators, all read their cache for less.

    Where they are measured, each has three credentials, and a tenth has one that is cooling.
    """
    names = [f"p{place}" for place in range(count)]
    limits: dict[str, Any] = {"context_tokens": 128_000, "output_tokens_max": 16_384, "parameters": ("max_tokens", "tools")}
    return world(
        *(endpoint(name, **limits) for name in names),
        prices={name: _card(150_000 + 1_000 * place, tiered=tiered) for place, name in enumerate(names)},
        measured={name: _health(place) for place, name in enumerate(names)} if measured else {},
        credentials=dict.fromkeys(names, ("KEY", "KEY_2", "KEY_3")) if measured else None,
        aggregators=tuple(names[9::10]),
    )


def measure(asked: Call, snapshots: Snapshots) -> tuple[float, float]:
    """Return what a plan takes in the fastest and in the median batch, in microseconds."""
    views = [reseeded(snapshots, seed) for seed in range(BATCH)]
    found: list[float] = []
    for _ in range(BATCHES):
        begun = perf_counter()
        for view in views:
            routing.plan(asked, view)
        found.append((perf_counter() - begun) / BATCH * 1e6)
    return min(found), statistics.median(found)


def _health(place: int) -> EndpointHealth:
    cooling = frozenset({"KEY_2"}) if place % 10 == 0 else frozenset()
    return health(0.97, time_to_first_token_ms=300.0 + place, in_flight=place % 3, cooling=cooling, cache_read_share=0.2)


def _card(price: int, *, tiered: bool) -> PriceCard:
    tiers = (PriceTier(parts=PriceParts(input=2 * price), input_tokens_from=200_001),) if tiered else ()
    parts = PriceParts(input=price, output=4 * price, cache_read=price // 2)
    return PriceCard(version="1", parts=parts, source="made up", as_of="2026-11-21", tiers=tiers)


def main() -> None:
    """Print a line for each size, catalogue and kind of call."""
    print(f"{'endpoints':>9}  {'catalogue':<16} {'call':<13} {'fastest us':>10} {'median us':>10} {'bar us':>7}")
    for count, bar in BARS_US.items():
        for measured in (False, True):
            for tiered in (False, True):
                snapshots = crowd(count, measured=measured, tiered=tiered)
                kind = f"{'measured' if measured else 'new'}, {'tiers' if tiered else 'flat'}"
                for name, asked in CALLS.items():
                    fastest, median = measure(asked, snapshots)
                    print(f"{count:>9}  {kind:<16} {name:<13} {fastest:>10.1f} {median:>10.1f} {bar:>7}")


if __name__ == "__main__":
    main()
