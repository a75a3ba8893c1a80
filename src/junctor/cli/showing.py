"""How the commands show what came: one JSON object, or a table, on standard output; what is said about the work, beside it.

Whatever a server wrote is shown as `terminal` allows. What draws and encodes is imported when it is used.
"""

import sys
from collections.abc import Sequence

from junctor.cli.terminal import shown, write


def show_json(value: object) -> None:
    """Print one JSON object."""
    import msgspec

    write(msgspec.json.encode(value).decode() + "\n", sys.stdout)


def show_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a title."""
    from junctor.cli.console import Console

    Console().table(shown(title, sys.stdout), [[shown(cell, sys.stdout) for cell in row] for row in rows])


def tell(*lines: str) -> None:
    """Write lines to standard error: what is said about the work, and is not its result."""
    write("".join(shown(line, sys.stderr) + "\n" for line in lines), sys.stderr)
