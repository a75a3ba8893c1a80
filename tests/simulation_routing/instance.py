"""One instance that routes over the real code, and the callers' side of its calls.

Real are `routing.plan`, the walk of `usecases/attempt`, the instance's own measurements (`usecases/instance_health`) and what
instances tell each other (`usecases/fleet_health`) through one simulated store. There is no door, no admission, no ledger and
no network. A caller whose request is lost does not come again.
"""

import asyncio
from typing import Any, Final

from msgspec import Struct

from junctor.domain.account import Caller
from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog
from junctor.domain.completion import CompletionSpec, Message, Role, StreamEnd, TextPart
from junctor.domain.errors import JunctorError
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Plan, RoutingPreferences
from junctor.ledger.tools import Tools
from junctor.policy import routing
from junctor.ports.table import Table
from junctor.usecases import attempt
from junctor.usecases.fleet_health import FleetHealth
from junctor.usecases.instance_health import InstanceHealth
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from tests.simulation_routing import perfect, traces
from tests.simulation_routing.notes import Notes
from tests.simulation_routing.upstream import LUCK, SimulatedUpstream
from tests.simulation_routing.weather import Weather
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

DEADLINE_S: Final = 30.0
FLOOR_EVERY: Final = 10
"""Of so many calls one asks for the cheapest endpoint."""
STREAMED_EVERY: Final = 4

_CALLER: Final = Caller("ACCOUNT", "KEY")
_PREFERENCES: Final = RoutingPreferences()
_MESSAGES: Final = (Message(Role.USER, (TextPart("word " * 800),)),)
_MODEL: Final = traces.prices().model
_DRAWN: Final = CompletionSpec(model=_MODEL, messages=_MESSAGES, max_tokens=traces.TOKENS_OUT)
_FLOOR: Final = CompletionSpec(model=f"{_MODEL}:floor", messages=_MESSAGES, max_tokens=traces.TOKENS_OUT)
_CREDENTIALS: Final = traces.credentials()


class Place(Struct, frozen=True):
    """What all instances of one world share."""

    catalog: Catalog
    weather: Weather
    notes: Notes
    upstream: SimulatedUpstream
    table: Table


class Instance:
    """A process of the fleet. `exchange` is its talk with the others, which never ends."""

    def __init__(self, number: int, seed: int, place: Place) -> None:
        self._number = number
        self._place = place
        self._clock = LoopClock()
        self._loop = asyncio.get_running_loop()
        dice = SeededDice(seed)
        self.telemetry = NotedTelemetry()
        self._health = InstanceHealth(self._clock, dice, self.telemetry)
        tools = Tools(place.table, self._clock, dice, self.telemetry)
        self.exchange = FleetHealth(tools, self._health, f"i{number}", lambda sick: place.notes.felt_sick(number, sick=sick))
        absent: Any = None
        self._services = Services(
            admission=absent,
            snapshots=absent,
            upstream=place.upstream,
            ledger=absent,
            allowance=absent,
            clock=self._clock,
            dice=dice,
            telemetry=self.telemetry,
            health=self._health,
        )

    async def answer(self, number: int, luck: int) -> None:
        """Take one request from its plan to its answer or its end, and note both."""
        LUCK.set(luck)
        now_s = self._loop.time()
        drawn = number % FLOOR_EVERY != 0
        call = Call(
            caller=_CALLER,
            spec=_DRAWN if drawn else _FLOOR,
            preferences=_PREFERENCES,
            deadline_at=now_s + DEADLINE_S,
            streamed=luck % STREAMED_EVERY == 0,
        )
        snapshots = Snapshots(self._place.catalog, self._health.snapshot(), _CREDENTIALS, self._clock.now_ms(), luck)
        plan = routing.plan(call, snapshots)
        self._place.notes.planned(now_s, self._number, plan, snapshots.health, drawn=drawn)
        chance = self._place.notes.chance_of_loss(plan, now_s)
        wanted = self._wanted(call, snapshots, number, luck, now_s)
        trail = Trail(self._services, "Complete")
        served: NanoUsd | None = None
        try:
            served = await self._walk(call, plan, trail, now_s)
        except JunctorError:
            served = None
        tried = {try_.endpoint for try_ in trail.attempts}
        self._place.notes.ended(now_s, plan, chance, len(tried), len(trail.attempts), answered=served is not None)
        if served is not None and wanted is not None:
            self._place.notes.paid(now_s, served, wanted, drawn=drawn)

    async def _walk(self, call: Call, plan: Plan, trail: Trail, began_s: float) -> NanoUsd | None:
        """Return what the endpoint costs that answers. Raises JunctorError."""
        if not call.streamed:
            candidate, _ = await attempt.whole(self._services, call, plan, trail)
            return candidate.expected_nanousd
        candidate, flow = await attempt.begin(self._services, call, plan, trail)
        self._place.notes.first_token_s.append(self._loop.time() - began_s)
        async for batch in flow.batches:
            if isinstance(batch[-1], StreamEnd) and batch[-1].usage is not None:
                flow.watch.served(batch[-1].usage, batch[-1].usage.output_tokens)
        return candidate.expected_nanousd

    def _wanted(self, call: Call, snapshots: Snapshots, number: int, luck: int, now_s: float) -> NanoUsd | None:
        """Return what the call would cost by its yardstick, None where none would answer."""
        if number % FLOOR_EVERY == 0:
            return perfect.cheapest_nanousd(call, snapshots, self._place.weather, luck, now_s)
        return perfect.drawn_nanousd(call, snapshots, self._place.weather, luck, now_s)
