"""Money in and out of purses, each movement once by its outside id (ledger.md: refund, chargeback, collect, grant expiry).

An entry and what it does to a purse are one transaction, so that neither is ever there without the other. The same id with the
same content is the same movement, sent again; with another content it is refused. Collecting what a purse owes and sweeping
what an expired one has left have no entry: they only ever bring a purse nearer to where it must end, so anyone may do them at
any time, and twice.
"""

from collections.abc import Callable
from enum import Enum

from junctor.domain.credits import Clawback, Entry, Move, Payment, Purse, PurseState, Refund
from junctor.domain.money import NanoUsd
from junctor.ledger import trying
from junctor.policy.legs import has_lapsed
from junctor.ports.ambient import Dice
from junctor.ports.table import Done, Operation, PutNew, Refused, Table, Update
from junctor.records import keys, payments, purses

AMOUNT_MAX_NANOUSD = 2**63 - 1


class Booking(Enum):
    """What became of a movement of money or the change of a limit.

    BOOKED: now or by an earlier try. DIFFERS: what is there under this id is another one. Any other answer: nothing happened,
    and no try of this call will land later. Where that is not certain, as a try was made whose fate is not known, no answer is
    given but UnknownOutcomeError; asking again under the same outside id is safe, and tells once it is booked.
    """

    BOOKED = "booked"
    DIFFERS = "differs"
    PURSE_UNKNOWN = "purse_unknown"
    PURSE_EXPIRED = "purse_expired"
    PURSE_OWES = "purse_owes"
    PURSE_SHORT = "purse_short"
    PAYMENT_UNKNOWN = "payment_unknown"
    PAYMENT_SHORT = "payment_short"
    LIMIT_UNKNOWN = "limit_unknown"


async def pay(table: Table, dice: Dice, payment: Payment, *, expires_at_ms: int | None = None) -> Booking:
    """Credit a payment to its purse, which is made where it is missing, and collect what that owes.

    `expires_at_ms`: when the purse that is made expires, for a grant.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat.
        ValueError: the amount is no amount, or more would be refundable.
    """
    _check(payment)
    if not 0 <= payment.refundable_nanousd <= payment.amount_nanousd:
        raise ValueError("more would be refundable than was paid")
    fresh = _fresh(payment.account, payment.purse, payment.amount_nanousd, expires_at_ms)
    there = purses.credit(payment.account, payment.purse, payment.amount_nanousd)
    booking = await _book_into(table, dice, payment, (there,), fresh)
    if booking is Booking.BOOKED:
        await collect(table, dice, payment.account, payment.purse)
    return booking


async def move(table: Table, dice: Dice, entry: Move) -> Booking:
    """Move money from a purse that is OPEN and owes nothing to another, which is made where it is missing.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat.
        ValueError: the amount is no amount, or both purses are one.
    """
    _check(entry)
    if entry.source == entry.target:
        raise ValueError("money moves between two purses")
    out = purses.debit(entry.account, entry.source, entry.amount_nanousd, free=True)
    there = purses.credit(entry.account, entry.target, entry.amount_nanousd)
    fresh = _fresh(entry.account, entry.target, entry.amount_nanousd, None)
    return await _book_into(table, dice, entry, (out, there), fresh)


async def refund(table: Table, dice: Dice, entry: Refund) -> Booking:
    """Give a part of a payment back, out of a purse that has it.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat.
        ValueError: the amount is no amount.
    """
    out = purses.debit(entry.account, entry.purse, entry.amount_nanousd, free=False)
    return await _book_back(table, dice, entry, out)


async def chargeback(table: Table, dice: Dice, entry: Clawback) -> Booking:
    """Make a purse owe what was taken back from us, and collect what it has: it leases nothing until all is collected.

    What went back of the payment by our own will cannot be taken back again, nor the other way round.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat.
        ValueError: the amount is no amount.
    """
    booking = await _book_back(table, dice, entry, purses.owe(entry.account, entry.purse, entry.amount_nanousd))
    if booking is Booking.BOOKED:
        await collect(table, dice, entry.account, entry.purse)
    return booking


async def expire(table: Table, dice: Dice, account: str, purse: str) -> Booking:
    """Let a grant expire: it is leased from no more, and what it has is swept; what leases hold may be spent until they end.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat.
    """
    doubt = trying.Doubt()
    answer = await trying.update(table, dice, purses.expire(account, purse), doubt)
    if isinstance(answer, Refused) and answer.old is None:
        return doubt.refused(Booking.PURSE_UNKNOWN)
    await collect(table, dice, account, purse)
    await sweep(table, dice, account, purse)
    return Booking.BOOKED


async def collect(table: Table, dice: Dice, account: str, purse: str) -> None:
    """Pay what a purse owes out of what it has. Raises StoreError."""

    def due(found: Purse) -> NanoUsd:
        return min(found.avail_nanousd, found.owed_nanousd)

    await _settle_down(table, dice, (account, purse), due, purses.collect)


