"""What the ledger of one instance is given: the world, and the terms under which it holds money."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from junctor.policy.bounds import DEFAULT_OUTPUT_HOLD_TOKENS
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Table
from junctor.ports.telemetry import Telemetry

T = TypeVar("T")

CLOSE_MARGIN_MS = 120_000
"""How long after the longest deadline anyone may close a lease, beside its own life."""


class Tools(Struct, frozen=True):
    """The world as the ledger sees it."""

    table: Table
    clock: Clock
    dice: Dice
    telemetry: Telemetry


class Terms(Struct, frozen=True, kw_only=True):
    """How money is held. `deadline_max_ms` is the longest that a call may last, `width` how many slots may be on their way."""

    deadline_max_ms: int
    width: int = 16
    output_hold_tokens: int = DEFAULT_OUTPUT_HOLD_TOKENS

    @property
    def exp_after_ms(self) -> int:
        """How long after its last slot was opened a lease stays its owner's."""
        return self.deadline_max_ms + CLOSE_MARGIN_MS


class Spawn(Protocol):
    """Starts work that must outlive its caller, and that the ledger waits for when it ends."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> "asyncio.Task[T]":
        """Return the task that does it."""
