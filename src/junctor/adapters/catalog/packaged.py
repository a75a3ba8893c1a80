"""The catalogue that comes with Junctor, in memory, until another takes its place.

Refuses to look anywhere but into the package and what it is handed. What it learns at run time are addresses: of an endpoint on
this machine, which exists only once its server listens, and of providers whose address holds the operator's own account, as
`https://${DATABRICKS_HOST}/...`. An endpoint whose address is not whole has none, so nothing is sent there.

Two layers may lie over it, each made by others as a pure function of what is beneath: what was discovered on this machine, and
over that the operator's records. Whatever changes, all is laid anew from the bottom.
"""

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from msgspec.structs import replace

from junctor.adapters.catalog.snapshot import placed, read
from junctor.domain.catalog import Catalog, Endpoint

SNAPSHOT = "snapshot.json"

Layer: TypeAlias = Callable[[Catalog], Catalog]

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
"""What may stand in an address: a name of a host, region, project or account, and nothing that could lead elsewhere."""


class PackagedCatalog:
    """Holds the catalogue in force (ports/catalog.CatalogSource). Loading the packaged one takes some ten milliseconds."""

    def __init__(self, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        """Load the snapshot, filling its addresses from `variables`. Raises CatalogFormatError.

        It is checked where it is built and where it is tested: at a start that would cost more than all the rest.
        """
        self._variables = variables
        # An imported file is read, and put in force, by a thread of its own.
        self._changing = threading.Lock()
        self._located: dict[str, str] = {}
        self._discovered: Layer = _nothing_more
        self._records: Layer = _nothing_more
        self.replace(placed(read(packaged_bytes())))

    def current(self) -> Catalog:
        """Return the catalogue in force, from memory."""
        return self._catalog

    def beneath(self) -> Catalog:
        """Return the catalogue without the operator's records."""
        return self._beneath

    def replace(self, catalog: Catalog) -> None:
        """Put another catalogue in force for all later calls; those under way keep theirs. Addresses given before are kept."""
        filled = with_variables(catalog, self._variables)
        with self._changing:
            for endpoint_id, base_url in self._located.items():
                if _find(filled.endpoints, endpoint_id) is not None:
                    filled = with_address(filled, endpoint_id, base_url)
            self._lay(filled)

    def locate(self, endpoint_id: str, base_url: str) -> None:
        """Give an endpoint its address, for all later calls. Raises KeyError if there is no such endpoint."""
        with self._changing:
            self._lay(with_address(self._bottom, endpoint_id, base_url))
            self._located[endpoint_id] = base_url

    def discovered(self, layer: Layer) -> None:
        """Lay what was discovered on this machine over the catalogue, in place of what was before."""
        with self._changing:
            self._discovered = layer
            self._lay(self._bottom)

    def overlay(self, layer: Layer) -> None:
        """Lay the operator's records over all, in place of what was before."""
        with self._changing:
            self._records = layer
            self._lay(self._bottom)

    def _lay(self, bottom: Catalog) -> None:
        beneath = self._discovered(bottom)
        self._catalog = self._records(beneath)
        self._bottom, self._beneath = bottom, beneath


def _nothing_more(catalog: Catalog) -> Catalog:
    return catalog


def packaged_bytes() -> bytes:
    """Read the file that came with Junctor."""
    return Path(__file__).with_name(SNAPSHOT).read_bytes()


def with_variables(catalog: Catalog, variables: Mapping[str, str]) -> Catalog:
    """Return the catalogue with the variables of addresses filled in; an address that lacks one is empty, and says which."""
    known: dict[str, tuple[str, tuple[str, ...]]] = {}
    endpoints: dict[str, tuple[Endpoint, ...]] = {}
    for slug, served in catalog.endpoints.items():
        if any("${" in endpoint.base_url for endpoint in served):
            for endpoint in served:
                if endpoint.base_url not in known:
                    known[endpoint.base_url] = _filled(endpoint.base_url, variables)
            endpoints[slug] = tuple(
                _addressed(endpoint, *known[endpoint.base_url]) if "${" in endpoint.base_url else endpoint
                for endpoint in served
            )
        else:
            endpoints[slug] = served
    return replace(catalog, endpoints=endpoints)


def _filled(template: str, variables: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the address, or none and the variables of which it lacks a value that may stand in one."""
    names = dict.fromkeys(_VARIABLE.findall(template))
    lacking = tuple(name for name in names if not _VALUE.fullmatch(variables.get(name, "")))
    return ("", lacking) if lacking else (_VARIABLE.sub(lambda found: variables[found[1]], template), ())


def _addressed(endpoint: Endpoint, base_url: str, lacking: tuple[str, ...] = ()) -> Endpoint:
    return replace(endpoint, base_url=base_url, address_variables=lacking)


def with_address(catalog: Catalog, endpoint_id: str, base_url: str) -> Catalog:
    """Return the catalogue with another address for one endpoint. Raises KeyError if there is no such endpoint."""
    found = _find(catalog.endpoints, endpoint_id)
    if found is None:
        raise KeyError(endpoint_id)
    slug, place = found
    served = list(catalog.endpoints[slug])
    served[place] = _addressed(served[place], base_url)
    return replace(catalog, endpoints={**catalog.endpoints, slug: tuple(served)})


def _find(endpoints: Mapping[str, tuple[Endpoint, ...]], endpoint_id: str) -> tuple[str, int] | None:
    for slug, served in endpoints.items():
        for place, endpoint in enumerate(served):
            if endpoint.id == endpoint_id:
                return slug, place
    return None
