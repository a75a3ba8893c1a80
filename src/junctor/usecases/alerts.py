"""What an instance tells of limits and balances that run low: each thing once, as far as it remembers.

Every instance that has to do with an account tells by itself, so whoever listens counts an event by its fields. What is
remembered is bounded; of a window that was forgotten, or by another instance, the same may be told again.
"""

from collections import OrderedDict
from collections.abc import Sequence

from junctor.domain.account import Account
from junctor.domain.credits import Purse, Window
from junctor.policy import alerts
from junctor.policy.legs import is_usable
from junctor.ports.telemetry import Telemetry
from junctor.records import keys

REMEMBERED_MAX = 50_000


class Alerts:
    """Looks at what is read of accounts, and tells."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._told: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._low: OrderedDict[str, None] = OrderedDict()

    def seen(self, account: Account | None, purses: Sequence[Purse], windows: Sequence[Window]) -> None:
        """Look at an account as it was read just now: all its purses, and those windows of today that are known."""
        for window in windows:
            self._look_at_window(window)
        if account is not None:
            self._look_at_balance(account, purses)

    def _look_at_window(self, window: Window) -> None:
        place = window.account, window.key
        for percent in alerts.to_tell(window, self._told.get(place, 0)):
            self._told[place] = percent
            self._telemetry.event(
                "limit reached",
                {
                    "account": window.account,
                    "limit": keys.limit_of_window(window.key),
                    "window": window.key.removeprefix(keys.WINDOW_PREFIX),
                    "percent": percent,
                    "limit_nanousd": window.limit_nanousd,
                    "spent_nanousd": window.spent_nanousd,
                },
            )
        if place in self._told:
            self._told.move_to_end(place)
        if len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)

    def _look_at_balance(self, account: Account, purses: Sequence[Purse]) -> None:
        available = sum(purse.avail_nanousd for purse in purses if is_usable(purse))
        if not alerts.is_low(available, account.low_balance_nanousd):
            self._low.pop(account.id, None)
            return
        if account.id not in self._low:
            self._telemetry.event("balance low", {"account": account.id, "available_nanousd": available})
        self._low[account.id] = None
        self._low.move_to_end(account.id)
        if len(self._low) > REMEMBERED_MAX:
            self._low.popitem(last=False)
