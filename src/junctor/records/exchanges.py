"""What leases take from purses and windows and give back, as the operations of a transaction, one for each item.

The order is that of ledger.md: purses, then windows broadest first, each as the lease that takes names them; what is only given
back follows. So the first refused operation names what a caller is short of.
"""

from collections.abc import Iterable, Iterator

from junctor.domain.lease import Lease
from junctor.domain.money import NanoUsd
from junctor.policy.legs import split_total
from junctor.ports.table import Update
from junctor.records import purses, windows


def taking(lease: Lease) -> tuple[Update, ...]:
    """Return what a lease takes, from its purses and windows."""
    return tuple(_purses(lease.account, _takes(lease), {})) + tuple(_windows(lease, lease.windows, (), 0, 0))


def giving_back(lease: Lease, total: NanoUsd) -> tuple[Update, ...]:
    """Return what a lease gives back, as it spent so much in all. Raises ValueError if that is more than it had."""
    back = tuple(_purses(lease.account, {}, _returns(lease, total)))
    return back + tuple(_windows(lease, (), lease.windows, lease.amount_nanousd, total))


def renewing(old: Lease, total: NanoUsd, new: Lease) -> tuple[Update, ...]:
    """Return what one lease gives back and the next one takes, netted item by item. Raises ValueError as `giving_back`."""
    netted = tuple(_purses(old.account, _takes(new), _returns(old, total)))
    return netted + tuple(_windows(new, new.windows, old.windows, old.amount_nanousd, total))


def _takes(lease: Lease) -> dict[str, NanoUsd]:
    return {leg.purse: leg.amount_nanousd for leg in lease.legs}


def _returns(lease: Lease, total: NanoUsd) -> dict[str, tuple[NanoUsd, NanoUsd]]:
    parts = split_total(lease.legs, total)
    return {leg.purse: (leg.amount_nanousd, part) for leg, part in zip(lease.legs, parts, strict=True)}


def _purses(account: str, takes: dict[str, NanoUsd], returns: dict[str, tuple[NanoUsd, NanoUsd]]) -> Iterator[Update]:
    for purse in {**takes, **returns}:
        released, spent = returns.get(purse, (0, 0))
        yield purses.exchange(account, purse, taken=takes.get(purse), released=released, spent=spent)


def _windows(new: Lease, takes: Iterable[str], returns: Iterable[str], amount: NanoUsd, total: NanoUsd) -> Iterator[Update]:
    taken, returned = dict.fromkeys(takes, new.amount_nanousd), dict.fromkeys(returns, (amount, total))
    for window in {**taken, **returned}:
        released, spent = returned.get(window, (0, 0))
        yield windows.exchange(new.account, window, taken=taken.get(window), released=released, spent=spent)
