"""A method of the control plane as a value: what it takes, whose keys may call it, and what answers it.

Services are tables of these, so that one piece of code (doors/rpc/control.py) authenticates, parses, guards and logs them all,
and a test can list every method with who may call it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from google.protobuf.message import Message
from msgspec import Struct

from junctor.domain.account import Actor, KeyScope

Handle: TypeAlias = "Callable[[Actor, Any], Awaitable[Message]]"
"""From who asks and the parsed request, whose type is Method.request, to the response. Raises JunctorError, StoreError."""


class Method(Struct, frozen=True):
    """One method. `scopes` are the kinds of keys that may call it."""

    request: type[Message]
    scopes: frozenset[KeyScope]
    handle: Handle


Methods: TypeAlias = Mapping[str, Method]
"""A service's methods by name."""
