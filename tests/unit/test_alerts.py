"""What is told of limits and balances that run low: at the right time, and once."""

import msgspec
import pytest

from junctor.domain.account import Account
from junctor.domain.credits import Purse, PurseState, Window
from junctor.policy.alerts import is_low, reached_percent, to_tell
from junctor.usecases import alerts
from junctor.usecases.alerts import Alerts
from tests.support.world import NotedTelemetry

ORGANISATION = Account(id="ACC", name="Acme", created_at_ms=0, low_balance_nanousd=100)


class Ear(NotedTelemetry):
    """Keeps the events."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, dict[str, str | int]]] = []

    def event(self, name: str, fields: "object") -> None:
        """Keep an event."""
        assert isinstance(fields, dict)
        self.told.append((name, fields))

    def take(self) -> list[tuple[str, dict[str, str | int]]]:
        """Return what was told since the last time."""
        told, self.told = self.told, []
        return told


def window(spent: int, leased: int = 0, limit: int = 100, key: str = "WINDOW#key.k.day#DAY-2026-11-21") -> Window:
    """Return a window."""
    return Window(
        account="ACC",
        key=key,
        limit_nanousd=limit,
        headroom_nanousd=limit - leased - spent,
        leased_nanousd=leased,
        spent_nanousd=spent,
    )


def purse(avail: int, name: str = "main", state: PurseState = PurseState.OPEN, owed: int = 0) -> Purse:
    """Return a purse."""
    return Purse(account="ACC", id=name, state=state, avail_nanousd=avail, owed_nanousd=owed)


@pytest.mark.parametrize(
    ("spent", "leased", "limit", "percent"),
    [
        (0, 100, 100, 0),
        (79, 21, 100, 0),
        (80, 0, 100, 80),
        (80, 19, 100, 80),
        (80, 20, 100, 100),
        (99, 0, 100, 80),
        (100, 0, 100, 100),
        (150, 0, 100, 100),
        (0, 0, 0, 0),
        (5, 0, 0, 0),
        (10**18, 0, 10**18, 100),
    ],
)
def test_what_a_window_has_reached(spent: int, leased: int, limit: int, percent: int) -> None:
    """Somebody would be told too late, or that all is used up while one call holds much and costs little."""
    assert reached_percent(window(spent, leased, limit)) == percent


@pytest.mark.parametrize(
    ("spent", "told", "tell"),
    [(100, 0, (80, 100)), (100, 80, (100,)), (100, 100, ()), (85, 0, (80,)), (85, 80, ()), (1, 80, ())],
)
def test_only_what_is_new_is_told(spent: int, told: int, tell: tuple[int, ...]) -> None:
    """The same would be told every few seconds, or the second step be passed over."""
    assert to_tell(window(spent), told) == tell


@pytest.mark.parametrize(("available", "low", "is_so"), [(99, 100, True), (100, 100, False), (0, None, False), (0, 0, False)])
def test_what_is_low(available: int, low: int | None, is_so: bool) -> None:
    """An organisation that never asked would be told, or one that did would not."""
    assert is_low(available, low) is is_so


def test_each_percentage_of_a_window_is_told_once() -> None:
    """Whoever listens would be flooded, or learn of a limit without its name and sums."""
    ear = Ear()
    watch = Alerts(ear)
    for spent in (10, 80, 85, 80, 100, 100):
        watch.seen(None, (), (window(spent),))
    fields = {"account": "ACC", "limit": "key.k.day", "window": "key.k.day#DAY-2026-11-21", "limit_nanousd": 100}
    assert ear.take() == [
        ("limit reached", {**fields, "percent": 80, "spent_nanousd": 80}),
        ("limit reached", {**fields, "percent": 100, "spent_nanousd": 100}),
    ]
    watch.seen(None, (), (window(90, key="WINDOW#key.k.day#DAY-2026-11-22"),))
    assert [told["window"] for _, told in ear.take()] == ["key.k.day#DAY-2026-11-22"]


def test_a_low_balance_is_told_again_after_it_had_recovered() -> None:
    """A balance that falls a second time would be passed over in silence, or one that stays low be told for ever."""
    ear = Ear()
    watch = Alerts(ear)
    for avail in (150, 99, 50, 100, 99, 20):
        watch.seen(ORGANISATION, (purse(avail), purse(900, "old", PurseState.EXPIRED), purse(900, "owing", owed=1)), ())
    low = [("balance low", {"account": "ACC", "available_nanousd": 99})]
    assert ear.take() == low * 2
    watch.seen(msgspec.structs.replace(ORGANISATION, low_balance_nanousd=None), (purse(0),), ())
    watch.seen(None, (purse(0),), ())
    assert ear.take() == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that lives for months would remember every window there ever was."""
    monkeypatch.setattr(alerts, "REMEMBERED_MAX", 3)
    ear = Ear()
    watch = Alerts(ear)
    for number in range(9):
        watch.seen(None, (), (window(100, key=f"WINDOW#key.{number}.day#DAY"), window(5, key=f"WINDOW#key.{number}.week#WEEK")))
        watch.seen(msgspec.structs.replace(ORGANISATION, id=f"A{number}"), (purse(0),), ())
    assert len(ear.take()) == 27
    for number in (6, 7, 8):
        watch.seen(
            msgspec.structs.replace(ORGANISATION, id=f"A{number}"),
            (purse(0),),
            (window(100, key=f"WINDOW#key.{number}.day#DAY"),),
        )
    assert ear.take() == []
    watch.seen(msgspec.structs.replace(ORGANISATION, id="A0"), (purse(0),), (window(100, key="WINDOW#key.0.day#DAY"),))
    assert len(ear.take()) == 3
