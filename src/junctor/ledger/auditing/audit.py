"""One account audited, from its items alone and without writing, while others may go on working (issue 4: `junctor audit`).

Items are read one after another, so what must agree between items may disagree only because something moved. The account is
therefore read again and again, each time its purses and windows before its journal. No lease, entry or statement ever goes back
to what it was: so where the journal says the same of a purse in two readings one after the other, it said so when the purse was
read in between, and they must agree. What is not the same within `ROUNDS` readings is moving: of it only that is judged which
holds at any time - what single items say, CLOSED leases with their slots, and that what the journal says was spent lies between
what the purse had spent before and after.

Not judged, as no single look can tell: that an answer stated the cost (I7), that a request was billed once (I8: the records of
requests are found by their ids only), that an end stayed (I10), that no output came early (I14), that a purse which owes or
expired was not leased from (I16). Slots expire, and so a total is compared with its slots only where none can have.
"""

from collections import defaultdict
from contextlib import aclosing

from junctor.domain.credits import Limit, Purse, Window
from junctor.domain.lease import Lease, LeaseState
from junctor.ledger import trying
from junctor.ledger.auditing import judging
from junctor.ledger.auditing.findings import Audited, Balance, Findings
from junctor.ledger.auditing.journal import Postings
from junctor.ledger.auditing.reading import Reading, as_noun, read, read_leases
from junctor.ports.ambient import Dice
from junctor.ports.table import Item, Table
from junctor.records import generations, ids, keys, leases, windows

ROUNDS = 5
"""How often an account is read before what moves is left at that."""

OVERDUE_MS = 120_000
"""How long past its end a lease may be OPEN where a reclaimer runs (I11)."""

SLOTS_KEPT_MS = 398 * 24 * 3600 * 1000
"""How long a lease's slots are surely all there: they are kept for 400 days, and clocks may differ."""


async def audit(table: Table, dice: Dice, account: str, now_ms: int) -> Audited:
    """Audit one account. An account of which there is nothing has no items.

    Raises:
        StoreError: it could not be read.
    """
    return await _Audit(table, dice, account, now_ms).run()


