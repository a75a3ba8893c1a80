"""An organisation managed and used at once: the use cases and two instances' ledgers beside a plain model of them.

The model knows keys, members, workspaces, limits and sums as a person would write them down, and says who must be let in, which
call must be admitted or refused, and what is left. It is judged by only after the delays that are promised: a minute for
whatever an API key is believed by, ten seconds for which limits there are. A sum may lie in a lease for a while where other
calls do not reach it; so while calls are under way there is a least and a most that must be there, and when none is, they are
one. The books are audited after each step by whoever drives it.
"""

import asyncio
from dataclasses import dataclass, field

from junctor.adapters.tables.faults import FaultPlan
from junctor.domain.account import Caller, KeyScope
from junctor.domain.call import Call, Hold, Outcome
from junctor.domain.catalog import PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec, FinishReason
from junctor.domain.credits import LimitSubject, Payment, Purse, PurseState, Window
from junctor.domain.errors import (
    ApiKeyInvalidError,
    BookingRefusedError,
    InsufficientCreditsError,
    JunctorError,
    KeyBudgetExceededError,
)
from junctor.domain.lease import SlotState
from junctor.domain.routing import Candidate, Plan, RoutingPreferences
from junctor.ledger.ledger import Ledger
from junctor.ledger.standing import REFUSAL_FRESH_S, STALE_S
from junctor.ledger.tools import Terms, Tools
from junctor.policy import ceilings
from junctor.records import keys, leases, purses, windows
from junctor.records.tables import CORE
from junctor.usecases.admit import CACHE_MAX_S
from junctor.usecases.bookkeeping import EVERY_S, Bookkeeper
from junctor.usecases.credits import GRANTS_MAX, Credits, Deposit, Return
from junctor.usecases.limits import LimitName, Limits
from junctor.usecases.reclaim import Reclaimer
from tests.support.stage import OPERATOR, Stage
from tests.support.world import ENDPOINT, NotedTelemetry

AGE_MAX_S = 400.0
"""How long a call may be under way: well within its deadline."""
REST_S = 5.0
"""After so long without a call an instance holds no money."""
MONEY_S = REFUSAL_FRESH_S + 0.05
NETWORK = FaultPlan(latency_s=(0.001, 0.002))
SPEC = CompletionSpec(model="lab/model", messages=(), max_tokens=1)


@dataclass
class KeyModel:
    """An API key as it must be. `secrets` are its live texts with their ends, and `texts` all that it ever had."""

    lookup_id: str
    secrets: list[tuple[str, int | None]]
    texts: list[str]
    member: str | None = None
    workspace: str | None = None
    disabled: bool = False
    deleted: bool = False
    expires_at_ms: int | None = None


@dataclass
class Flight:
    """A call under way: what is held for it, and the windows that it counts in."""

    ledger: Ledger
    hold: Hold
    amount: int
    windows: tuple[str, ...]
    since_s: float


@dataclass
class Model:
    """What there must be. `members` are disabled or not, None once removed; `spent` and `windows` are sums."""

    disabled: bool = False
    members: dict[str, bool | None] = field(default_factory=dict)
    workspaces: dict[str, bool] = field(default_factory=dict)
    keys: list[KeyModel] = field(default_factory=list)
    limits: dict[LimitName, int] = field(default_factory=dict)
    spent: int = 0
    windows: dict[str, int] = field(default_factory=dict)
    payments: dict[str, tuple[str, int]] = field(default_factory=dict)
    refundable: dict[str, int] = field(default_factory=dict)
    credited: dict[str, int] = field(default_factory=dict)

    def stands(self, key: KeyModel, text: str, now_ms: int) -> bool:
        """Tell whether a key's text opens the organisation."""
        live = [secret for secret, until_ms in key.secrets if until_ms is None or now_ms < until_ms]
        expired = key.expires_at_ms is not None and now_ms >= key.expires_at_ms
        member = key.member is None or self.members.get(key.member) is False
        workspace = key.workspace is None or self.workspaces.get(key.workspace) is True
        return text in live and not (self.disabled or key.disabled or key.deleted or expired) and member and workspace

    def binding(self, key: KeyModel) -> dict[LimitName, int]:
        """Return the limits that a key's calls are under."""
        subjects = {
            (LimitSubject.ORGANISATION, ""),
            (LimitSubject.WORKSPACE, key.workspace),
            (LimitSubject.MEMBER, key.member),
            (LimitSubject.API_KEY, key.lookup_id),
        }
        return {name: limit for name, limit in self.limits.items() if (name.subject, name.subject_id) in subjects}

    def has(self, name: LimitName) -> bool:
        """Tell whether there is what a limit is of."""
        match name.subject:
            case LimitSubject.ORGANISATION:
                return True
            case LimitSubject.MEMBER:
                return self.members.get(name.subject_id) is not None
            case LimitSubject.WORKSPACE:
                return self.workspaces.get(name.subject_id) is True
            case LimitSubject.API_KEY:
                return any(key.lookup_id == name.subject_id and not key.deleted for key in self.keys)


