"""Instances that share what they see: one aggregator, one view for all, and no harm by whatever the store does."""

import asyncio
import random

import pytest
from msgspec.structs import replace

from junctor.adapters.tables.faults import Fault, FaultPlan
from junctor.domain.completion import Usage
from junctor.domain.health import Cause
from junctor.domain.routing import Failure, FailureKind
from junctor.ledger.tools import Tools
from junctor.ports.table import Set, ThrottledError, UnavailableError, UnknownOutcomeError
from junctor.ports.telemetry import Counter
from junctor.records import health as records
from junctor.records.tables import HEALTH
from junctor.usecases.fleet_health import SICK_IN_A_ROW, FleetHealth
from junctor.usecases.health_snapshot import OLD_S
from junctor.usecases.instance_health import InstanceHealth
from tests.support.faulty_table import Hang, Lost
from tests.support.health_fleet import CountedStore, Instance, Town, created
from tests.support.virtual_loop import run_virtual
from tests.support.world import CANDIDATE, SeededDice

NUMBER = 40
SOUND, DEAD = "alpha/model", "beta/model"
TOLD_S = 3 + 2 + 3 + 1
"""A digest, a round of the aggregator and a reading later everybody knows; here time goes by whole seconds."""
CALLS_MAX, UNITS_MAX, MEASURED_S = 20.0, 25.0, 10


@pytest.mark.parametrize("skew_ms", [0, 2_000])
def test_what_is_dead_is_out_for_all_until_three_probes_are_answered(skew_ms: int) -> None:
    """Each of forty instances would have to find out for itself that an endpoint is dead, and that it is back."""

    async def main() -> None:
        town = await created(Town(NUMBER, skew_ms=skew_ms))
        town.rates = {SOUND: 5, DEAD: 5}
        with town.alive():
            await town.go_on(6)
            assert not town.ejected_for_any(DEAD)
            town.dead = {DEAD}
            assert await town.go_on(60, lambda: town.ejected_for_all(DEAD)) <= TOLD_S
            await town.go_on(10)
            assert town.ejected_for_all(DEAD)
            assert not town.ejected_for_any(SOUND)
            probers = {instance.sight.view.verdicts[DEAD].probers for instance in town.instances if instance.sight.view}
            assert len(probers) == 1
            assert len(*probers) == 1
            assert probers.pop()[0] in {instance.name for instance in town.instances}
            town.dead = set()
            assert await town.go_on(60, lambda: not town.ejected_for_any(DEAD)) <= 3 * 2 + TOLD_S
            _, _, view = await town.snapshot()
            assert view is not None
            assert view.verdicts[DEAD].back_ms is not None
            await town.go_on(10)
            assert not town.ejected_for_any(DEAD)
        assert [instance.telemetry.incidents for instance in town.instances if instance.telemetry.incidents] == []

    run_virtual(main())


def test_two_that_see_it_are_enough_and_the_others_need_not() -> None:
    """Instances with little traffic would each send their next call to an endpoint that others know to be dead."""

    async def main() -> None:
        town = await created(Town(5))
        town.rates = {SOUND: 5}
        with town.alive():
            await town.go_on(10)
            for _ in range(20):
                for instance in town.instances[:2]:
                    instance.call(DEAD, 4, works=False)
                await town.go_on(1)
            assert town.ejected_for_all(DEAD)

    run_virtual(main())


def test_one_liar_ejects_nothing() -> None:
    """One broken instance could take any endpoint from all others."""

    async def main() -> None:
        town = await created(Town(5))
        town.rates = {SOUND: 1}
        liar = town.instances[0]
        with town.alive():
            for _ in range(60):
                liar.call(SOUND, 10_000, works=False)
                liar.call(DEAD, 10_000, works=False)
                await town.go_on(1)
                assert not town.ejected_for_any(SOUND)
                assert not town.ejected_for_any(DEAD)
            _, _, view = await town.snapshot()
            assert view is not None
            assert view.verdicts[DEAD].failed > 10_000

    run_virtual(main())


