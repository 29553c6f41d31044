"""The steps about upstreams that fail: who takes part in each, and what comes out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import adaptive, balance, balancers, failures, stale, upstream_charts, workers
from .balancers import Balancer
from .contestants import Contestant
from .processes import BenchError
from .results import Results

STEPS = {
    "failures": "one of three endpoints dies, stalls and answers errors: failed requests, latency",
    "balance": "one of five endpoints is ten times as slow as the others: latency by the way to choose",
    "adaptive": "an endpoint that degrades under load: latency with max_concurrent: auto and without a limit",
    "stale": "a server that closes idle connections: requests that meet the close, over time",
    "workers": "connections opened by the number of workers",
}

Programs = Mapping[str, Path]


def choose(steps: list[str], wanted: list[str] | None, programs: Programs) -> list[Contestant]:
    """Returns those that take part in any of the steps."""
    everyone = list({one.name: one for step in steps for one in _able(step, programs)}.values())
    known = {called for one in everyone for called in _called(one, programs)}
    if unknown := set(wanted or ()) - known:
        raise BenchError(f"no such contestant: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    chosen = [one for one in everyone if not wanted or not _called(one, programs).isdisjoint(wanted)]
    if missing := {problem for one in chosen if (problem := one.missing())}:
        raise BenchError("\n".join([*sorted(missing), "bench/setup.sh installs and builds what it takes"]))
    return chosen


def _called(one: Contestant, programs: Programs) -> set[str]:
    """Returns the names by which it can be chosen."""
    return {one.name, one.family} | ({"gateway"} if one.family in programs else set())


def _able(step: str, programs: Programs) -> list[Contestant]:
    if step == "stale":
        return stale.contestants(programs)
    if step == "workers":
        return workers.contestants(programs)
    return [balancer.contestant for balancer in _balancers(step, programs)]


def _balancers(step: str, programs: Programs) -> list[Balancer]:
    every = {
        "failures": balancers.that_fail,
        "balance": balancers.that_choose,
        "adaptive": adaptive.balancers,
    }
    return every[step](programs)


def measure(
    step: str,
    chosen: list[Contestant],
    programs: Programs,
    rounds: int,
    others_max: float | None,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Returns the samples of a step. Where it matters, runs are repeated during which others used more CPUs than that."""
    names = {one.name for one in chosen}
    if step == "workers":
        return workers.run([one for one in workers.contestants(programs) if one.name in names], rounds, say)
    if step == "stale":
        return stale.run([one for one in stale.contestants(programs) if one.name in names], rounds, say)
    taking_part = [one for one in _balancers(step, programs) if one.contestant.name in names]
    run = {"failures": failures.run, "balance": balance.run, "adaptive": adaptive.run}
    return run[step](taking_part, rounds, others_max, say)


def charts(results: Results) -> dict[str, str]:
    """Returns a picture of each step that has one, by the step's name."""
    pictures = upstream_charts.PICTURES.items()
    return {name: draw(results) for name, draw in pictures if name in results}
