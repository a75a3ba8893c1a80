"""Credits that come in and go back, and what there is of them: each movement once, by the id that it has outside.

What was asked and is there already is answered as it was booked; another thing under the same id is refused. The fee is taken
here: its millionths of what was paid, rounded down to a nano-USD, so that nobody pays more than the rate. It does not go back.

What went back of a payment, by our will or by a chargeback, may not go back again: both lower what is refundable. Credits that
lapse lie in a purse of their own, of which an account has at most GRANTS_MAX that are open: more could not all be leased from
at once. Purses that have lapsed stay, as the journal names them: a few hundred bytes each, read by the same query.
"""

import hashlib
from collections.abc import Awaitable
from typing import NoReturn, TypeVar

from msgspec import Struct

from junctor.domain.account import Actor
from junctor.domain.credits import Clawback, Entry, Payment, Purse, PurseState, Refund
from junctor.domain.errors import BookingRefusedError, InvalidFieldError, OutcomeUnknownError
from junctor.domain.money import NanoUsd
from junctor.ledger import credits as booking
from junctor.ledger import grants, trying
from junctor.ledger.credits import Booking
from junctor.policy import access
from junctor.policy.legs import has_lapsed, is_usable
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import StoreError, Table
from junctor.records import payments
from junctor.usecases.acting import account_of
from junctor.usecases.stored import RETRY_AFTER_S

AMOUNT_MAX_NANOUSD = 10**15
"""The most of one payment: a million dollars."""

CREDITED_MAX_NANOUSD = 4 * 10**18
"""The most that an account is ever credited: so no sum of its purses reaches what 64 bits hold."""

GRANTS_MAX = 24
FEE_WHOLE_PPM = 1_000_000
MAIN = "main"

T = TypeVar("T")
Back = TypeVar("Back", Refund, Clawback)

_WORDS = {
    Booking.DIFFERS: "Something else was booked under this id.",
    Booking.PAYMENT_UNKNOWN: "There is no such payment.",
    Booking.PAYMENT_SHORT: "Of this payment there is not so much left that may go back.",
    Booking.PURSE_SHORT: "There is not so much left: it was spent, or is leased at present.",
    Booking.PURSE_EXPIRED: "The credits have lapsed.",
}


class Deposit(Struct, frozen=True, kw_only=True):
    """A payment as it is asked for. `fee_ppm` None is the deployment's; `expires_at_ms` None never lapses."""

    id: str
    amount_nanousd: NanoUsd
    fee_ppm: int | None = None
    expires_at_ms: int | None = None


class Return(Struct, frozen=True, kw_only=True):
    """A part of a payment that is to go back, or was taken back, as it is asked for."""

    id: str
    payment_id: str
    amount_nanousd: NanoUsd


class Balance(Struct, frozen=True):
    """An account's purses, the main one first, and what of them may be spent by new calls."""

    purses: tuple[Purse, ...]
    available_nanousd: NanoUsd


