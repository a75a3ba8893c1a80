"""The truth of every endpoint at every instant: what no instance knows, and what decides each try's fate.

A request has a number, its luck, which with the endpoint's own number gives the dice of a try: the same request meets the same
fate at the same endpoint whatever was tried before. So two ways to route can be compared request by request.
"""

from random import Random
from statistics import NormalDist
from typing import Final

from msgspec import Struct

from tests.simulation_routing.traces import VICTIM, Fault, Scenario, providers

DEATHS: Final = ("refused", "reset", "503")
FIRST_MEDIAN_S: Final = (0.25, 0.9)
"""Bounds of the endpoints' medians of the time to the first token."""
FIRST_SIGMA: Final = 0.35
TOKENS_PER_S: Final = (60.0, 220.0)
VICTIM_TOKENS_PER_S: Final = 120.0
TOKENS: Final = (40, 400)
"""Bounds of how long answers are."""
RETURN_S: Final = 60.0
"""How long an endpoint may take to come back after its fault: a bar of its own."""
_MASK: Final = (1 << 64) - 1
_STEPS: Final = 1 << 12
_SPREAD: Final = tuple(
    pow(2.718281828459045, FIRST_SIGMA * NormalDist().inv_cdf((step + 0.5) / _STEPS)) for step in range(_STEPS)
)
"""Quantiles of the lognormal with median 1, as drawing one by its formula would cost more than the rest of a try."""


class Fate(Struct, frozen=True):
    """What one try comes to: `failure` is how it fails after `first_s`, None if it is answered, wholly after `whole_s`."""

    failure: str | None
    first_s: float
    whole_s: float
    tokens: int = 0
    retry_after_s: float | None = None


class Site:
    """One endpoint as it is now. `left` is how many requests it still answers, where that is bounded."""

    def __init__(self, provider: str, success: float, random: Random) -> None:
        self.provider = provider
        self.number = random.getrandbits(64) | 1
        self.first_s = random.uniform(*FIRST_MEDIAN_S)
        self.tokens_per_s = random.uniform(*TOKENS_PER_S)
        self._sound = success
        self.success = success
        self.how = "503"
        self.slow = 1.0
        self.faulty = False
        self._answers_per_s: float | None = None
        self._retry_after_s: float | None = None
        self._left = 0.0
        self._left_at_s = 0.0

    def begin(self, fault: Fault, how: str) -> None:
        """Let a fault begin."""
        self.faulty = True
        self.success = self._sound if fault.success is None else fault.success
        self.how, self.slow = how, fault.slow
        self._answers_per_s, self._retry_after_s, self._left = fault.answers_per_s, fault.retry_after_s, 0.0

    def end(self) -> None:
        """Let it be as it was."""
        self.faulty = False
        self.success, self.how, self.slow, self._answers_per_s = self._sound, "503", 1.0, None

    def has_room(self, now_s: float) -> bool:
        """Judge whether a request now would not be one too many."""
        if self._answers_per_s is None:
            return True
        self._left = min(1.0, self._left + (now_s - self._left_at_s) * self._answers_per_s)
        self._left_at_s = now_s
        return self._left >= 1.0

    def fails(self, luck: int) -> bool:
        """Judge whether a request fails here, whatever room there is."""
        return _mixed(luck, self.number) >= self.success

    def fate(self, luck: int, now_s: float) -> Fate:
        """Return what a try that begins now comes to, and count it."""
        if not self.has_room(now_s):
            return Fate("429", 0.05, 0.0, retry_after_s=self._retry_after_s)
        if self._answers_per_s is not None:
            self._left -= 1.0
        spread = _SPREAD[(luck * self.number >> 40) % _STEPS]
        first_s = self.first_s * spread * self.slow
        if self.fails(luck):
            return Fate(self.how, 0.002 if self.how == "refused" else 0.2 * first_s, 0.0)
        tokens = TOKENS[0] + luck % (TOKENS[1] - TOKENS[0])
        return Fate(None, first_s, first_s + tokens / self.tokens_per_s * self.slow, tokens)


class Weather:
    """All endpoints, in the price trace's order, and when each fault of a scenario begins and ends."""

    def __init__(self, scenario: Scenario, victim_first_s: float, seed: int) -> None:
        random = Random(f"weather {scenario.name} {seed}")
        slugs = providers()
        wanted = any(VICTIM in fault.on for fault in scenario.faults)
        self.victim = random.choice(slugs) if wanted else None
        self.sites = {slug: Site(slug, scenario.success, random) for slug in slugs}
        if self.victim is not None:
            self.sites[self.victim].first_s, self.sites[self.victim].tokens_per_s = victim_first_s, VICTIM_TOKENS_PER_S
        how = random.choice(DEATHS)
        self.changes: list[tuple[float, Site, Fault | None, str]] = []
        """Instants in seconds, each with an endpoint and the fault that begins there then, None where one ends."""
        self.struck: list[Site] = []
        """Endpoints that some fault strikes."""
        self.returned_s = 0.0
        """Until when an endpoint whose fault has ended may still be coming back: nobody could know that it would answer."""
        for fault in scenario.faults:
            for slug in self._named(fault.on):
                site = self.sites[slug]
                self.struck += [] if site in self.struck else [site]
                self.changes.append((fault.from_s, site, fault, how if fault.how == "any" else fault.how))
                self.changes.append((fault.until_s, site, None, ""))
        self.changes.sort(key=lambda change: (change[0], change[2] is not None))

    def change(self, site: Site, fault: Fault | None, how: str, now_s: float) -> None:
        """Let a fault begin, or end if there is none."""
        if fault is None:
            site.end()
            self.returned_s = now_s + RETURN_S
        else:
            site.begin(fault, how)

    def _named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if names == ("all",):
            return tuple(self.sites)
        return tuple(self.victim if name == VICTIM and self.victim else name for name in names)


def _mixed(luck: int, number: int) -> float:
    """Return a number in [0, 1) that follows from two: the finisher of splitmix64."""
    mixed = (luck ^ number) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53
