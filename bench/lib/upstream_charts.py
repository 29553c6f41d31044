"""Pictures of the steps about upstreams that fail."""

import statistics
from typing import Any

from .chart import MARGIN, WIDTH, text, wrap
from .results import Results
from .seconds_chart import CHARACTER, FOOTER_LINE, Chart, Row, Values, page
from .tables import titles
from .upstream_report import names, of

BAR, STEP, LABEL, VALUE = 13, 22, 170, 220
STALE_SECONDS = 5
"""Stale retries are few: each step of their chart has so many seconds."""


def footer(results: Results) -> str:
    """Returns when and where."""
    run, machine = results["run"], results["run"]["machine"]
    versions = {one["title"].partition(",")[0]: one["version"] for one in run["contestants"].values()}
    known = (f"{title} {version}" for title, version in versions.items() if version)
    where = f"{machine['cores']} × {machine['cpu']}, Linux {machine['kernel']}"
    return " · ".join([run["date"], where, f"load before {machine['load_before']:.1f}", f"gateway {run['commit']}", *known])


def median_of(samples: list[dict[str, Any]], figure: str, scale: float = 1) -> Values:
    """Returns the median of the rounds, second by second. The figure is one of each second's."""
    rounds = [[second[figure] for second in one["seconds"]] for one in samples]
    return [_median(values, scale) for values in zip(*rounds, strict=True)]


def _median(values: tuple[float | None, ...], scale: float) -> float | None:
    known = [value / scale for value in values if value is not None]
    return statistics.median(known) if known else None


def mean_of(samples: list[dict[str, Any]], figure: str) -> Values:
    """Returns the mean of the rounds, second by second. The figure is a list of counts."""
    return [statistics.mean(values) for values in zip(*(one[figure] for one in samples), strict=True)]


def failures(results: Results) -> str:
    """Draws what becomes of requests while one of three endpoints fails."""
    samples = results["failures"]
    called, own = titles(results), results["run"]["gateways"]
    shown = [name for name in names(samples) if not name.endswith("-defaults")]
    mine = [of(samples, contestant=name) for name in shown]
    failed = [[sum(second) / len(some) for second in zip(*map(_failed, some), strict=True)] for some in mine]
    rows = (
        Row("requests that failed, per second", tuple((line,) for line in failed)),
        Row(
            "milliseconds: p99, and p50 (dashed)",
            tuple((median_of(some, "p99", 1000), median_of(some, "p50", 1000)) for some in mine),
            is_logarithmic=True,
            least_top=1000,
        ),
        Row(
            "requests that the failing endpoint got, per second",
            tuple((mean_of(some, "bad_requests"),) for some in mine),
        ),
    )
    first = samples[0]
    lines = (
        f"{first['rate']:,} requests a second to three endpoints, one of which fails in three ways: it is dead (connections",
        "are refused), stalled (it reads requests and does not answer), and answers 500 to each request.",
    )
    columns = tuple((called[name], name in own) for name in shown)
    seconds = len(first["seconds"])
    return Chart("One of three endpoints fails", lines, columns, rows, first["events"], seconds, footer(results)).draw()


def _failed(sample: dict[str, Any]) -> list[int]:
    return [second["failed"] for second in sample["seconds"]]


def adaptive(results: Results) -> str:
    """Draws an endpoint that degrades under load, with and without a limit."""
    samples = results["adaptive"]
    called, shown = titles(results, versions=False), names(samples)
    mine = [of(samples, contestant=name) for name in shown]
    failed = [[sum(second) / len(some) for second in zip(*map(_failed, some), strict=True)] for some in mine]
    rows = (
        Row(
            "milliseconds: p99, and p50 (dashed)",
            tuple((median_of(some, "p99", 1000), median_of(some, "p50", 1000)) for some in mine),
            is_logarithmic=True,
            least_top=1000,
        ),
        Row("requests that failed, per second", tuple((line,) for line in failed)),
        Row("requests under way at the endpoint", tuple((mean_of(some, "under_way"),) for some in mine)),
    )
    first = samples[0]
    lines = (
        f"{first['rate']:,} requests a second to one endpoint, which bears 2,000 and becomes slower with each request that is",
        f"under way; for three seconds there are {first['events'][0][0]}. Latencies are of requests that succeeded.",
    )
    columns = tuple((called[name], name.endswith("-auto")) for name in shown)
    events = [("burst", *first["events"][0][1:])]
    seconds = len(first["seconds"])
    return Chart("An endpoint that degrades under load", lines, columns, rows, events, seconds, footer(results)).draw()


