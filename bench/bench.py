#!/usr/bin/env python3
"""The gateway beside other proxies: CPU time per request, latency, memory, reloads. README.md says how it is measured.

bench/setup.sh                                  installs and builds what it takes
bench/bench.py all                              everything: tables, JSON and a chart in bench/results
bench/bench.py cpu --scenarios s1,s2 --contestants gateway,nginx --rounds 3 --seconds 2
bench/bench.py cpu --scenarios s1 --gateway old=PROGRAM --gateway new=PROGRAM
bench/bench.py together --scenarios t-logs,t-traces    a difference of a few hundredths
bench/bench.py upstreams                        upstreams that fail: tables, and JSON and charts in bench/results
bench/bench.py report FILE                      the tables and the charts once more
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib import chart, check, cpu, founding, latency, memory, reload, report, results, targets, together
from lib import upstreams
from lib.arena import Arena
from lib.contestants import Contestant, Pairs
from lib.peers import GATEWAY, contestants
from lib.processes import LOAD_CPU, PROXY_CPU, BenchError
from lib.scenarios import SCENARIOS

LOAD_MAX = 0.5
TOOLS = ("openssl", "taskset", "wrk", "h2load", "nghttp")
STEPS = {
    "check": "whether all answer alike, and keep their upstream connections or not, as the scenario has it",
    "cpu": "CPU time per request, as much load as comes back",
    "latency": "latency at a fixed rate; of s1, unless --scenarios names others",
    "memory": "memory after the start, and per idle client connection",
    "reload": "failed requests and latency with reloads and without",
    "founding": "an HTTPS upstream with its connections kept, and not kept",
}
TOGETHER = "CPU time per request of contestants that are loaded at once, for differences of a few hundredths"


def main() -> None:
    """Does what the command line says."""
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        arguments.run(arguments)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    options = [common_options(rounds=5), measuring_options()]
    for name, text in {"all": "all of the following", **STEPS}.items():
        command = commands.add_parser(name, parents=options, help=text, description=text)
        command.set_defaults(run=run_steps, steps=list(STEPS) if name == "all" else [name])
    command = commands.add_parser("together", parents=options, help=TOGETHER, description=TOGETHER)
    command.set_defaults(run=run_steps, steps=["together"])
    command.add_argument(
        "--paced", action="store_true", help="load each at `--rate`, in place of as much as comes back"
    )
    options = [common_options(rounds=1)]
    for name, text in {"upstreams": "all of the following", **upstreams.STEPS}.items():
        command = commands.add_parser(name, parents=options, help=text, description=text)
        command.add_argument(
            "--others-max",
            type=float,
            metavar="CPUS",
            help="wait until other programs use no more CPUs, and repeat runs during which they did",
        )
        wanted = list(upstreams.STEPS) if name == "upstreams" else [name]
        command.set_defaults(run=run_upstreams, steps=wanted)
    for name, run, text in (
        ("report", run_report, "print the tables of a file of results, and draw its charts"),
        ("targets", run_targets, "print which targets the results of a file meet"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("file", type=Path)
        command.set_defaults(run=run)
    return parser.parse_args()


def common_options(rounds: int) -> argparse.ArgumentParser:
    """Returns the options of all commands that measure."""
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add(
        "--contestants",
        type=names,
        metavar="NAME,…",
        help="`nginx` is nginx-lua, too, and `gateway` every program of it (default: all)",
    )
    add(
        "--gateway",
        action="append",
        default=[],
        metavar="[NAME=]PROGRAM,…",
        help="programs of the gateway to compare (default: target/dist/gateway)",
    )
    add("--rounds", type=positive, default=rounds, help="of each measurement (default: %(default)s)")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="where results go, as JSON (default: results/DATE.json of `all`, results/DATE-upstreams.json of "
        "`upstreams`, results/last.json of single steps)",
    )
    return options


def measuring_options() -> argparse.ArgumentParser:
    """What the steps of `all` understand besides."""
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add("--scenarios", type=names, metavar="NAME,…", help=f"of {', '.join(SCENARIOS)} (default: all)")
    add("--seconds", type=positive, default=3, help="of a round (default: %(default)s)")
    add("--connections", type=positive, default=64, help="of the load generator (default: %(default)s)")
    add(
        "--rate",
        type=positive,
        default=5000,
        help="requests per second where that is fixed (default: %(default)s)",
    )
    add("--idle", type=positive, default=5000, help="idle connections, for memory (default: %(default)s)")
    add(
        "--reloads",
        type=positive,
        default=10,
        help="in each window with reloads, one a second (default: %(default)s)",
    )
    add("--walls", action="store_true", help="have contestants take part where they are known to hit a wall")
    add("--unchecked", action="store_true", help="measure without the check that comes first otherwise")
    return options


def names(text: str) -> list[str]:
    """A list with commas."""
    return [name for name in text.split(",") if name]


def positive(text: str) -> int:
    """A number from 1."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def run_steps(arguments: argparse.Namespace) -> None:
    """Measures, keeps the results after each step, and shows them in the end."""
    look_around()
    os.sched_setaffinity(0, {LOAD_CPU})  # What this program does is no work of the proxy's CPU.
    programs = gateways(arguments.gateway)
    pairs = choose(arguments, programs)
    taking_part = {one.name for _, able in pairs for one in able}
    chosen = [one for one in contestants(programs) if one.name in taking_part]
    settings = {name: getattr(arguments, name) for name in ("rounds", "seconds", "connections")}
    more = {name: getattr(arguments, name) for name in ("rate", "idle", "reloads")}
    found = results.begin(chosen, programs, {**settings, **more})
    whole = len(arguments.steps) > 1
    output = arguments.output or (results.FOLDER / time.strftime("%Y-%m-%d.json") if whole else results.LAST)
    for name, samples in measure(arguments, pairs, settings):
        found[name] = samples
        results.save(found, output)
        say(f"kept in {output}")
    if any(name in found for name in arguments.steps):
        show(found, output)


