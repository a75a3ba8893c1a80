"""The catalogue as one API key sees it at one instant: models, endpoints and providers, each with what routing makes of it now.

What the key may not use is not there. Whether an endpoint can be reached is judged by the same code that plans calls
(policy/routing/prepared), so that nothing is listed as reachable that no call could go to.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from itertools import chain

from msgspec import Struct

from junctor.domain.call import Snapshots
from junctor.domain.catalog import DataPolicy, Endpoint, Model, PriceCard, Provider
from junctor.domain.health import Cause, EndpointHealth
from junctor.domain.money import PicoUsd
from junctor.policy import pricing
from junctor.policy.health.measured import LEAST_UPTIME, NORMAL_UPTIME
from junctor.policy.routing import price_in_force
from junctor.policy.routing.prepared import prepared

CREDENTIALS_MISSING, NOT_RUNNING, PRICE_UNKNOWN = "CREDENTIALS_MISSING", "NOT_RUNNING", "PRICE_UNKNOWN"
TOGETHER = " and "
"""What stands between variables of which all are needed."""


class Access(Struct, frozen=True):
    """What an API key may use; None is all."""

    models: frozenset[str] | None = None
    providers: frozenset[str] | None = None


class Status(Enum):
    """How well an endpoint does, in one word."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    FALLBACK_ONLY = "fallback_only"
    OPEN = "open"


class Opening(Struct, frozen=True):
    """What would open a provider: any one of these variables, or of these sets of them (TOGETHER)."""

    provider: str
    variables: tuple[str, ...]


class SeenEndpoint(Struct, frozen=True, kw_only=True):
    """An endpoint at an instant (Unix milliseconds). `reason` is why no call can go there, empty if one can.

    `variables`: any one of them would open it; where it lacks an address, each names all that it takes (TOGETHER). `price` is
    the card in force and `next_price` the one after it, None where they are not known. `status` is None where nothing was
    measured.
    """

    at_ms: int
    endpoint: Endpoint
    provider: Provider
    dialect_spoken: bool
    reason: str
    variables: tuple[str, ...]
    price: PriceCard | None
    next_price: PriceCard | None
    health: EndpointHealth | None
    status: Status | None

    @property
    def data_policy(self) -> DataPolicy:
        """What becomes of what it is sent."""
        return self.endpoint.data_policy or self.provider.data_policy


class SeenModel(Struct, frozen=True, kw_only=True):
    """A model and those of its endpoints that are meant, never none."""

    model: Model
    endpoints: tuple[SeenEndpoint, ...]

    @property
    def context_tokens(self) -> int | None:
        """The longest context."""
        known = [seen.endpoint.context_tokens for seen in self.endpoints if seen.endpoint.context_tokens is not None]
        return max(known, default=self.model.context_tokens)

    @property
    def cheapest(self) -> tuple[PicoUsd, PicoUsd] | None:
        """The prices of an input and an output token with the least sum, at an endpoint that can be reached if any can."""
        priced = [(seen, seen.price.parts) for seen in self.endpoints if seen.price is not None]
        known = [(bool(seen.reason), parts.input, parts.output) for seen, parts in priced]
        sums = [(far, given + made, given, made) for far, given, made in known if given is not None and made is not None]
        return min(sums)[2:] if sums else None

    @property
    def throughput_tokens_per_s(self) -> float | None:
        """The most tokens a second."""
        return max((health.throughput_tokens_per_s or 0.0 for health in self._measured()), default=0.0) or None

    @property
    def time_to_first_token_ms(self) -> float | None:
        """The shortest time to the first token."""
        known = (health.time_to_first_token_ms for health in self._measured())
        return min((first for first in known if first is not None), default=None)

    @property
    def openings(self) -> tuple[Opening, ...]:
        """What would make more of its endpoints reachable, each provider once."""
        found = {seen.provider.slug: Opening(seen.provider.slug, seen.variables) for seen in self.endpoints if seen.variables}
        return tuple(found.values())

    def _measured(self) -> Iterator[EndpointHealth]:
        return (seen.health for seen in self.endpoints if seen.health is not None)


class SeenProvider(Struct, frozen=True, kw_only=True):
    """A provider and its endpoints, never none. `credential_count` is how many of its credentials are at hand."""

    provider: Provider
    endpoints: tuple[SeenEndpoint, ...]
    credential_count: int

    @property
    def reached(self) -> int:
        """How many models calls can go to there."""
        return len({seen.endpoint.model for seen in self.endpoints if not seen.reason})

    @property
    def openable(self) -> int:
        """How many models the variables would open there."""
        return len({seen.endpoint.model for seen in self.endpoints if seen.variables})

    @property
    def variables(self) -> tuple[str, ...]:
        """What opens it: any one of these, or of these sets of them (TOGETHER); where nothing is reached, what it lacks."""
        if not self.reached:
            lacking = tuple(dict.fromkeys(chain.from_iterable(seen.variables for seen in self.endpoints)))
            if lacking or self.credential_count:
                return lacking
        return self.provider.credentials


