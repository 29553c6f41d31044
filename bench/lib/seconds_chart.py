"""Charts over time: a column for each contestant, a row for each figure, drawn as SVG for light and dark pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .chart import MARGIN, STYLE, WIDTH, text, wrap

GUTTER, AXIS = 22, 38
"""Between columns; the room of the labels left of each panel."""
HEADER, PANEL_HEIGHT, ROW_HEAD, ROW_GAP = 84, 96, 26, 12
FOOTER_LINE, CHARACTER = 16, 5.9
EVENT_LINE = 12
"""For the names of events, above the first row."""
X_STEP = 10

LINES = """
.event { fill: #f0b429; opacity: 0.18 }
.grid { stroke: #d1d9e0; stroke-width: 0.7 }
.line { fill: none; stroke: #59636e; stroke-width: 1.6 }
.line.strong { stroke: #0969da }
.line.second { stroke-width: 1; stroke-dasharray: 3 2; opacity: 0.8 }
.area { fill: #59636e; opacity: 0.35; stroke: none }
.area.strong { fill: #0969da; opacity: 0.35 }
.middle { text-anchor: middle }
@media (prefers-color-scheme: dark) {
  .event { fill: #d29922; opacity: 0.22 }
  .grid { stroke: #3d444d }
  .line { stroke: #9198a1 }
  .line.strong { stroke: #4493f8 }
  .area { fill: #9198a1 }
  .area.strong { fill: #4493f8 }
}
"""

Values = Sequence[float | None]
"""A figure of each second; None where there is none."""


@dataclass(frozen=True)
class Row:
    """One figure of all contestants, on one scale."""

    title: str
    lines: tuple[tuple[Values, ...], ...]
    """For each column its lines: the main one first, a further one is dashed."""
    is_logarithmic: bool = False
    least_top: float = 10
    """The scale reaches at least so far."""

    def top(self) -> float:
        """Returns the upper end of the scale."""
        most = max(value for lines in self.lines for line in lines for value in line if value is not None)
        most = max(most, self.least_top)
        if self.is_logarithmic:
            return 10 ** math.ceil(math.log10(most) - 1e-9)
        step = 10 ** math.floor(math.log10(most))
        return next(step * times for times in (1, 2, 2.5, 5, 10) if step * times >= most)

    def ticks(self) -> list[float]:
        """Returns the values that have a line and a label."""
        top = self.top()
        if self.is_logarithmic:
            return [10**power for power in range(round(math.log10(top)) + 1)]
        return [0, top / 2, top]

    def part(self, value: float) -> float:
        """Returns the height of a value, from 0 to 1."""
        if not self.is_logarithmic:
            return value / self.top()
        return max(0.0, math.log10(max(value, 1.0)) / math.log10(self.top()))


@dataclass(frozen=True)
class Chart:
    """All of a picture. Events have a name, the second of their beginning and that of their end."""

    title: str
    lines: tuple[str, ...]
    columns: tuple[tuple[str, bool], ...]
    """Titles, and true for those that are the gateway's."""
    rows: tuple[Row, ...]
    events: Sequence[tuple[str, float, float]]
    seconds: int
    footer: str

    def draw(self) -> str:
        """Returns the picture as SVG."""
        width = (WIDTH - 2 * MARGIN - (len(self.columns) - 1) * GUTTER) / len(self.columns)
        top = HEADER + FOOTER_LINE * (len(self.lines) - 1)
        parts = [text(MARGIN, 38, self.title, "heading")]
        parts += [text(MARGIN, 58 + number * FOOTER_LINE, line, "muted") for number, line in enumerate(self.lines)]
        lefts = [MARGIN + number * (width + GUTTER) + AXIS for number in range(len(self.columns))]
        for (title, ours), left in zip(self.columns, lefts, strict=True):
            parts.append(text(left, top + 4, title, "name strong" if ours else "name"))
        top += 14
        for number, row in enumerate(self.rows):
            parts.append(text(MARGIN, top + 16, row.title, "muted"))
            top += ROW_HEAD + (EVENT_LINE if number == 0 and self.events else 0)
            for (_, ours), lines, left in zip(self.columns, row.lines, lefts, strict=True):
                panel = Panel(self, row, left, top, width - AXIS)
                parts += panel.draw(lines, ours, is_first=number == 0, is_last=number == len(self.rows) - 1)
            top += PANEL_HEIGHT + ROW_GAP
        top += 38
        footer = wrap(self.footer, (WIDTH - 2 * MARGIN) / CHARACTER)
        parts += [
            text(MARGIN, top + number * FOOTER_LINE, line, "muted small") for number, line in enumerate(footer)
        ]
        return page(self.title, top + len(footer) * FOOTER_LINE + 8, parts)


@dataclass(frozen=True)
class Panel:
    """One contestant's figure, at its place."""

    chart: Chart
    row: Row
    left: float
    top: float
    width: float

    def draw(self, lines: Sequence[Values], ours: bool, is_first: bool, is_last: bool) -> list[str]:
        """Returns the parts of the picture."""
        bottom = self.top + PANEL_HEIGHT
        parts = []
        for name, begins, ends in self.chart.events:
            left, right = self._x(begins), self._x(ends)
            parts.append(
                f'<rect class="event" x="{left:.1f}" y="{self.top:.1f}" width="{right - left:.1f}" '
                f'height="{PANEL_HEIGHT}"/>'
            )
            if is_first:
                parts.append(text((left + right) / 2, self.top - 4, name, "muted small middle"))
        for tick in self.row.ticks():
            y = self._y(tick)
            parts.append(
                f'<line class="grid" x1="{self.left:.1f}" x2="{self.left + self.width:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(text(self.left - 5, y + 3.5, f"{tick:,.0f}", "muted small end"))
        for number, line in enumerate(lines):
            parts += self._line(line, "strong" if ours else "", is_main=number == 0)
        if is_last:
            for second in range(0, self.chart.seconds + 1, X_STEP):
                parts.append(text(self._x(second), bottom + 14, f"{second}", "muted small middle"))
            parts.append(text(self.left + self.width / 2, bottom + 28, "seconds", "muted small middle"))
        return parts

    def _line(self, values: Values, colour: str, is_main: bool) -> list[str]:
        """Draws a figure as steps: it is that of a whole second."""
        steps: list[str] = []
        is_down = False
        for second, value in enumerate(values):
            if value is None:
                is_down = False
                continue
            y = self._y(value)
            steps.append(f"{'L' if is_down else 'M'}{self._x(second):.1f} {y:.1f} H{self._x(second + 1):.1f}")
            is_down = True
        if not steps:
            return []
        parts = [f'<path class="line {colour}{"" if is_main else " second"}" d="{" ".join(steps)}"/>']
        if is_main and not self.row.is_logarithmic:
            ends = f"L{self._x(len(values)):.1f} {self._y(0):.1f} L{self._x(0):.1f} {self._y(0):.1f} Z"
            outline = " ".join(steps).replace("M", "L")
            start = f"M{self._x(0):.1f} {self._y(0):.1f}"
            parts.insert(0, f'<path class="area {colour}" d="{start} {outline} {ends}"/>')
        return parts

    def _x(self, second: float) -> float:
        return self.left + self.width * second / self.chart.seconds

    def _y(self, value: float) -> float:
        return self.top + PANEL_HEIGHT * (1 - min(1.0, self.row.part(value)))


def page(title: str, height: float, parts: list[str]) -> str:
    """Returns a whole picture of these parts."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}{LINES}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )
