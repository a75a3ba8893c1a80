"""Tests of what `junctor up` says can be reached: the same as `junctor providers`."""

from types import SimpleNamespace
from typing import Any

from junctor.bootstrap import up
from tests.support.routes import endpoint, world

LACKING: dict[str, Any] = {"base_url": "", "address_variables": ("HOST",)}


def told(*endpoints: Any, **fields: Any) -> list[str]:
    """Return what the table over a catalogue of these endpoints says, a line for each provider."""
    snapshots = world(*endpoints, **fields)
    core: Any = SimpleNamespace(services=SimpleNamespace(snapshots=lambda: snapshots))
    return [said for _, said in up._reachable(core)]


def test_only_what_a_call_could_go_to_is_counted() -> None:
    """A newcomer would be told of models whose price nobody knows, and be refused at his first call."""
    keys = {"open": ("KEY",), "unpriced": ("KEY",)}
    endpoints = endpoint("open"), endpoint("open", "lab/b"), endpoint("open", "lab/c", base_url=""), endpoint("unpriced")
    assert told(*endpoints, prices={"unpriced": ()}, credentials=keys) == ["2 models"]


def test_all_that_a_provider_takes_is_named() -> None:
    """An operator would set his token, and still not reach what he was promised for it."""
    found = told(endpoint("closed", **LACKING), endpoint("keyed", **LACKING), credentials={"keyed": ("KEY",)})
    assert found == ["set HOST and KEY or HOST and SPARE to reach 1 model", "set HOST to reach 1 model"]


def test_a_few_are_named_and_the_others_counted() -> None:
    """The first thing that a newcomer sees would be a hundred lines long, or hide that there is more."""
    count = up.CLOSED_SHOWN + 3
    *named, last = told(*(endpoint(f"p{place}") for place in range(count)), credentials={})
    assert named == ["set KEY or SPARE to reach 1 model"] * up.CLOSED_SHOWN
    assert last.endswith(" providers")
