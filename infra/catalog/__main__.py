"""`poe catalog`: make the packaged snapshot anew, or with --check see that the pins make the one that is committed.

Exit code: 0 made, or as committed, or not to be checked here for want of a registry; 1 different; 2 cannot be made.
"""

import argparse
import sys
from pathlib import Path

import junctor
from infra.catalog.build import build
from infra.catalog.fetch import DigestError, UnavailableError
from junctor.adapters.catalog.packaged import SNAPSHOT
from junctor.adapters.catalog.snapshot import CatalogFormatError, catalog_of, read
from junctor.adapters.catalog.survey import counts
from junctor.adapters.providers import registry
from junctor.adapters.providers.registry import RegistryError

PACKAGED = Path(junctor.__file__).parent / "adapters" / "catalog" / SNAPSHOT


def main(words: list[str]) -> int:
    """Build, and write or compare; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="poe catalog", description="Make the packaged catalogue snapshot from pinned packages."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; see that the pins make the committed snapshot")
    options = parser.parse_args(words)
    try:
        made = build()
        rows = read(made)
        catalog_of(rows)
        registry.load().check_endpoints(rows.endpoints)
    except UnavailableError as error:
        sys.stderr.write(f"skipped: {error}\n" if options.check else f"cannot build: {error}\n")
        return 0 if options.check else 2
    except (DigestError, CatalogFormatError, RegistryError, ValueError) as error:
        sys.stderr.write(f"cannot build: {error}\n")
        return 2
    for name, count in counts(rows).items():
        sys.stdout.write(f"{name.replace('_', ' ')}: {count}\n")
    if options.check:
        same = PACKAGED.read_bytes() == made
        sys.stdout.write("as committed\n" if same else "different from what is committed: run poe catalog\n")
        return 0 if same else 1
    PACKAGED.write_bytes(made)
    sys.stdout.write(f"written: {len(made):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