async def sweep(table: Table, dice: Dice, account: str, purse: str) -> None:
    """Take what an expired purse still has. Raises StoreError."""

    def due(found: Purse) -> NanoUsd:
        return found.avail_nanousd if found.state is PurseState.EXPIRED else 0

    await _settle_down(table, dice, (account, purse), due, purses.sweep)


async def read_purses(table: Table, dice: Dice, account: str) -> tuple[Purse, ...]:
    """Return all purses of an account. Raises StoreError."""
    found = trying.read_all(table, dice, lambda after: purses.all_of(account, after))
    return tuple([purses.purse_of(item) async for item in found])


async def tend(table: Table, dice: Dice, account: str, now_ms: int) -> None:
    """Expire an account's grants whose time is up, collect what its purses owe, sweep what expired. Raises StoreError."""
    for purse in await read_purses(table, dice, account):
        if _lapsed(purse, now_ms):
            await expire(table, dice, account, purse.id)
        elif wants_tending(purse, now_ms):
            await collect(table, dice, account, purse.id)
            await sweep(table, dice, account, purse.id)


def wants_tending(purse: Purse, now_ms: int) -> bool:
    """Tell whether a purse as it was read is one that `tend` would change."""
    due = purse.avail_nanousd > 0 and (purse.owed_nanousd > 0 or purse.state is PurseState.EXPIRED)
    return due or _lapsed(purse, now_ms)


def _lapsed(purse: Purse, now_ms: int) -> bool:
    return purse.state is PurseState.OPEN and has_lapsed(purse, now_ms)


async def _book_into(table: Table, dice: Dice, entry: Entry, changes: tuple[Update, ...], fresh: PutNew) -> Booking:
    """Write an entry and its changes of purses, of which the last is made where it is missing."""
    *before, there = changes
    into: Operation = there
    doubt = trying.Doubt()
    while True:
        answer = await trying.transact(table, dice, (PutNew(payments.item(entry)), *before, into), doubt)
        booking = _judged(answer, entry)
        if booking is not None:
            return booking
        if isinstance(answer, Refused) and (answer.index <= len(before) or (into is there and answer.old is not None)):
            refused = _purse_refused(answer)
            # A purse that expired stays so, so no try can land.
            return refused if refused is Booking.PURSE_EXPIRED else doubt.refused(refused)
        into = fresh if into is there else there


async def _book_back(table: Table, dice: Dice, entry: Refund | Clawback, out: Update) -> Booking:
    """Write an entry of what goes back of a payment, and what that does to its purse."""
    _check(entry)
    part = payments.refund_part(entry.account, entry.payment, entry.amount_nanousd)
    doubt = trying.Doubt()
    answer = await trying.transact(table, dice, (PutNew(payments.item(entry)), part, out), doubt)
    booking = _judged(answer, entry)
    if booking is not None:
        return booking
    if isinstance(answer, Refused) and answer.index == 1:
        # What may go back of a payment only becomes less, so where it is short no try can land.
        return Booking.PAYMENT_SHORT if answer.old else doubt.refused(Booking.PAYMENT_UNKNOWN)
    return doubt.refused(_purse_refused(answer))


async def _settle_down(
    table: Table,
    dice: Dice,
    place: tuple[str, str],
    due: Callable[[Purse], NanoUsd],
    change: Callable[[str, str, NanoUsd], Update],
) -> None:
    """Repeat a change of a purse until nothing is due. Whether an earlier try landed does not matter: it did what is due."""
    account, purse = place
    found = await trying.get(table, dice, keys.purse(account, purse))
    while found is not None and (amount := due(purses.purse_of(found))) > 0:
        answer = await trying.update(table, dice, change(account, purse, amount))
        found = answer.item if isinstance(answer, Done) else answer.old


def _judged(answer: Done | Refused, entry: Entry) -> Booking | None:
    """Tell whether an entry is written, now or earlier; None if something behind it in the transaction was refused."""
    if isinstance(answer, Done):
        return Booking.BOOKED
    if answer.index > 0:
        return None
    return Booking.BOOKED if answer.old is not None and payments.same(answer.old, entry) else Booking.DIFFERS


def _purse_refused(answer: Done | Refused) -> Booking:
    if isinstance(answer, Done) or answer.old is None:
        return Booking.PURSE_UNKNOWN
    found = purses.purse_of(answer.old)
    if found.state is PurseState.EXPIRED:
        return Booking.PURSE_EXPIRED
    return Booking.PURSE_OWES if found.owed_nanousd > 0 else Booking.PURSE_SHORT


def _fresh(account: str, purse: str, amount: NanoUsd, expires_at_ms: int | None) -> PutNew:
    made = Purse(account=account, id=purse, avail_nanousd=amount, credited_nanousd=amount, expires_at_ms=expires_at_ms)
    return PutNew(purses.item(made))


def _check(entry: Entry) -> None:
    if type(entry.amount_nanousd) is not int or not 0 < entry.amount_nanousd <= AMOUNT_MAX_NANOUSD:
        raise ValueError("an amount is a positive integer of nano-USD")
