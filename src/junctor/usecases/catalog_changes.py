"""The operator changes the catalogue: prices set, discounts, and endpoints of his own, made, listed and removed.

A change is judged against the catalogue of the instance that takes it, and written only if the records are as it read them: of
two changes at a time, the later is made again over the earlier, or refused where its author named the version that he saw.
Instances follow within seconds; calls that began before keep the price that they began with.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from junctor.domain.errors import ChangedMeanwhileError, InvalidFieldError, ResourceNotFoundError
from junctor.domain.overlay import Discount, Misfit, Overlay, PassedOver, PriceOverride, PrivateEndpoint, Record
from junctor.ledger import trying
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Done, Operation, Table
from junctor.records import catalog as records
from junctor.usecases.catalog_overlay import CatalogOverlay, read

RECORDS_MAX = 1_000
"""The most records: all of them are read at once, and listed in one answer."""
TRIES = 8


class Changes(Struct, frozen=True):
    """All records, and those of them that are not in force on the instance that was asked."""

    overlay: Overlay
    passed_over: tuple[PassedOver, ...] = ()


class CatalogChanges:
    """What is done with the records; every method may raise StoreError. `version` is what the caller saw, None for any."""

    def __init__(self, table: Table, clock: Clock, dice: Dice, overlay: CatalogOverlay) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice
        self._overlay = overlay

    async def list(self) -> Changes:
        """Read all records."""
        overlay, unread = await read(self._table, self._dice)
        refused = [found for found in self._overlay.passed_over if found.reason is Misfit.ADDRESS_REFUSED]
        return Changes(overlay, (*unread, *refused, *self._overlay.fits(overlay).passed_over))

    async def set_price(self, override: PriceOverride, version: int | None) -> int:
        """Set what an endpoint costs and return the records' version.

        Raises:
            InvalidFieldError: there is no such endpoint.
            ChangedMeanwhileError: others changed the records.
        """
        return await self._put(override, version, "price_override.endpoint")

    async def set_discount(self, discount: Discount, version: int | None) -> int:
        """Set a discount and return the records' version.

        Raises:
            InvalidFieldError: there is no such provider or endpoint.
            ChangedMeanwhileError: others changed the records.
        """
        return await self._put(discount, version, "discount.subject")

    async def set_endpoint(self, endpoint: PrivateEndpoint, version: int | None) -> int:
        """Set an endpoint of the operator's own and return the records' version.

        Raises:
            InvalidFieldError: its address may not be used from here, or it does not fit the catalogue.
            ChangedMeanwhileError: others changed the records.
        """
        problem = await self._overlay.address_problem(endpoint.base_url)
        if problem is not None:
            raise InvalidFieldError(("private_endpoint.base_url", problem))
        return await self._put(endpoint, version, "private_endpoint.provider")

    async def remove_price(self, endpoint: str, valid_from: int | None, version: int | None) -> int:
        """Remove the price that an endpoint was set to from an instant on (Unix seconds). Raises as `_remove`."""
        return await self._remove(PriceOverride, records.override_name(endpoint, valid_from), version)

    async def remove_discount(self, subject: str, version: int | None) -> int:
        """Remove a discount. Raises as `_remove`."""
        return await self._remove(Discount, subject, version)

    async def remove_endpoint(self, endpoint: str, version: int | None) -> int:
        """Remove an endpoint of the operator's own; calls under way there go on. Raises as `_remove`."""
        return await self._remove(PrivateEndpoint, endpoint, version)

    async def _remove(self, kind: records.Kind, name: str, version: int | None) -> int:
        """Remove a record and return the records' version.

        Raises:
            ResourceNotFoundError: there is none.
            ChangedMeanwhileError: others changed the records.
        """
        doubt = trying.Doubt()
        for tried in range(TRIES):
            overlay, unread = await self._read(version, doubt)
            if name not in {*map(records.name_of, _of_kind(overlay, kind)), *(found.name for found in unread)}:
                raise doubt.refused(ResourceNotFoundError(_WORDS[kind], name))
            if await self._write(overlay, records.no_record(kind, name), doubt):
                return overlay.version + 1
            await asyncio.sleep(trying.backoff_s(self._dice, tried))
        raise doubt.refused(_changed())

    async def _put(self, wanted: Record, version: int | None, path: str) -> int:
        doubt = trying.Doubt()
        for tried in range(TRIES):
            overlay, _ = await self._read(version, doubt)
            others = [found for found in _of_kind(overlay, type(wanted)) if records.name_of(found) != records.name_of(wanted)]
            record = self._stamped(wanted, overlay.version + 1)
            if self._is_there(record, overlay):
                return overlay.version
            self._check(overlay, _with(overlay, type(record), (*others, record)), record, path)
            if await self._write(overlay, records.put(record), doubt):
                return overlay.version + 1
            await asyncio.sleep(trying.backoff_s(self._dice, tried))
        raise doubt.refused(_changed())

    async def _read(self, version: int | None, doubt: trying.Doubt) -> tuple[Overlay, tuple[PassedOver, ...]]:
        overlay, unread = await read(self._table, self._dice)
        if version is not None and version != overlay.version:
            raise doubt.refused(_changed())
        return overlay, unread

    async def _write(self, overlay: Overlay, write: Operation, doubt: trying.Doubt) -> bool:
        """Write a record with the next version, and tell whether nothing came between."""
        writes = (records.next_version(overlay.version), write)
        return isinstance(await trying.transact(self._table, self._dice, writes, doubt), Done)

    def _stamped(self, record: Record, version: int) -> Record:
        """Return a record with the day and version of its writing; a discount has none."""
        if isinstance(record, Discount):
            return record
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date().isoformat()
        return msgspec.structs.replace(record, as_of=today, version=version)

    def _is_there(self, record: Record, overlay: Overlay) -> bool:
        """Tell whether a record like this is there already, whenever it was written."""
        for found in _of_kind(overlay, type(record)):
            if isinstance(found, Discount) or isinstance(record, Discount):
                same = found == record
            else:
                same = msgspec.structs.replace(found, as_of=record.as_of, version=record.version) == record
            if same:
                return True
        return False

    def _check(self, before: Overlay, after: Overlay, record: Record, path: str) -> None:
        """Raise InvalidFieldError if a record does not fit, or would keep another from fitting."""
        if len(after.overrides) + len(after.discounts) + len(after.endpoints) > RECORDS_MAX:
            raise InvalidFieldError((path, f"would be one of more than {RECORDS_MAX} records; remove others first"))
        known = self._overlay.fits(before).passed_over
        name = record.endpoint if isinstance(record, PriceOverride) else records.name_of(record)
        for found in self._overlay.fits(after).passed_over:
            if found.name == name or found not in known:
                raise InvalidFieldError((path, found.reason.value))


def _of_kind(overlay: Overlay, kind: records.Kind) -> Sequence[Record]:
    if kind is PriceOverride:
        return overlay.overrides
    return overlay.discounts if kind is Discount else overlay.endpoints


def _with(overlay: Overlay, kind: records.Kind, found: Sequence[Record]) -> Overlay:
    field = {PriceOverride: "overrides", Discount: "discounts", PrivateEndpoint: "endpoints"}[kind]
    return msgspec.structs.replace(overlay, **{field: tuple(found)})


def _changed() -> ChangedMeanwhileError:
    return ChangedMeanwhileError("Others changed the catalogue's records at the same time.", trying.BACKOFF_MAX_S)


_WORDS: Final[dict[records.Kind, str]] = {
    PriceOverride: "price_override",
    Discount: "discount",
    PrivateEndpoint: "private_endpoint",
}
