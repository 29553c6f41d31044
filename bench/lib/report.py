"""Results as tables in Markdown."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from . import upstream_report
from .results import Results
from .scenarios import PLAIN, SCENARIOS
from .tables import markdown, spread, titles

REFERENCE = "nginx"
FILTER_REFERENCE = "nginx-lua"

Sample = dict[str, Any]
Rounds = dict[int, float]
"""A figure of each round."""


def rounds(samples: Iterable[Sample], figure: str) -> dict[tuple[str, str], Rounds]:
    """A figure by scenario and contestant, round by round."""
    table: dict[tuple[str, str], Rounds] = defaultdict(dict)
    for sample in samples:
        table[sample["scenario"], sample["contestant"]][sample["round"]] = sample[figure]
    return table


def ratio(ours: Rounds, theirs: Rounds) -> float | None:
    """The median of the ratios within each round that has both."""
    within = ratios(ours, theirs)
    return statistics.median(within) if within else None


def ratios(ours: Rounds, theirs: Rounds) -> list[float]:
    """The ratios within each round that has both."""
    return [ours[number] / theirs[number] for number in ours.keys() & theirs.keys() if theirs[number]]


def heading(results: Results) -> str:
    """When and where, in a line or two."""
    run, machine = results["run"], results["run"]["machine"]
    return (
        f"{run['date']}, {machine['cores']} × {machine['cpu']}, Linux {machine['kernel']}, "
        f"load before {machine['load_before']:.1f}, gateway {run['commit']}: `{run['command']}`"
    )


def document(results: Results) -> str:
    """Everything that was measured."""
    sections = {"cpu": cpu, "together": together, "latency": latency, "memory": memory, "reload": reload}
    sections |= {"founding": founding, **upstream_report.SECTIONS}
    return "\n\n".join(
        [heading(results), *(section(results) for step, section in sections.items() if step in results)]
    )


def cpu(results: Results) -> str:
    """CPU time per request: all at a glance, then a table a scenario."""
    scenarios = list(dict.fromkeys(sample["scenario"] for sample in results["cpu"]))
    parts = [
        "## CPU µs per request",
        "Median (lowest–highest) of the rounds; ratios are medians of those within each round.",
        _overview(results, [name for name in scenarios if not SCENARIOS[name].filter]),
        _overview(results, [name for name in scenarios if SCENARIOS[name].filter]),
        *(f"### {name}: {SCENARIOS[name].title}\n\n{_details(results, name)}" for name in scenarios),
    ]
    if any(sample["failed"] for sample in results["cpu"]):
        parts.append("(!) Requests failed: this figure is none.")
    return "\n\n".join(filter(None, parts))


def _overview(results: Results, scenarios: list[str]) -> str:
    """Scenarios down, contestants across."""
    micros = rounds(results["cpu"], "cpu_us")
    names = titles(results, filtered=any(SCENARIOS[name].filter for name in scenarios))
    contestants = [name for name in names if any((scenario, name) in micros for scenario in scenarios)]
    if not contestants:
        return ""
    return markdown(
        " | ".join(["", *(names[name] for name in contestants)]),
        (
            [
                f"{scenario}: {SCENARIOS[scenario].title}",
                *(
                    spread(micros[scenario, name].values()) if (scenario, name) in micros else "–"
                    for name in contestants
                ),
            ]
            for scenario in scenarios
        ),
    )


def _details(results: Results, scenario: str) -> str:
    """All that was measured of the contestants in a scenario."""
    samples = [sample for sample in results["cpu"] if sample["scenario"] == scenario]
    micros, per_second = rounds(results["cpu"], "cpu_us"), rounds(samples, "requests_per_second")
    filtered = bool(SCENARIOS[scenario].filter)
    names, reference = titles(results, filtered), FILTER_REFERENCE if filtered else REFERENCE
    if (scenario, reference) not in micros:  # Then programs of the gateway are compared with one another.
        reference = results["run"]["gateways"][0]
    rows = []
    for key in per_second:
        mine = [sample for sample in samples if sample["contestant"] == key[1]]
        times = ratio(micros[key], micros.get((scenario, reference), {}))
        row = [
            names.get(key[1], key[1]) + _mark(mine),
            spread(micros[key].values()),
            _median(mine, "system_us", ".1f"),
            f"{times:.2f}" if times else "–",
            spread(per_second[key].values(), 0),
            _median(mine, "busy", ".0%"),
            _median(mine, "origin_connections", ",.0f"),
            f"{_counted(mine):+.2%}",
        ]
        if filtered:
            row.append(_beyond(micros, key))
        if SCENARIOS[scenario].upstream_tls:
            row.append(_resumed(mine))
        rows.append(row)
    header = f"| CPU µs per request | of it system | × {reference} | requests/s | CPU used"
    header += " | origin connections | origin counted"
    header += " | beyond no filter" if filtered else ""
    header += " | TLS resumed" if SCENARIOS[scenario].upstream_tls else ""
    return markdown(header, rows)


def together(results: Results) -> str:
    """CPU time per request of contestants loaded at once, and how it compares with that of the first of each kind of proxy."""
    samples = results["together"]
    micros, names = rounds(samples, "cpu_us"), titles(results)
    kind = lambda name: name.partition("-")[0]
    first = {(scenario, kind(name)): name for scenario, name in reversed(micros)}
    rows = [
        [
            f"{scenario}: {SCENARIOS[scenario].title}",
            names.get(name, name) + _mark([one for one in samples if one["contestant"] == name]),
            spread(micros[scenario, name].values()),
            spread(ratios(micros[scenario, name], micros[scenario, first[scenario, kind(name)]]), 3),
        ]
        for scenario, name in micros
    ]
    return "\n\n".join(
        [
            "## CPU µs per request, loaded at once",
            "Median (lowest–highest), and of the ratios to the first of the same proxy within each measurement.",
            markdown("| | CPU µs per request | × the first", rows),
        ]
    )


def latency(results: Results) -> str:
    """Latencies at a fixed rate, a table a scenario."""
    samples = results["latency"]
    parts = [
        f"## Latency at {samples[0]['rate']:,} requests/s",
        "µs from the time at which each request was due.",
    ]
    for scenario in dict.fromkeys(sample["scenario"] for sample in samples):
        mine, rows = [sample for sample in samples if sample["scenario"] == scenario], []
        names = {**titles(results, bool(SCENARIOS[scenario].filter)), "origin": "no proxy"}
        for name in dict.fromkeys(sample["contestant"] for sample in mine):
            some = [sample for sample in mine if sample["contestant"] == name]
            rows.append(
                [names.get(name, name), *_latencies(some), f"{sum(sample['failed'] for sample in some):,}"]
            )
        table = markdown("| p50 | p99 | p99.9 | longest | failed", rows)
        parts.append(f"### {scenario}: {SCENARIOS[scenario].title}\n\n{table}")
    return "\n\n".join(parts)


def memory(results: Results) -> str:
    """Memory of each contestant."""
    names, idle, rows = titles(results), results["memory"][0]["idle_connections"], []
    for sample in results["memory"]:
        totals = [sample[figure] / 1024 for figure in ("started_kib", "warm_kib", "idle_kib", "peak_rss_kib")]
        each = f"{sample['kib_per_connection']:.2f}"
        # Results of earlier days do not have it.
        http2 = sample.get("kib_per_http2_connection")
        figures = (*(f"{total:,.1f}" for total in totals), each, "–" if http2 is None else f"{http2:.2f}")
        rows.append([names[sample["contestant"]], *figures])
    header = (
        f"| MiB after the start | after some requests | with {idle:,} idle connections | most resident "
        "| KiB per idle connection | over TLS and HTTP/2"
    )
    return f"## Memory (PSS)\n\n{markdown(header, rows)}"


def reload(results: Results) -> str:
    """Windows with reloads and without."""
    names, rows = titles(results), []
    for key in dict.fromkeys((one["contestant"], one["load"], one["reloads"]) for one in results["reload"]):
        mine = [one for one in results["reload"] if (one["contestant"], one["load"], one["reloads"]) == key]
        took = [millis for one in mine for millis in one["took_ms"]]
        done, failed = (sum(one[figure] for one in mine) for figure in ("done", "failed"))
        load, latencies = (
            ("fixed rate", _latencies(mine)) if key[1] == "rate" else ("all it takes", ["–"] * 4)
        )
        live = spread(took, 0) if took else "–"
        rows.append([names[key[0]], load, f"{key[2]}", f"{done:,}", f"{failed:,}", *latencies, live])
    header = "| load | reloads a window | requests | failed | p50 µs | p99 | p99.9 | longest | ms until live"
    return f"## Reloads\n\n{markdown(header, rows)}"


def founding(results: Results) -> str:
    """The founding experiment."""
    samples, names, rows = results["founding"], titles(results), []
    per_second, micros = rounds(samples, "requests_per_second"), rounds(samples, "cpu_us")
    for name in dict.fromkeys(sample["contestant"] for sample in samples):
        for scenario in ("s7", "s7-off"):
            mine = [one for one in samples if (one["scenario"], one["contestant"]) == (scenario, name)]
            times = ratio(per_second["s7", name], per_second["s7-off", name])
            rows.append(
                [
                    names[name] + _mark(mine),
                    "kept" if scenario == "s7" else "not kept",
                    spread(per_second[scenario, name].values(), 0),
                    f"{times:.1f}" if scenario == "s7" and times else "",
                    spread(micros[scenario, name].values()),
                    _resumed(mine),
                    _median(mine, "established", ",.0f"),
                    _median(mine, "time_wait", ",.0f"),
                ]
            )
    header = "| connections | requests/s | times | CPU µs per request | TLS resumed | ESTABLISHED | TIME_WAIT"
    return f"## The founding experiment\n\n{markdown(header, rows)}"


def _latencies(samples: list[Sample]) -> list[str]:
    return [spread([sample[figure] for sample in samples], 0) for figure in ("p50", "p99", "p99_9", "max")]


def _median(samples: list[Sample], figure: str, form: str) -> str:
    return format(statistics.median(sample[figure] for sample in samples), form)


def _counted(samples: list[Sample]) -> float:
    """How many more requests the origin counted than the load generator: those that were under way at the end."""
    counted, done = (
        sum(int(sample[figure]) for sample in samples) for figure in ("origin_requests", "requests")
    )
    return counted / max(1, done) - 1


def _mark(samples: list[Sample]) -> str:
    failed = sum(sample["failed"] for sample in samples)
    return f" (!) {failed:,} failed" if failed else ""


def _resumed(samples: list[Sample]) -> str:
    opened = sum(sample["origin_connections"] for sample in samples)
    return f"{sum(sample['tls_resumed'] for sample in samples) / opened:.0%}" if opened else "–"


def _beyond(micros: dict[tuple[str, str], Rounds], key: tuple[str, str]) -> str:
    """What a filter costs: the difference from the same proxy without one, in the same round."""
    scenario, contestant = key
    # A contestant with another filter is called after the one without: nginx-lua, gateway-rust.
    bases = [
        name for name in (contestant, contestant.rpartition("-")[0]) if (PLAIN[scenario], name) in micros
    ]
    if not bases:
        return "–"
    plain = micros[PLAIN[scenario], bases[0]]
    shared = micros[key].keys() & plain.keys()
    return (
        f"{statistics.median(micros[key][number] - plain[number] for number in shared):+.1f}"
        if shared
        else "–"
    )
