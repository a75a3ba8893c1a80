"""What every table adapter promises for queries: order by bytes, ranges, pages, sparse indexes."""

import itertools

import pytest

from junctor.ports.table import Add, Item, Key, Query, Remove, Set, Table
from tests.support import tables
from tests.support.tables import KEY, all_items, all_pages, done, item, stored

store = tables.store
table = tables.table

SORTS = ["A", "B", "Ba", "a", "a#1", "a#10", "a#2", "b", "é", "\ud7ff", "\uffff", "🦊", "🦊x", "\U0010ffff"]
"""In the order of their UTF-8 bytes; in UTF-16 the two before the last ones would come earlier."""


def sorts(items: list[Item]) -> list[str]:
    """Return the sort values of items."""
    return [str(found["sk"]) for found in items]


async def fill(table: Table, sort_values: list[str]) -> None:
    """Write one item for each sort value, and some in another partition."""
    await table.batch_put([item(sort=sort) for sort in reversed(sort_values)])
    await table.batch_put([item(partition="Q", sort=sort) for sort in sort_values])


async def test_items_come_in_the_order_of_their_bytes(table: Table) -> None:
    """Generations would be listed in another order on each store."""
    await fill(table, SORTS)
    assert sorts(await all_items(table, Query(partition="P"))) == SORTS
    assert sorts(await all_items(table, Query(partition="P", descending=True, consistent=True))) == SORTS[::-1]
    assert await all_items(table, Query(partition="none")) == []


async def test_a_prefix_takes_what_begins_with_it(table: Table) -> None:
    """The slots of another lease would be read, or some of one's own missed."""
    await fill(table, SORTS)
    for prefix in ("", "a", "a#", "a#1", "🦊", "\uffff", "\U0010ffff", "zz", "B"):
        expected = [sort for sort in SORTS if sort.startswith(prefix)]
        assert sorts(await all_items(table, Query(partition="P", prefix=prefix))) == expected


async def test_bounds_are_included(table: Table) -> None:
    """A lease that ends at the very bound would never be reclaimed."""
    await fill(table, SORTS)
    for low, high in (("A", "a"), ("a", "a#2"), ("a#2", "a#2"), ("c", "d"), ("\ud7ff", "🦊"), ("🦊", "\U0010ffff")):
        expected = [sort for sort in SORTS if low <= sort <= high]
        for descending in (False, True):
            found = sorts(await all_items(table, Query(partition="P", between=(low, high), descending=descending)))
            assert found == (expected[::-1] if descending else expected)


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_are_whole_and_without_repeats(table: Table, descending: bool) -> None:
    """A listing would lose items between two pages, or show them twice."""
    await fill(table, SORTS)
    for limit, prefix in itertools.product((1, 3, 7, 14, 15), ("", "a")):
        query = Query(partition="P", limit=limit, descending=descending, prefix=prefix, consistent=True)
        pages = await all_pages(table, query)
        expected = [sort for sort in SORTS if sort.startswith(prefix)]
        assert [sort for page in pages for sort in sorts(list(page.items))] == (expected[::-1] if descending else expected)
        assert all(len(page.items) <= limit for page in pages)


async def test_a_page_goes_on_where_it_ended_whatever_happens_meanwhile(table: Table) -> None:
    """A page token would go stale when the item it names is deleted, or new ones come before it."""
    await fill(table, SORTS)
    first = await table.query(Query(partition="P", limit=4))
    assert first.next is not None
    done(await table.delete(Key("P", SORTS[3])))
    done(await table.put_new(item(sort="0")))
    rest = await all_items(table, Query(partition="P", limit=4, after=first.next))
    assert sorts(rest) == SORTS[4:]


async def test_a_page_is_bounded_by_its_bytes(table: Table) -> None:
    """A query without a limit would be answered whole on SQLite, and cut on DynamoDB only."""
    await table.batch_put([item(sort=f"{number:02}", value="x" * 300_000) for number in range(8)])
    pages = await all_pages(table, Query(partition="P"))
    assert len(pages) > 1
    assert sorts([found for page in pages for found in page.items]) == [f"{number:02}" for number in range(8)]


