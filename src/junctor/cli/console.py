"""How does a command talk to a person? In few, calm lines; colour and movement only on a terminal that wants them.

Off a terminal, with NO_COLOR or on a dumb one, the same words come as plain lines. It decides nothing and asks nothing.
This module imports rich, so a command imports it only when it has something to show.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, TypeAlias

import rich.console
import rich.progress
import rich.table
import rich.text

from junctor.cli.money import in_usd
from junctor.cli.terminal import is_lively

ReportProgress: TypeAlias = Callable[[int, int], None]

# Off a terminal nothing is folded: whoever reads the lines has his own width.
_PLAIN_WIDTH = 1000
_PLAIN_STEPS = 4
_MEGABYTE = 1_000_000


class Console:
    """Writes to one stream, by default standard output. Texts are shown as they are: nothing in them is markup."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Look once at what the stream can do."""
        target = sys.stdout if stream is None else stream
        self._lively = is_lively(target)
        self._rich = rich.console.Console(
            file=target,
            force_terminal=self._lively,
            color_system="auto" if self._lively else None,
            width=None if self._lively else _PLAIN_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def line(self, text: str = "") -> None:
        """Write a line."""
        self._rich.print(text, soft_wrap=True)

    def quiet(self, text: str) -> None:
        """Write a line that may be overlooked."""
        self._rich.print(text, style="dim", soft_wrap=True)

    def problem(self, text: str) -> None:
        """Write what went wrong."""
        self._rich.print(text, style="red", soft_wrap=True)

    @contextmanager
    def progress(self, label: str) -> Iterator[ReportProgress]:
        """Show how far a download is; yields what to call with the bytes that came and their total (0 if unknown)."""
        if not self._lively:
            yield _PlainProgress(self, label).report
            return
        columns = (
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(),
            rich.progress.TimeRemainingColumn(),
        )
        with rich.progress.Progress(*columns, console=self._rich, transient=True) as bars:
            task = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total or None)

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Write rows in columns under a title; the first column names, the others tell."""
        grid = rich.table.Table.grid(padding=(0, 2, 0, 0))
        for place in range(max((len(row) for row in rows), default=0)):
            grid.add_column(style="dim" if place == 0 else "", overflow="fold")
        for row in rows:
            grid.add_row(*(rich.text.Text(cell) for cell in row))
        self.line()
        self._rich.print(title, style="bold", soft_wrap=True)
        self._rich.print(grid)

    def credit(self, granted_nanousd: int, available_nanousd: int) -> None:
        """Write what this machine's organisation was granted to try with, and what of it there is."""
        self.table(
            "Credit",
            [("granted once", f"{in_usd(granted_nanousd)}, for development"), ("available", in_usd(available_nanousd))],
        )

    def next_steps(self, steps: Sequence[str]) -> None:
        """Write what may be done now, one line each."""
        self.line()
        self._rich.print("Next", style="bold")
        for text in steps:
            self._rich.print(f"  {text}", soft_wrap=True)


class _PlainProgress:
    """Progress as a handful of lines, one for each quarter."""

    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._shown = -1

    def report(self, done: int, total: int) -> None:
        """Write a line when another quarter is done; without a total, one at the beginning."""
        quarter = done * _PLAIN_STEPS // total if total > 0 else 0
        if quarter <= self._shown:
            return
        self._shown = quarter
        share = f"{done * 100 // total}% of {total / _MEGABYTE:.1f} MB" if total > 0 else "begun"
        self._console.line(f"{self._label}: {share}")
