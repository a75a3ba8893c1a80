"""Which purses a lease is taken from, and which of them paid."""

import random

import pytest

from junctor.domain.credits import Purse, PurseState
from junctor.domain.lease import Leg
from junctor.policy.legs import LEGS_MAX, choose_legs, merge_legs, split_total


def purse(name: str, avail: int, expires_at_ms: int | None = None, *, owed: int = 0, expired: bool = False) -> Purse:
    """Return a purse."""
    state = PurseState.EXPIRED if expired else PurseState.OPEN
    return Purse(account="A", id=name, avail_nanousd=avail, expires_at_ms=expires_at_ms, owed_nanousd=owed, state=state)


PURSES = (
    purse("shard-2", 50),
    purse("late", 10, 200),
    purse("owing", 99, owed=1),
    purse("shard-1", 50),
    purse("early", 10, 100),
    purse("over", 99, 50, expired=True),
    purse("empty", 0, 10),
)


@pytest.mark.parametrize(
    ("amount", "legs"),
    [
        (0, ()),
        (1, (Leg("early", 1),)),
        (10, (Leg("early", 10),)),
        (15, (Leg("early", 10), Leg("late", 5))),
        (21, (Leg("early", 10), Leg("late", 10), Leg("shard-2", 1))),
        (120, (Leg("early", 10), Leg("late", 10), Leg("shard-2", 50), Leg("shard-1", 50))),
        (121, None),
    ],
)
def test_the_soonest_expiring_grant_goes_first(amount: int, legs: tuple[Leg, ...] | None) -> None:
    """Money that is about to expire would be left over, or a purse that owes be asked in vain for ever."""
    assert choose_legs(PURSES, amount) == legs


def test_legs_are_few_enough_for_one_transaction() -> None:
    """A lease out of a hundred small grants could be taken and never be renewed."""
    grants = [purse(f"g{number}", 1, number) for number in range(LEGS_MAX + 1)]
    legs = choose_legs(grants, LEGS_MAX)
    assert legs is not None
    assert len(legs) == LEGS_MAX
    assert choose_legs(grants, LEGS_MAX + 1) is None


def test_merged_legs_name_each_purse_once() -> None:
    """A transaction would meet one purse twice, and be refused by the store."""
    assert merge_legs((Leg("a", 1), Leg("b", 2)), (Leg("c", 3), Leg("a", 4))) == (Leg("a", 5), Leg("b", 2), Leg("c", 3))


def test_a_total_is_split_without_a_rest() -> None:
    """A purse would pay more than it gave, or a part of a cost be paid by nobody."""
    assert split_total((Leg("a", 5), Leg("b", 2), Leg("c", 9)), 8) == (5, 2, 1)
    assert split_total((), 0) == ()
    rng = random.Random(1)
    for _ in range(200):
        legs = [Leg(str(number), rng.randrange(1, 9)) for number in range(rng.randrange(1, 6))]
        total = rng.randrange(sum(leg.amount_nanousd for leg in legs) + 1)
        parts = split_total(legs, total)
        assert sum(parts) == total
        assert all(0 <= part <= leg.amount_nanousd for part, leg in zip(parts, legs, strict=True))


@pytest.mark.parametrize("legs", [(), (Leg("a", 5), Leg("b", 2))])
def test_more_than_was_taken_cannot_be_split(legs: tuple[Leg, ...]) -> None:
    """Books that are wrong would be closed, and money come out of nothing."""
    with pytest.raises(ValueError, match="more than it had taken"):
        split_total(legs, 8)
