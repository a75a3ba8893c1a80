"""One picture of a run: a bar for each server, in four panels: CPU of a call and of a chunk, added latency, memory.

Scales are linear and begin at nothing, so that lengths can be compared; every bar has its figure beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from tests.bench.measure import JUNCTOR, JUNCTOR_DYNAMODB, PEERS
from tests.bench.report import SPACED, Report, Row, Spread

WIDTH, ROW, HEAD, FOOT = 450, 20, 30, 12
COLUMNS: Final = 2
LEFT, RIGHT = 122, 70
_OURS = frozenset({JUNCTOR, JUNCTOR_DYNAMODB})
_STYLE: Final = (
    "text{font:11px sans-serif;fill:#333}.t{font-weight:bold}.bare{fill:#bdbdbd}.ours{fill:#08519c}.peer{fill:#e6994d}"
    ".a{stroke:#999;fill:none}"
)


class Panel(Struct, frozen=True):
    """A figure of each server, in the order in which they are drawn."""

    title: str
    unit: str
    bars: list[tuple[str, float]]


def panels(report: Report) -> list[Panel]:
    """Choose what is drawn; a load that was not measured has no panel."""
    found = [
        Panel("CPU of a Complete, 16 in flight", "µs", _bars(report, "complete-16", lambda row: row.cpu_us)),
        Panel("CPU of a chunk, 16 streams, 10 ms apart", "µs", _bars(report, SPACED, lambda row: row.cpu_us)),
        Panel("added to a Complete alone, median", "µs", _bars(report, "complete-1", lambda row: row.added_p50_us)),
        Panel("resident memory after the run", "MB", [(one.server, one.after / 1e6) for one in report.residents]),
    ]
    return [panel for panel in found if panel.bars]


def draw(report: Report, captions: Sequence[str]) -> str:
    """Return the picture as SVG; the captions, a line each, say of what and when it is."""
    shown = panels(report)
    height = HEAD + FOOT + ROW * max(len(panel.bars) for panel in shown)
    parts = [
        f'<g transform="translate({place % COLUMNS * WIDTH},{place // COLUMNS * height})">{"".join(_panel(panel))}</g>'
        for place, panel in enumerate(shown)
    ]
    bottom = -(-len(shown) // COLUMNS) * height
    parts += [f'<text x="8" y="{bottom + 14 + 16 * line}">{_escaped(text)}</text>' for line, text in enumerate(captions)]
    size = f'width="{COLUMNS * WIDTH}" height="{bottom + 8 + 16 * len(captions)}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style><rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join((head, *parts, "</svg>\n"))


def _bars(report: Report, load: str, figure: Callable[[Row], Spread | None]) -> list[tuple[str, float]]:
    rows = [(row.server, figure(row)) for row in report.rows if row.load == load]
    return [(server, spread.median) for server, spread in rows if spread is not None]


def _panel(panel: Panel) -> Iterator[str]:
    longest = max((value for _, value in panel.bars), default=0) or 1
    yield f'<text class="t" x="{LEFT}" y="18">{_escaped(panel.title)}</text>'
    for place, (server, value) in enumerate(panel.bars):
        y = HEAD + place * ROW
        width = (WIDTH - LEFT - RIGHT) * max(value, 0) / longest
        yield f'<text x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{_escaped(server)}</text>'
        yield f'<rect class="{_kind(server)}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 6}"/>'
        yield f'<text x="{LEFT + width + 5:.1f}" y="{y + 11}">{value:,.0f} {panel.unit}</text>'
    yield f'<polyline class="a" points="{LEFT},{HEAD - 4} {LEFT},{HEAD + len(panel.bars) * ROW - 2}"/>'


def _kind(server: str) -> str:
    if server in _OURS:
        return "ours"
    return "peer" if server in PEERS else "bare"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
