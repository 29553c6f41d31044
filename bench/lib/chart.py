"""The chart: a panel a scenario, a bar a contestant, drawn as SVG that can be read on light and dark pages."""

import statistics
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .report import rounds
from .results import Results
from .scenarios import SCENARIOS
from .tables import titles

WIDTH, MARGIN, GUTTER = 960, 28, 30
HEADER, FOOTER_LINE = 92, 16
BAR, STEP = 13, 19
PANEL_HEAD, PANEL_FOOT = 34, 20
VALUE_WIDTH = 44
BEYOND = 4.5
"""Bars that are longer than this many times the shortest are cut, so that the others can be told apart."""
CHARACTER = 5.9
"""Mean width of a character of the footer: there is nothing here that measures text."""

STYLE = """
text { font: 12px -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
.page { fill: #ffffff; stroke: #d1d9e0 }
.heading { font-size: 20px; font-weight: 600 }
.name { font-size: 13px; font-weight: 600 }
.muted { fill: #59636e }
.small { font-size: 11px }
.end { text-anchor: end }
.bar { fill: #b6c1cc }
.ours { fill: #0969da }
.strong { font-weight: 600; fill: #0969da }
.axis { stroke: #d1d9e0 }
.spread { stroke: #59636e; stroke-width: 1.2 }
.cut { stroke: #ffffff; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .page { fill: #0d1117; stroke: #3d444d }
  .muted { fill: #9198a1 }
  .bar { fill: #4a5562 }
  .ours { fill: #4493f8 }
  .strong { fill: #4493f8 }
  .axis { stroke: #3d444d }
  .spread { stroke: #9198a1 }
  .cut { stroke: #0d1117 }
}
"""


@dataclass(frozen=True)
class Bar:
    """A contestant's figure."""

    label: str
    low: float
    middle: float
    high: float
    ours: bool


@dataclass(frozen=True)
class Grid:
    """How panels are laid out."""

    columns: int
    label_width: int

    @property
    def panel_width(self) -> float:
        """What is left of the page for one of them."""
        return (WIDTH - 2 * MARGIN - (self.columns - 1) * GUTTER) / self.columns


PLAIN, FILTERED = Grid(3, 86), Grid(2, 178)
"""Those with filters have longer labels."""


def draw(results: Results) -> str:
    """The whole picture."""
    parts, top = [], float(HEADER)
    scenarios = list(dict.fromkeys(sample["scenario"] for sample in results["cpu"]))
    for grid, filtered in ((PLAIN, False), (FILTERED, True)):
        names = [name for name in scenarios if bool(SCENARIOS[name].filter) == filtered]
        for start in range(0, len(names), grid.columns):
            row = names[start : start + grid.columns]
            bars = [bars_of(results, name) for name in row]
            for column, (name, some) in enumerate(zip(row, bars, strict=True)):
                parts += _panel(name, some, MARGIN + column * (grid.panel_width + GUTTER), top, grid)
            top += PANEL_HEAD + max(map(len, bars)) * STEP + PANEL_FOOT
    footer, height = _footer(results, top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" '
            'role="img" aria-label="CPU time per request, by scenario and proxy">',
            f"<style>{STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>',
            *_header(results),
            *parts,
            *footer,
            "</svg>\n",
        ]
    )


def bars_of(results: Results, scenario: str) -> list[Bar]:
    """The figures of a scenario, the least first."""
    names = titles(results, filtered=bool(SCENARIOS[scenario].filter), versions=False)
    own = results["run"]["gateways"]
    bars = []
    for (where, contestant), values in rounds(results["cpu"], "cpu_us").items():
        if where == scenario:
            some = list(values.values())
            ours = contestant in own or contestant.removesuffix("-rust") in own
            bars.append(Bar(names[contestant], min(some), statistics.median(some), max(some), ours))
    return sorted(bars, key=lambda bar: bar.middle)


