"""`poe security` against the design's table: no row is forgotten, and no test of this folder is without one."""

from collections import Counter
from pathlib import Path

import pytest

from tests.security.__main__ import ROOT, ROWS, Row, result

DESIGN = ROOT.parent / "shared" / "design" / "security.md"
OWN = "tests/security/test_table.py"


@pytest.mark.skipif(not DESIGN.exists(), reason="the design is not beside the checkout")
def test_every_row_of_the_design_is_there() -> None:
    """Else a threat that was foreseen is looked after by nobody."""
    table = [line.split("|")[1].strip() for line in DESIGN.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [row.threat for row in ROWS] == table[2:]


def test_every_test_has_its_row_and_every_row_its_tests() -> None:
    """Else a control is reported as sound of which nothing was run."""
    named = {test for row in ROWS for test in row.tests}
    files = {path.relative_to(ROOT).as_posix() for path in Path(__file__).parent.glob("test_*.py")}
    assert files - {OWN} <= {test.partition("::")[0] for test in named}
    for test in named:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") if name else (ROOT / file).exists(), test


@pytest.mark.parametrize(
    ("tests", "counted", "told"),
    [
        ((), Counter(), "not built"),
        (("a",), Counter(), "NOT TESTED"),
        (("a",), Counter(skipped=2), "NOT TESTED"),
        (("a",), Counter(passed=2, skipped=1), "holds (2 passed, 1 skipped)"),
        (("a",), Counter({"passed": 2, "known not to hold": 1}), "holds in part (1 known not to hold, 2 passed)"),
        (("a",), Counter(passed=2, failed=1), "FAILS (1 failed, 2 passed)"),
    ],
)
def test_what_is_told_is_what_was_seen(tests: tuple[str, ...], counted: Counter[str], told: str) -> None:
    """Else a control that fails, or was not tried, is told to hold."""
    assert result(Row("threat", "control", tests), counted) == told