def test_a_sick_instance_tells_only_that_and_recovers() -> None:
    """Instances that lost their network would be asked on, and eject what is sound for the others."""

    async def main() -> None:
        town = await created(Town(4))
        providers = {f"p{number}/model": 5 for number in range(4)}
        town.rates = providers
        sick = town.instances[:2]
        with town.alive():
            await town.go_on(15)
            for _ in range(30):
                for instance in sick:
                    instance.sees(providers, failed=20)
                await town.go_on(1)
                assert not any(town.ejected_for_any(endpoint) for endpoint in providers)
            assert [instance.sick for instance in town.instances] == [[True], [True], [], []]
            assert [await town.told(instance) for instance in sick] == [0, 0]
            assert all([await town.told(instance) for instance in town.instances[2:]])
            await town.go_on(15)
            assert [instance.sick for instance in sick] == [[True, False]] * 2
            assert [instance.sick for instance in town.instances[2:]] == [[], []]
            assert all([await town.told(instance) for instance in sick])

    run_virtual(main())


@pytest.mark.parametrize(
    ("number", "failing", "out"), [(5, 5, False), (5, 4, False), (5, 2, True), (1, 1, False), (2, 1, True)]
)
def test_no_fleet_goes_out_of_service_as_a_whole(number: int, failing: int, out: bool) -> None:
    """Where all providers fail callers would find nobody, and as no call came through, nobody would see that it is over."""

    async def main() -> None:
        town = await created(Town(number))
        providers = {f"p{each}/model": 5 for each in range(4)}
        town.rates = providers
        struck = town.instances[:failing]
        with town.alive():
            await town.go_on(15)
            for _ in range(30):
                for instance in struck:
                    instance.sees(providers, failed=20)
                await town.go_on(1)
            assert [instance.sick for instance in struck] == [[True] if out else []] * failing
            await town.go_on(15)
            assert [instance.sick for instance in struck] == [[True, False] if out else []] * failing
        assert not any(instance.sick for instance in town.instances[failing:])

    run_virtual(main())


def test_without_a_store_a_sick_instance_is_out_of_service() -> None:
    """An instance without any network would be asked on, as nobody told it that the others are well."""

    async def main() -> None:
        (instance,) = (await created(Town(1))).instances
        for method in ("get", "query", "update"):
            instance.table.always(method, UnavailableError("x"))
        for _ in range(SICK_IN_A_ROW):
            assert instance.sick == []
            instance.sees({f"p{each}/model": 5 for each in range(3)}, failed=5)
            await instance.health.publish()
        assert instance.sick == [True]

    run_virtual(main())


def test_a_sick_instance_without_calls_is_well_after_a_time() -> None:
    """An instance taken out of service gets no call, so it would stay out for ever."""

    async def main() -> None:
        (instance,) = (await created(Town(1))).instances
        for _ in range(SICK_IN_A_ROW):
            instance.sees({f"p{each}/model": 5 for each in range(3)}, failed=5)
            await instance.health.publish()
        assert instance.sick == [True]
        await asyncio.sleep(29)
        await instance.health.publish()
        assert instance.sick == [True]
        await asyncio.sleep(1)
        await instance.health.publish()
        assert instance.sick == [True, False]

    run_virtual(main())


@pytest.mark.parametrize("rate", [1, 500])
def test_what_it_costs_does_not_depend_on_traffic(rate: int) -> None:
    """Telling each other of endpoints could cost more than the calls do."""

    async def main() -> None:
        store = CountedStore()
        town = await created(Town(NUMBER, store=store))
        town.rates = {f"provider-{number % 7}/author/model-{number}": rate + 7 * number for number in range(24)}
        with town.alive():
            await town.go_on(5)
            store.reads = store.writes = 0
            store.read_units = store.write_units = 0.0
            await town.go_on(MEASURED_S)
            assert 15.0 < store.writes / MEASURED_S <= CALLS_MAX
            assert 15.0 < store.reads / MEASURED_S <= CALLS_MAX
            assert 15.0 < store.write_units / MEASURED_S <= UNITS_MAX
            assert 4.0 < store.read_units / MEASURED_S <= UNITS_MAX

    run_virtual(main())


def test_instances_without_traffic_write_nothing_of_their_own() -> None:
    """A fleet at rest would pay for saying so."""

    async def main() -> None:
        town = await created(Town(5))
        with town.alive():
            await town.go_on(60)
            assert [instance.table.calls.get("update", 0) for instance in town.instances].count(0) >= 3
            assert sum(instance.table.calls.get("update", 0) for instance in town.instances) <= 60 / OLD_S + 2

    run_virtual(main())