def run_upstreams(arguments: argparse.Namespace) -> None:
    """Measures upstreams that fail, keeps the results after each step, and shows them in the end."""
    look_around()
    os.sched_setaffinity(0, {LOAD_CPU})
    programs = gateways(arguments.gateway)
    chosen = upstreams.choose(arguments.steps, arguments.contestants, programs)
    found = results.begin(chosen, programs, {"rounds": arguments.rounds, "others_max": arguments.others_max})
    whole = len(arguments.steps) > 1
    usual = results.FOLDER / time.strftime("%Y-%m-%d-upstreams.json") if whole else results.LAST
    output = arguments.output or usual
    for name in arguments.steps:
        found[name] = upstreams.measure(name, chosen, programs, arguments.rounds, arguments.others_max, say)
        results.save(found, output)
        say(f"kept in {output}")
    show(found, output)


def measure(
    arguments: argparse.Namespace, pairs: Pairs, settings: dict[str, int]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The samples of each step that is wanted, as soon as they are there."""
    steps = arguments.steps
    plain = list({one.name: one for _, able in pairs for one in able if one.plain}.values())
    usual = [one for one in plain if not one.upstream_tls12]
    with Arena() as arena:
        if "check" in steps or not arguments.unchecked:
            check.run(arena, pairs, say)
        if "cpu" in steps:
            yield "cpu", cpu.run(arena, pairs, settings, say)
        if "together" in steps:
            rate = arguments.rate if arguments.paced else None
            wanted = [pair for pair in pairs if rate is None or latency.can_pace(pair[0])]
            yield "together", together.run(arena, wanted, rate, settings, say)
        if "latency" in steps:
            wanted = [
                (scenario, able)
                for scenario, able in pairs
                if latency.can_pace(scenario) and (arguments.scenarios or scenario.name == "s1")
            ]
            yield "latency", latency.run(arena, wanted, arguments.rate, settings, say)
    if "memory" in steps:
        yield "memory", memory.run(usual, arguments.idle, settings, say)
    if "reload" in steps:
        able = [one for one in usual if one.reload]
        yield "reload", reload.run(able, arguments.reloads, arguments.rate, settings, say)
    if "founding" in steps:
        yield "founding", founding.run(plain, settings, say)


def run_report(arguments: argparse.Namespace) -> None:
    """bench.py report"""
    show(results.load(arguments.file), arguments.file)


def run_targets(arguments: argparse.Namespace) -> None:
    """bench.py targets"""
    print(targets.table(results.load(arguments.file)) or "nothing was measured that has a target")


def show(found: results.Results, file: Path) -> None:
    """Prints all tables, and draws the chart beside the file."""
    print(report.document(found))
    if reached := targets.table(found):
        print(f"\n## Targets\n\n{reached}")
    if "cpu" in found:
        picture = file.with_suffix(".svg")
        picture.write_text(chart.draw(found))
        say(f"drawn in {picture}")
    for name, drawn in upstreams.charts(found).items():
        picture = file.with_name(f"{file.stem.removesuffix(f'-{name}')}-{name}.svg")
        picture.write_text(drawn)
        say(f"drawn in {picture}")


def choose(arguments: argparse.Namespace, programs: dict[str, Path]) -> Pairs:
    """Who is measured in what."""
    everybody = contestants(programs)
    known = {one.name for one in everybody} | {"gateway"}
    if unknown := set(arguments.contestants or ()) - known:
        raise BenchError(f"no such contestant: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if unknown := set(arguments.scenarios or ()) - SCENARIOS.keys():
        raise BenchError(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")

    def wanted(one: Contestant) -> bool:
        called = {one.name, one.family} | ({"gateway"} if one.family in programs else set())
        return not arguments.contestants or not called.isdisjoint(arguments.contestants)

    pairs = []
    for name in arguments.scenarios or SCENARIOS:
        able = [one for one in everybody if wanted(one) and one.takes_part(SCENARIOS[name])]
        if able := [one for one in able if arguments.walls or name not in one.walls]:
            pairs.append((SCENARIOS[name], able))
    if not pairs:
        raise BenchError("none of these contestants takes part in any of these scenarios")
    missing = {problem for _, able in pairs for one in able if (problem := one.missing())}
    if missing:
        raise BenchError("\n".join([*sorted(missing), "bench/setup.sh installs and builds what it takes"]))
    return pairs


def gateways(given: list[str]) -> dict[str, Path]:
    """The gateway's programs by name; the first without one is called `gateway`."""
    programs: dict[str, Path] = {}
    for entry in (entry for text in given or [str(GATEWAY)] for entry in names(text)):
        name, _, path = entry.rpartition("=")
        name = name or ("gateway" if not programs else f"gateway-{len(programs) + 1}")
        programs[name] = Path(path).resolve()
    return programs


def look_around() -> None:
    """Ends where this machine cannot measure, and warns where it had better not."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        raise BenchError(
            f"not installed: {', '.join(missing)}; bench/setup.sh installs and builds what it takes"
        )
    if not {PROXY_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        raise BenchError(
            f"CPUs {PROXY_CPU} and {LOAD_CPU} are needed, one for the proxy and one for load and origin"
        )
    if (load := os.getloadavg()[0]) > LOAD_MAX:
        say(
            f"warning: the machine has a load of {load:.1f}; for figures to keep, wait until it is under {LOAD_MAX}"
        )


def say(text: str) -> None:
    """Tells how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
