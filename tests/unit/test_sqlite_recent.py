"""What the embedded store remembers of its last writes: the newest, little of it, and nothing that was rolled back."""

from junctor.adapters.tables.sqlite_recent import BYTES_MAX, ITEMS_MAX, Recent
from junctor.ports.table import Key

KEY = Key("P", "S")


def filled(recent: Recent, count: int, sort: str) -> None:
    """Have so many other items written."""
    for number in range(count):
        recent.keep(Key("P", f"{sort}{number}"), b"x")


def test_the_newest_is_found_however_often_it_was_written() -> None:
    """A write would be judged by an item as it was before the last one."""
    recent = Recent()
    recent.keep(KEY, b"1")
    filled(recent, ITEMS_MAX, "a")
    assert recent.find(KEY) == b"1"
    recent.keep(KEY, b"2")
    assert recent.find(KEY) == b"2"
    filled(recent, ITEMS_MAX - 1, "b")
    assert recent.find(KEY) == b"2"


def test_only_so_many_are_kept() -> None:
    """The memory of a server would grow with every request."""
    recent = Recent()
    recent.keep(KEY, b"1")
    filled(recent, 2 * ITEMS_MAX, "a")
    assert recent.find(KEY) is None
    assert recent.find(Key("P", f"a{2 * ITEMS_MAX - 1}")) == b"x"


def test_what_grew_or_went_is_not_found_as_it_was() -> None:
    """A large item, or a deleted one, would be seen as the small one that it was."""
    for written in (b"x" * (BYTES_MAX + 1), None):
        recent = Recent()
        recent.keep(KEY, b"1")
        filled(recent, ITEMS_MAX, "a")
        recent.keep(KEY, b"2")
        recent.keep(KEY, written)
        assert recent.find(KEY) is None


def test_nothing_is_found_after_it_was_forgotten() -> None:
    """A write would be built upon one that was rolled back."""
    recent = Recent()
    recent.keep(KEY, b"1")
    filled(recent, ITEMS_MAX, "a")
    recent.keep(KEY, b"2")
    recent.forget()
    assert recent.find(KEY) is None
