"""What the ledger's operations cost in units of the store, as ledger.md and the README promise."""

from collections.abc import Awaitable, Callable

import pytest

from junctor.ledger import closing, leasing, limits, slots
from junctor.ports.table import Capacity
from tests.support.bank import ACCOUNT, DAY, MONTH, NOW_MS, Bank, play


class Meter:
    """Adds up what the calls of a bank's table consume."""

    def __init__(self, bank: Bank, patch: pytest.MonkeyPatch) -> None:
        self.read_units = 0.0
        self.write_units = 0.0
        for name in ("get", "query", "put_new", "update", "transact"):
            patch.setattr(bank.table, name, self._metered(getattr(bank.table, name)))

    def _metered(self, call: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def metered(*given: object, **named: object) -> object:
            answer = await call(*given, **named)
            capacity = getattr(answer, "capacity", None)
            assert isinstance(capacity, Capacity)
            self.read_units += capacity.read_units
            self.write_units += capacity.write_units
            return answer

        return metered


@pytest.mark.parametrize("windows", [0, 1, 2])
@pytest.mark.parametrize("named", [False, True])
def test_one_call_in_one_lease(windows: int, named: bool) -> None:
    """A request would cost more than the README says, on everybody's bill."""

    async def scenario(bank: Bank) -> None:
        limited = (MONTH, DAY)[:windows]
        await bank.credit(1_000)
        lease = bank.lease(10, *limited)
        for limit in limited:
            await bank.limited(limit)
        for window in lease.windows:
            await limits.open_window(bank.table, bank.dice, ACCOUNT, window)
        generation = bank.generation(lease, 0, 10)
        with pytest.MonkeyPatch.context() as patch:
            meter = Meter(bank, patch)
            await leasing.acquire(bank.table, bank.dice, lease)
            if named:
                await slots.open_named(bank.table, bank.dice, generation, bank.record(generation), NOW_MS)
            else:
                await slots.open_slot(bank.table, bank.dice, generation)
            await bank.end(generation, 10)
            await closing.close(bank.table, bank.dice, lease, NOW_MS, 10)
        assert meter.write_units == 10 + 4 * windows + 3 * named
        assert meter.read_units <= 1

    play(scenario)


def test_a_lease_renewed_after_a_hundred_calls() -> None:
    """A busy account would pay for its leases again with each call."""

    async def scenario(bank: Bank) -> None:
        await bank.credit(10_000)
        lease = await bank.leased(1_000)
        following = bank.lease(1_000, number=1)
        with pytest.MonkeyPatch.context() as patch:
            meter = Meter(bank, patch)
            for number in range(100):
                await bank.spent(lease, number, 10)
            await leasing.renew(bank.table, bank.dice, lease, 1_000, following)
        assert meter.write_units == 200 + 6
        assert meter.read_units == 0

    play(scenario)
