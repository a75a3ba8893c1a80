"""One simulated table's items, as much of their past as an eventual read may show, in the order of the table and its indexes.

It knows neither faults nor conditions: it is told what the item of a key is from an instant on, and says what it was.
Invariant: no item on it is ever changed, but replaced.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from junctor.adapters.tables.paging import Place, place_of, wanted
from junctor.ports.table import IndexSpec, Item, Key, Query, TableSpec


class _Version(Struct, frozen=True):
    """An item as it was from an instant on, None if it was not there, and where it lay, by the index's name."""

    since: float
    item: Item | None
    places: tuple[tuple[str, Place], ...]


def _all_places(versions: Sequence[_Version]) -> set[tuple[str, Place]]:
    return {place for version in versions for place in version.places}


class Shelf:
    """The items of a table.

    `_places` keeps in order where each item lies or lay, by the index's name (empty for the table itself) and the partition.
    """

    def __init__(self, spec: TableSpec) -> None:
        self._indexes = (None, *spec.indexes)
        self._versions: dict[Key, list[_Version]] = {}
        self._places: dict[tuple[str, str], list[Place]] = {}

    def read(self, key: Key, instant: float) -> Item | None:
        """Return the item as it was at this instant."""
        versions = self._versions.get(key)
        if versions is None:
            return None
        for version in reversed(versions):
            if version.since <= instant:
                return version.item
        return None

    def write(self, key: Key, item: Item | None, now: float, forget_before: float) -> None:
        """Make this the item from now on, None to take it away, and forget what no read can show any more."""
        version = _Version(now, item, self._places_of(item))
        versions = self._versions.get(key)
        if versions is None:
            if item is not None:
                self._versions[key] = [version]
                self._move((), version.places)
            return
        before = _all_places(versions)
        versions.append(version)
        while len(versions) > 1 and versions[1].since <= forget_before:
            del versions[0]
        after = _all_places(versions)
        if before != after:
            self._move(before - after, after - before)
        if len(versions) == 1 and item is None:
            del self._versions[key]

    def _move(self, left: Iterable[tuple[str, Place]], new: Iterable[tuple[str, Place]]) -> None:
        """Keep in order where items lie, after one left these places for those."""
        for name, place in new:
            insort(self._places.setdefault((name, place[0]), []), place)
        for name, place in left:
            self._places[name, place[0]].remove(place)

    def items(self, instant: float) -> Iterator[tuple[Key, Item]]:
        """Yield all items as they were at this instant."""
        for key in self._versions:
            item = self.read(key, instant)
            if item is not None:
                yield key, item

    def rows(self, index: IndexSpec | None, query: Query, instant: float) -> Iterator[tuple[Place, Item]]:
        """Yield what a query asks for as it was at this instant, in ascending order."""
        places = self._places.get((query.index or "", query.partition), [])
        low = query.between[0] if query.between else query.prefix
        for number in range(bisect_left(places, (query.partition, low)), len(places)):
            place = places[number]
            if not wanted(query, place):
                return
            item = self.read(Key(*place[-2:]), instant)
            if item is not None and place_of(index, item) == place:
                yield place, item

    def _places_of(self, item: Item | None) -> tuple[tuple[str, Place], ...]:
        if item is None:
            return ()
        found = [(index.name if index else "", place_of(index, item)) for index in self._indexes]
        return tuple([(name, place) for name, place in found if place is not None])