@pytest.mark.parametrize("number", [2, 10])
def test_a_dead_aggregator_is_replaced_and_nothing_is_forgotten(number: int) -> None:
    """With one instance the whole fleet's view would die, or every change of it would send traffic to the dead again."""

    async def main() -> None:
        town = await created(Town(number))
        town.rates = {SOUND: 5, DEAD: 30}
        with town.alive():
            town.dead = {DEAD}
            await town.go_on(80)
            assert town.ejected_for_all(DEAD)
            version, holder, _ = await town.snapshot()
            dead = next(instance for instance in town.instances if instance.name == holder)
            dead.kill()
            for passed in range(16):
                assert passed < 15
                assert town.ejected_for_all(DEAD)
                if (await town.snapshot())[0] > version:
                    break
                await town.go_on(1)
            _, heir, view = await town.snapshot()
            assert heir != holder
            assert view is not None
            sound, out = view.verdicts[SOUND], view.verdicts[DEAD]
            assert out.ejected
            assert out.failed > 0
            assert sound.first_token_ms is not None
            assert sound.uptime is not None
            assert sound.uptime.last_1d == 1.0
            assert out.uptime is not None
            assert (out.uptime.last_1d or 0.0) < 0.1
            await town.go_on(10)
            assert town.ejected_for_all(DEAD)

    run_virtual(main())


def test_one_snapshot_at_a_time() -> None:
    """Instances would write over each other's snapshots, and take an endpoint out and in again."""

    async def main() -> None:
        town = await created(Town(NUMBER))
        town.rates = {SOUND: 5}
        versions: list[int] = []
        holders: set[str | None] = set()
        with town.alive():
            for _ in range(60):
                await town.go_on(1)
                version, holder, _ = await town.snapshot()
                versions.append(version)
                holders.add(holder)
        assert versions == sorted(versions)
        assert 60 / 5 - 2 <= versions[-1] <= 60 / OLD_S + 1
        assert len(holders - {None}) == 1

    run_virtual(main())


PLAN = FaultPlan(
    chances=(
        (Fault.THROTTLED, 0.1),
        (Fault.UNAVAILABLE, 0.1),
        (Fault.REPLY_LOST, 0.1),
        (Fault.DROPPED, 0.1),
        (Fault.DELAYED, 0.1),
        (Fault.DUPLICATED, 0.1),
    ),
    latency_s=(0.0, 0.3),
    delay_s=(0.1, 10.0),
    stale_s=1.0,
)


def test_a_store_that_fails_often_does_no_harm() -> None:
    """A bad hour of the store would end the sharing, or eject what is sound."""

    async def main() -> None:
        town = await created(Town(10))
        town.rates = {SOUND: 5, DEAD: 5}
        town.dead = {DEAD}
        town.store.dice.plan = PLAN
        with town.alive():
            await town.go_on(120, lambda: town.ejected_for_all(DEAD))
            for _ in range(60):
                await town.go_on(1)
                assert not town.ejected_for_any(SOUND)
            town.store.dice.plan = FaultPlan()
            await town.go_on(20)
            assert town.ejected_for_all(DEAD)
            town.dead = set()
            await town.go_on(40)
            assert not town.ejected_for_any(DEAD)
        assert not any(instance.telemetry.incidents for instance in town.instances)
        counts = [instance.telemetry.counts for instance in town.instances]
        assert all(each[Counter.HEALTH_WRITE_FAILED] for each in counts)
        assert any(each[Counter.HEALTH_READ_FAILED] for each in counts)
        assert not any(each[Counter.HEALTH_ITEM_BAD] for each in counts)

    run_virtual(main())


@pytest.mark.parametrize("fault", [ThrottledError("x"), UnavailableError("x"), Hang()])
def test_without_a_store_an_instance_goes_by_itself(fault: ThrottledError | UnavailableError | Hang) -> None:
    """What the fleet said once would keep an endpoint out for as long as the store is away."""

    async def main() -> None:
        town = await created(Town(3))
        town.rates = {SOUND: 5}
        with town.alive():
            await town.go_on(15)
            assert all(instance.sight.view for instance in town.instances)
            for instance in town.instances:
                for method in ("get", "query", "update"):
                    instance.table.always(method, fault)
            await town.go_on(20)
            assert all(instance.sight.view for instance in town.instances)
            await town.go_on(25)
            assert not any(instance.sight.view for instance in town.instances)
            assert all(instance.telemetry.counts[Counter.HEALTH_WRITE_FAILED] for instance in town.instances)
            assert all(instance.telemetry.counts[Counter.HEALTH_READ_FAILED] for instance in town.instances)
            for instance in town.instances:
                instance.table.heal()
            await town.go_on(15)
            assert all(instance.sight.view for instance in town.instances)
        assert not any(instance.telemetry.incidents for instance in town.instances)

    run_virtual(main())