class Credits:
    """Books and reads credits. `fee_ppm` is the deployment's fee. Every method may raise StoreError, with nothing changed."""

    def __init__(self, table: Table, clock: Clock, dice: Dice, *, fee_ppm: int) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice
        self._fee_ppm = fee_ppm

    async def add(self, actor: Actor, organisation: str, deposit: Deposit) -> tuple[Payment, NanoUsd]:
        """Credit a payment, and return it as it was booked, and what may be spent now.

        Raises:
            BookingRefusedError: another payment has this id, or there would be too many grants or too much money.
            InvalidFieldError: no organisation, an id that is the ledger's own, or credits that have lapsed already.
            OutcomeUnknownError: whether it was booked is not known.
            ResourceNotFoundError: there is no such organisation.
        """
        if grants.is_recurring(deposit.id):
            raise InvalidFieldError(("payment_id", "begins like the id of a recurring grant"))
        account = await self._account(actor, organisation)
        while True:
            found = await self._payment(account, deposit.id)
            if found is not None and not self._is_asked(found, deposit):
                _refuse(Booking.DIFFERS)
            payment = found or await self._made(account, deposit)
            answer = await _settled(booking.pay(self._table, self._dice, payment, expires_at_ms=deposit.expires_at_ms))
            if answer is Booking.BOOKED:
                break
            if answer is not Booking.DIFFERS or found is not None:
                _refuse(answer)
        booked = await _settled(self._payment(account, deposit.id))
        balance = await _settled(self._balance(account))
        return booked or payment, balance.available_nanousd

    async def refund(self, actor: Actor, organisation: str, back: Return) -> Refund:
        """Give a part of a payment back, out of the purse that it came into, and return the refund as it was booked.

        Raises:
            BookingRefusedError: another refund has this id, or there is not so much.
            OutcomeUnknownError: whether it was booked is not known.
            ResourceNotFoundError: there is no such organisation.
        """
        refund = await self._taken_out(Refund, actor, organisation, back)
        return await self._booked(refund, booking.refund(self._table, self._dice, refund))

    async def charge_back(self, actor: Actor, organisation: str, back: Return) -> Clawback:
        """Book that a part of a payment was taken back: its purse owes it. Return the chargeback as it was booked.

        Raises:
            BookingRefusedError: another chargeback has this id, or so much cannot have been taken back any more.
            OutcomeUnknownError: whether it was booked is not known.
            ResourceNotFoundError: there is no such organisation.
        """
        clawback = await self._taken_out(Clawback, actor, organisation, back)
        return await self._booked(clawback, booking.chargeback(self._table, self._dice, clawback))

    async def balance(self, actor: Actor, organisation: str) -> Balance:
        """Read what there is.

        Raises:
            ResourceNotFoundError: there is no such organisation, or it is not the actor's own.
            ScopeMissingError: the actor's role does not allow it.
        """
        return await self._balance(await account_of(self._table, self._dice, actor, organisation, access.READERS))

    async def _account(self, actor: Actor, organisation: str) -> str:
        """Return the account that an operator names; credits are made and taken by no one else."""
        access.require_operator(actor)
        return await account_of(self._table, self._dice, actor, organisation, access.ADMINS)

    async def _made(self, account: str, deposit: Deposit) -> Payment:
        """Return a payment that is not there yet, if it may be booked."""
        now_ms = self._clock.now_ms()
        if deposit.expires_at_ms is not None and deposit.expires_at_ms <= now_ms:
            raise InvalidFieldError(("expires_at_ms", "is not in the future"))
        purses = await booking.read_purses(self._table, self._dice, account)
        open_grants = [purse for purse in purses if purse.expires_at_ms is not None and purse.state is PurseState.OPEN]
        if deposit.expires_at_ms is not None and len(open_grants) >= GRANTS_MAX:
            text = f"The organisation has {len(open_grants)} credits that lapse; at most {GRANTS_MAX} are allowed at one time."
            raise BookingRefusedError(text, booking="GRANTS_MAX", grants=str(len(open_grants)))
        if sum(purse.credited_nanousd for purse in purses) + deposit.amount_nanousd > CREDITED_MAX_NANOUSD:
            raise BookingRefusedError("So much can no organisation be credited.", booking="CREDITED_MAX")
        fee = fee_of(deposit.amount_nanousd, self._fee_ppm if deposit.fee_ppm is None else deposit.fee_ppm)
        return Payment(
            account=account,
            id=deposit.id,
            purse=_purse(deposit),
            amount_nanousd=deposit.amount_nanousd - fee,
            refundable_nanousd=deposit.amount_nanousd - fee,
            at_ms=now_ms,
            fee_nanousd=fee,
        )

    def _is_asked(self, found: Payment, deposit: Deposit) -> bool:
        """Tell whether a payment that is there is the one asked for; without a rate, its fee may be that of another day."""
        fee = found.fee_nanousd if deposit.fee_ppm is None else fee_of(deposit.amount_nanousd, deposit.fee_ppm)
        asked = _purse(deposit), deposit.amount_nanousd - fee, fee
        return (found.purse, found.amount_nanousd, found.fee_nanousd) == asked

    async def _taken_out(self, kind: type[Back], actor: Actor, organisation: str, back: Return) -> Back:
        """Return the entry by which a part of a payment goes out of the purse that it came into."""
        account = await self._account(actor, organisation)
        payment = await self._payment(account, back.payment_id) or _refuse(Booking.PAYMENT_UNKNOWN)
        return kind(
            account=account,
            id=back.id,
            payment=payment.id,
            purse=payment.purse,
            amount_nanousd=back.amount_nanousd,
            at_ms=self._clock.now_ms(),
        )

    async def _booked(self, entry: Back, work: Awaitable[Booking]) -> Back:
        """Wait until an entry is booked, and return it as it was, now or earlier."""
        answer = await _settled(work)
        if answer is not Booking.BOOKED:
            _refuse(answer)
        found = await _settled(self._find(entry))
        return found if isinstance(found, type(entry)) else entry

    async def _payment(self, account: str, payment_id: str) -> Payment | None:
        place = Payment(account=account, id=payment_id, purse="", amount_nanousd=0, refundable_nanousd=0, at_ms=0)
        found = await self._find(place)
        return found if isinstance(found, Payment) else None

    async def _find(self, entry: Entry) -> Entry | None:
        """Return what is booked under an entry's kind and id."""
        found = await trying.get(self._table, self._dice, payments.key(entry))
        return payments.entry_of(found, type(entry)) if found else None

    async def _balance(self, account: str) -> Balance:
        now_ms = self._clock.now_ms()
        purses = await booking.read_purses(self._table, self._dice, account)
        return Balance(
            purses=tuple(sorted(purses, key=lambda purse: purse.id != MAIN)),
            available_nanousd=sum(
                purse.avail_nanousd for purse in purses if is_usable(purse) and not has_lapsed(purse, now_ms)
            ),
        )


def fee_of(paid: NanoUsd, fee_ppm: int) -> NanoUsd:
    """Return the fee of what was paid: less than all of it, rounded down."""
    return paid * fee_ppm // FEE_WHOLE_PPM


def _purse(deposit: Deposit) -> str:
    """Name the purse of a payment. A grant's tells the payment and its end, so that another end is another payment."""
    if deposit.expires_at_ms is None:
        return MAIN
    return f"grant-{hashlib.sha256(f'{deposit.expires_at_ms}/{deposit.id}'.encode()).hexdigest()[:20]}"


async def _settled(work: Awaitable[T]) -> T:
    """Wait for work after which a movement may be booked, though a later step failed. Raises OutcomeUnknownError."""
    try:
        return await work
    except StoreError as error:
        raise OutcomeUnknownError("The store did not tell whether it was booked: ask again.", RETRY_AFTER_S) from error


def _refuse(answer: Booking) -> NoReturn:
    raise BookingRefusedError(_WORDS.get(answer, "The books do not allow this."), booking=answer.name)
