"""What the gateway is to reach, as ratios within one run."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .report import ratio, rounds
from .results import Results
from .tables import markdown

SCRIPTED = ("nginx-lua", "nginx-njs", "haproxy-lua", "envoy-lua", "envoy-wasm", "envoy-rust")
"""Peers whose filters are scripts or modules."""


@dataclass(frozen=True)
class Target:
    """One goal, and how it is read from results."""

    name: str
    measured: Callable[[Results, str], float | None]
    """Of results and the name of the gateway's program."""
    limit: float
    at_least: bool = False
    unit: str = "×"


def cpu(
    ours: str, theirs: tuple[str, ...], reference: str = "", suffix: str = ""
) -> Callable[[Results, str], float | None]:
    """CPU time per request in a scenario, against the cheapest of these in each round, maybe in another scenario."""

    def measured(results: Results, gateway: str) -> float | None:
        table = rounds(results.get("cpu", ()), "cpu_us")
        others = [
            table[reference or ours, name or gateway]
            for name in theirs
            if (reference or ours, name or gateway) in table
        ]
        cheapest = {
            number: min(other[number] for other in others if number in other)
            for number in set().union(*others)
        }
        return ratio(table.get((ours, gateway + suffix), {}), cheapest)

    return measured


def idle_connection(results: Results, gateway: str) -> float | None:
    """KiB per idle client connection."""
    return next(
        (one["kib_per_connection"] for one in results.get("memory", ()) if one["contestant"] == gateway), None
    )


def failed(results: Results, gateway: str) -> float | None:
    """Requests that failed over all reloads."""
    windows = [one for one in results.get("reload", ()) if one["contestant"] == gateway and one["reloads"]]
    return sum(one["failed"] for one in windows) if windows else None


def reload_latency(results: Results, gateway: str) -> float | None:
    """p99.9 with reloads, median of the windows, against the worst window without."""
    windows = [
        one for one in results.get("reload", ()) if one["contestant"] == gateway and one["load"] == "rate"
    ]
    with_reloads = [one["p99_9"] for one in windows if one["reloads"]]
    without = [one["p99_9"] for one in windows if not one["reloads"]]
    return statistics.median(with_reloads) / max(without) if with_reloads and without else None


def kept(results: Results, gateway: str) -> float | None:
    """Requests per second with upstream connections kept, against those without."""
    table = rounds(results.get("founding", ()), "requests_per_second")
    return ratio(table.get(("s7", gateway), {}), table.get(("s7-off", gateway), {}))


TARGETS = (
    Target("s1 against nginx", cpu("s1", ("nginx",)), 1.10),
    Target("s2 against nginx", cpu("s2", ("nginx",)), 1.12),
    Target("s3 against nginx", cpu("s3", ("nginx",)), 1.12),
    Target("s4 against nginx", cpu("s4", ("nginx",)), 1.10),
    Target("s5 against nginx", cpu("s5", ("nginx",)), 0.85),
    Target("s6 against HAProxy", cpu("s6", ("haproxy",)), 1.0),
    Target("s6 against nginx", cpu("s6", ("nginx",)), 0.92),
    Target("h2 against HAProxy", cpu("h2", ("haproxy",)), 1.0),
    Target("grpc against Envoy", cpu("grpc", ("envoy",)), 0.4),
    Target("s7 against nginx", cpu("s7", ("nginx", "nginx-tls12")), 0.92),
    Target("s7-off against nginx", cpu("s7-off", ("nginx", "nginx-tls12")), 1.0),
    Target("off against nginx", cpu("off", ("nginx",)), 1.0),
    Target("s8-10000 against s8-10", cpu("s8-10000", ("",), "s8-10"), 1.03),
    Target("s9a against nginx with Lua", cpu("s9a", ("nginx-lua",)), 1.0),
    Target("s9a against nginx with Lua, filter in Rust", cpu("s9a", ("nginx-lua",), suffix="-rust"), 1.0),
    Target("s9b against the best script or module", cpu("s9b", SCRIPTED), 0.65),
    Target(
        "s9b against the best script or module, filter in Rust", cpu("s9b", SCRIPTED, suffix="-rust"), 0.65
    ),
    Target("memory of an idle client connection", idle_connection, 4, unit="KiB"),
    Target("requests that fail over all reloads", failed, 0, unit=""),
    Target("p99.9 with reloads against the worst window without", reload_latency, 1.0),
    Target("requests per second, s7 against s7-off", kept, 8, at_least=True),
)


def table(results: Results) -> str:
    """Which targets are met, for each program of the gateway; nothing where none was measured."""
    rows = []
    for gateway in results["run"]["gateways"]:
        of = f" ({gateway})" if len(results["run"]["gateways"]) > 1 else ""
        for target in TARGETS:
            if (measured := target.measured(results, gateway)) is None:
                continue
            met = measured >= target.limit if target.at_least else measured <= target.limit
            limit = f"{'≥' if target.at_least else '≤'} {target.limit:g} {target.unit}".strip()
            rows.append([target.name + of, limit, f"{measured:.2f}", "met" if met else "**missed**"])
    return markdown("target | | measured | ", rows) if rows else ""