def _header(results: Results) -> list[str]:
    settings = results["run"]["settings"]
    line = (
        "One worker on one core, load generator and origin on another, "
        f"{settings['connections']} connections, all on loopback. "
        "Less is better."
    )
    return [
        text(MARGIN, 38, "CPU time per request, in microseconds", "heading"),
        text(MARGIN, 58, line, "muted"),
        text(
            MARGIN,
            74,
            f"Median of {settings['rounds']} rounds; the thin line goes from the lowest to the highest.",
            "muted",
        ),
    ]


def _panel(scenario: str, bars: list[Bar], left: float, top: float, grid: Grid) -> list[str]:
    name, title = escape(scenario), escape(SCENARIOS[scenario].title)
    start, room = left + grid.label_width + 8, grid.panel_width - grid.label_width - 8 - VALUE_WIDTH
    longest = min(max(bar.high for bar in bars), bars[0].middle * BEYOND)
    bottom = top + PANEL_HEAD + len(bars) * STEP - STEP + BAR
    parts = [
        f'<text x="{left:.1f}" y="{top + 18:.1f}"><tspan class="name">{title}</tspan>'
        f'<tspan class="muted small" dx="7">{name}</tspan></text>',
        f'<line class="axis" x1="{start:.1f}" x2="{start:.1f}" y1="{top + PANEL_HEAD - 4:.1f}" y2="{bottom + 4:.1f}"/>',
    ]
    for number, bar in enumerate(bars):
        parts += _bar(
            bar, left + grid.label_width, start, top + PANEL_HEAD + number * STEP, room / longest, longest
        )
    return parts


def _bar(bar: Bar, label_end: float, start: float, top: float, scale: float, longest: float) -> list[str]:
    middle, base, cut = top + BAR / 2, top + BAR - 2.5, bar.middle > longest
    end = start + min(bar.middle, longest) * scale
    parts = [
        text(label_end, base, bar.label, "end strong" if bar.ours else "end"),
        f'<rect class="{"ours" if bar.ours else "bar"}" x="{start:.1f}" y="{top:.1f}" '
        f'width="{end - start:.1f}" height="{BAR}"/>',
    ]
    if cut:
        parts.append(f'<path class="cut" d="M{end - 16:.1f} {top + BAR + 1:.1f} l6 {-BAR - 2}"/>')
        after = end
    else:
        after = start + min(bar.high, longest) * scale
        parts.append(
            f'<line class="spread" x1="{start + bar.low * scale:.1f}" x2="{after:.1f}" '
            f'y1="{middle:.1f}" y2="{middle:.1f}"/>'
        )
    digits = 1 if bar.middle < 100 else 0
    parts.append(text(max(after, end) + 5, base, f"{bar.middle:,.{digits}f}", "strong" if bar.ours else ""))
    return parts


def _footer(results: Results, top: float) -> tuple[list[str], float]:
    """What was measured where, in as many lines as that takes, and the height of all."""
    run, machine = results["run"], results["run"]["machine"]
    versions: dict[str, str] = {}
    for one in run["contestants"].values():
        versions[one["title"]] = one["version"] or run["commit"]
    lines = [
        f"Bars with a gap are cut: they are more than {BEYOND} times as long as the shortest.",
        f"{run['date']} · {machine['cores']} × {machine['cpu']}, Linux {machine['kernel']}, "
        f"load before {machine['load_before']:.1f}",
        " · ".join(f"{title} {version}" for title, version in versions.items()),
    ]
    wrapped = [piece for line in lines for piece in wrap(line, (WIDTH - 2 * MARGIN) / CHARACTER)]
    texts = [
        text(MARGIN, top + 12 + number * FOOTER_LINE, line, "muted small")
        for number, line in enumerate(wrapped)
    ]
    return texts, top + 12 + len(wrapped) * FOOTER_LINE + 8


def wrap(line: str, width: float) -> list[str]:
    """Breaks a line where it is longer than so many characters."""
    lines = [""]
    for word in line.split(" "):
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def text(left: float, base: float, words: str, classes: str = "") -> str:
    """Returns an element with these words."""
    return f'<text class="{classes}" x="{left:.1f}" y="{base:.1f}">{escape(words)}</text>'
