"""JSON that callers send as text: refused where it is malformed or too deep, never slow, and carried as it came."""

import json
import random
import time

import pytest

from junctor.domain.errors import InvalidFieldError
from junctor.doors.codec.checks import VIOLATIONS_MAX, Checks, Limits

HANGING_S = 20.0
"""Far above what any of these texts takes, far below what a quadratic check would."""


def wrong(text: str, *, an_object: bool = False, depth_max: int = 64) -> list[str]:
    """Return what is wrong with a text."""
    checks = Checks(Limits(json_depth_max=depth_max))
    assert checks.json(text, "field", an_object=an_object) == text
    try:
        checks.done()
    except InvalidFieldError as error:
        return [what for place, what in error.violations if place == "field"]
    return []


@pytest.mark.parametrize("depth_max", [1, 2, 8, 63, 64, 65, 200])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("siblings", [0, 300])
def test_depth_is_exact_at_every_limit(depth_max: int, opening: str, closing: str, siblings: int) -> None:
    """A lower limit than the usual one would not hold, or wide schemas be taken for deep ones."""
    wide = "".join("{}," for _ in range(siblings)) if depth_max > 1 else ""

    def text(depth: int) -> str:
        return f"[{wide}" + opening * (depth - 1) + "0" + closing * (depth - 1) + "]"

    assert wrong(text(depth_max), depth_max=depth_max) == []
    assert wrong(text(depth_max + 1), depth_max=depth_max) == [f"is JSON deeper than {depth_max}"]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"' + "[" * 200 + '"}',
        '{"' + "{" * 200 + '":1}',
        '["\\"' + "[" * 200 + '"]',
        '["\\\\","' + "[" * 200 + '\\\\"]',
        '["' + '\\"[' * 200 + '"]',
        '["' + "\\\\" * 201 + '", "' + "[{" * 100 + '"]',
        '["' + "\\u005b" * 200 + '"]',
        '["é' + "[" * 200 + '"]',
    ],
)
def test_brackets_inside_strings_do_not_count(text: str) -> None:
    """A tool whose description shows some code would be refused as too deep."""
    assert json.loads(text)
    assert wrong(text) == []


def test_depth_agrees_with_a_naive_reading() -> None:
    """Some mixture of escapes and brackets could hide depth from the check, or be taken for it."""
    rng = random.Random(0)

    def value(depth: int) -> object:
        if depth == 0 or rng.random() < 0.2:
            return "".join(rng.choice('[]{}"\\,:a€') for _ in range(rng.randrange(8)))
        if rng.random() < 0.5:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {f'k{number}"\\[': value(depth - 1) for number in range(rng.randrange(4))}

    def depth_of(held: object) -> int:
        if isinstance(held, dict):
            held = list(held.values())
        return 1 + max(map(depth_of, held), default=0) if isinstance(held, list) else 0

    for _ in range(300):
        made = [value(6)]
        text = json.dumps(made, ensure_ascii=rng.random() < 0.5)
        depth = depth_of(made)
        assert wrong(text, depth_max=depth) == [], text
        assert wrong(text, depth_max=depth - 1) == [f"is JSON deeper than {depth - 1}"], text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "{",
            "[1,]",
            '{"a":1,}',
            "{'a':1}",
            "nul",
            "NaN",
            "Infinity",
            "01",
            "1.",
            "+1",
            "[1] 2",
            "\ufeff{}",
            "[1]\x00",
        ),
        *('{"a" 1}', '"a', '"\\x"', '"\n"', "[" * 5000, "]" * 5000, "[}" * 5000, "[" * 65 + "x"),
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    """A provider would refuse the whole request, or a parser of ours fall over it."""
    assert len(wrong(text)) == 1


@pytest.mark.parametrize(
    "text", ["{}", ' \t\r\n{"a":1} ', '{"a":12345678901234567890123456789012345678901234567890}', '{"b":1,"a":5.0}']
)
def test_objects_are_taken_as_they_are(text: str) -> None:
    """Key order, large integers and spaces would be changed on the way."""
    assert wrong(text, an_object=True) == []


@pytest.mark.parametrize("text", ["[]", '"{"', "1", "null", "true", " [{}]"])
def test_other_json_is_no_object(text: str) -> None:
    """A schema that is a list would reach the provider."""
    assert wrong(text, an_object=True) == ["is not a JSON object"]
    assert wrong(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"k{number}":{{"type":"string"}}' for number in range(40_000)) + "}",
        "[" * 65 + '"' + '\\"' * 500_000,
        '["' + '\\"' * 500_000 + '",' + "[]," * 65 + "0]",
        '["' + "\\" * 1_000_001,
        "[" * 1_000_000,
        "[" + ",".join("[" * 60 + "]" * 60 for _ in range(8_000)) + "]",
        "[" + "[]," * 300_000 + "0]",
        '"' * 1_000_000,
    ],
    ids=["schema", "unterminated", "escapes", "backslashes", "deep", "towers", "flat", "quotes"],
)
def test_a_megabyte_costs_no_time(text: str) -> None:
    """One caller's text would hold up every other call on this instance."""
    began = time.monotonic()
    wrong(text)
    assert time.monotonic() - began < HANGING_S


def test_violations_are_gathered_up_to_a_bound() -> None:
    """A caller would get only the first of his mistakes, or a million of them."""
    checks = Checks(Limits())
    checks.done()
    for number in range(VIOLATIONS_MAX + 10):
        checks.wrong(f"f{number}", "is wrong")
    with pytest.raises(InvalidFieldError) as caught:
        checks.done()
    assert caught.value.violations == tuple((f"f{number}", "is wrong") for number in range(VIOLATIONS_MAX))
    assert caught.value.message == "f0: is wrong"


def test_text_is_bounded_in_bytes() -> None:
    """Text of wide characters would be three times as long as allowed."""
    checks = Checks(Limits(string_bytes_max=9))
    checks.text("€€€", "fits")
    checks.text("x" * 9, "fits")
    checks.done()
    checks.text("€€€x", "wide")
    checks.text("x" * 10, "long")
    with pytest.raises(InvalidFieldError) as caught:
        checks.done()
    assert [place for place, _ in caught.value.violations] == ["wide", "long"]
