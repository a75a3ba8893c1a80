"""How much an API key may be used beside money: approximate over several instances, unlike money (ledger.md)."""

from msgspec import Struct


class Rates(Struct, frozen=True, kw_only=True):
    """Requests and tokens in each minute, and requests at one time; None does not bound."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    concurrency: int | None = None