def test_an_old_snapshot_is_no_view() -> None:
    """A fleet that starts on Monday would avoid the endpoints that were down on Friday."""

    async def main() -> None:
        town = await created(Town(2))
        first, second = town.instances
        first.call(SOUND, 5, works=True)
        await first.health.publish()
        assert await first.health.aggregate()
        await asyncio.sleep(29)
        await second.health.read()
        assert second.sight.view is not None
        await asyncio.sleep(2)
        await second.health.read()
        assert second.sight.view is None
        third = Instance(town.store, 3)
        await third.health.read()
        assert third.sight.view is None

    run_virtual(main())


def test_a_snapshot_whose_answer_was_lost_is_the_writer_s_own() -> None:
    """The aggregator would take its own work for another's, and begin anew after each lost answer."""

    async def main() -> None:
        town = await created(Town(2))
        (instance, other) = town.instances
        instance.call(SOUND, 5, works=True)
        await instance.health.publish()
        assert await instance.health.aggregate()
        await asyncio.sleep(5)
        instance.table.next("update", Lost(UnknownOutcomeError("x")))
        assert not await instance.health.aggregate()
        assert (await town.snapshot())[:2] == (2, instance.name)
        await asyncio.sleep(OLD_S)
        assert not await other.health.aggregate()
        assert await instance.health.aggregate()
        version, holder, view = await town.snapshot()
        assert (version, holder) == (3, instance.name)
        assert view is not None
        assert view.verdicts[SOUND].ok == pytest.approx(5 * 0.5 ** ((5 + OLD_S) / 30), abs=0.1)

    run_virtual(main())


def test_who_lost_the_snapshot_reads_again() -> None:
    """An aggregator that was away for a while would write over its heir's snapshots."""

    async def main() -> None:
        town = await created(Town(2))
        first, second = town.instances
        assert await first.health.aggregate()
        assert not await second.health.aggregate()
        await asyncio.sleep(8)
        assert await second.health.aggregate()
        assert not await first.health.aggregate()
        assert (await town.snapshot())[:2] == (2, second.name)
        await asyncio.sleep(5)
        assert not await first.health.aggregate()
        assert await second.health.aggregate()
        assert (await town.snapshot())[:2] == (3, second.name)

    run_virtual(main())


def test_nobody_makes_snapshots_faster_than_needed() -> None:
    """A function that is called often would pay for a snapshot each time."""

    async def main() -> None:
        (instance,) = (await created(Town(1))).instances
        made = []
        for _ in range(20):
            made.append(await instance.health.aggregate())
            await asyncio.sleep(1)
        assert sum(made) == 20 / OLD_S

    run_virtual(main())


def test_news_is_written_at_once_and_all_else_waits() -> None:
    """An ejection would be known seconds later than it could be, or each snapshot be paid for though nothing is new in it."""

    async def main() -> None:
        town = await created(Town(3))
        (instance, *others) = town.instances
        made = []
        for second in range(7):
            for other in others if second == 2 else ():
                other.call(DEAD, 20, works=False)
                await other.health.publish()
            made.append(await instance.health.aggregate())
            await asyncio.sleep(1)
        assert made == [True, False, True, False, False, False, True]
        assert instance.sight.ejected(DEAD)

    run_virtual(main())


def test_at_the_end_of_a_call_only_what_is_due_is_done() -> None:
    """A function without a background would tell the others too much or nothing."""

    async def main() -> None:
        (instance,) = (await created(Town(1))).instances
        written = []
        for second, failed in enumerate([False, False, True, True, False, False, False, False, False]):
            instance.call(SOUND, 1, works=not failed)
            before = instance.table.calls.get("update", 0)
            await instance.health.flush_after_call(failed=failed)
            written.append((second, instance.table.calls.get("update", 0) - before))
            await asyncio.sleep(1)
        digests_and_snapshots = [(0, 2), (1, 0), (2, 1), (3, 1), (4, 0), (5, 0), (6, 2), (7, 0), (8, 0)]
        assert written == digests_and_snapshots

    run_virtual(main())


