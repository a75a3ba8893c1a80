"""The ledger's own code, by the simulation's own actors, on real engines: what a simulated store may get too right."""

from collections.abc import Callable

import pytest

from junctor.records.tables import CORE
from tests.simulation.mutations import MUTATIONS, mutated
from tests.support.engines.play import KILLS, EnginePlay, EngineWorld
from tests.support.engines.process import Engine, Engines
from tests.support.engines.quick_loop import SPEED, run_quick
from tests.support.engines.wire import Wire
from tests.support.tables import ENGINE_TIMEOUT_S, ENGINES, dynamo_store, fake_credentials


def play(engine: Engine, seed: int, disturb: Callable[[], None] = lambda: None) -> EngineWorld:
    """Play one seed on an engine."""

    async def main() -> EngineWorld:
        patience_s = ENGINE_TIMEOUT_S * SPEED
        async with Wire.opened(engine.port, seed) as wire, dynamo_store(wire.url, CORE, patience_s=patience_s) as store:
            world = EngineWorld(seed, store, wire)
            await EnginePlay(world, disturb).run()
            return world

    return run_quick(main())


def check(world: EngineWorld) -> None:
    """Find nothing wrong, and enough that could have been."""
    assert world.wrongs == [], "\n".join([*world.wrongs, *world.trace])
    assert world.played_enough
    assert world.kills == KILLS


@pytest.mark.parametrize("name", ENGINES)
def test_money_is_right_on_a_real_engine(name: str, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money would be right on the simulated store only: an engine judges, conflicts and interleaves in its own way."""
    fake_credentials(monkeypatch)
    check(play(engines.shared(name), seed=4))


def test_money_is_right_though_the_engine_is_killed(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that goes away in the midst of leases would take money with it, or let it be spent twice."""
    fake_credentials(monkeypatch)
    engine = engines.new("dynoxide")
    engine.start()
    deaths: list[Engine] = []

    def restart() -> None:
        engine.kill()
        engine.start()
        deaths.append(engine)

    try:
        check(play(engine, seed=5, disturb=restart))
    finally:
        engine.kill()
    assert len(deaths) == KILLS


def test_a_ledger_that_loses_money_is_caught(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actors would find every ledger right, whatever it does to the engine's books."""
    fake_credentials(monkeypatch)
    mistake = next(mutation for mutation in MUTATIONS if mutation.name == "non-atomic close")
    with mutated(mistake):
        assert play(engines.shared("ministack"), seed=4).wrongs
