"""Statements written: the CLOSED leases of past months summed, so that their entries may expire and balances rebuild (I12).

A lease's entry learns in which statement it is summed in the same transaction in which the sums grow, and only once: so each is
summed exactly once, by however many bookkeepers, after whatever was lost, repeated or late, whatever the clocks say. A clock
decides only when to begin: a month is summed once it has been over for `MARGIN_MS`, so that few of its leases come late. Those
that do are summed as well, unless they come behind what was noted as summed, when they simply keep their entries for ever.

It refuses to sum a lease whose own books are wrong; such a lease keeps its entry, for people to look at.
"""

from contextlib import aclosing

from msgspec import Struct

from junctor.domain.lease import Lease, LeaseState
from junctor.ledger import trying
from junctor.ports.ambient import Dice
from junctor.ports.table import ConflictError, Done, Item, Table
from junctor.records import ids, keys, leases, statements
from junctor.records.statements import Statement

MARGIN_MS = 2 * 24 * 3600 * 1000
"""How long a month must be over: clocks may differ by a day, and leases end within minutes."""

KEPT_S = 90 * 24 * 3600
"""How long an entry stays once it is summed, and so at least that long after its lease was closed."""

BATCH_LEASES = 90
"""The most leases of one transaction, which has room for 100 operations."""

BATCH_NAMES = 100
"""About how many purses and windows one transaction adds to: DynamoDB takes an expression of 4 KB."""

PART_NAMES = 200
"""How many purses and windows fill a part: some 20 KB, as each write of it costs a unit for each KB."""

PASSES_MAX = 1_000
"""How often one run begins anew because another one was quicker, each time further on."""

_FIRST, _LAST = bytes(ids.ULID_RANDOM_BYTES), b"\xff" * ids.ULID_RANDOM_BYTES


class Summed(Struct, frozen=True):
    """What one run did: how many leases it summed, and the ids of those that cannot be, because their books are wrong."""

    leases: int = 0
    broken: tuple[str, ...] = ()


async def summarise(table: Table, dice: Dice, account: str, now_ms: int) -> Summed:
    """Sum an account's CLOSED leases of the months that are over, as far as they are not summed yet.

    Raises:
        StoreError: it could not be finished, or the fate of a write is not known; safe to repeat, by anyone.
        ValueError: a statement cannot be read, which means that the books are wrong.
    """
    since = statements.noted(await trying.get(table, dice, keys.summed(account)))
    run = _Run(table, dice, account, since, now_ms // 1000 + KEPT_S)
    for _ in range(PASSES_MAX):
        if await run.through(now_ms):
            break
    else:
        raise ConflictError("other bookkeepers were always quicker")
    if run.since != since:
        await trying.update(table, dice, statements.noting(account, run.since))
    return Summed(run.leases, tuple(run.broken))


class _Run:
    """One walk along an account's leases. All up to `since` are summed; nothing but what was read or written here says so."""

    def __init__(self, table: Table, dice: Dice, account: str, since: str, ttl_s: int) -> None:
        self._table = table
        self._dice = dice
        self._account = account
        self._batch: list[Lease] = []
        self._ttl_s = ttl_s
        self._passed = since
        self._gap = False
        self.since = since
        self.leases = 0
        self.broken: list[str] = []

    async def through(self, now_ms: int) -> bool:
        """Go from where all before is summed to the end; False if another bookkeeper was quicker and it must be read again."""
        self._batch, self._passed, self._gap, self.broken = [], self.since, False, []
        first = self.since or ids.ulid(0, _FIRST)
        last = ids.ulid(statements.month_begin_ms(now_ms - MARGIN_MS) - 1, _LAST)
        if first > last:
            return True
        query = trying.read_all(self._table, self._dice, lambda after: leases.between(self._account, first, last, after))
        async with aclosing(query) as found:
            async for item in found:
                if not await self._take(item):
                    return False
        return await self._flush()

    async def _take(self, item: Item) -> bool:
        """Take the next lease, and write the batch before it if that is full; False as in `through`."""
        lease = self._summable(item)
        if lease is not None:
            if self._is_full(lease) and not await self._flush():
                return False
            self._batch.append(lease)
        elif leases.statement_of(item) is None:
            self._gap = True
        if not self._gap:
            self._passed = leases.id_at(item)
        return True

    def _summable(self, item: Item) -> Lease | None:
        """Return the lease in an item if it can be summed; None if it is, if it is OPEN, or if its books are wrong."""
        if leases.statement_of(item) is not None:
            return None
        try:
            lease = leases.lease_of(item)
            closed = lease.state is LeaseState.CLOSED
            at_home = (lease.account, lease.id) == (self._account, leases.id_at(item))
            if closed and at_home:
                statements.sums_of((lease,), statements.part(self._account, statements.month_of(lease.id), 0))
                return lease
        except ValueError:
            closed = True
        if closed:
            self.broken.append(leases.id_at(item))
        return None

    def _is_full(self, lease: Lease) -> bool:
        if not self._batch:
            return False
        names = {name for one in (*self._batch, lease) for name in (*(leg.purse for leg in one.legs), *one.windows)}
        another_month = statements.month_of(self._batch[0].id) != statements.month_of(lease.id)
        return another_month or len(self._batch) == BATCH_LEASES or len(names) > BATCH_NAMES

    async def _flush(self) -> bool:
        """Sum the batch; False if a lease of it is summed already or the statement grew meanwhile, and nothing was written."""
        if self._batch:
            part = await self._part(statements.month_of(self._batch[0].id))
            sums = statements.sums_of(self._batch, part)
            entries = (leases.summing(lease, part.name, self._ttl_s) for lease in self._batch)
            answer = await trying.transact(self._table, self._dice, (statements.adding(part, sums), *entries))
            if not isinstance(answer, Done):
                return False
            self.leases += len(self._batch)
            self._batch = []
        self.since = self._passed
        return True

    async def _part(self, month: str) -> Statement:
        """Return the part of a month that has room, as it is."""
        page = await trying.repeat(self._dice, lambda: self._table.query(statements.latest(self._account, month)))
        if not page.items:
            return statements.part(self._account, month, 0)
        last = statements.statement_of(page.items[0], self._account)
        if len(last.purses) + len(last.windows) < PART_NAMES:
            return last
        return statements.part(self._account, month, statements.number_of(last) + 1)