def test_no_interval_is_lost_between_two_readings() -> None:
    """Calls would be missing in uptimes, and failures found later, wherever a digest was rewritten before it was read."""

    async def main() -> None:
        town = await created(Town(2))
        teller, aggregator = town.instances
        for number in range(4):
            teller.call(SOUND, 10 + number, works=True)
            await teller.health.publish()
            await asyncio.sleep(1)
        assert await aggregator.health.aggregate()
        await asyncio.sleep(5)
        assert await aggregator.health.aggregate()
        _, _, view = await town.snapshot()
        assert view is not None
        assert view.verdicts[SOUND].ok == pytest.approx(46 * 0.5 ** (5 / 30), abs=0.1)

    run_virtual(main())


def test_endpoints_that_a_digest_has_no_room_for_are_told_later() -> None:
    """Of hundreds of endpoints those with the least traffic would never have any uptime, and no failure of theirs be known."""

    async def main() -> None:
        town = await created(Town(2))
        for number in range(200):
            town.instances[0].call(f"provider/model-{number}", 1 + number, works=True)
        with town.alive():
            await town.go_on(30)
            _, _, view = await town.snapshot()
        assert view is not None
        assert set(view.verdicts) == {f"provider/model-{number}" for number in range(200)}

    run_virtual(main())


def test_damaged_items_are_counted_and_passed_over() -> None:
    """One bad item, or a newer version's, would end the sharing for all."""

    async def main() -> None:
        town = await created(Town(2))
        (instance, other) = town.instances
        table = town.store.table(HEALTH)
        instance.call(SOUND, 5, works=True)
        await instance.health.publish()
        other.call(SOUND, 7, works=True)
        await other.health.publish()
        digest = records.write_digest(instance.name, (records.Interval(1, instance.clock.now_ms(), ()),)).key
        await table.update(digest, (), (Set(records.BODY, b"\0\1"),))
        await table.update(records.write_bucket(instance.clock.now_ms() // 300_000, {}).key, (), (Set(records.FORM, 9),))
        await table.update(records.SNAPSHOT, (), (Set(records.FORM, 9), Set(records.VERSION, 41)))
        assert not await instance.health.aggregate()
        assert instance.sight.view is None
        await asyncio.sleep(8)
        assert await instance.health.aggregate()
        assert instance.telemetry.counts[Counter.HEALTH_ITEM_BAD] == 3
        version, _, view = await town.snapshot()
        assert version == 42
        assert view is not None
        assert view.verdicts[SOUND].ok == 7.0

    run_virtual(main())


def test_a_bug_ends_one_round_and_is_told() -> None:
    """One surprise would end the sharing until the instance is started again."""

    async def main() -> None:
        (instance,) = (await created(Town(1))).instances
        real = instance.sight.heed
        instance.sight.heed = lambda view, me: 1 // 0  # type: ignore[method-assign,assignment]
        instance.start()
        await asyncio.sleep(12)
        assert instance.telemetry.counts[Counter.INCIDENT] >= 2
        assert {type(error) for _, error in instance.telemetry.incidents} == {ZeroDivisionError}
        instance.sight.heed = real  # type: ignore[method-assign]
        await asyncio.sleep(12)
        instance.kill()
        assert instance.sight.view is not None

    run_virtual(main())


def test_what_instances_measure_reaches_all_and_their_probes_bring_it_back() -> None:
    """Both halves would work alone, but not together: nobody would be told, or no probe count."""

    async def main() -> None:
        town = await created(Town(20))
        sights = {
            instance.name: InstanceHealth(instance.clock, SeededDice(7), instance.telemetry) for instance in town.instances
        }
        for instance in town.instances:
            tools = Tools(instance.table, instance.clock, SeededDice(8), instance.telemetry)
            instance.health = FleetHealth(tools, sights[instance.name], instance.name)
        chance, works = random.Random(9), True

        async def pass_by(seconds: int) -> set[Cause | None]:
            for _ in range(10 * seconds):
                for sight in chance.sample(list(sights.values()), 2):
                    health = sight.snapshot().endpoints.get(CANDIDATE.endpoint.id)
                    if health is None or not health.open or health.probe:
                        watch = sight.begun(replace(CANDIDATE, health=health), "ACCOUNT")
                        if works:
                            watch.served(Usage(input_tokens=1, output_tokens=1))
                        else:
                            watch.failed(Failure(kind=FailureKind.SERVER))
                await asyncio.sleep(0.1)
            found = [sight.snapshot().endpoints.get(CANDIDATE.endpoint.id) for sight in sights.values()]
            return {None if health is None else health.cause for health in found}

        with town.alive():
            assert await pass_by(15) == {None}
            works = False
            assert await pass_by(30) == {Cause.FLEET}
            works = True
            assert await pass_by(30) == {None}

    run_virtual(main())
