"""The operator's records laid over this instance's catalogue: at start, and within seconds of a change.

An instance reads one small item every few seconds, and all records only when their version moved. What cannot be read leaves
what is in force as it is; what does not fit is passed over and told once. An own endpoint's address is judged here again before
it comes into force, as other instances may allow other hosts than the one that took the record; from then on each connection
to it is judged too.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from junctor.domain.catalog import Catalog
from junctor.domain.overlay import Discount, Misfit, Overlay, PassedOver, PriceOverride, PrivateEndpoint, Record
from junctor.ledger import trying
from junctor.policy.overlay import Laid, lay
from junctor.ports.ambient import Dice
from junctor.ports.table import StoreError, Table
from junctor.ports.telemetry import Counter, Telemetry
from junctor.records import catalog as records
from junctor.records import keys

EVERY_S = 5.0
JITTER = 0.2


class Layered(Protocol):
    """The catalogue of this instance, as what lies beneath the operator's records and what makes the one in force of it."""

    def beneath(self) -> Catalog:
        """Return the catalogue without the operator's records."""

    def overlay(self, layer: Callable[[Catalog], Catalog]) -> None:
        """Lay this over it from now on, whatever catalogue may come beneath."""


class Addresses(Protocol):
    """Where this instance may connect for the operator's own endpoints."""

    async def problem(self, base_url: str, *, resolved: bool) -> str | None:
        """Say what is wrong with an address, None if it may be used; `resolved` asks for a name that leads somewhere now."""

    def watch(self, base_url: str) -> None:
        """Judge every connection there from now on."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What an instance lays records over. `taken` are providers' names that no endpoint of the operator's own may have."""

    catalog: Layered
    addresses: Addresses
    taken: Collection[str]


async def read(table: Table, dice: Dice) -> tuple[Overlay, tuple[PassedOver, ...]]:
    """Read all records, and name those that cannot be read. Raises StoreError."""
    version = records.version_of(await trying.get(table, dice, keys.overlay_version()))
    found: list[Record] = []
    unread: list[PassedOver] = []
    if version:
        async for item in trying.read_all(table, dice, records.all_records):
            try:
                found.append(records.record_of(item))
            except ValueError:
                unread.append(PassedOver(records.shown_name(item), Misfit.UNREADABLE))
    overlay = Overlay(
        version=version,
        overrides=tuple(record for record in found if isinstance(record, PriceOverride)),
        discounts=tuple(record for record in found if isinstance(record, Discount)),
        endpoints=tuple(record for record in found if isinstance(record, PrivateEndpoint)),
    )
    return overlay, tuple(unread)


class CatalogOverlay:
    """Keeps the records in force."""

    def __init__(self, table: Table, dice: Dice, telemetry: Telemetry, ground: Ground) -> None:
        self._table = table
        self._dice = dice
        self._telemetry = telemetry
        self._catalog = ground.catalog
        self._addresses = ground.addresses
        self._taken = ground.taken
        self._seen = Overlay()
        self._before: Sequence[PassedOver] = ()
        self._passed_over: Sequence[PassedOver] = ()
        self._told: frozenset[PassedOver] = frozenset()

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """Return the records that are not in force here."""
        return (*self._before, *self._passed_over)

    async def refresh(self) -> bool:
        """Put the records in force if their version moved since the last look; tell whether it did. Raises StoreError."""
        found = await trying.repeat(self._dice, lambda: self._table.get(keys.overlay_version(), consistent=False))
        if records.version_of(found.item) == self._seen.version:
            return False
        overlay, unread = await read(self._table, self._dice)
        if overlay.version == self._seen.version:
            return False  # the first read was of a replica that lags
        refused: list[PassedOver] = []
        allowed: list[PrivateEndpoint] = []
        for endpoint in overlay.endpoints:
            if await self._addresses.problem(endpoint.base_url, resolved=False) is None:
                self._addresses.watch(endpoint.base_url)
                allowed.append(endpoint)
            else:
                refused.append(PassedOver(endpoint.id, Misfit.ADDRESS_REFUSED))
        self._seen = msgspec.structs.replace(overlay, endpoints=tuple(allowed))
        self._before = (*unread, *refused)
        self._catalog.overlay(self._lay)
        return True

    def fits(self, overlay: Overlay) -> Laid:
        """Lay other records over what lies beneath here, without putting them in force."""
        return lay(self._catalog.beneath(), overlay, self._taken)

    async def address_problem(self, base_url: str) -> str | None:
        """Say why an address may not be used from here, None if it may."""
        return await self._addresses.problem(base_url, resolved=True)

    async def forever(self) -> None:
        """Look every few seconds, give or take a fifth. What fails is tried again at the next look."""
        while True:
            await asyncio.sleep(EVERY_S * (1 + JITTER * (2 * self._dice.uniform() - 1)))
            await self.look()

    async def look(self) -> None:
        """Look once; whatever goes wrong is told to the log and leaves the catalogue in force as it is."""
        try:
            await self.refresh()
        except StoreError as error:
            self._telemetry.event("catalogue changes not read", {"error": type(error).__name__})
        except Exception as error:  # noqa: BLE001 - told to the log; the next look may do better
            self._telemetry.count(Counter.INCIDENT)
            self._telemetry.incident("catalogue changes", error)
        self._tell()

    def _lay(self, catalog: Catalog) -> Catalog:
        laid = lay(catalog, self._seen, self._taken)
        self._passed_over = laid.passed_over
        return laid.catalog

    def _tell(self) -> None:
        """Tell of each record that is passed over, once for as long as it is."""
        present = frozenset(self.passed_over)
        for record in sorted(present - self._told, key=lambda found: found.name):
            self._telemetry.event("catalogue change passed over", {"record": record.name, "reason": record.reason.name})
        self._told = present
