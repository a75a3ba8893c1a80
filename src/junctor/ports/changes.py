"""The ordered feed of a table's changes: DynamoDB Streams, or a log table in SQLite.

Delivery is at least once, in order for each item; between items no order is promised.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from junctor.ports.table import Item, Key, TableSpec


class ChangeRecord(Struct, frozen=True):
    """One change of one item: `old` is None for a new one, `new` is None for one taken away."""

    key: Key
    old: Item | None
    new: Item | None


class Changes(Protocol):
    """The changes of tables whose spec asks for a stream."""

    async def read(self, spec: TableSpec, after: str | None, limit: int) -> tuple[Sequence[ChangeRecord], str | None]:
        """Return the next changes and the position after them; the same position again if there are none yet.

        `after` None starts at the oldest change that is kept. Raises StoreError.
        """
