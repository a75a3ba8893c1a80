"""Ids: they sort by time, read back, and never lead into another account."""

import re

import pytest

from junctor.domain.lease import Slot
from junctor.records import ids, keys

LEASE = ids.ulid(1_790_000_000_000, bytes(10))


def test_a_ulid_is_written_as_its_specification_says() -> None:
    """Ids would not be understood by tools that read ULIDs."""
    assert ids.ulid(0, bytes(10)) == "0" * 26
    assert ids.ulid(2**48 - 1, b"\xff" * 10) == "7" + "Z" * 25
    assert ids.ulid(1_469_918_176_385, bytes(10)) == "01ARYZ6S41" + "0" * 16
    assert ids.ulid(0, bytes(9) + b"\x21") == "0" * 24 + "11"


def test_ulids_sort_by_time() -> None:
    """An account's leases, and so its generations, would come in no order."""
    instants = [0, 1, 31, 32, 1_000, 2**32, 1_790_000_000_000, 1_790_000_000_001, 2**47, 2**48 - 1]
    made = [ids.ulid(instant, random) for instant in instants for random in (b"\xff" * 10, bytes(10))]
    assert sorted(made)[::2] == made[1::2]
    assert sorted(made)[1::2] == made[::2]


def test_generation_ids_sort_with_their_slots() -> None:
    """A list of generations would not be in the order in which they began."""
    numbers = [0, 1, 9, 10, 99_999, 100_000, ids.SLOT_NUMBER_MAX]
    made = [ids.generation_id(Slot("A", LEASE, number)) for number in numbers]
    assert made == sorted(made)
    assert {len(generation_id) for generation_id in made} == {len("gen-") + 26 + 1 + 6}
    stored = [keys.slot(Slot("A", LEASE, number)).sort for number in numbers]
    assert stored == sorted(stored)


def test_a_generation_id_reads_back_under_the_caller_s_account_only() -> None:
    """A caller with another's generation id could read his generation."""
    place = Slot("A", LEASE, 42)
    generation_id = ids.generation_id(place)
    assert ids.parse_generation_id(generation_id, "A") == place
    other = ids.parse_generation_id(generation_id, "B")
    assert other == Slot("B", LEASE, 42)
    assert keys.slot(other).partition != keys.slot(place).partition
    assert keys.slot(other).partition.startswith("A#B#")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gen-",
        LEASE,
        f"gen-{LEASE}-1",
        f"gen-{LEASE}-0000001",
        f"gen-{LEASE}-00000a",
        f"gen-{LEASE}-00000٣",
        f"gen-{LEASE}-000001\n",
        f" gen-{LEASE}-000001",
        f"GEN-{LEASE}-000001",
        f"gen-{LEASE.lower()}-000001",
        f"gen-8{LEASE[1:]}-000001",
        f"gen-{LEASE[:-1]}U-000001",
        f"gen-{LEASE[:-1]}-000001",
        f"gen-{LEASE[:-2]}#L-000001",
        f"gen-{LEASE[:-1]}I-000001",
    ],
)
def test_what_is_no_generation_id_is_none(text: str) -> None:
    """Text of a caller's would become part of a key."""
    assert ids.parse_generation_id(text, "A") is None


def test_an_account_s_items_begin_with_the_account() -> None:
    """An account's items could not be told from another's by their keys."""
    places = [keys.account("A"), keys.lease("A", LEASE), keys.slot(Slot("A", LEASE, 0))]
    assert all(re.match(r"A#A(#|$)", key.partition) for key in places)
    assert len({(key.partition, key.sort) for key in places}) == 3
    assert keys.attributes(keys.account("A")) == {"pk": "A#A", "sk": "ORG"}
