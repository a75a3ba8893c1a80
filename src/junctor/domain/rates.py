"""How much an API key may be used beside money: approximate over several instances, unlike money (ledger.md).

Requests count when they are let in; tokens are input and output together, first by an estimate, then as they were used.
"""

from enum import Enum

from msgspec import Struct


class RateLimit(Enum):
    """Which of an API key's limits; the values are the fields of `Rates`."""

    REQUESTS_PER_MIN = "requests_per_min"
    TOKENS_PER_MIN = "tokens_per_min"
    CONCURRENCY = "concurrency"


class Rates(Struct, frozen=True, kw_only=True):
    """Requests and tokens in each minute of the clock, and requests at one time; None does not bound."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    concurrency: int | None = None

    @property
    def unlimited(self) -> bool:
        """Whether there is nothing to count."""
        return self.requests_per_min is None and self.tokens_per_min is None and self.concurrency is None


class Need(Struct, frozen=True):
    """What one call needs of a limit, and what the limit allows."""

    limit: RateLimit
    amount: int
    allowed: int


class Share(Struct, frozen=True):
    """A part of a minute's limit that an instance takes at once. `fresh_of` is the whole limit if nobody took of it before."""

    limit: RateLimit
    amount: int
    fresh_of: int | None = None


class Claim(Struct, frozen=True):
    """So many calls at a time are an instance's to let in, until this instant of Unix milliseconds."""

    count: int
    until_ms: int
