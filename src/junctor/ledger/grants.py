"""Recurring grants paid: each period's credits once, into a purse of their own that expires at the period's end.

The outside id names the account, the kind and the period, so any number of instances may pay at any time and one payment is
booked. An amount that was changed counts from the next period on, as this one's payment is there already; another kind or
interval is another grant, and begins at once.

Clocks are trusted for nothing but when to pay. One that is fast pays the next period early: nobody gets more in all, as each
period is paid once, but until this period ends the next one's credits can be spent too, which at worst is one period ahead.
One that is slow finds the past period paid, or pays it into a purse that is over and soon swept.
"""

from collections.abc import Sequence

from junctor.domain.account import Account, GrantKind
from junctor.domain.credits import Payment, Purse
from junctor.ledger import trying
from junctor.ledger.credits import Booking, pay
from junctor.ports.ambient import Dice
from junctor.ports.table import Table
from junctor.records import payments, windows

_NAMES = {GrantKind.ALLOWANCE: "grant", GrantKind.METERED: "meter"}


async def ensure(table: Table, dice: Dice, account: Account, now_ms: int, purses: Sequence[Purse] = ()) -> bool:
    """Pay what an account is due in the period of now, and tell whether it was due.

    `purses` may be those of the account, read a moment ago: where the period's is among them, nothing is read.

    Raises:
        StoreError: it could not be done, or its fate is not known; safe to repeat.
    """
    grant = account.recurring_grant
    if grant is None or account.disabled:
        return False
    name, period = _NAMES[grant.kind], windows.period(grant.interval, now_ms)
    payment = Payment(
        account=account.id,
        id=f"{name}/{account.id}/{period.name}",
        purse=f"{name}-{period.name}",
        amount_nanousd=grant.amount_nanousd,
        refundable_nanousd=0,  # nothing was paid that could go back
        at_ms=now_ms,
    )
    if any(purse.id == payment.purse for purse in purses):
        return False
    if await trying.get(table, dice, payments.key(payment)) is not None:
        return False
    return await pay(table, dice, payment, expires_at_ms=period.end_ms) is Booking.BOOKED


def is_recurring(payment_id: str) -> bool:
    """Tell whether an outside id is one that only this module gives."""
    return payment_id.partition("/")[0] in _NAMES.values() and "/" in payment_id
