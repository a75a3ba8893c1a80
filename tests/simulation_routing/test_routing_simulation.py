"""Routing's real code over simulated providers: a few seeds of each kind of trouble; `poe simulate` plays any number more."""

from math import inf
from pathlib import Path

import msgspec
import pytest

from tests.simulation_routing import bars, kept, plot, report, traces
from tests.simulation_routing.__main__ import main
from tests.simulation_routing.bars import World
from tests.simulation_routing.kept import Kept, MixedError
from tests.simulation_routing.play import Result, play
from tests.simulation_routing.traces import Fault, Fleet, Scenario
from tests.simulation_routing.weather import Weather

SMALL = Fleet(4, ((0, 10.0),), victim_first_s=0.35)
"""As few instances as agree with each other about an endpoint, and not too few requests for its share to be seen."""


def short(name: str, seconds: float) -> Scenario:
    """Return a scenario of the trace that ends early."""
    return msgspec.structs.replace(traces.scenarios()[name], seconds=seconds)


@pytest.fixture(scope="module")
def dead() -> Result:
    """Play a dead endpoint, once for all tests."""
    return play(short("dead", 45.0), SMALL, 1)


def test_a_seed_is_one_run_always() -> None:
    """A seed that failed could not be played again."""
    assert play(short("dead", 14.0), SMALL, 3) == play(short("dead", 14.0), SMALL, 3)


def test_seeds_differ() -> None:
    """A hundred seeds would be one."""
    assert play(short("dead", 12.0), SMALL, 3) != msgspec.structs.replace(play(short("dead", 12.0), SMALL, 4), seed=3)


def test_no_sound_endpoint_is_ejected() -> None:
    """Endpoints that answer 99 % would be avoided, and calls would cost more."""
    result = play(short("steady", 30.0), SMALL, 1)
    assert (result.false_ejections, result.lost, result.incidents) == (0, 0, 0)
    assert result.costs_more < 0.05


def test_no_sound_endpoint_is_ejected_as_its_failures_end_before_its_answers() -> None:
    """A fleet that has just started would send the calls of a sound endpoint with slow answers elsewhere, for half a minute."""
    fleet = next(fleet for fleet in traces.scenarios()["dead"].fleets if fleet.busy)
    result = play(short("dead", 4.0), fleet, 24)
    assert result.requests > 5_000
    assert result.false_ejections == 0


def test_callers_do_not_notice_that_an_endpoint_is_dead(dead: Result) -> None:
    """The calls of a third of all callers would fail."""
    assert dead.share_before is not None
    assert dead.share_before > 0.15
    assert dead.lost <= 1
    assert dead.expected_loss < 1e-3
    assert dead.incidents == 0


def test_a_dead_endpoint_is_ejected_and_comes_back(dead: Result) -> None:
    """Calls would go on being sent to where nobody answers, or never again to where somebody does."""
    assert dead.ejected_s is not None
    assert dead.ejected_s < 6.0
    assert dead.share_after is not None
    assert dead.share_after < 0.03
    assert max(dead.curve[-5:]) > 0


def test_when_all_are_dead_calls_are_not_multiplied() -> None:
    """A provider that comes back would be met by several times its traffic."""
    result = play(short("all dead", 20.0), Fleet(1, ((0, 100.0),)), 1)
    assert result.lost > 500
    assert result.struck_attempts is not None
    assert result.struck_attempts < 2.0


@pytest.mark.parametrize("name", [name for name in traces.scenarios() if name not in {"steady", "dead", "all dead"}])
def test_calls_are_answered_in_every_trouble(name: str) -> None:
    """A kind of trouble would reach the callers, or bring the code down."""
    result = play(short(name, 22.0), SMALL, 1)
    assert result.requests > 600
    assert result.expected_loss < 2e-3
    assert result.lost <= 3
    assert result.incidents == 0


def test_a_store_is_asked_no_more_often_however_many_calls_there_are() -> None:
    """What instances tell each other would cost with every request."""
    quiet, busy = (play(short("steady", 20.0), Fleet(4, ((0, rate),)), 1) for rate in (2.0, 20.0))
    assert busy.writes_per_s <= 1.2 * quiet.writes_per_s
    assert busy.writes_per_s <= 2.5  # a digest of each of four every 2.2 s, a snapshot every 4.4 s