class Sight:
    """What a key sees in the snapshots of one instant."""

    def __init__(self, snapshots: Snapshots, access: Access) -> None:
        self.snapshots = snapshots
        self.catalog = snapshots.catalog
        self._access = access
        self._known = prepared(snapshots)

    def slug(self, name: str) -> str | None:
        """Return the slug of the model that a name means, seen or not; None if there is none."""
        return name if name in self.catalog.models else self._known.aliases.get(name)

    def models(self) -> list[str]:
        """Return the slugs of the models that the key may ask for, whether any provider that it may use has them or not."""
        allowed = self._access.models
        return [slug for slug in self.catalog.models if allowed is None or slug in allowed]

    def model(self, slug: str) -> SeenModel | None:
        """Return a model of the catalogue with its endpoints, None if the key may use none of them."""
        if self._access.models is not None and slug not in self._access.models:
            return None
        endpoints = self._endpoints(slug)
        return SeenModel(model=self.catalog.models[slug], endpoints=endpoints) if endpoints else None

    def providers(self, models: Sequence[SeenModel]) -> list[SeenProvider]:
        """Return the providers of models, each with its endpoints of them."""
        found: dict[str, list[SeenEndpoint]] = {}
        for seen in chain.from_iterable(model.endpoints for model in models):
            found.setdefault(seen.provider.slug, []).append(seen)
        return [
            SeenProvider(
                provider=self.catalog.providers[slug],
                endpoints=tuple(endpoints),
                credential_count=len(self.snapshots.credentials.get(slug, ())),
            )
            for slug, endpoints in found.items()
        ]

    def _endpoints(self, model: str) -> tuple[SeenEndpoint, ...]:
        served, allowed = self._known.served(model), self._access.providers
        reasons = {exclusion.endpoint.id: exclusion.reason for exclusion in served.excluded}
        rows = {row.endpoint.id: row for row in served.rows}
        now_ms = self.snapshots.now_ms
        seen: list[SeenEndpoint] = []
        for endpoint in self.catalog.endpoints.get(model, ()):
            if allowed is not None and endpoint.provider not in allowed:
                continue
            cards = self.catalog.prices.get(endpoint.id, ())
            row = rows.get(endpoint.id)
            if row is None:
                card, reason = price_in_force(cards, now_ms), reasons[endpoint.id]
            else:
                judged = row.card_at(now_ms)
                card, reason = (judged.card, "") if judged else (None, PRICE_UNKNOWN)
            seen.append(self._seen(endpoint, reason, card, cards))
        return tuple(seen)

    def _seen(self, endpoint: Endpoint, reason: str, card: PriceCard | None, cards: tuple[PriceCard, ...]) -> SeenEndpoint:
        provider = self.catalog.providers[endpoint.provider]
        health = self.snapshots.health.endpoints.get(endpoint.id)
        spoken = self.snapshots.dialects is None or endpoint.dialect in self.snapshots.dialects
        # Where the price is not known either, a variable alone would open nothing.
        openable = spoken and card is not None and pricing.is_known(card)
        return SeenEndpoint(
            at_ms=self.snapshots.now_ms,
            endpoint=endpoint,
            provider=provider,
            dialect_spoken=spoken,
            reason=reason,
            variables=self._openers(endpoint, provider, reason) if openable else (),
            price=card,
            next_price=_next_price(cards, self.snapshots.now_ms),
            health=health,
            status=None if health is None else status(health),
        )

    def _openers(self, endpoint: Endpoint, provider: Provider, reason: str) -> tuple[str, ...]:
        """Return what is missing where a credential, an address or both are."""
        if reason == CREDENTIALS_MISSING:
            return provider.credentials
        lacking = endpoint.address_variables
        if reason != NOT_RUNNING or not lacking:
            return ()
        if not provider.credentials or self.snapshots.credentials.get(provider.slug):
            return (TOGETHER.join(lacking),)
        return tuple(TOGETHER.join(dict.fromkeys((*lacking, name))) for name in provider.credentials)


def status(health: EndpointHealth) -> Status:
    """Return how well an endpoint does, by its breaker, and by the uptime of the shortest time for which there is one.

    Below LEAST_UPTIME it is for want of others only (routing.md, Health).
    """
    if health.open and health.cause is not Cause.UPTIME:
        return Status.OPEN
    uptime = health.uptime
    windows = (uptime.last_5m, uptime.last_30m, uptime.last_1d) if uptime is not None else ()
    share = next((share for share in windows if share is not None), 1.0)
    if share < LEAST_UPTIME:
        return Status.FALLBACK_ONLY
    return Status.DEGRADED if health.degraded or share < NORMAL_UPTIME else Status.NORMAL


def age_days(card: PriceCard, now_ms: int) -> int | None:
    """Return how many days ago a price was seen to be true, at an instant (Unix milliseconds); None if the day is not known."""
    try:
        seen_on = date.fromisoformat(card.as_of)
    except ValueError:
        return None
    return max((datetime.fromtimestamp(now_ms / 1000, UTC).date() - seen_on).days, 0)


def _next_price(cards: tuple[PriceCard, ...], now_ms: int) -> PriceCard | None:
    """Return the card that is valid next of those that are not yet."""
    if len(cards) == 1 and cards[0].valid_from is None:
        return None
    later = [(card.valid_from, card) for card in cards if card.valid_from is not None and card.valid_from > now_ms // 1000]
    return min(later, key=lambda found: found[0])[1] if later else None
