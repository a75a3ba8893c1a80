"""Pages of lists: together they are the whole list, each entry once; and no text but a token of the same list is one."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.domain.errors import InvalidFieldError
from junctor.usecases.catalog import ModelFilter, ModelSort
from junctor.usecases.pages import SortKey, page
from tests.support.random_routes import any_world
from tests.support.shelf import MANAGER, Shelf

EXAMPLES = 150
NAMES = st.sets(st.text("abcd", min_size=1, max_size=4), max_size=20)
VALUES = st.none() | st.integers(-3, 3).map(float)


def keys(names: set[str], value: float | None = None) -> list[tuple[SortKey, str]]:
    """Return entries with one value."""
    return [(SortKey.at(value, name), name) for name in names]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.text("abcd", min_size=1, max_size=4), VALUES, max_size=20), st.integers(1, 7))
def test_the_pages_together_are_the_list(values: dict[str, float | None], size: int) -> None:
    """An entry would be shown twice or never, or out of its order."""
    entries = [(SortKey.at(value, name), name) for name, value in values.items()]
    found: list[str] = []
    token, pages = "", 0
    while token or not pages:
        shown, token = page(entries, size, token, ("list",))
        assert len(shown) == size or not token
        found += shown
        pages += 1
    assert found == sorted(values, key=lambda name: (values[name] is None, values[name] or 0.0, name))
    assert pages == max(1, -(-len(values) // size))


@settings(max_examples=EXAMPLES, deadline=None)
@given(NAMES, NAMES, NAMES, st.integers(1, 4))
def test_what_stays_is_shown_once_whatever_comes_and_goes(
    stays: set[str], before: set[str], after: set[str], size: int
) -> None:
    """A model would be missed because another one was added while the list was read."""
    found: list[str] = []
    token, first = "", True
    while token or first:
        shown, token = page(keys(stays | (before if first else after)), size, token, ())
        found += shown
        first = False
    assert len(found) == len(set(found))
    assert stays <= set(found) <= stays | before | after


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_no_text_is_a_token(text: str) -> None:
    """Somebody's guess would be answered with a part of a list, or break the server."""
    if text:
        with pytest.raises(InvalidFieldError):
            page(keys({"a", "b"}), 1, text, ())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.randoms(use_true_random=True))
def test_a_changed_token_is_refused_or_another_place_of_its_list(dice: Random) -> None:
    """A cut or mistyped token would break the server, or show what is in no such list."""
    _, token = page(keys({"alpha", "beta", "gamma"}, 2.5), 1, "", ("list",))
    changed = list(token)
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(changed))
        match dice.randrange(3):
            case 0:
                changed[place] = chr(dice.randrange(1, 128))
            case 1 if len(changed) > 1:
                del changed[place]
            case _:
                changed.insert(place, dice.choice("Aa0_-=+/ \n"))
    text = "".join(changed)
    try:
        shown, _ = page(keys({"alpha", "beta", "gamma"}, 2.5), 1, text, ("list",))
    except InvalidFieldError:
        pass
    else:
        # A place within the list that the token might have named as well.
        assert shown in {(), ("alpha",), ("beta",), ("gamma",)}


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=True))
def test_the_catalogues_pages_are_its_list_in_every_order(dice: Random) -> None:
    """A model would be missing from a catalogue that is read page by page, as all are."""

    async def main() -> None:
        shelf = Shelf(any_world(dice))
        for sort in ModelSort:
            whole = await shelf.slugs(sort=sort)
            assert len(set(whole)) == len(whole)
            assert await shelf.slugs(size=dice.randrange(1, 4), sort=sort) == whole
            some = await shelf.slugs(size=1, sort=sort, reachable_only=True)
            assert some == await shelf.slugs(sort=sort, reachable_only=True)
            assert set(some) <= set(whole)

    asyncio.run(main())


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=True))
def test_a_token_continues_its_own_list_only(dice: Random) -> None:
    """A client that changes its filter between two pages would take parts of two lists for one."""

    async def main() -> None:
        shelf = Shelf(any_world(dice))
        _, token = await shelf.reader.models(MANAGER, ModelFilter(), 1, "")
        assert token
        wanted = dice.choice(
            (
                ModelFilter(sort=ModelSort.PRICE),
                ModelFilter(words=("lab",)),
                ModelFilter(reachable_only=True),
                ModelFilter(context_tokens_min=1),
                ModelFilter(providers=(dice.choice(tuple(shelf.snapshots.catalog.providers)),)),
            )
        )
        with pytest.raises(InvalidFieldError):
            await shelf.reader.models(MANAGER, wanted, 1, token)
        with pytest.raises(InvalidFieldError):
            shelf.reader.endpoints(MANAGER, "lab/model", 1, token)
        with pytest.raises(InvalidFieldError):
            await shelf.reader.providers(MANAGER, 1, token)

    asyncio.run(main())
