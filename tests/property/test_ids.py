"""Ids and keys, for all of their values."""

from hypothesis import given
from hypothesis import strategies as st

from junctor.domain.lease import Slot
from junctor.policy import api_keys
from junctor.records import ids, keys

INSTANTS = st.integers(0, 2**48 - 1)
CHANCE = st.binary(min_size=ids.ULID_RANDOM_BYTES, max_size=ids.ULID_RANDOM_BYTES)
NUMBERS = st.integers(0, ids.SLOT_NUMBER_MAX)


@given(INSTANTS, CHANCE, INSTANTS, CHANCE)
def test_ulids_sort_as_their_instants(one_ms: int, one: bytes, other_ms: int, other: bytes) -> None:
    """Leases would be listed out of order."""
    first, second = ids.ulid(one_ms, one), ids.ulid(other_ms, other)
    assert (first < second) is ((one_ms, one) < (other_ms, other))
    assert (first == second) is ((one_ms, one) == (other_ms, other))


@given(INSTANTS, CHANCE, NUMBERS, NUMBERS)
def test_generation_ids_read_back_and_sort(instant_ms: int, chance: bytes, number: int, other: int) -> None:
    """A generation could not be found by the id that its caller was given."""
    lease = ids.ulid(instant_ms, chance)
    place = Slot("A", lease, number)
    generation_id = ids.generation_id(place)
    assert ids.parse_generation_id(generation_id, "A") == place
    assert (generation_id < ids.generation_id(Slot("A", lease, other))) is (number < other)


@given(INSTANTS, CHANCE, NUMBERS, CHANCE, CHANCE)
def test_an_id_never_leads_into_another_account(instant_ms: int, chance: bytes, number: int, mine: bytes, yours: bytes) -> None:
    """A caller who guesses or finds an id would read a stranger's generation."""
    accounts = ids.ulid(instant_ms, mine), ids.ulid(instant_ms, yours)
    place = Slot(accounts[0], ids.ulid(instant_ms, chance), number)
    read = ids.parse_generation_id(ids.generation_id(place), accounts[1])
    assert read is not None
    assert (keys.slot(read) == keys.slot(place)) is (accounts[0] == accounts[1])
    assert keys.slot(read).partition.split("#")[1] == accounts[1]


@given(st.text())
def test_any_text_is_an_id_that_writes_back_or_none(text: str) -> None:
    """Text of a caller's would become part of a key."""
    place = ids.parse_generation_id(text, "A")
    assert place is None or ids.generation_id(place) == text


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32))
def test_every_minted_key_parses(lookup: bytes, secret: bytes) -> None:
    """One customer in so many would get a key that opens nothing."""
    text = api_keys.mint(lookup, secret)
    parsed = api_keys.parse(text)
    assert parsed is not None
    assert (parsed.lookup_id, parsed.material) == (text[3:15], text.encode())
    assert api_keys.mint(lookup, secret) == text


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32), st.data())
def test_no_key_survives_a_slip(lookup: bytes, secret: bytes, data: st.DataObject) -> None:
    """A mistyped key would be looked up in the table."""
    text = api_keys.mint(lookup, secret)
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from(api_keys.ALPHABET + "-J ").filter(lambda letter: letter != text[place]))
    assert api_keys.parse(text[:place] + wrong + text[place + 1 :]) is None


@given(st.text())
def test_any_text_is_a_key_or_none(text: str) -> None:
    """What comes in a header could break the server."""
    assert api_keys.parse(text) is None
