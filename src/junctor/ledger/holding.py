"""One call's money: what is set aside for it, in which lease, and the hold that is under way beside the upstream call.

It is all that the ledger keeps of a call, from its beginning to its settlement. A hold is made or fails once, whoever writes
its slot: whoever waits for it waits here, and one who leaves, or is late, takes nothing with him.
"""

import asyncio
from collections.abc import Callable

from junctor.domain.call import Call, Hold
from junctor.domain.generation import Generation
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Plan
from junctor.ledger.holder import HeldLease
from junctor.ledger.patience import ended_by
from junctor.ledger.scope import Scope
from junctor.policy.ceilings import Ceiling
from junctor.ports.table import Key


class Holding:
    """What is set aside for a call that began at `at_ms`: how much, and where. `held` is None once that has gone back.

    `beyond_nanousd`: how much of it is beyond the hold of an answer that nobody bounded, so that it is for as much as the
    endpoints allow.
    `output_cap`: the most output tokens of each answer to ask a provider for, as the organisation's money might not cover more;
    None where it covers all that may come. `scope` is there once the account is known. `generation` is the one whose slot is
    being written, at `key`. `hold` is what is held, None before that is durable, and `error` why there will be no hold;
    `on_failure` is called when that is known.
    """

    __slots__ = (
        "_waiting",
        "amount_nanousd",
        "at_ms",
        "beyond_nanousd",
        "call",
        "ceiling",
        "error",
        "generation",
        "held",
        "hold",
        "key",
        "on_failure",
        "output_cap",
        "plan",
        "scope",
    )

    scope: Scope
    generation: Generation
    key: Key

    def __init__(self, call: Call, plan: Plan, ceiling: Ceiling, at_ms: int) -> None:
        self.call = call
        self.plan = plan
        self.ceiling = ceiling
        self.at_ms = at_ms
        self.held: HeldLease | None = None
        self.amount_nanousd = ceiling.hold_nanousd
        self.beyond_nanousd: NanoUsd = 0
        self.output_cap: int | None = None
        self.hold: Hold | None = None
        self.error: BaseException | None = None
        self.on_failure: Callable[[], None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def output_tokens(self) -> int:
        """The output tokens of each answer for which money is held, at least."""
        return self.ceiling.output_tokens

    @property
    def may_outgrow(self) -> bool:
        """Whether an answer may come to cost more than is held for it."""
        return self.output_cap is None and self.ceiling.open_nanousd > self.amount_nanousd

    @property
    def generation_id(self) -> str:
        """The generation that is held, empty while there is none."""
        return self.hold.generation.id if self.hold is not None else ""

    async def ready(self, deadline_at: float | None = None) -> Hold:
        """Wait until the hold is durable. Raises JunctorError; TimeoutError if it is not by an instant of the loop's clock."""
        if self.hold is None and self.error is None:
            await self._known(deadline_at)
        if self.hold is not None:
            return self.hold
        raise self.error or TimeoutError

    async def _known(self, at_s: float | None) -> None:
        """Wait until it is known whether there is a hold, at most until an instant of the loop's clock."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        try:
            await (woken if at_s is None else ended_by(woken, at_s))
        finally:
            self._waiting.remove(woken)

    def opened(self, hold: Hold) -> None:
        """Note that the hold is durable."""
        self.hold = hold
        for woken in self._waiting:
            _wake(woken)

    def fail(self, error: BaseException) -> None:
        """Note that there will be no hold."""
        self.error = error
        for woken in self._waiting:
            _wake(woken)
        if self.on_failure is not None:
            self.on_failure()

    def widen(self) -> None:
        """Let the answer get as long as the endpoints allow, and need as much: before anything is set aside."""
        self.output_cap = None
        self.amount_nanousd = self.ceiling.open_nanousd
        self.beyond_nanousd = self.ceiling.open_nanousd - self.ceiling.hold_nanousd

    def narrow(self) -> None:
        """Let the answer get as long as its hold covers, and need no more than that: before anything is set aside."""
        self.output_cap = self.ceiling.output_tokens
        self.amount_nanousd = self.ceiling.hold_nanousd
        self.beyond_nanousd = 0

    async def more(self, amount: NanoUsd) -> bool:
        """Set more aside, if there is more. Raises LedgerUnavailableError."""
        if self.held is None or not await self.scope.more_room(self.held, amount):
            return False
        self.amount_nanousd += amount
        return True


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
