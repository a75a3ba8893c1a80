"""The catalogue that comes with Junctor, in memory.

Refuses to look anywhere but into the package: imports and overrides are other sources. The one thing it learns at run time is
the address of an endpoint on this machine, which exists only once its server listens.
"""

from collections.abc import Mapping
from importlib import resources

from msgspec.structs import replace

from junctor.adapters.catalog.snapshot import parse
from junctor.domain.catalog import Catalog, Endpoint

SNAPSHOT = "snapshot.json"


class PackagedCatalog:
    """Holds the packaged snapshot (ports/catalog.CatalogSource). Loading it takes a few milliseconds."""

    def __init__(self) -> None:
        """Load and check the snapshot. Raises CatalogFormatError."""
        self._catalog = parse(resources.files(__package__).joinpath(SNAPSHOT).read_bytes())

    def current(self) -> Catalog:
        """Return the catalogue in force, from memory."""
        return self._catalog

    def locate(self, endpoint_id: str, base_url: str) -> None:
        """Give an endpoint its address, for all later calls. Raises KeyError if there is no such endpoint."""
        self._catalog = with_address(self._catalog, endpoint_id, base_url)


def with_address(catalog: Catalog, endpoint_id: str, base_url: str) -> Catalog:
    """Return the catalogue with another address for one endpoint. Raises KeyError if there is no such endpoint."""
    slug, place = _find(catalog.endpoints, endpoint_id)
    served = list(catalog.endpoints[slug])
    served[place] = replace(served[place], base_url=base_url)
    return replace(catalog, endpoints={**catalog.endpoints, slug: tuple(served)})


def _find(endpoints: Mapping[str, tuple[Endpoint, ...]], endpoint_id: str) -> tuple[str, int]:
    for slug, served in endpoints.items():
        for place, endpoint in enumerate(served):
            if endpoint.id == endpoint_id:
                return slug, place
    raise KeyError(endpoint_id)
