"""Who calls and who pays. An account is an organisation, one to one."""

from enum import Enum

from msgspec import Struct


class KeyScope(Enum):
    """What an API key may be used for; a management key cannot run completions, nor the reverse."""

    COMPLETION = "completion"
    MANAGEMENT = "management"


class Account(Struct, frozen=True, kw_only=True):
    """An organisation that pays. `created_at_ms` is Unix milliseconds."""

    id: str
    name: str
    created_at_ms: int


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key as it is stored: never the secret, only its digest under a pepper.

    `lookup_id` is the public part of the key by which it is found. Instants are Unix milliseconds.
    """

    lookup_id: str
    account: str
    name: str
    digest: bytes
    pepper_version: int
    created_at_ms: int
    scope: KeyScope = KeyScope.COMPLETION
    disabled: bool = False
    expires_at_ms: int | None = None
    workspace: str | None = None


class Caller(Struct, frozen=True):
    """Who a call is from, once its key was checked."""

    account: str
    key: str
    workspace: str | None = None
