"""Results as tables in Markdown."""

import statistics
from collections import defaultdict
from collections.abc import Iterable

from .results import Results
from .scenarios import PLAIN, SCENARIOS

REFERENCE = "nginx"
FILTER_REFERENCE = "nginx-lua"

Rounds = dict[int, float]
"""A figure of each round."""


def rounds(samples: Iterable[dict], figure: str) -> dict[tuple[str, str], Rounds]:
    """A figure by scenario and contestant, round by round."""
    table: dict[tuple[str, str], Rounds] = defaultdict(dict)
    for sample in samples:
        table[sample["scenario"], sample["contestant"]][sample["round"]] = sample[figure]
    return table


def ratio(ours: Rounds, theirs: Rounds) -> float | None:
    """The median of the ratios within each round that has both."""
    ratios = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys() if theirs[number]]
    return statistics.median(ratios) if ratios else None


def spread(values: Iterable[float], digits: int = 1) -> str:
    """The median, and between which the values lie."""
    values = list(values)
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def titles(results: Results) -> dict[str, str]:
    """What contestants are called, with their versions."""
    told = results["run"]["contestants"]
    return {name: f"{one['title']} {one['version']}".strip() for name, one in told.items()}


def heading(results: Results) -> str:
    """When and where, in a line or two."""
    run, machine = results["run"], results["run"]["machine"]
    return (
        f"{run['date']}, {machine['cores']} × {machine['cpu']}, Linux {machine['kernel']}, "
        f"load before {machine['load_before']:.1f}, gateway {run['commit']}: `{run['command']}`"
    )


def cpu(results: Results) -> str:
    """CPU time per request, a table a scenario."""
    samples = results["cpu"]
    micros, per_second = rounds(samples, "cpu_us"), rounds(samples, "requests_per_second")
    names = titles(results)
    parts = []
    for scenario in dict.fromkeys(sample["scenario"] for sample in samples):
        rows = [key for key in micros if key[0] == scenario]
        reference = FILTER_REFERENCE if SCENARIOS[scenario].filter else REFERENCE
        lines = [
            f"**{scenario}**: {SCENARIOS[scenario].title}\n",
            f"| | CPU µs per request | × {reference} | beyond no filter | requests/s | CPU used | origin connections | TLS resumed |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for key in rows:
            mine = [sample for sample in samples if (sample["scenario"], sample["contestant"]) == key]
            times = ratio(micros[key], micros.get((scenario, reference), {}))
            lines.append("| " + " | ".join([
                names.get(key[1], key[1]) + _mark(mine), spread(micros[key].values()),
                f"{times:.2f}" if times else "–", _beyond(micros, key), spread(per_second[key].values(), 0),
                f"{statistics.median(sample['busy'] for sample in mine):.0%}",
                f"{statistics.median(sample['origin_connections'] for sample in mine):,.0f}",
                _resumed(mine) if SCENARIOS[scenario].upstream_tls else "–",
            ]) + " |")
        parts.append("\n".join(lines))
    parts.append("Median (lowest–highest) of the rounds; ratios are medians of those within a round.")
    if any("failed" in sample and sample["failed"] for sample in samples):
        parts.append("(!) Requests failed: this figure is none.")
    return "\n\n".join(parts)


def _mark(samples: list[dict]) -> str:
    failed = sum(sample["failed"] for sample in samples)
    return f" (!) {failed:,} failed" if failed else ""


def _resumed(samples: list[dict]) -> str:
    opened = sum(sample["origin_connections"] for sample in samples)
    return f"{sum(sample['tls_resumed'] for sample in samples) / opened:.0%}" if opened else "–"


def _beyond(micros: dict[tuple[str, str], Rounds], key: tuple[str, str]) -> str:
    """What a filter costs: the difference from the same proxy without one, in the same round."""
    scenario, contestant = key
    # A contestant with a filter is called after the one without: nginx-lua, gateway-rust.
    bases = [name for name in (contestant, contestant.rpartition("-")[0], contestant.split("-")[0])
             if (PLAIN.get(scenario, ""), name) in micros]
    if not bases:
        return "–"
    plain = micros[PLAIN[scenario], bases[0]]
    shared = micros[key].keys() & plain.keys()
    return f"{statistics.median(micros[key][number] - plain[number] for number in shared):+.1f}"