class Organisation:
    """The one organisation: its managers, its callers at two instances, and the model. Make it in a loop, and `open` it."""

    def __init__(self) -> None:
        self.stage = Stage(plan=NETWORK)
        self.telemetry = NotedTelemetry()
        stage = self.stage
        tools = Tools(stage.table, stage.clock, stage.dice, self.telemetry)
        self.ledgers = [Ledger(tools, Terms(deadline_max_ms=900_000), lambda *_: None) for _ in range(2)]
        self.credits = Credits(stage.table, stage.clock, stage.dice, fee_ppm=0)
        self.limits = Limits(stage.table, stage.clock, stage.dice)
        self.reclaimer = Reclaimer(stage.table, stage.clock, stage.dice, self.telemetry)
        self.bookkeeper = Bookkeeper(stage.table, stage.clock, stage.dice, self.telemetry)
        self.model = Model()
        self.flights: list[Flight] = []
        self.id = ""
        self._calm_at_s = 0.0
        self._used_at_s = 0.0

    async def open(self) -> "Organisation":
        """Make it."""
        await self.stage.open()
        self.id = (await self.stage.organisations.create("An organisation")).id
        return self

    @property
    def now_ms(self) -> int:
        """The wall clock."""
        return self.stage.clock.now_ms()

    @property
    def now_s(self) -> float:
        """The loop's time."""
        return self.stage.clock.monotonic_s()

    def touched(self, delay_s: float) -> None:
        """Note a change that everybody knows of only after so long."""
        self._calm_at_s = max(self._calm_at_s, self.now_s + delay_s)

    def touched_keys(self) -> None:
        """Note a change of what an API key is believed by."""
        self.touched(CACHE_MAX_S)

    def touched_limits(self) -> None:
        """Note a change of which limits there are."""
        self.touched(STALE_S)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, in which no call gets too old, and do what instances do meanwhile."""
        while self.flights and self.now_s + seconds - self.flights[0].since_s > AGE_MAX_S:
            await self.settle(0, self.flights[0].amount)
        await asyncio.sleep(seconds)
        await self.reclaimer.once()
        if seconds >= EVERY_S:
            await self._keep_books()

    async def call(self, key: KeyModel, text: str, amount: int, instance: int, *, hasty: bool) -> None:
        """Begin a call of a key. Who is hasty comes before everybody knows of the latest changes, and is not judged."""
        if not hasty:
            await asyncio.sleep(max(self._calm_at_s - self.now_s, MONEY_S))
        stands = self.model.stands(key, text, self.now_ms)
        try:
            caller = await self.stage.admission.admit(text, KeyScope.COMPLETION)
        except ApiKeyInvalidError:
            assert hasty or not stands, "a good key was refused"
            return
        if not hasty:
            assert stands, "a bad key was let in"
            assert caller == Caller(self.id, key.lookup_id, key.workspace, key.member)
        least, most = self._credits()
        bounds = {name: self._headroom(name, limit) for name, limit in self.model.binding(key).items()}
        try:
            flight = await self._begin(self.ledgers[instance], caller, amount)
        except (InsufficientCreditsError, KeyBudgetExceededError) as error:
            if not hasty:
                self._judge_refusal(error, amount, least, bounds)
            return
        self.flights.append(flight)
        if hasty or amount == 0:
            return
        assert amount <= most, f"{amount} were admitted, and {most} are left"
        assert all(amount <= high for _, high in bounds.values()), f"{amount} were admitted under {bounds}"
        assert set(flight.windows) == {self._window(name) for name in bounds}, "a call counts in other windows than it should"

    async def settle(self, number: int, cost: int | None) -> None:
        """End a call under way, at a cost or without an answer, and count what it is charged."""
        flight = self.flights.pop(number)
        state = SlotState.VOID if cost is None else SlotState.SETTLED
        outcome = Outcome(state=state, cost_nanousd=cost or 0, finish_reason=FinishReason.STOP if cost is not None else None)
        receipt = await flight.ledger.settle(flight.hold, outcome)
        charged = receipt.cost_nanousd
        assert charged is not None
        assert not receipt.pending
        assert charged == (cost or 0) or (charged == flight.amount and charged < (cost or 0))
        self._used_at_s = self.now_s
        self.model.spent += charged
        for window in flight.windows:
            self.model.windows[window] = self.model.windows.get(window, 0) + charged

    async def add_credits(self, payment_id: str, amount: int, expires_at_ms: int | None) -> None:
        """Credit a payment, new or told again; of those that lapse there are not too many at a time."""
        deposit = Deposit(id=payment_id, amount_nanousd=amount, expires_at_ms=expires_at_ms)
        grants = [purse for purse in self.purses().values() if purse.expires_at_ms and purse.state is PurseState.OPEN]
        may = payment_id in self.model.payments or expires_at_ms is None or len(grants) < GRANTS_MAX
        try:
            payment, _ = await self.credits.add(OPERATOR, self.id, deposit)
        except BookingRefusedError:
            assert not may
            return
        assert may
        self.touched(MONEY_S)
        if payment_id not in self.model.payments:
            self.model.payments[payment_id] = payment.purse, amount
            self.model.refundable[payment_id] = amount
            self.model.credited[payment.purse] = self.model.credited.get(payment.purse, 0) + amount
        assert isinstance(payment, Payment)
        assert (payment.purse, payment.amount_nanousd) == self.model.payments[payment_id]

    async def give_back(self, back_id: str, payment_id: str, amount: int, *, taken: bool) -> None:
        """Refund a part of a payment, or book that it was taken back."""
        purse = self.model.payments[payment_id][0]
        may = amount <= self.model.refundable[payment_id] and (taken or amount <= self.purses()[purse].avail_nanousd)
        book = self.credits.charge_back if taken else self.credits.refund
        try:
            await book(OPERATOR, self.id, Return(id=back_id, payment_id=payment_id, amount_nanousd=amount))
        except BookingRefusedError:
            assert not may, "what could go back was refused"
            return
        assert may, "more went back than could"
        self.touched(MONEY_S)
        self.model.refundable[payment_id] -= amount
        self.model.credited[purse] -= amount

    async def rest(self) -> None:
        """Compare all sums, once no call is under way and no instance holds money."""
        if self.flights or self.now_s - self._used_at_s < REST_S:
            return
        now_ms, model, found = self.now_ms, self.model, self.purses()
        assert {name: purse.credited_nanousd for name, purse in found.items()} == model.credited
        assert sum(purse.spent_nanousd for purse in found.values()) == model.spent
        assert not any(purse.leased_nanousd for purse in found.values()), "money is leased, and nobody calls"
        left = {name: purse.credited_nanousd - purse.spent_nanousd for name, purse in found.items()}
        usable = [purse for purse in found.values() if purse.expires_at_ms is None or now_ms < purse.expires_at_ms]
        balance = await self.credits.balance(OPERATOR, self.id)
        assert balance.available_nanousd == sum(max(left[purse.id], 0) for purse in usable if not _is_due(purse))
        states, _ = await self.limits.list(OPERATOR, self.id, 100, "")
        told = {state.limit.id: (state.limit.limit_nanousd, state.spent_nanousd, state.leased_nanousd) for state in states}
        assert told == {_id(name): (limit, model.windows.get(self._window(name), 0), 0) for name, limit in model.limits.items()}

    async def close(self) -> None:
        """End all calls and both instances; everything must be at rest."""
        while self.flights:
            await self.settle(0, self.flights[0].amount)
        for ledger in self.ledgers:
            assert await ledger.drain(60.0) == 0
            await ledger.close()
        await asyncio.sleep(REST_S)
        await self._keep_books()
        await self.rest()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def purses(self) -> dict[str, Purse]:
        """Return all purses as they are."""
        found = (item for item in self.stage.store.items(CORE) if str(item["sk"]).startswith(keys.PURSE_PREFIX))
        return {purse.id: purse for purse in map(purses.purse_of, found)}

    def windows(self) -> dict[str, Window]:
        """Return all windows as they are."""
        found = (item for item in self.stage.store.items(CORE) if str(item["sk"]).startswith(keys.WINDOW_PREFIX))
        return {window.key: window for window in map(windows.window_of, found)}

    async def _keep_books(self) -> None:
        """Do what instances do once an hour."""
        assert (await self.bookkeeper.once()).failed == 0
        if not self.flights:
            assert not any(map(_is_due, self.purses().values())), "a purse owes, and has what it owes"

    async def _begin(self, ledger: Ledger, caller: Caller, amount: int) -> Flight:
        card = PriceCard(version="1", parts=PriceParts(input=0, output=0, request=amount * 1_000), source="s", as_of="d")
        plan = Plan((Candidate(ENDPOINT, None, card),))
        assert ceilings.of(SPEC, plan.candidates, self.now_ms).hold_nanousd == amount
        call = Call(caller=caller, spec=SPEC, preferences=RoutingPreferences(), deadline_at=self.now_s + 600.0)
        hold = await ledger.hold(call, plan)
        slot = hold.generation.slot
        entry = await self.stage.table.get(keys.lease(slot.account, slot.lease))
        assert entry.item is not None
        return Flight(ledger, hold, amount, leases.lease_of(entry.item).windows, self.now_s)

    def _judge_refusal(self, error: JunctorError, amount: int, least: int, bounds: dict[LimitName, tuple[int, int]]) -> None:
        """Judge how a call was refused: something must be short, and what is named must be what is."""
        if isinstance(error, InsufficientCreditsError):
            assert amount > least, f"{amount} were refused, and {least} are there"
            return
        short = {_id(name) for name, (low, _) in bounds.items() if amount > low}
        assert isinstance(error, KeyBudgetExceededError)
        assert error.metadata["limit"] in short, f"{error.metadata} were named, and {short} are short"

    def _credits(self) -> tuple[int, int]:
        """Return the least and the most that a new call must find."""
        now_ms = self.now_ms
        found = self.purses().values()
        least = sum(
            purse.avail_nanousd
            for purse in found
            if purse.state is PurseState.OPEN
            and not purse.owed_nanousd
            and (purse.expires_at_ms is None or now_ms < purse.expires_at_ms)
        )
        return least, least + sum(purse.leased_nanousd for purse in found) - sum(flight.amount for flight in self.flights)

    def _headroom(self, name: LimitName, limit: int) -> tuple[int, int]:
        """Return the least and the most that a new call must find under a limit."""
        window = self.windows().get(self._window(name))
        if window is None:
            return limit, limit
        under_way = sum(flight.amount for flight in self.flights if window.key in flight.windows)
        least = limit - window.spent_nanousd - window.leased_nanousd
        return least, least + window.leased_nanousd - under_way

    def _window(self, name: LimitName) -> str:
        return keys.window_name(_id(name), windows.period(name.interval, self.now_ms).name)


def _is_due(purse: Purse) -> bool:
    """Tell whether a purse owes what it has: money that came back from a lease, which the next look at the account collects."""
    return purse.owed_nanousd > 0 and purse.avail_nanousd > 0


def _id(name: LimitName) -> str:
    return windows.limit_id(name.subject, name.subject_id, name.interval)