def test_the_cheapest_is_by_price_and_what_it_costs_follows_the_trace() -> None:
    """Prices that change would be charged as they were."""
    before, after = (traces.catalog(None, repriced=repriced) for repriced in (False, True))
    assert all(len(cards) == 1 for cards in before.prices.values())
    assert sorted(len(cards) for cards in after.prices.values()) == [1] * 6 + [2, 2]


def test_a_fate_is_the_request_s_own() -> None:
    """Two ways to route could not be compared: they would meet other luck."""
    scenario = Scenario(name="x", seconds=1.0, success=0.5, fleets=(), faults=(Fault(on=("victim",), from_s=0, until_s=1),))
    site = next(iter(Weather(scenario, 0.5, 1).sites.values()))
    assert [site.fate(luck, 0.0) for luck in range(200)] == [site.fate(luck, 5.0) for luck in range(200)]
    assert 60 < sum(site.fails(luck) for luck in range(200)) < 140


def test_a_bar_that_is_missed_fails(dead: Result) -> None:
    """A simulation that goes wrong would be told as one that went well."""
    scenario = traces.scenarios()["dead"]
    slow = msgspec.structs.replace(dead, ejected_s=60.0, lost=dead.requests)
    judged = bars.judge([World(scenario, msgspec.structs.replace(SMALL, busy=True), (dead, slow))])
    failed = {one.bar for one in judged if not one.holds}
    assert {"seconds to eject", "requests lost, all seeds"} <= failed


def test_the_figures_are_shown(dead: Result) -> None:
    """The picture or the table in the documentation would be broken."""
    worlds = [World(traces.scenarios()["dead"], SMALL, (dead,))]
    picture = plot.draw(worlds)
    assert picture.count("<polyline") == 2
    assert ">dead x 4 instances</text>" in picture
    assert any("seconds to eject" in line for line in report.lines(worlds[0]))
    told = msgspec.json.decode(msgspec.json.encode(report.data(worlds, bars.judge(worlds))))
    assert told["worlds"]["dead x 4"]["measures"]["seconds to eject"]["worst"] == pytest.approx(dead.ejected_s)


def test_seeds_are_kept_and_told_of_together(dead: Result, tmp_path: Path) -> None:
    """A hundred seeds could not be played in pieces, or half an hour's work would be lost with the session."""
    scenario = traces.scenarios()["dead"]
    fleet, other, *_ = scenario.fleets
    never = msgspec.structs.replace(dead, seed=2, back_s=inf)
    pieces = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, played, result in ((pieces[1], fleet, never), (pieces[0], fleet, dead), (pieces[1], fleet, never)):
        kept.write(path, Kept.of(scenario, played, scenario.seconds, result))
    all_ = kept.read((*pieces, tmp_path / "none"))
    assert list(kept.worlds(all_)) == [World(scenario, fleet, (dead, never))]
    assert kept.found(all_, scenario, fleet, scenario.seconds) == {1: dead, 2: never}
    assert kept.found(all_, scenario, fleet, 1.0) == kept.found(all_, scenario, other, scenario.seconds) == {}


def test_seeds_of_other_code_are_played_again_and_not_told_beside_these(dead: Result) -> None:
    """The figures would be partly those of code that is not there any more."""
    scenario = traces.scenarios()["dead"]
    fleet = scenario.fleets[0]
    now = Kept.of(scenario, fleet, scenario.seconds, dead)
    before = msgspec.structs.replace(now, code="0" * len(now.code))
    assert kept.found([before], scenario, fleet, scenario.seconds) == {}
    assert len(list(kept.worlds([before]))) == 1
    with pytest.raises(MixedError):
        list(kept.worlds([before, now]))


def test_what_was_kept_is_not_played_again(dead: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was ended would begin anew."""
    scenario, path = traces.scenarios()["dead"], tmp_path / "kept.jsonl"
    fleet = next(fleet for fleet in scenario.fleets if fleet.thin)
    kept.write(path, Kept.of(scenario, fleet, scenario.seconds, dead))
    wanted = ["--scenario", "dead", "--instances", "1000", "--first", "1", "--seeds", "1", "--keep", str(path)]
    told = []
    for words in (wanted, ["--report", str(path)]):
        main(words)
        told.append(capsys.readouterr().out.splitlines()[:-1])
    assert told[0] == told[1]
    assert any(f"1 seeds, {dead.requests:,} requests" in line for line in told[0])
    assert len(path.read_bytes().splitlines()) == 1
