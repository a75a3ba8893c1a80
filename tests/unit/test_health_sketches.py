"""Percentiles of many instances: right within 2.5 %, merged without loss, small on the wire, and safe to read from anybody."""

import random

import pytest

from junctor.domain.health import Percentiles
from junctor.policy.health import sketches
from junctor.policy.health.sketches import ACCURACY, COUNT_MAX, LEAST, MOST, Sketch

SLACK = 1e-9


def exact(samples: list[float], share: float) -> float:
    """Return the value that a sketch approximates."""
    return sorted(samples)[int(share * (len(samples) - 1))]


def close(found: Percentiles | None, samples: list[float]) -> bool:
    """Tell whether percentiles are as accurate as they promise."""
    assert found is not None
    pairs = [(found.p50, 0.5), (found.p75, 0.75), (found.p90, 0.9), (found.p99, 0.99)]
    return all(value == pytest.approx(exact(samples, share), rel=ACCURACY + SLACK) for value, share in pairs)


def test_percentiles_are_accurate() -> None:
    """A provider would be published as faster or slower than it is."""
    chance = random.Random(1)
    samples = [chance.lognormvariate(6, 1) for _ in range(5_000)]
    assert close(Sketch.of(samples).percentiles(), samples)


def test_merged_sketches_are_as_one_of_all_samples() -> None:
    """The fleet's percentiles would not be those of its calls."""
    chance = random.Random(2)
    parts = [[chance.lognormvariate(number, 0.4) for _ in range(50 + 20 * number)] for number in range(8)]
    whole = Sketch()
    for part in parts:
        whole.merge(Sketch.decode(Sketch.of(part).encode()))
    samples = [value for part in parts for value in part]
    assert whole.count == len(samples)
    assert whole.encode() == Sketch.of(samples).encode()
    assert close(whole.percentiles(), samples)


def test_a_merge_leaves_the_other_sketch_as_it_was() -> None:
    """Counts of one interval would show up in another."""
    first, second = Sketch(), Sketch.of([1.0, 2.0])
    first.merge(second)
    first.merge(Sketch.of([500.0]))
    assert second.encode() == Sketch.of([1.0, 2.0]).encode()


def test_a_share_of_a_sketch_weighs_less() -> None:
    """What is almost five minutes past would weigh as much as what is now."""
    whole = Sketch.of([100.0] * 10)
    whole.merge(Sketch.of([1_000.0] * 100), 0.05)
    assert whole.count == pytest.approx(15)
    percentiles = whole.percentiles()
    assert percentiles is not None
    assert percentiles.p50 == pytest.approx(100, rel=ACCURACY)
    assert percentiles.p90 == pytest.approx(1_000, rel=ACCURACY)
    whole.merge(Sketch.of([5.0]), 0.0)
    assert whole.count == pytest.approx(15)


def test_few_samples_stand_for_many_calls() -> None:
    """An instance with a thousand calls would weigh as little as one with ten."""
    assert Sketch.of([1.0, 2.0, 3.0], stand_for=30).count == 30
    assert Sketch.of([1.0, 2.0, 3.0], stand_for=1).count == 3
    assert Sketch.of([], stand_for=30).percentiles() is None


def test_strange_samples_have_no_effect() -> None:
    """One broken measurement would break the percentiles of a provider, or the instance that measured it."""
    strange = [float("nan"), float("inf"), -float("inf"), -1.0]
    assert Sketch.of(strange).encode() == b""
    assert Sketch.of([*strange, 7.0]).encode() == Sketch.of([7.0]).encode()
    beyond = Sketch.of([0.0, 1e300]).percentiles()
    assert beyond is not None
    assert beyond.p50 == pytest.approx(LEAST, rel=ACCURACY)
    assert Sketch.of([1e300]).encode() == Sketch.of([MOST]).encode()


def test_an_encoded_sketch_is_small() -> None:
    """A digest would cost more units than it may."""
    chance = random.Random(3)
    samples = [chance.lognormvariate(6, 0.5) for _ in range(10_000)]
    assert len(Sketch.of(samples).encode()) < 200
    assert len(Sketch.of(samples[:8]).encode()) <= 20


def test_a_sketch_survives_its_encoding() -> None:
    """An aggregator would read other percentiles than were told."""
    for samples in ([], [LEAST], [MOST], [LEAST, MOST], [1.0] * 1_000, [0.3, 17.0, 17.0, 90_000.0]):
        sketch = Sketch.of(samples)
        again = Sketch.decode(sketch.encode())
        assert again.encode() == sketch.encode()
        assert again.count == len(samples)
        assert again.percentiles() == sketch.percentiles()


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",  # a bin without a count
        b"\x00\x01",  # a bin that is the one before
        b"\x01\x00",  # a bin without any value
        b"\x80",  # a number that does not end
        b"\x01\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01",  # a number without bound
        b"\xff\x7f\x01",  # a bin above the highest
        b"\x01\xff\xff\xff\xff\x0f",  # a count above the greatest
    ],
)
def test_what_is_no_sketch_is_refused(data: bytes) -> None:
    """One instance could let the aggregator fail or fill its memory."""
    with pytest.raises(ValueError, match=r"sketch|number"):
        Sketch.decode(data)


def test_the_greatest_count_is_still_read() -> None:
    """A busy endpoint's digest would be thrown away."""
    sketch = Sketch.of([5.0], stand_for=10 * COUNT_MAX)
    assert Sketch.decode(sketch.encode()).count == COUNT_MAX


def test_a_step_stands_for_its_value() -> None:
    """Percentiles in the snapshot would differ from those that were found."""
    percentiles = Sketch.of([3.0, 250.0, 4_000.0]).percentiles()
    assert percentiles is not None
    for value in (percentiles.p50, percentiles.p99):
        assert value is not None
        assert sketches.VALUES[sketches.step_of(value)] == pytest.approx(value)
