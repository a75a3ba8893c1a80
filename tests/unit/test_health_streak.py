"""How many calls failed in a row, in the order in which they began."""

from hypothesis import given
from hypothesis import strategies as st

from junctor.policy.health.streak import REMEMBERED, Streak


def streak(ends: str) -> Streak:
    """Return what is known after calls that ended in the order of their numbers: f failed, g good, s silent, - under way."""
    found = Streak()
    for number, end in enumerate(ends, 1):
        if end == "f":
            found.fails(number)
        elif end == "g":
            found.serves(number)
        elif end == "s":
            found.passes(number)
    return found


def test_failures_are_in_a_row_in_whatever_order_they_end() -> None:
    """An endpoint that is dead would be asked on because its calls do not end as they began."""
    found = Streak()
    assert [found.fails(number) for number in (3, 1, 5, 4, 2)] == [1, 1, 1, 3, 5]


def test_answers_that_began_before_break_no_row() -> None:
    """An endpoint that died would be asked for as long as it brings its old answers to an end."""
    found = Streak()
    rows = []
    for number in range(31, 36):
        rows.append(found.fails(number))
        found.serves(number - 30)
    assert rows == [1, 2, 3, 4, 5]


def test_an_answer_that_began_in_between_parts_a_row() -> None:
    """A busy endpoint would be shut for failures that are hours apart."""
    assert streak("ffffg").fails(6) == 1
    assert streak("ff-ff").fails(6) == 3
    late = streak("ff-ff")
    late.serves(3)
    assert late.fails(6) == 3


def test_failures_before_an_answer_that_began_later_no_longer_count() -> None:
    """A timeout from before a short breakdown would shut an endpoint that has answered everybody since."""
    found = streak("ff-ffg")
    assert found.fails(3) == 0
    assert found.fails(7) == 1


def test_quick_failures_do_not_outrun_the_calls_under_way_between_them() -> None:
    """At a cold start a sound endpoint would be shut, as what fails there does so before anything can be answered."""
    found = streak("---f----f------f--f-----f")
    assert found.fails(27) == 1


def test_a_call_under_way_hides_only_the_rows_across_it_and_joins_them_when_it_fails() -> None:
    """One call that hangs would keep a dead endpoint open to all others, or its failure be forgotten."""
    found = streak("fff-ff")
    assert found.fails(7) == 3
    assert found.fails(4) == 7


def test_calls_that_say_nothing_neither_break_nor_fill_a_row() -> None:
    """Callers who leave would keep a dead endpoint alive, or shut a sound one."""
    assert streak("f" + "s" * 50 + "fsfsfs").fails(58) == 5
    assert streak("ssssssssss").fails(11) == 1
    parted = streak("ff-ff")
    parted.passes(3)
    assert parted.fails(6) == 5


def test_what_began_too_long_ago_is_not_remembered() -> None:
    """A call that never ends would make an instance remember all that came after it."""
    found = streak("-" + "f" * (3 * REMEMBERED))
    assert found.failed.bit_length() == REMEMBERED
    assert found.fails(3 * REMEMBERED + 2) == REMEMBERED
    assert found.fails(1) == 0
    found.passes(2)
    assert found.silent == 0


def test_after_it_is_cleared_a_row_begins_anew() -> None:
    """An endpoint that came back would be shut again by its first failure."""
    found = streak("ffff")
    found.clear()
    assert found.fails(5) == 1


@given(st.permutations(range(1, 13)), st.lists(st.sampled_from("fgs"), min_size=12, max_size=12))
def test_a_row_is_what_it_would_be_with_all_ends_written_down(order: list[int], ends: list[str]) -> None:
    """Some order of ends would open an endpoint too early, or never."""
    found, told = Streak(), dict.fromkeys(range(1, 13), "-")
    for number, end in zip(order, ends, strict=True):
        told[number] = end
        if end == "g":
            found.serves(number)
        elif end == "s":
            found.passes(number)
        else:
            counted = found.fails(number)
            line = "".join(told[each] for each in sorted(told) if told[each] != "s" or each == number)
            place = sum(told[each] != "s" for each in range(1, number))
            before, after = line[:place], line[place:]
            row = len(before) - len(before.rstrip("f")) + len(after) - len(after.lstrip("f"))
            assert counted == (0 if "g" in after else row)
