"""Who calls and who pays. An account is an organisation, one to one. Instants are Unix milliseconds."""

from enum import Enum

from msgspec import Struct

from junctor.domain.credits import Interval
from junctor.domain.money import NanoUsd
from junctor.domain.rates import Rates


class KeyScope(Enum):
    """What an API key may be used for: completions, one organisation's affairs, or every organisation's. Never two of them."""

    COMPLETION = "completion"
    MANAGEMENT = "management"
    OPERATOR = "operator"


class MemberRole(Enum):
    """What a member may do with management keys that belong to him; a management key of nobody's is an administrator's."""

    ADMIN = "admin"
    BILLING = "billing"
    MEMBER = "member"


class GrantKind(Enum):
    """What a recurring grant is: a present, or a line of credit that is invoiced after each period."""

    ALLOWANCE = "allowance"
    METERED = "metered"


class RecurringGrant(Struct, frozen=True, kw_only=True):
    """Credits that come by themselves at the beginning of each period, and lapse at its end."""

    kind: GrantKind
    amount_nanousd: NanoUsd
    interval: Interval


class Account(Struct, frozen=True, kw_only=True):
    """An organisation that pays. `ver` rises with each change."""

    id: str
    name: str
    created_at_ms: int
    disabled: bool = False
    recurring_grant: RecurringGrant | None = None
    low_balance_nanousd: NanoUsd | None = None
    ver: int = 0


class Member(Struct, frozen=True, kw_only=True):
    """A person of an organisation."""

    account: str
    id: str
    name: str
    role: MemberRole
    created_at_ms: int
    disabled: bool = False
    ver: int = 0


class Workspace(Struct, frozen=True, kw_only=True):
    """A label on keys, which may have a limit."""

    account: str
    id: str
    name: str
    created_at_ms: int
    ver: int = 0


class KeySecret(Struct, frozen=True, kw_only=True):
    """One secret of an API key as it is stored: never itself, only its digest under a pepper.

    `tag` is the checksum that the key's text ends with: it tells two live secrets of one key apart, and is no secret.
    `until_ms`: when it ends, None if it is the present one.
    """

    tag: str
    digest: bytes
    pepper_version: int
    until_ms: int | None = None


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key as it is stored. `lookup_id` is its public part, by which it is found and named.

    `account` is empty for an operator's key. `allowed_models` and `allowed_providers` None allow all. `secrets` has the present
    one first; `ver` rises with each change.
    """

    lookup_id: str
    account: str
    name: str
    secrets: tuple[KeySecret, ...]
    created_at_ms: int
    scope: KeyScope = KeyScope.COMPLETION
    disabled: bool = False
    expires_at_ms: int | None = None
    workspace: str | None = None
    member: str | None = None
    allowed_models: tuple[str, ...] | None = None
    allowed_providers: tuple[str, ...] | None = None
    rates: Rates = Rates()
    ver: int = 0


class Caller(Struct, frozen=True):
    """Who a call is from, once its key was checked, and what the key allows."""

    account: str
    key: str
    workspace: str | None = None
    member: str | None = None
    allowed_models: tuple[str, ...] | None = None
    allowed_providers: tuple[str, ...] | None = None
    rates: Rates = Rates()


class Actor(Struct, frozen=True):
    """Who manages or reads, once his key was checked. `account` is empty for an operator, who may act for any.

    `allowed_models` and `allowed_providers` are a completion key's, None for all.
    """

    account: str
    key: str
    scope: KeyScope
    role: MemberRole = MemberRole.ADMIN
    member: str | None = None
    allowed_models: tuple[str, ...] | None = None
    allowed_providers: tuple[str, ...] | None = None
