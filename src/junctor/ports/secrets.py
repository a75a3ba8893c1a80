"""Secrets by name, from memory; an adapter refreshes them out of band."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Peppers(Struct, frozen=True):
    """The keys under which API keys are digested: `current` is the version for new ones."""

    current: int
    by_version: Mapping[int, bytes]

    def __repr__(self) -> str:
        """Name the versions and keep the keys to themselves."""
        return f"Peppers(current={self.current}, versions={sorted(self.by_version)})"


class Secrets(Protocol):
    """What must not be seen. A value is never logged, and never leaves the adapter that needs it."""

    def get(self, name: str) -> str | None:
        """Return a provider key by its usual variable name, None if there is none."""

    def peppers(self) -> Peppers:
        """Return the peppers in force."""
