"""The catalogue as a file: the packaged one, one that an operator put in its place, and the change from one to the other.

`junctor catalog import` leaves a checked snapshot in the data folder; whoever runs a router takes it up at start, and when it
changes, without a pause. A file that is not fit for use changes nothing: the catalogue in force stays.
"""

from pathlib import Path

from junctor.adapters.catalog.snapshot import Snapshot
from junctor.adapters.providers.registry import load
from junctor.bootstrap.catalog_file import IMPORTED_FILE, read_checked
from junctor.bootstrap.problems import as_problem


def open_snapshot(path: Path | None, data_dir: Path) -> Snapshot:
    """Read and check a snapshot: of a path, or the one that a router here would use. Raises Problem."""
    imported = data_dir / IMPORTED_FILE
    with as_problem():
        return read_checked(path or (imported if imported.exists() else None), load())


def import_snapshot(path: Path, data_dir: Path) -> Path:
    """Check a snapshot and leave a copy where routers of this data folder look for it; return where. Raises Problem."""
    open_snapshot(path, data_dir)
    with as_problem():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = data_dir / IMPORTED_FILE
        partial = place.with_suffix(".part")
        partial.write_bytes(path.read_bytes())
        partial.replace(place)
    return place


def forget_snapshot(data_dir: Path) -> bool:
    """Go back to the packaged snapshot; tell whether there was another. Raises Problem."""
    place = data_dir / IMPORTED_FILE
    with as_problem():
        there = place.exists()
        place.unlink(missing_ok=True)
    return there
