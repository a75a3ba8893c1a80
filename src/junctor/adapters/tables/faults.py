"""What can go wrong between a caller and the simulated store: fault kinds as data, a plan of their chances, seeded dice.

A fault befalls one call. Nothing here knows tables; the simulated store asks which fault strikes and acts on it.
"""

import random
from collections import deque
from enum import Enum

from msgspec import Struct


class Fault(Enum):
    """What befalls one call. The three last ones are answers, and say that nothing was written."""

    NONE = "applied and acknowledged"
    REPLY_LOST = "applied, but the answer is lost"
    DROPPED = "lost on its way: never applied, never answered"
    DELAYED = "applied later, after the caller gave up"
    DUPLICATED = "applied, repeated as by a silent retry; the second answer is the one that comes back"
    THROTTLED = "refused: too many requests"
    CONFLICT = "refused: it met a transaction on the same item"
    UNAVAILABLE = "refused: out of order"


_NONE = Fault.NONE  # an enum's attribute is dear to Python 3.11


class FaultPlan(Struct, frozen=True, kw_only=True):
    """How likely each fault is for one call, and how slow and how stale the store is. Chances sum up to 1 at most.

    `latency_s`: bounds of the time on each way, there and back. `delay_s`: bounds of the time until a delayed write is applied.
    `stale_s`: the greatest age of the state that an eventual read may show.
    """

    chances: tuple[tuple[Fault, float], ...] = ()
    latency_s: tuple[float, float] = (0.0, 0.0)
    delay_s: tuple[float, float] = (0.1, 60.0)
    stale_s: float = 0.0


CALM = FaultPlan()
"""No fault, no latency, nothing stale."""

ROUNDING = 1e-9
"""More than what taking chances off a roll one by one may lose or gain."""


class FaultDice:
    """The seeded dice of one store. `plan` may be replaced at any time, to begin or end the bad weather."""

    def __init__(self, seed: int, plan: FaultPlan) -> None:
        self.plan = plan
        self._random = random.Random(seed)  # noqa: S311 - a simulation wants chance that can be repeated
        self._next: deque[Fault] = deque()
        self._summed = CALM
        self._none_above = 0.0

    def inject(self, *faults: Fault) -> None:
        """Let these befall the next calls, one each, before any chance is drawn."""
        self._next.extend(faults)

    def strike(self) -> Fault:
        """Return what befalls the next call."""
        if self._next:
            return self._next.popleft()
        roll = self._random.random()
        if self.plan is not self._summed:
            self._summed = self.plan
            self._none_above = sum(chance for _, chance in self.plan.chances) + ROUNDING
        if roll > self._none_above:
            return _NONE
        for fault, chance in self.plan.chances:
            if roll < chance:
                return fault
            roll -= chance
        return Fault.NONE

    def latency_s(self) -> float:
        """Return how long one way takes."""
        shortest, longest = self.plan.latency_s
        return shortest + (longest - shortest) * self._random.random()

    def delay_s(self) -> float:
        """Return how long a delayed write takes."""
        return self._random.uniform(*self.plan.delay_s)

    def age_s(self) -> float:
        """Return how old the state is that an eventual read shows."""
        return self._random.uniform(0.0, self.plan.stale_s)
