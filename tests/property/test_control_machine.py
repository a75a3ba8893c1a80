"""Keys, members, workspaces, limits, credits and calls in any order, beside a model of them (tests/support/control_model).

After each step the books are audited, and no limit may be passed except where it was lowered below what was used. More of it:
TESTS_MACHINE_EXAMPLES=2000 python -m pytest tests/property/test_control_machine.py
"""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from junctor.domain.account import MemberRole
from junctor.domain.credits import Interval, LimitSubject
from junctor.domain.errors import BookingRefusedError, ResourceExistsError, ResourceNotFoundError
from junctor.ledger.limit_changes import INTERVALS_MAX
from junctor.records.tables import CORE
from junctor.usecases.api_keys import ApiKeyChange, NewApiKey
from junctor.usecases.limits import LimitName
from junctor.usecases.members import MemberChange
from junctor.usecases.organisations import OrganisationChange
from tests.support.control_model import KeyModel, Organisation
from tests.support.ledger_audit import violations
from tests.support.stage import OPERATOR
from tests.support.virtual_loop import TimersLoop

T = TypeVar("T")

AMOUNTS = st.integers(0, 300)
MEMBERS, WORKSPACES = st.sampled_from(["ada", "bob"]), st.sampled_from(["ci", "web"])
OWNERS, PLACES = st.none() | MEMBERS, st.none() | WORKSPACES
PICK = st.integers(0, 5)
SELDOM = st.sampled_from([False, False, False, False, False, True])
INSTANCES = st.integers(0, 1)
PARTS = st.sampled_from([None, 0, 1, 2, 4, 5])
SHORT_S, LONG_S = (0.1, 2.0, 6.0, 61.0), (3_600.0, 86_400.0, 31 * 86_400.0)
DAY_S = 86_400


