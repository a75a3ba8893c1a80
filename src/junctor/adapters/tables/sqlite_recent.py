"""What a table's writer wrote lately, so that it need not read it again: a slot is ended soon after it began.

Only the writer's thread may ask, as nobody else knows what it has rolled back; then all is forgotten. Items lie here encoded,
so that nobody can change them, and are bounded in number and size. Invariant: what is known here is what this store wrote last;
whoever builds upon it has the file compare it, as somebody else may have written there.
"""

from junctor.ports.table import Key

ITEMS_MAX = 2_048
"""So many items fill the younger half; then the older half is forgotten."""

BYTES_MAX = 1_024
"""The most bytes of an item that is kept: a slot has fewer."""


class Recent:
    """The items that were written lately, encoded, by key."""

    def __init__(self) -> None:
        self._younger: dict[Key, bytes] = {}
        self._older: dict[Key, bytes] = {}

    def find(self, key: Key) -> bytes | None:
        """Return an item, None if it is not known whether there is one."""
        return self._younger.get(key) or self._older.get(key)

    def keep(self, key: Key, data: bytes | None) -> None:
        """Know what is there now; None if there is no item."""
        if data is None or len(data) > BYTES_MAX:
            self._younger.pop(key, None)
            self._older.pop(key, None)
            return
        if len(self._younger) >= ITEMS_MAX:
            self._older, self._younger = self._younger, {}
        self._younger[key] = data

    def forget(self) -> None:
        """Know nothing any more."""
        self._younger.clear()
        self._older.clear()
