"""One small picture for each world: what part of the first tries goes to the endpoints that a fault strikes, second by second.

The line is the median seed, the band goes from the tenth to the ninetieth of a hundred, grey is when a fault lasts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.simulation_routing.bars import World

WIDTH, HEIGHT = 300, 130
COLUMNS: Final = 3
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 24, 22
_STYLE: Final = (
    "text{font:11px sans-serif;fill:#333}.t{font-weight:bold}.f{fill:#e3e3e3}.a{stroke:#999;fill:none}"
    ".b{fill:#9ecae1;opacity:.6}.l{stroke:#08519c;fill:none;stroke-width:1.5}"
)


def draw(worlds: Sequence[World]) -> str:
    """Return the picture of all worlds in which a fault strikes, as SVG."""
    shown = [world for world in worlds if world.scenario.faults]
    rows = -(-len(shown) // COLUMNS)
    parts = [
        f'<g transform="translate({place % COLUMNS * WIDTH},{place // COLUMNS * HEIGHT})">{"".join(_panel(world))}</g>'
        for place, world in enumerate(shown)
    ]
    size = f'width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style><rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join((head, *parts, "</svg>\n"))


def _panel(world: World) -> Iterator[str]:
    seconds = len(world.results[0].curve)
    by_second = [sorted(result.curve[second] for result in world.results) for second in range(seconds)]
    top = max(0.1, *(values[len(values) * 9 // 10] for values in by_second))

    def place(second: float, share: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * second / seconds
        return f"{x:.1f},{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, share / top):.1f}"

    def path(tenths: int) -> list[str]:
        return [place(second + 0.5, values[(len(values) - 1) * tenths // 10]) for second, values in enumerate(by_second)]

    yield f'<text class="t" x="{LEFT}" y="15">{world.name} instances</text>'
    for from_s, until_s in sorted({(fault.from_s, fault.until_s) for fault in world.scenario.faults}):
        corners = place(from_s, 0), place(from_s, top), place(until_s, top), place(until_s, 0)
        yield f'<polygon class="f" points="{" ".join(corners)}"/>'
    yield f'<polygon class="b" points="{" ".join((*path(1), *reversed(path(9))))}"/>'
    yield f'<polyline class="l" points="{" ".join(path(5))}"/>'
    yield f'<polyline class="a" points="{place(0, top)} {place(0, 0)} {place(seconds, 0)}"/>'
    yield f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{top:.0%}</text>'
    yield f'<text x="{LEFT - 4}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 7}" text-anchor="end">{seconds} s</text>'
