"""Money and limits of an organisation against a plain model of them, through the use cases, the books judged at each write.

The model knows nothing of purses' conditions or windows' items: it adds and takes away, and says what must be refused.
"""

from typing import TypeAlias

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from junctor.domain.credits import Interval, LimitSubject
from junctor.domain.errors import BookingRefusedError, ResourceNotFoundError
from junctor.ledger import closing, leasing, limits
from junctor.records import keys, windows
from junctor.usecases.credits import Deposit, Return, fee_of
from junctor.usecases.entries import Usage
from junctor.usecases.limits import LimitName
from tests.support.bank import ACCOUNT, NOW_MS, Bank, play
from tests.support.desk import ADMIN, FEE_PPM, KEY, OPERATOR, Desk

DAY = LimitName(LimitSubject.API_KEY, KEY, Interval.DAY)
WINDOW = keys.window_name(
    windows.limit_id(DAY.subject, DAY.subject_id, DAY.interval), windows.period(Interval.DAY, NOW_MS).name
)
AMOUNTS = st.integers(1, 300)
IDS = st.integers(0, 5)


class Add(Struct, frozen=True):
    """Credit a payment."""

    id: int
    amount: int


class Back(Struct, frozen=True):
    """Give a part of a payment back, or book that it was taken. `share`: quarters of what may go back; 5 is too much."""

    id: int
    payment: int
    share: int
    taken: bool


class Spend(Struct, frozen=True):
    """Lease an amount under the limit, spend a part of it, and close the lease."""

    amount: int
    part: int


class SetLimit(Struct, frozen=True):
    """Set the limit."""

    amount: int


class DeleteLimit(Struct, frozen=True):
    """Remove the limit."""


Step: TypeAlias = Add | Back | Spend | SetLimit | DeleteLimit
STEPS = st.lists(
    st.one_of(
        st.builds(Add, IDS, AMOUNTS),
        st.builds(Back, IDS, IDS, st.integers(1, 5), st.booleans()),
        st.builds(Spend, AMOUNTS, st.integers(0, 300)),
        st.builds(SetLimit, st.integers(0, 400)),
        st.builds(DeleteLimit),
    ),
    min_size=1,
    max_size=25,
)


