"""Where the catalogue comes from."""

from typing import Protocol

from junctor.domain.catalog import Catalog


class CatalogSource(Protocol):
    """Holds the catalogue in force; it may change between two calls, never within one."""

    def current(self) -> Catalog:
        """Return the catalogue in force, from memory."""