class Control(RuleBasedStateMachine):
    """The machine: each rule does one thing to the organisation and to its model, and compares the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=TimersLoop)
        self.org = self.run(self._opened())
        self.model = self.org.model
        self.used: dict[str, int] = {}
        self.numbers = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work in the machine's own loop."""
        return self.runner.run(work)

    async def _opened(self) -> Organisation:
        return await Organisation().open()

    def number(self) -> int:
        """Return a fresh number."""
        self.numbers += 1
        return self.numbers

    def key(self, pick: int) -> KeyModel:
        """Return one of the keys."""
        return self.model.keys[pick % len(self.model.keys)]

    @initialize(
        amount=st.integers(200, 2_000),
        limits=st.lists(st.tuples(st.sampled_from(LimitSubject), st.sampled_from(Interval), st.integers(0, 1_000)), max_size=4),
    )
    def furnish(self, amount: int, limits: list[tuple[LimitSubject, Interval, int]]) -> None:
        """Let there be something to use: credits, limits, and three keys, the first of which is under all of them."""
        self.make_member("ada")
        self.change_workspace("ci", remove=False)
        for owner, place in (("ada", "ci"), (None, None), (None, "ci")):
            self.make_key(owner, place)
        self.add_credits(amount, None)
        for subject, interval, most in limits:
            self.set_limit(subject, 0, interval, most)

    @rule(member=OWNERS, workspace=PLACES)
    def make_key(self, member: str | None, workspace: str | None) -> None:
        """Make a completion key, which belongs only to what is there."""
        may = self._there(member, workspace)
        wanted = NewApiKey(name="k", member=member, workspace=workspace)
        try:
            key, text = self.run(self.org.stage.api_keys.create(OPERATOR, self.org.id, wanted))
        except ResourceNotFoundError:
            assert not may
        else:
            assert may
            self.model.keys.append(KeyModel(key.lookup_id, [(text, None)], [text], member, workspace))

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, disabled=SELDOM)
    def disable_key(self, pick: int, disabled: bool) -> None:
        """Disable a key, or enable it."""
        if self._change_key(self.key(pick), ApiKeyChange(disabled=disabled)):
            self.key(pick).disabled = disabled

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, after_s=st.sampled_from([None, None, None, 30, 90, 40 * DAY_S]))
    def let_key_expire(self, pick: int, after_s: int | None) -> None:
        """Set when a key ends, or that it does not."""
        until_ms = None if after_s is None else self.run(self._now_ms()) + after_s * 1_000
        if self._change_key(self.key(pick), ApiKeyChange(expires_at_ms=until_ms)):
            self.key(pick).expires_at_ms = until_ms

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, member=OWNERS, workspace=PLACES)
    def move_key(self, pick: int, member: str | None, workspace: str | None) -> None:
        """Give a key to someone else, or to another workspace: what it did not have before must be there."""
        key = self.key(pick)
        new = (member if member != key.member else None), (workspace if workspace != key.workspace else None)
        if self._change_key(key, ApiKeyChange(member=member, workspace=workspace), may=self._there(*new)):
            key.member, key.workspace = member, workspace

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, kept_s=st.sampled_from([0, 30, 90, DAY_S]))
    def rotate_key(self, pick: int, kept_s: int) -> None:
        """Give a key a new secret, beside which the one before is good for a while."""
        key = self.key(pick)
        try:
            _, text = self.run(self.org.stage.api_keys.rotate(OPERATOR, self.org.id, key.lookup_id, kept_s))
        except ResourceNotFoundError:
            assert key.deleted
            return
        assert not key.deleted
        until_ms = self.run(self._now_ms()) + kept_s * 1_000
        key.secrets = [(text, None), *([(key.secrets[0][0], until_ms)] if kept_s else [])]
        key.texts.append(text)
        self.run(self._touched_keys())

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK)
    def delete_key(self, pick: int) -> None:
        """Remove a key."""
        key = self.key(pick)
        try:
            self.run(self.org.stage.api_keys.delete(OPERATOR, self.org.id, key.lookup_id))
        except ResourceNotFoundError:
            assert key.deleted
        else:
            assert not key.deleted
        key.deleted = True
        self.run(self._touched_keys())

    @rule(member=MEMBERS)
    def make_member(self, member: str) -> None:
        """Add a member, whose id nobody had before."""
        try:
            self.run(self.org.stage.members.create(OPERATOR, self.org.id, member, "", MemberRole.MEMBER))
        except ResourceExistsError:
            assert member in self.model.members
        else:
            assert member not in self.model.members
            self.model.members[member] = False
        self.run(self._touched_keys())

    @rule(member=MEMBERS, disabled=st.sampled_from([False, False, True, None]))
    def change_member(self, member: str, disabled: bool | None) -> None:
        """Disable a member, enable or remove him."""
        members = self.org.stage.members
        changing = (
            members.delete(OPERATOR, self.org.id, member)
            if disabled is None
            else members.update(OPERATOR, self.org.id, member, MemberChange(disabled=disabled))
        )
        there = self.model.members.get(member) is not None
        if self._found(changing, there=there):
            self.model.members[member] = disabled
        self.run(self._touched_keys())

    @rule(workspace=WORKSPACES, remove=SELDOM)
    def change_workspace(self, workspace: str, remove: bool) -> None:
        """Add a workspace or remove it; none comes back."""
        members = self.org.stage.members
        if remove:
            if self._found(
                members.delete_workspace(OPERATOR, self.org.id, workspace), there=self.model.workspaces.get(workspace) is True
            ):
                self.model.workspaces[workspace] = False
        else:
            try:
                self.run(members.create_workspace(OPERATOR, self.org.id, workspace, ""))
            except ResourceExistsError:
                assert workspace in self.model.workspaces
            else:
                assert workspace not in self.model.workspaces
                self.model.workspaces[workspace] = True
        self.run(self._touched_keys())

    @rule(disabled=SELDOM)
    def disable_organisation(self, disabled: bool) -> None:
        """Disable the organisation, or enable it."""
        self.run(self.org.stage.organisations.update(OPERATOR, self.org.id, OrganisationChange(disabled=disabled)))
        self.model.disabled = disabled
        self.run(self._touched_keys())

    @rule(amount=st.integers(1, 1_000), days=st.sampled_from([None, None, 1, 40]))
    def add_credits(self, amount: int, days: int | None) -> None:
        """Credit a payment, whose credits may lapse."""
        expires_at_ms = None if days is None else self.run(self._now_ms()) + days * DAY_S * 1_000
        payment_id = f"p{self.number()}"
        for _ in range(2):
            self.run(self.org.add_credits(payment_id, amount, expires_at_ms))

    @precondition(lambda self: self.model.payments)
    @rule(pick=PICK, share=st.integers(1, 5), taken=st.booleans())
    def give_back(self, pick: int, share: int, taken: bool) -> None:
        """Refund quarters of what may go back of a payment, or book that they were taken back; five are too much."""
        payment_id = sorted(self.model.payments)[pick % len(self.model.payments)]
        amount = max(self.model.refundable[payment_id] * share // 4, 1)
        self.run(self.org.give_back(f"b{self.number()}", payment_id, amount, taken=taken))

    @rule(subject=st.sampled_from(LimitSubject), pick=PICK, interval=st.sampled_from(Interval), amount=st.integers(0, 500))
    def set_limit(self, subject: LimitSubject, pick: int, interval: Interval, amount: int) -> None:
        """Set a limit of something that is there, and of which there are not two others."""
        name = self._limit(subject, pick, interval)
        others = [other for other in self.model.limits if (other.subject, other.subject_id) == (subject, name.subject_id)]
        may = name in self.model.limits or len(others) < INTERVALS_MAX
        there = self.model.has(name)
        try:
            state = self.run(self.org.limits.set(OPERATOR, self.org.id, name, amount))
        except ResourceNotFoundError:
            assert not there
        except BookingRefusedError:
            assert there
            assert not may
        else:
            assert there
            assert may
            assert state.limit.limit_nanousd == amount
            self.model.limits[name] = amount
            self.run(self._touched_limits())

    @precondition(lambda self: self.model.limits)
    @rule(pick=PICK)
    def delete_limit(self, pick: int) -> None:
        """Remove a limit."""
        name = list(self.model.limits)[pick % len(self.model.limits)]
        self.run(self.org.limits.delete(OPERATOR, self.org.id, name))
        del self.model.limits[name]
        self.run(self._touched_limits())

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, secret=PICK, amount=AMOUNTS, instance=INSTANCES, hasty=SELDOM)
    def begin(self, pick: int, secret: int, amount: int, instance: int, hasty: bool) -> None:
        """Begin a call with one of the secrets that a key ever had, as a rule the latest."""
        key = self.key(pick)
        text = key.texts[-1 - (secret % len(key.texts) if secret > 2 else 0)]
        self.run(self.org.call(key, text, amount, instance, hasty=hasty))

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, amounts=st.lists(st.tuples(INSTANCES, st.integers(1, 60)), min_size=2, max_size=6), hasty=SELDOM)
    def begin_some(self, pick: int, amounts: list[tuple[int, int]], hasty: bool) -> None:
        """Begin several calls of one key."""
        for instance, amount in amounts:
            self.run(self.org.call(self.key(pick), self.key(pick).texts[-1], amount, instance, hasty=hasty))

    @precondition(lambda self: self.model.keys)
    @rule(pick=PICK, secret=PICK, amount=AMOUNTS, instance=INSTANCES, part=PARTS)
    def call(self, pick: int, secret: int, amount: int, instance: int, part: int | None) -> None:
        """Begin a call and end it."""
        under_way = len(self.org.flights)
        self.begin(pick, secret, amount, instance, hasty=False)
        if len(self.org.flights) > under_way:
            self.settle(under_way, part)

    @precondition(lambda self: self.model.keys and self.model.payments)
    @rule(pick=PICK, share=st.integers(1, 4), amount=AMOUNTS, part=PARTS)
    def dispute(self, pick: int, share: int, amount: int, part: int | None) -> None:
        """Take a part of a payment back while a call is under way that holds some of it."""
        under_way = len(self.org.flights)
        self.begin(pick, 0, amount, 0, hasty=False)
        self.give_back(pick, share, taken=True)
        if len(self.org.flights) > under_way:
            self.settle(under_way, part)

    @precondition(lambda self: self.org.flights)
    @rule(pick=PICK, part=PARTS)
    def settle(self, pick: int, part: int | None) -> None:
        """End a call, at quarters of what is held for it; five are more than that."""
        number = pick % len(self.org.flights)
        amount = self.org.flights[number].amount
        self.run(self.org.settle(number, None if part is None else amount * part // 4))

    @rule(seconds=st.sampled_from(SHORT_S + LONG_S))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.run(self.org.pass_time(seconds))

    @invariant()
    def the_books_are_right(self) -> None:
        """Audit the books; of a window that is over its limit nothing more may be used."""
        assert violations(self.run(self._items())) == []
        assert self.org.telemetry.incidents == []
        for name, window in self.run(self._windows()).items():
            used = window.spent_nanousd + window.leased_nanousd
            assert used <= max(window.limit_nanousd, self.used.get(name, 0)), f"{name} is over its limit"
            self.used[name] = used
        self.run(self.org.rest())

    def teardown(self) -> None:
        """End everything; what is left must be what the model says."""
        try:
            self.run(self.org.close())
        finally:
            self.runner.close()

    def _there(self, member: str | None, workspace: str | None) -> bool:
        has_member = member is None or self.model.members.get(member) is not None
        return has_member and (workspace is None or self.model.workspaces.get(workspace) is True)

    def _change_key(self, key: KeyModel, change: ApiKeyChange, *, may: bool = True) -> bool:
        changing = self.org.stage.api_keys.update(OPERATOR, self.org.id, key.lookup_id, change)
        changed = self._found(changing, there=may and not key.deleted)
        self.run(self._touched_keys())
        return changed

    def _found(self, work: Coroutine[Any, Any, object], *, there: bool) -> bool:
        try:
            self.run(work)
        except ResourceNotFoundError:
            assert not there
            return False
        assert there
        return True

    def _limit(self, subject: LimitSubject, pick: int, interval: Interval) -> LimitName:
        names = {
            LimitSubject.ORGANISATION: "",
            LimitSubject.MEMBER: ("ada", "bob")[pick % 2],
            LimitSubject.WORKSPACE: ("ci", "web")[pick % 2],
            LimitSubject.API_KEY: self.key(pick).lookup_id if self.model.keys else "0" * 12,
        }
        return LimitName(subject, names[subject], interval)

    async def _now_ms(self) -> int:
        return self.org.now_ms

    async def _touched_keys(self) -> None:
        self.org.touched_keys()

    async def _touched_limits(self) -> None:
        self.org.touched_limits()

    async def _items(self) -> Any:
        return self.org.stage.store.items(CORE)

    async def _windows(self) -> Any:
        return self.org.windows()


TestControl = Control.TestCase
TestControl.settings = settings(
    max_examples=int(os.environ.get("TESTS_MACHINE_EXAMPLES", "35")),
    stateful_step_count=50,
    deadline=None,
    derandomize="TESTS_MACHINE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