def stale(results: Results) -> str:
    """Draws requests that met the server's close, by program."""
    samples = results["stale"]
    shown, own = names(samples, "gateway"), results["run"]["gateways"]
    mine = [of(samples, gateway=name) for name in shown]

    def steps(some: list[dict[str, Any]], figure: str) -> Values:
        counts = [value or 0 for value in mean_of(some, figure)]
        sums = [sum(counts[start : start + STALE_SECONDS]) for start in range(0, len(counts), STALE_SECONDS)]
        return [sums[second // STALE_SECONDS] for second in range(len(counts))]

    rows = (
        Row(
            f"requests that met the server's close and went again, in {STALE_SECONDS} seconds",
            tuple((steps(some, "lost"),) for some in mine),
        ),
        Row(f"connections opened, in {STALE_SECONDS} seconds", tuple((steps(some, "opened"),) for some in mine)),
    )
    lines = (
        "200 upstreams with a pool each, whose server closes connections that are idle for 5 s, 50 ms away. Each gets a request",
        "every 4.8 to 5.6 s, at random.",
    )
    columns = tuple((name, name == own[-1]) for name in shown)
    seconds = len(samples[0]["lost"])
    title = "A server that closes idle connections"
    return Chart(title, lines, columns, rows, (), seconds, footer(results)).draw()


def balance(results: Results) -> str:
    """Draws the p99 of each way to choose an endpoint."""
    samples = results["balance"]
    called, own = titles(results, versions=False), results["run"]["gateways"]
    bars = []
    for name in names(samples):
        mine = of(samples, contestant=name)
        p99 = statistics.median(one["p99"] for one in mine) / 1000
        share = statistics.median(one["slow_share"] for one in mine)
        bars.append((p99, called[name], share, any(name.startswith(f"{family}-") for family in own)))
    scale = (WIDTH - 2 * MARGIN - LABEL - VALUE) / max(bar[0] for bar in bars)
    title, top = "One of five endpoints is ten times as slow", 92.0
    parts = [
        text(MARGIN, 38, title, "heading"),
        text(MARGIN, 58, "p99 in milliseconds, and the part of requests that the slow endpoint got, of", "muted"),
        text(MARGIN, 74, f"{samples[0]['rate']:,} requests a second. Four endpoints take 5 ms, one takes 50 ms.", "muted"),
    ]
    for p99, label, share, ours in sorted(bars):
        base = top + BAR - 2.5
        parts += [
            text(MARGIN + LABEL - 8, base, label, "end strong" if ours else "end"),
            f'<rect class="{"ours" if ours else "bar"}" x="{MARGIN + LABEL}" y="{top:.1f}" '
            f'width="{p99 * scale:.1f}" height="{BAR}"/>',
            text(
                MARGIN + LABEL + p99 * scale + 6, base, f"{p99:,.1f} ms, {share:.1%} to the slow one", "strong" if ours else ""
            ),
        ]
        top += STEP
    top += 16
    lines = wrap(footer(results), (WIDTH - 2 * MARGIN) / CHARACTER)
    parts += [text(MARGIN, top + number * FOOTER_LINE, line, "muted small") for number, line in enumerate(lines)]
    return page(title, top + len(lines) * FOOTER_LINE + 8, parts)


PICTURES = {"failures": failures, "balance": balance, "adaptive": adaptive, "stale": stale}