class _Audit:
    def __init__(self, table: Table, dice: Dice, account: str, now_ms: int) -> None:
        self._table = table
        self._dice = dice
        self._account = account
        self._now_ms = now_ms
        self._findings = Findings(account)
        self._moving: dict[str, None] = {}
        self._slots = self._overdue = self._aged = 0

    async def run(self) -> Audited:
        """Read, judge, and tell."""
        last = await self._agreement()
        async with aclosing(read_leases(self._table, self._dice, self._account, self._findings)) as found:
            async for item, lease in found:
                await self._lease(item, lease)
        return Audited(
            account=self._account,
            items={**dict(sorted(last.items.items())), "slots": self._slots},
            checks=dict(sorted(self._findings.checks.items(), key=lambda pair: int(pair[0].removeprefix("I")))),
            differences=self._findings.differences,
            moving=tuple(self._moving),
            overdue=self._overdue,
            aged=self._aged,
            balance=_balance(last),
        )

    async def _agreement(self) -> Reading:
        """Judge what must agree between items, as soon as it stands still; return the last reading."""
        judged: set[str] = set()
        moving: set[str] = set()
        before, last = await self._read(), await self._read()
        for rounds in range(2, ROUNDS + 1):
            moving = (_places(before) | _places(last)) - judged
            still = {where for where in moving if _seen(before, where) == _seen(last, where)}
            self._still(last, still)
            judged |= still
            moving -= still
            if not moving or rounds == ROUNDS:
                break
            before, last = last, await self._read()
        for where in sorted(moving):
            self._moving[where] = None
            self._bounded(before, last, where)
        self._alone(last)
        for name, named in before.journal.summed.items():
            judging.summed(self._findings, keys.statement(self._account, name).sort, last.statements.get(name), named)
        return last

    async def _read(self) -> Reading:
        return await read(self._table, self._dice, self._account, self._findings)

    def _still(self, reading: Reading, places: set[str]) -> None:
        """Judge purses and windows that stand still."""
        newest = _newest(reading)
        for where in sorted(places):
            found, limit = reading.places.get(where), _limit(reading, where)
            judging.replayed(self._findings, where, found, _posted(reading, where))
            if where in newest and isinstance(found, Window) and limit is not None:
                judging.in_force(self._findings, where, found, limit)

    def _bounded(self, before: Reading, last: Reading, where: str) -> None:
        """Judge what can be of a moving place: its entries, unless one came, and its spending, unless leases were summed."""
        earlier, later, posted = before.places.get(where), last.places.get(where), _posted(before, where)
        if isinstance(later, Purse) and posted.entries == _posted(last, where).entries:
            judging.credited(self._findings, where, later, posted)
        if earlier is not None and later is not None and before.statements == last.statements:
            judging.bounded(self._findings, where, posted, (earlier.spent_nanousd, later.spent_nanousd))

    def _alone(self, reading: Reading) -> None:
        """Judge what items say by themselves, or of what was read before them."""
        for where, found in reading.places.items():
            if isinstance(found, Purse):
                judging.purse(self._findings, where, found)
            else:
                judging.window(self._findings, where, found, _limit(reading, where))
        for name, statement in reading.statements.items():
            judging.statement(self._findings, keys.statement(self._account, name).sort, statement)
        refunded = reading.journal.refunded
        for payment_id in {**reading.payments, **refunded}:
            where = keys.entry(self._account, keys.PAYMENT_PREFIX, payment_id).sort
            judging.payment(self._findings, where, reading.payments.get(payment_id), refunded.get(payment_id, 0))

    async def _lease(self, item: Item, lease: Lease) -> None:
        """Judge a lease and its slots: those of a CLOSED one are final, those of an OPEN one are judged if they stand still."""
        where = keys.lease(self._account, leases.id_at(item)).sort
        at_home = (lease.account, lease.id) == (self._account, leases.id_at(item))
        self._findings.check("I12", where, "it says that it is another lease", holds=at_home)
        judging.lease(self._findings, where, lease, indexed=leases.is_indexed(item))
        bills = await self._bills(where, leases.id_at(item))
        if lease.state is LeaseState.OPEN:
            again = await self._bills(where, leases.id_at(item))
            found = await trying.get(self._table, self._dice, keys.lease(self._account, leases.id_at(item)))
            now = as_noun(self._findings, where, found, leases.lease_of) if found else None
            if now is None or now.state is LeaseState.CLOSED or bills != again:
                self._moving[where] = None
                return
            lease = now
            self._overdue += lease.exp_ms + OVERDUE_MS < self._now_ms
        self._slots += len(bills)
        whole = self._is_whole(lease)
        self._aged += not whole
        judging.slots(self._findings, where, lease, bills, whole=whole)

    async def _bills(self, where: str, lease_id: str) -> list[generations.Bill]:
        bills: list[generations.Bill] = []
        query = trying.read_all(self._table, self._dice, lambda after: generations.all_of(self._account, lease_id, after))
        async with aclosing(query) as found:
            async for item in found:
                place = f"{where} slot {generations.number_of(item)}"
                bill = as_noun(self._findings, place, item, generations.bill_of)
                bills.extend([bill] if bill else [])
        return bills

    def _is_whole(self, lease: Lease) -> bool:
        try:
            return ids.made_at_ms(lease.id) + SLOTS_KEPT_MS > self._now_ms
        except ValueError:
            return False


def _places(reading: Reading) -> set[str]:
    return {*reading.places, *reading.journal.places}


def _posted(reading: Reading, where: str) -> Postings:
    return reading.journal.places.get(where) or Postings()


def _limit(reading: Reading, where: str) -> Limit | None:
    return reading.limits.get(keys.limit_of_window(where)) if where.startswith(keys.WINDOW_PREFIX) else None


def _seen(reading: Reading, where: str) -> tuple[Postings, Limit | None]:
    return _posted(reading, where), _limit(reading, where)


def _newest(reading: Reading) -> set[str]:
    """Return the newest windows of each limit: those that follow it."""
    by_limit: dict[str, list[str]] = defaultdict(list)
    for where in sorted(reading.places):
        if where.startswith(keys.WINDOW_PREFIX):
            by_limit[keys.limit_of_window(where)].append(where)
    return {where for places in by_limit.values() for where in places[-windows.NEWEST :]}


def _balance(reading: Reading) -> Balance:
    purses = [place for place in reading.places.values() if isinstance(place, Purse)]
    return Balance(
        credited_nanousd=sum(purse.credited_nanousd for purse in purses),
        avail_nanousd=sum(purse.avail_nanousd for purse in purses),
        leased_nanousd=sum(purse.leased_nanousd for purse in purses),
        spent_nanousd=sum(purse.spent_nanousd for purse in purses),
        owed_nanousd=sum(purse.owed_nanousd for purse in purses),
        expired_nanousd=sum(purse.expired_nanousd for purse in purses),
    )
