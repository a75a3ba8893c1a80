"""The catalogue that an operator put in the packaged one's place: taken up at start and when its file changes, without a pause.

A file that is not fit for use changes nothing: the catalogue in force stays.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from junctor.adapters.catalog.packaged import PackagedCatalog, packaged_bytes
from junctor.adapters.catalog.snapshot import CatalogFormatError, catalog_of, read
from junctor.adapters.providers.registry import Registry, RegistryError
from junctor.domain.catalog import Catalog

IMPORTED_FILE = "catalog.json"
LOOK_EVERY_S = 5.0


class CatalogFile:
    """Keeps a catalogue as the file in the data folder says, and as packaged while there is none."""

    def __init__(self, catalog: PackagedCatalog, rows: Registry, path: Path) -> None:
        self._catalog = catalog
        self._rows = rows
        self._path = path
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Put the file in force if it is another than at the last look; tell whether it was.

        Raises CatalogFormatError, RegistryError, OSError; the same file is not tried twice.
        """
        mark = _mark(self._path)
        if mark == self._seen:
            return False
        self._seen = mark
        data = packaged_bytes() if mark is None else self._path.read_bytes()
        catalog = catalog_of(read(data))
        check_dialects(catalog, self._rows)
        self._catalog.replace(catalog)
        return True

    async def keep(self, tell: Callable[[str], None]) -> None:
        """Look every few seconds for ever; `tell` hears when another catalogue came into force, or why it did not."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if await asyncio.to_thread(self.refresh):
                    tell(f"catalogue {self._catalog.current().version} is in force")
            except (CatalogFormatError, RegistryError, OSError) as error:
                tell(f"the catalogue in the data folder is not fit for use: {type(error).__name__}")


def check_dialects(catalog: Catalog, rows: Registry) -> None:
    """Make sure that every endpoint's provider and dialect are known to the registry. Raises RegistryError."""
    rows.check_endpoints(endpoint for served in catalog.endpoints.values() for endpoint in served)


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
