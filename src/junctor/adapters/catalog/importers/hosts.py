"""Whose offers are taken, and what is known of him beyond what sources say: the rows of infra/catalog/hosts.toml.

Refuses a row that sources or a snapshot could not use, with the row's name.
"""

import re
import tomllib
from collections.abc import Mapping

import msgspec
from msgspec import Struct


class Host(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider as the builder knows him; hosts.toml says what each field means."""

    name: str
    url: str
    keys: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    complete: tuple[str, ...] = ()
    lab: str | None = None
    aggregator: bool = False
    purchase_fee_ppm: int = 0
    reasoning: bool = False
    skip: str | None = None
    tiers_from: bool = False
    service_tiers: tuple[str, ...] = ()

    def skips(self, upstream_model: str) -> bool:
        """Tell whether a model of that id is left out."""
        return self.skip is not None and re.fullmatch(self.skip, upstream_model) is not None


def parse(text: str) -> Mapping[str, Host]:
    """Read the rows by slug. Raises ValueError."""
    try:
        return msgspec.convert(tomllib.loads(text), dict[str, Host])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"hosts.toml: {error}") from None


def places(hosts: Mapping[str, Host]) -> Mapping[tuple[str, str], str]:
    """Return the slug of each host by source and the source's name of him. Raises ValueError if two claim one name."""
    found: dict[tuple[str, str], str] = {}
    for slug, host in hosts.items():
        for source, names in host.names.items():
            for name in names:
                if found.setdefault((source, name), slug) != slug:
                    raise ValueError(f"hosts.toml: {source} {name!r} is both {found[source, name]!r} and {slug!r}")
    return found
