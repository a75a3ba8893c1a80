"""What is measured while a world is played: counts by tenths of a second, and sums of what calls cost."""

from array import array
from typing import Final

from junctor.domain.health import EndpointHealth, HealthSnapshot
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Plan
from tests.simulation_routing.weather import Site, Weather

BUCKETS_A_S: Final = 10


class Notes:
    """One world's measures. Times are the loop's seconds; series have a number for each bucket.

    `first` counts first tries of calls that were drawn, `struck` those of them at an endpoint that some fault strikes, now or
    later. `weight` sums the part of its own weight that such an endpoint has in a plan's eyes, `views` how often it was summed.
    The `known` sums leave out calls in the time in which an endpoint is coming back.
    """

    def __init__(self, weather: Weather, model: str, seconds: float) -> None:
        size = int(seconds * BUCKETS_A_S) + 1
        self._weather = weather
        self._ids = {slug: f"{slug}/{model}" for slug in weather.sites}
        self._struck = {self._ids[site.provider] for site in weather.struck}
        self._sound = [ident for ident in self._ids.values() if ident not in self._struck]
        self.first, self.struck, self.weight, self.views = (array("d", bytes(8 * size)) for _ in range(4))
        self.requests, self.lost, self.attempts = (array("d", bytes(8 * size)) for _ in range(3))
        self.lost_early = 0
        self.lost_by_chance = 0.0
        self.false_ejections: set[tuple[int, str]] = set()
        self.sick: set[int] = set()
        self.first_token_s = array("d")
        self.drawn_nanousd = self.perfect_nanousd = 0
        self.floor_nanousd = self.cheapest_nanousd = 0
        self.known_floor_nanousd = self.known_cheapest_nanousd = 0

    def planned(self, now_s: float, instance: int, plan: Plan, health: HealthSnapshot, *, drawn: bool) -> None:
        """Note a plan and the health that it was made of."""
        bucket = int(now_s * BUCKETS_A_S)
        measured = health.endpoints
        if drawn:
            self.first[bucket] += 1
            self.struck[bucket] += plan.candidates[0].endpoint.id in self._struck
            for ident in self._struck:
                self.weight[bucket] += _part(measured.get(ident))
                self.views[bucket] += 1
        for ident in self._sound:
            found = measured.get(ident)
            if found is not None and found.open:
                self.false_ejections.add((instance, ident))

    def ended(self, began_s: float, plan: Plan, chance: float, tried: int, attempts: int, *, answered: bool) -> None:
        """Note what became of a request that would fail at all its candidates with this chance, after trying some of them."""
        bucket = int(began_s * BUCKETS_A_S)
        self.requests[bucket] += 1
        self.attempts[bucket] += attempts
        self.lost_by_chance += chance
        if not answered:
            self.lost[bucket] += 1
            self.lost_early += tried < len(plan.candidates)

    def paid(self, now_s: float, served: NanoUsd, yardstick: NanoUsd, *, drawn: bool) -> None:
        """Note what an answered call costs that began then, with what it would have cost by its yardstick."""
        if drawn:
            self.drawn_nanousd += served
            self.perfect_nanousd += yardstick
            return
        self.floor_nanousd += served
        self.cheapest_nanousd += yardstick
        if now_s >= self._weather.returned_s:
            self.known_floor_nanousd += served
            self.known_cheapest_nanousd += yardstick

    def felt_sick(self, instance: int, *, sick: bool) -> None:
        """Note that an instance holds itself, and not its providers, for what fails."""
        if sick:
            self.sick.add(instance)

    def chance_of_loss(self, plan: Plan, now_s: float) -> float:
        """Return how likely all of a plan's candidates fail."""
        chance = 1.0
        for candidate in plan.candidates:
            site = self._weather.sites[candidate.endpoint.provider]
            chance *= _failing(site, now_s)
        return chance


def _failing(site: Site, now_s: float) -> float:
    return 1.0 - site.success if site.has_room(now_s) else 1.0


def _part(health: EndpointHealth | None) -> float:
    """Return what an endpoint's health leaves of its weight, as the draw reckons it."""
    if health is None:
        return 1.0
    if health.open or health.degraded:
        return 0.0
    return health.success_probability**2 * health.ramp
