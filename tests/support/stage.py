"""The control plane without doors: its use cases over a simulated store, the loop's time, seeded dice, a pepper.

Meant for `run_virtual`: make it inside a running loop and call `open` first.
"""

from collections.abc import Awaitable, Callable

from junctor.adapters.tables.faults import CALM, FaultPlan
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.account import Actor, KeyScope, MemberRole
from junctor.ports.secrets import Peppers
from junctor.ports.table import Item, Key
from junctor.records.tables import CORE
from junctor.usecases.accounts import Accounts
from junctor.usecases.admit import Admission
from junctor.usecases.api_keys import ApiKeys
from junctor.usecases.members import Members
from junctor.usecases.organisations import Organisations
from tests.support.virtual_loop import run_virtual
from tests.support.world import LoopClock, SeededDice

OPERATOR = Actor("", "operator", KeyScope.OPERATOR)


class Vault:
    """The peppers, which a test may exchange."""

    def __init__(self) -> None:
        self.held = Peppers(2, {1: b"1" * 32, 2: b"2" * 32})

    def get(self, name: str) -> str | None:
        """No provider keys here."""
        return None

    def peppers(self) -> Peppers:
        """Return the peppers."""
        return self.held


class Stage:
    """A store and everything that manages accounts in it."""

    def __init__(self, seed: int = 0, plan: FaultPlan = CALM) -> None:
        self.store = SimulatedStore(seed, plan=plan)
        self.table = self.store.table(CORE)
        self.clock = LoopClock()
        self.dice = SeededDice(seed)
        self.vault = Vault()
        self.organisations = Organisations(self.table, self.clock, self.dice)
        self.members = Members(self.table, self.clock, self.dice)
        self.api_keys = ApiKeys(self.table, self.vault, self.clock, self.dice)
        self.accounts = Accounts(self.table, self.vault, self.clock, self.dice)
        self.admission = Admission(self.table, self.vault, self.clock, self.dice)

    async def open(self) -> "Stage":
        """Make the table."""
        await self.store.create([CORE])
        return self

    def put(self, item: Item) -> None:
        """Write an item over whatever was there."""
        self.store.put(CORE, Key(str(item["pk"]), str(item["sk"])), item)


def manager(account: str, role: MemberRole = MemberRole.ADMIN, member: str | None = None) -> Actor:
    """Return who acts with a management key of an organisation."""
    return Actor(account, "manager", KeyScope.MANAGEMENT, role, member)


def on_stage(scenario: Callable[[Stage], Awaitable[None]], seed: int = 0, plan: FaultPlan = CALM) -> None:
    """Play a scenario on a fresh stage."""

    async def main() -> None:
        await scenario(await Stage(seed, plan).open())

    run_virtual(main())