class Model:
    """What there must be."""

    def __init__(self) -> None:
        self.paid: dict[int, int] = {}
        self.refundable: dict[int, int] = {}
        self.returns: dict[tuple[bool, int], tuple[int, int]] = {}
        self.balance = 0
        self.spent = 0
        self.limit: int | None = None
        self.window: int | None = None
        """What was spent in the limit's window, None while that was never opened."""

    def add(self, step: Add) -> bool:
        """Tell whether a payment is booked, now or before."""
        if step.id in self.paid:
            return self.paid[step.id] == step.amount
        credited = step.amount - fee_of(step.amount, FEE_PPM)
        self.paid[step.id], self.refundable[step.id] = step.amount, credited
        self.balance += credited
        return True

    def amount_of(self, step: Back) -> int:
        """Return how much is to go back: a part of what may, or more than was paid."""
        left = self.refundable.get(step.payment, 0)
        return max(left * step.share // 4, 1) if step.share <= 4 and left else self.paid.get(step.payment, 0) + 1

    def back(self, step: Back, amount: int) -> bool:
        """Tell whether a return is booked, now or before."""
        if step.payment not in self.paid:
            return False
        if (step.taken, step.id) in self.returns:
            return self.returns[step.taken, step.id] == (step.payment, amount)
        if amount > self.refundable[step.payment] or (not step.taken and amount > self.balance):
            return False
        self.returns[step.taken, step.id] = step.payment, amount
        self.refundable[step.payment] -= amount
        self.balance -= amount
        return True

    def spend(self, step: Spend) -> bool:
        """Tell whether an amount may be leased, and spend the part of it."""
        if self.limit is not None:
            self.window = self.window or 0
        if step.amount > self.balance or (self.limit is not None and (self.window or 0) + step.amount > self.limit):
            return False
        part = min(step.part, step.amount)
        self.balance -= part
        self.spent += part
        if self.limit is not None:
            self.window = (self.window or 0) + part
        return True


class Office:
    """The use cases beside their model."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.model = Model()
        self.leases = 0

    async def do(self, step: Step) -> None:
        """Do one thing to both, and compare the answers and what is left."""
        match step:
            case Add():
                await self._add(step)
            case Back():
                await self._back(step)
            case Spend():
                await self._spend(step)
            case SetLimit():
                state = await self.desk.limits.set(ADMIN, "", DAY, step.amount)
                self.model.limit = step.amount
                assert (state.limit.limit_nanousd, state.spent_nanousd) == (step.amount, self.model.window or 0)
            case DeleteLimit():
                await self._delete_limit()
        await self._compare()

    async def _add(self, step: Add) -> None:
        deposit = Deposit(id=str(step.id), amount_nanousd=step.amount)
        expected = self.model.add(step)
        try:
            payment, available = await self.desk.credits.add(OPERATOR, ACCOUNT, deposit)
        except BookingRefusedError:
            assert not expected
        else:
            assert expected
            assert payment.amount_nanousd + payment.fee_nanousd == step.amount
            assert available == max(self.model.balance, 0)

    async def _back(self, step: Back) -> None:
        amount = self.model.amount_of(step)
        book = self.desk.credits.charge_back if step.taken else self.desk.credits.refund
        expected = self.model.back(step, amount)
        try:
            booked = await book(OPERATOR, ACCOUNT, Return(id=str(step.id), payment_id=str(step.payment), amount_nanousd=amount))
        except BookingRefusedError:
            assert not expected
        else:
            assert expected
            assert (booked.payment, booked.amount_nanousd) == (str(step.payment), amount)

    async def _spend(self, step: Spend) -> None:
        bank, limit = self.desk.bank, self.model.limit
        self.leases += 1
        asked = bank.lease(step.amount, number=self.leases)
        lease = msgspec.structs.replace(asked, windows=() if limit is None else (WINDOW,))
        answer = await leasing.acquire(bank.table, bank.dice, lease)
        if limit is not None:
            assert await limits.open_window(bank.table, bank.dice, ACCOUNT, WINDOW)
        expected = self.model.spend(step)
        assert isinstance(answer, leasing.Leased) is expected
        if isinstance(answer, leasing.Leased):
            part = min(step.part, step.amount)
            await bank.spent(lease, 0, part, hold=part)
            assert await closing.close(bank.table, bank.dice, lease, NOW_MS)

    async def _delete_limit(self) -> None:
        try:
            await self.desk.limits.delete(ADMIN, "", DAY)
        except ResourceNotFoundError:
            assert self.model.limit is None
        else:
            assert self.model.limit is not None
        self.model.limit = None

    async def _compare(self) -> None:
        model = self.model
        balance = await self.desk.credits.balance(ADMIN, "")
        assert balance.available_nanousd == max(model.balance, 0)
        assert sum(purse.owed_nanousd for purse in balance.purses) == max(-model.balance, 0)
        assert sum(purse.spent_nanousd for purse in balance.purses) == model.spent
        listed, _ = await self.desk.limits.list(ADMIN, "", 10, "")
        expected = [] if model.limit is None else [(model.limit, model.window or 0, 0)]
        assert [(state.limit.limit_nanousd, state.spent_nanousd, state.leased_nanousd) for state in listed] == expected
        entries, _ = await self.desk.entries.list(ADMIN, "", None, 1_000, "")
        told = [entry for entry in entries if not isinstance(entry, Usage)]
        assert len(told) == len(model.paid) + len(model.returns)
        assert sum(entry.amount_nanousd for entry in entries if isinstance(entry, Usage)) == model.spent


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_credits_and_limits_do_as_their_model(steps: list[Step]) -> None:
    """Somebody would be credited, refunded, charged or limited otherwise than the sums say."""

    async def scenario(bank: Bank) -> None:
        office = Office(await Desk(bank).open())
        for step in steps:
            await office.do(step)

    play(scenario)
