"""Results about upstreams that fail, as tables in Markdown."""

import statistics
from collections.abc import Iterable
from typing import Any

from .results import Results
from .tables import markdown, spread, titles
from .workers import LOADS, avoidable

Sample = dict[str, Any]


def of(samples: Iterable[Sample], **wanted: object) -> list[Sample]:
    """Returns those samples that have these values."""
    return [one for one in samples if all(one[name] == value for name, value in wanted.items())]


def names(samples: Iterable[Sample], key: str = "contestant") -> list[str]:
    """Returns who was measured, in the order of the first round."""
    return list(dict.fromkeys(one[key] for one in samples))


def others(samples: list[Sample]) -> str:
    """Returns the most CPUs that other programs kept busy meanwhile. Of these steps, figures to keep have next to none."""
    return f"{max(one.get('others_cpus', 0.0) for one in samples):.2f}"


def failures(results: Results) -> str:
    """Returns the outcome of each event."""
    samples, rows = results["failures"], []
    events = samples[0]["events"]
    called = titles(results)
    for name in names(samples):
        mine = of(samples, contestant=name)
        requests = sum(one["rate"] * len(one["seconds"]) for one in mine)
        row = [called[name], f"{sum(one['failed'] for one in mine):,} of {requests:,}"]
        for _, begins, ends in events:
            failed = sum(second["failed"] for one in mine for second in one["seconds"][begins:ends])
            worst = [worst_p99(one, begins, ends) / 1000 for one in mine]
            got = statistics.median(sum(one["bad_requests"][begins:ends]) for one in mine)
            row.append(f"{failed:,} failed, {spread(worst, 0)} ms, {got:,.0f}")
        rows.append([*row, spread([one["p99"] / 1000 for one in mine]), spread([one["p50"] / 1000 for one in mine]), others(mine)])
    header = "| requests failed " + "".join(f"| {name} " for name, _, _ in events) + "| p99 of all, ms | p50, ms"
    header += " | CPUs of others"
    text = "Each event: requests that failed, p99 of the worst second, and requests that the bad endpoint got."
    return f"## Endpoints that fail\n\n{text}\n\n{markdown(header, rows)}"


def worst_p99(sample: Sample, begins: int, ends: int) -> float:
    """Returns the p99 of the second in which it was longest."""
    return max((second["p99"] or 0.0 for second in sample["seconds"][begins:ends]), default=0.0)


def balance(results: Results) -> str:
    """Returns the latency of each way to choose."""
    samples, rows = results["balance"], []
    called = titles(results, versions=False)
    for name in names(samples):
        mine = of(samples, contestant=name)
        millis = (spread([one[figure] / 1000 for one in mine]) for figure in ("p50", "p90", "p99"))
        share = statistics.median(one["slow_share"] for one in mine)
        failed = f"{sum(one['failed'] for one in mine):,}"
        rows.append([called[name], *millis, f"{share:.1%}", failed, others(mine)])
    header = "| p50, ms | p90 | p99 | requests at the slow endpoint | failed | CPUs of others"
    return f"## One of five endpoints is ten times as slow\n\n{markdown(header, rows)}"


def adaptive(results: Results) -> str:
    """Returns what a burst leaves behind."""
    samples, rows = results["adaptive"], []
    called = titles(results, versions=False)
    for name in names(samples):
        mine = of(samples, contestant=name)
        _, begins, ends = mine[0]["events"][0]
        spans = ((0, begins), (begins, ends), (ends + 5, len(mine[0]["seconds"])))
        row = [called[name]]
        for first, last in spans:
            failed = sum(second["failed"] for one in mine for second in one["seconds"][first:last])
            p99 = [worst_p99(one, first, last) / 1000 for one in mine]
            row.append(f"{spread(p99, 0)} ms, {failed:,} failed")
        rows.append([*row, f"{sum(one['burst_failed'] for one in mine):,}", others(mine)])
    header = "| before | during the burst | from five seconds after it | of the burst failed | CPUs of others"
    return f"## An endpoint that degrades under load\n\nThe p99 of the worst second.\n\n{markdown(header, rows)}"


def stale(results: Results) -> str:
    """Returns how many requests met the server's close."""
    samples, rows = results["stale"], []
    for name in names(samples, "gateway"):
        mine = of(samples, gateway=name)
        half = len(mine[0]["lost"]) // 2
        lost = (sum(sum(one["lost"][part]) for one in mine) for part in (slice(half), slice(half, None)))
        opened = sum(sum(one["opened"]) for one in mine)
        figures = (sum(one["requests"] for one in mine), *lost, sum(one["failed"] for one in mine), opened)
        rows.append([name, *(f"{figure:,}" for figure in figures)])
    header = "| requests | met the close, first half | second half | failed | connections opened"
    return f"## A server that closes idle connections\n\n{markdown(header, rows)}"


def workers(results: Results) -> str:
    """Returns the connections by the number of workers."""
    samples = results["workers"]
    counts = sorted({one["workers"] for one in samples})
    rows = []
    for gateway in names(samples, "gateway"):
        for load in LOADS:
            for kind in names(samples, "kind"):
                mine = of(samples, gateway=gateway, load=load.name, kind=kind)
                if not mine:
                    continue
                opened = {count: _mean(of(mine, workers=count), "opened") for count in counts}
                shares = avoidable(opened)
                requests = _mean(mine, "acquired")
                cells = (f"{opened[count]:,.0f} ({shares[count]:.0%})" for count in counts)
                rows.append([gateway, f"{load.rate:,}/s, {load.name}", kind, f"{requests:,.0f}", *cells])
    header = "| load | upstream | requests " + "".join(f"| {count} " for count in counts)
    text = "Connections opened by the number of workers, and the share that one worker did not need."
    return f"## Connections by workers\n\n{text}\n\n{markdown(header, rows)}"


def _mean(samples: list[Sample], figure: str) -> float:
    return statistics.mean(one[figure] for one in samples)


SECTIONS = {"failures": failures, "balance": balance, "adaptive": adaptive, "stale": stale, "workers": workers}