async def test_an_index_holds_what_has_both_attributes(table: Table) -> None:
    """A closed lease would be reclaimed again, or an open one never."""
    done(await table.put_new(item(sort="both", shard="s", due="3")))
    done(await table.put_new(item(sort="early", shard="s", due="1")))
    done(await table.put_new(item(partition="Q", sort="other", shard="s", due="2")))
    done(await table.put_new(item(sort="half", shard="s")))
    done(await table.put_new(item(sort="none")))
    done(await table.put_new(item(sort="elsewhere", shard="t", due="1")))
    query = Query(partition="s", index="by-due")
    assert sorts(await all_items(table, query)) == ["early", "other", "both"]
    assert sorts(await all_items(table, Query(partition="s", index="by-due", descending=True))) == ["both", "other", "early"]
    assert sorts(await all_items(table, Query(partition="s", index="by-due", between=("1", "2")))) == ["early", "other"]
    assert sorts(await all_items(table, Query(partition="s", index="by-due", prefix="3"))) == ["both"]
    found = (await table.query(Query(partition="s", index="by-due", prefix="3"))).items[0]
    assert found == item(sort="both", shard="s", due="3")


async def test_an_index_follows_its_items(table: Table) -> None:
    """The index would show items as they were."""
    query = Query(partition="s", index="by-due")
    done(await table.put_new(item(due="1")))
    done(await table.update(KEY, [], [Set("shard", "s")]))
    assert await all_items(table, query) == [item(due="1", shard="s")]
    done(await table.update(KEY, [], [Set("due", "2"), Add("count", 1)]))
    assert await all_items(table, query) == [item(due="2", shard="s", count=1)]
    done(await table.update(KEY, [], [Add("count", 1)]))
    assert await all_items(table, query) == [item(due="2", shard="s", count=2)]
    done(await table.update(KEY, [], [Remove("shard"), Add("count", 1)]))
    assert await all_items(table, query) == []
    await table.batch_put([item(shard="s", due="4")])
    assert await all_items(table, query) == [item(shard="s", due="4")]
    done(await table.delete(KEY))
    assert await all_items(table, query) == []


@pytest.mark.parametrize("descending", [False, True])
async def test_an_index_is_paged_through_equal_values(table: Table, descending: bool) -> None:
    """Of several leases that end at one instant, those of the next page would be skipped."""
    items = [item(partition=p, sort=s, shard="s", due=due) for p in "PQ" for s in "ab" for due in ("1",)]
    items += [item(partition=p, sort="c", shard="s", due="2") for p in "PQ"]
    await table.batch_put(items)
    found = await all_items(table, Query(partition="s", index="by-due", limit=1, descending=descending))
    assert len(found) == len(items)
    assert all(one in found for one in items)
    dues = [found_item["due"] for found_item in found]
    assert dues == sorted(dues, key=str, reverse=descending)


UNANSWERABLE = [
    Query(partition=""),
    Query(partition="P", limit=0),
    Query(partition="P", prefix="a", between=("a", "b")),
    Query(partition="P", between=("b", "a")),
    Query(partition="P", between=("", "a")),
    Query(partition="P", index="none"),
    Query(partition="P", index="by-due", consistent=True),
    Query(partition="P", after="rubbish"),
    Query(partition="P", after="ünreadable"),
    Query(partition="P", after=""),
]


async def test_queries_that_no_store_could_answer(table: Table) -> None:
    """A mistake of a caller, or a made-up page token, would be answered with the wrong items."""
    for query in UNANSWERABLE:
        with pytest.raises(ValueError, match=r"page|query|index|token"):
            await table.query(query)


async def test_a_page_token_belongs_to_its_query(table: Table) -> None:
    """With the page token of one account, a caller could read on in another's items."""
    await fill(table, SORTS)
    token = (await table.query(Query(partition="Q", limit=1))).next
    assert token is not None
    for query in (
        Query(partition="P", after=token),
        Query(partition="Q", prefix="b", after=token),
        Query(partition="Q", index="by-due", after=token),
    ):
        with pytest.raises(ValueError, match="token"):
            await table.query(query)


async def test_an_expired_item_stays_readable_until_it_is_swept(table: Table) -> None:
    """A reader would come to rely on expiry, which DynamoDB does not promise."""
    done(await table.put_new(item(ttl=4_000_000_000)))
    assert await stored(table) == item(ttl=4_000_000_000)
    assert await all_items(table, Query(partition="P")) == [item(ttl=4_000_000_000)]
