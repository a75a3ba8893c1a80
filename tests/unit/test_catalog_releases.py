"""The day on which a model was released: which words of hosts are days, and which of them are believed."""

import gzip
import json

import pytest

from junctor.adapters.catalog.importers.releases import (
    LISTED_AT_ONCE_MAX,
    Release,
    Released,
    day_in,
    is_day,
    read_days,
    read_listings,
)
from junctor.adapters.catalog.importers.slugs import SlugBook

TODAY = "2026-11-22"
LISTED = "2026-09-03"


def listed(*days: str) -> list[dict[str, object]]:
    """Return the steps of a price that were recorded on these days."""
    return [{"rates": {"input": 1, "valid_from": f"{day}T01:02:03Z"}} for day in days]


def told(*releases: tuple[str, str], slug: str = "lab/model", seen: tuple[str, ...] = (), id_: str = "") -> str | None:
    """Return the day of a model after hosts named (host, day), it was listed on days of `seen`, and a host calls it `id_`."""
    book = SlugBook()
    for known in ("lab/model", "lab/model:free", "lab/model-2512", "lab/model-12-2025"):
        book.register(known)
    released = Released(book, {"lab": "lab"}, TODAY)
    released.tell(Release(host=host, upstream_model=slug, day=day) for host, day in releases)
    released.tell(Release(host="c", upstream_model=slug, day=day, listed=True) for day in seen)
    released.tell_id(slug, id_)
    return released.day(slug)


def test_only_days_are_read() -> None:
    """Else a month or a placeholder stands as a day, and old models come first among the newest."""
    days = {
        "day": "2026-02-28",
        "month": "2026-02",
        "placeholder": "2026-01-01",
        "never": "2025-25-09",
        "leap": "2025-02-29",
        "": None,
    }
    rows = {"h": {"models": {key: {"id": key, "release_date": day} for key, day in days.items()}}}
    found = read_days(gzip.compress(json.dumps(rows).encode()))
    assert list(found) == [Release(host="h", upstream_model="day", day="2026-02-28")]
    assert not is_day("20260228")


def test_a_list_that_was_read_anew_released_nothing() -> None:
    """Else all models of a lab are as new as the day on which somebody began to watch its prices."""
    batch = {f"old-{place}": {"standard": listed("2026-09-02")} for place in range(LISTED_AT_ONCE_MAX + 1)}
    changed = {"standard": [{"recorded": listed(LISTED)[0]["rates"], **listed("2026-10-01")[0]}, *listed("2026-11-01")]}
    rows = {"prices": {"h": {**batch, "new": changed, "batch-only": {"batch": listed("2026-09-09")}}}}
    found = read_listings(json.dumps(rows).encode())
    assert list(found) == [Release(host="h", upstream_model="new", day=LISTED, listed=True)]


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("claude-haiku-4-5-20251001", "2025-10-01"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "2025-10-01"),
        ("claude-haiku-4-5@20251001", "2025-10-01"),
        ("gpt-4o-2024-08-06", "2024-08-06"),
        ("doubao-seed-2-1-pro-260628", "2026-06-28"),
        ("inkling-peft-262144", None),
        ("gpt-4-1106-preview", None),
        ("mistral-large-2512", None),
        ("model-2025-1301", None),
    ],
)
def test_a_day_in_an_id(written: str, day: str | None) -> None:
    """Else a number of tokens or a month is taken for a day, or a lab's own word is lost."""
    assert day_in(written) == day


@pytest.mark.parametrize(
    ("releases", "day"),
    [
        ((), None),
        ((("lab", "2025-05-05"), ("a", "2025-04-04"), ("b", "2025-04-04")), "2025-05-05"),
        ((("lab", "2025-05-05"), ("lab", "2025-05-03")), "2025-05-03"),
        ((("a", "2025-04-04"), ("b", "2025-04-04"), ("c", "2025-01-02")), "2025-04-04"),
        ((("a", "2025-04-04"), ("b", "2025-04-04"), ("c", "2025-03-03"), ("d", "2025-03-03")), "2025-03-03"),
        ((("a", "2025-04-04"), ("a", "2025-04-04"), ("b", "2025-05-05"), ("c", "2025-06-06")), "2025-05-05"),
        ((("a", "2025-04-04"), ("b", "2025-05-05")), "2025-05-05"),
        ((("a", "2025-04-04"),), "2025-04-04"),
        ((("a", "2026-11-23"), ("b", "2026-11-23")), None),
        ((("a", TODAY),), TODAY),
    ],
)
def test_whose_word_counts(releases: tuple[tuple[str, str], ...], day: str | None) -> None:
    """Else one host's slip, or a day yet to come, decides what is listed as newest."""
    assert told(*releases) == day


def test_the_first_sight_counts_where_hosts_do_not_agree() -> None:
    """Else models that came after the list of days was made have none."""
    assert told(seen=("2026-09-09", LISTED)) == LISTED
    assert told(seen=(LISTED,), id_="model-20260828") == "2026-08-28"
    assert told(("a", "2026-04-04"), seen=(LISTED,)) == LISTED
    assert told(("a", "2026-04-04"), ("b", "2026-04-04"), seen=(LISTED,)) == "2026-04-04"
    assert told(id_="model-20261123") is None


def test_no_model_is_older_than_its_name() -> None:
    """Else a name that a lab moved on to another model gives the new one the day of the old one."""
    for slug in ("lab/model-2512", "lab/model-12-2025"):
        assert told(("lab", "2024-11-01"), ("a", "2025-12-02"), slug=slug) == "2025-12-02"
        assert told(("lab", "2024-11-01"), ("a", "2024-11-01"), ("b", "2024-11-01"), slug=slug) is None


def test_a_free_variant_is_as_old_as_its_model() -> None:
    """Else an old model comes first among the newest because somebody gives it away."""
    book = SlugBook()
    for known in ("lab/model", "lab/model:free", "lab/other:free"):
        book.register(known)
    released = Released(book, {}, TODAY)
    days = {"lab/model": "2025-04-04", "lab/model:free": "2026-04-04", "lab/other:free": "2026-05-05"}
    released.tell(Release(host="a", upstream_model=slug, day=day) for slug, day in days.items())
    assert [released.day(slug) for slug in days] == ["2025-04-04", "2025-04-04", "2026-05-05"]
