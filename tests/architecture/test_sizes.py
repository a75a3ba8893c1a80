"""Small and explained: every module and function within its budget, every folder with a note on what it is for."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "junctor"
GENERATED = PACKAGE / "v1"
MODULE_LINES_MAX, FUNCTION_LINES_MAX, MEDIAN_LINES_MAX = 400, 70, 120


def modules() -> list[Path]:
    """Return every module that people write."""
    return sorted(path for path in PACKAGE.rglob("*.py") if GENERATED not in path.parents)


def lines(path: Path) -> int:
    """Count a module's lines."""
    return len(path.read_text("utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every function of a module: where it stands, and how many lines it has."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_the_walk_finds_the_code() -> None:
    """The tests below would pass by looking at nothing."""
    assert len(modules()) > 80
    assert PACKAGE / "ledger" / "ledger.py" in modules()
    assert any(length > 20 for path in modules() for _, length in functions(path))


def test_modules_are_small() -> None:
    """A module that does everything would grow one line at a time."""
    assert {path.name: lines(path) for path in modules() if lines(path) >= MODULE_LINES_MAX} == {}


def test_functions_are_small() -> None:
    """A function that nobody can hold in his head would grow one branch at a time."""
    long = [place for path in modules() for place, length in functions(path) if length >= FUNCTION_LINES_MAX]
    assert long == []


def test_the_median_module_is_small() -> None:
    """All modules together would creep towards their limit."""
    assert statistics.median(lines(path) for path in modules() if path.name != "__init__.py") < MEDIAN_LINES_MAX


def test_every_folder_is_a_package_with_a_note() -> None:
    """A newcomer would not find out what a folder is for."""
    folders = {path.parent for path in modules()} | {GENERATED}
    missing = [
        str(folder.relative_to(PACKAGE))
        for folder in folders
        if not (folder / "__init__.py").is_file()
        or not ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    ]
    assert missing == []
