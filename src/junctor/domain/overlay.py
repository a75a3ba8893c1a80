"""What an operator changes in the catalogue: other prices, discounts, and endpoints of his own.

They are records of their own and never edits of the catalogue: it may be replaced beneath them at any time.
"""

from enum import Enum

from msgspec import Struct

from junctor.domain.catalog import DataPolicy, PriceParts

PPM = 1_000_000
"""Millionths in a whole: a discount of so many is the whole price."""

CREDENTIAL_PREFIX = "ENDPOINT_KEY_"
"""What the name of an own endpoint's secret begins with, so that no other secret of the environment can be sent anywhere."""


class PriceOverride(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an endpoint costs from `valid_from` until before `valid_to` (Unix seconds, None is unbounded), whatever is listed.

    `parts` name input and output, and stand for the whole card: a part that they leave out costs what input or output cost.
    `as_of` is the day on which it was set (ISO 8601), `version` the overlay's then.
    """

    endpoint: str
    parts: PriceParts
    as_of: str
    version: int
    valid_from: int | None = None
    valid_to: int | None = None
    note: str = ""


class Discount(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """So many millionths off the listed prices of a provider, or of one endpoint, where that has no discount of its own."""

    subject: str
    off_ppm: int
    note: str = ""


class PrivateEndpoint(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A model that the operator serves himself, under a provider's slug that is his own.

    `credential` names the secret that opens it, None if nothing does. `parts` is its price, 0 where it shall cost nothing.
    `as_of` and `version` are as with an override.
    """

    provider: str
    model: str
    upstream_model: str
    base_url: str
    parts: PriceParts
    as_of: str
    version: int
    dialect: str = "openai_chat"
    credential: str | None = None
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    parameters: tuple[str, ...] = ()
    region: str | None = None
    data_policy: DataPolicy | None = None
    note: str = ""

    @property
    def id(self) -> str:
        """Return the endpoint's id, `provider/author/name`."""
        return f"{self.provider}/{self.model}"


Record = PriceOverride | Discount | PrivateEndpoint


class Overlay(Struct, frozen=True, kw_only=True):
    """All records of a deployment. `version` rises with each change; it is 0 where there never was one."""

    version: int = 0
    overrides: tuple[PriceOverride, ...] = ()
    discounts: tuple[Discount, ...] = ()
    endpoints: tuple[PrivateEndpoint, ...] = ()


class Misfit(Enum):
    """Why a record is passed over."""

    ENDPOINT_MISSING = "there is no such endpoint"
    SUBJECT_MISSING = "there is no such provider or endpoint"
    PROVIDER_TAKEN = "the provider's name belongs to the catalogue, or to a kind of server that Junctor knows"
    MODEL_IS_ALIAS = "the model's name is another name of a model in the catalogue; use that one's own"
    CREDENTIAL_NAME = f"its credential's name does not begin with {CREDENTIAL_PREFIX}"
    CREDENTIAL_DIFFERS = "another endpoint of this provider has another credential"
    ADDRESS_REFUSED = "its address is not allowed here"
    UNREADABLE = "it was written in a way that this version does not understand"


class PassedOver(Struct, frozen=True):
    """A record that is not in force: `name` says which (its endpoint or subject), `reason` why."""

    name: str
    reason: Misfit
