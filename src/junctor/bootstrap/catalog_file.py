"""The catalogue that an operator put in the packaged one's place: taken up at start and when its file changes, without a pause.

A file that is not fit for use changes nothing: the catalogue in force stays.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from junctor.adapters.catalog.packaged import PackagedCatalog, packaged_bytes
from junctor.adapters.catalog.snapshot import CatalogFormatError, Snapshot, check, placed, read
from junctor.adapters.providers.registry import Registry, RegistryError

IMPORTED_FILE = "catalog.json"
LOOK_EVERY_S = 5.0
_UNREAD = (-1, -1)
"""The mark of no file: the next look tries whatever is there."""


class CatalogFile:
    """Keeps a catalogue as the file in the data folder says, and as packaged while there is none."""

    def __init__(self, catalog: PackagedCatalog, rows: Registry, path: Path) -> None:
        self._catalog = catalog
        self._rows = rows
        self._path = path
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Put the file in force if it is another than at the last look; tell whether it was.

        Raises CatalogFormatError, RegistryError, OSError; the same file is not tried twice once it was read.
        """
        mark = _mark(self._path)
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            snapshot = read_checked(None if mark is None else self._path, self._rows)
        except OSError:  # it may be another owner's for a moment, or too much be open here: neither changes the mark
            self._seen = _UNREAD
            raise
        self._catalog.replace(placed(snapshot))
        return True

    async def keep(self, tell: Callable[[str], None]) -> None:
        """Look every few seconds for ever; `tell` hears when another catalogue came into force, or why it did not."""
        unread = False
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if await asyncio.to_thread(self.refresh):
                    tell(f"catalogue {self._catalog.current().version} is in force")
            except Exception as error:  # noqa: BLE001 - whatever a file makes go wrong, the next one is to be seen
                if not (unread and self._seen == _UNREAD):
                    tell(f"the catalogue in the data folder is not fit for use: {type(error).__name__}")
            unread = self._seen == _UNREAD


def read_checked(path: Path | None, rows: Registry) -> Snapshot:
    """Read a snapshot, the packaged one for None, of which every endpoint's provider and dialect are known.

    Raises CatalogFormatError and RegistryError, which name the file, and OSError.
    """
    try:
        snapshot = read(packaged_bytes() if path is None else path.read_bytes())
        check(snapshot)
        rows.check_endpoints(snapshot.endpoints)
    except (CatalogFormatError, RegistryError) as error:
        raise type(error)(f"{path or 'the packaged catalogue'}: {error}") from None
    return snapshot


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
