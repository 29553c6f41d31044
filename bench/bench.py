#!/usr/bin/env python3
"""The gateway beside other proxies: CPU time per request, latency, memory, reloads. bench/README.md says how and what for.

    bench/setup.sh                                              installs and builds what it takes
    bench/bench.py all                                          everything, with a table, JSON and a chart
    bench/bench.py cpu --scenarios s1,s2 --contestants gateway,nginx --rounds 3 --seconds 2
    bench/bench.py cpu --scenarios s1 --gateway old=PROGRAM --gateway new=PROGRAM
"""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from lib import check, cpu, report, results
from lib.arena import Arena
from lib.contestants import Contestant
from lib.peers import GATEWAY, contestants
from lib.processes import LOAD_CPU, PROXY_CPU, BenchError
from lib.scenarios import SCENARIOS, Scenario

LOAD_MAX = 0.5
TOOLS = ("openssl", "taskset", "wrk", "h2load", "nghttp")

Pairs = list[tuple[Scenario, list[Contestant]]]


def main() -> None:
    """Does what the command line says."""
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        arguments.run(arguments)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--scenarios", type=names, help=f"of {', '.join(SCENARIOS)} (default: all)", metavar="NAME,…")
    chosen.add_argument("--contestants", type=names, metavar="NAME,…",
                        help="`nginx` is nginx-lua, too, and `gateway` every program of it (default: all)")
    chosen.add_argument("--gateway", action="append", default=[], metavar="[NAME=]PROGRAM,…",
                        help="programs of the gateway to compare (default: target/release/gateway)")
    chosen.add_argument("--rounds", type=int, default=5, help="of each measurement (default: %(default)s)")
    chosen.add_argument("--seconds", type=int, default=3, help="of a round (default: %(default)s)")
    chosen.add_argument("--connections", type=int, default=64, help="of the load generator (default: %(default)s)")
    chosen.add_argument("--walls", action="store_true", help="with contestants where they are known to hit a wall")
    chosen.add_argument("--unchecked", action="store_true", help="measure without a check before")
    chosen.add_argument("--output", type=Path, default=results.LAST, metavar="FILE", help="where results go, as JSON")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("check", run_check, "whether all answer alike and keep their connections"),
        ("cpu", run_cpu, "CPU time per request"),
    ):
        commands.add_parser(name, parents=[chosen], help=text, description=text).set_defaults(run=run)
    return parser.parse_args()


def names(text: str) -> list[str]:
    """A list with commas."""
    return [name for name in text.split(",") if name]


def run_check(arguments: argparse.Namespace) -> None:
    """bench.py check"""
    with Arena() as arena:
        check.check_all(arena, choose(arguments)[1], say)


def run_cpu(arguments: argparse.Namespace) -> None:
    """bench.py cpu"""
    found, pairs = choose(arguments)
    with Arena() as arena:
        if not arguments.unchecked:
            check.check_all(arena, pairs, say)
        found["cpu"] = cpu.run(arena, pairs, arguments.rounds, arguments.connections, arguments.seconds, say)
    results.save(found, arguments.output)
    print(f"\n{report.heading(found)}\n\n{report.cpu(found)}")


def choose(arguments: argparse.Namespace) -> tuple[results.Results, Pairs]:
    """What is to be measured, and results that have nothing but that yet."""
    look_around()
    programs = gateways(arguments.gateway)
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
        scenario = SCENARIOS[name]
        able = [one for one in everybody if wanted(one) and one.takes_part(scenario)]
        if able := [one for one in able if arguments.walls or name not in one.walls]:
            pairs.append((scenario, able))
    if not pairs:
        raise BenchError("none of these contestants takes part in any of these scenarios")
    chosen = list({one.name: one for _, able in pairs for one in able}.values())
    if missing := list(filter(None, (one.missing() for one in chosen))):
        raise BenchError("\n".join([*missing, "bench/setup.sh installs what it takes"]))
    settings = {"rounds": arguments.rounds, "seconds": arguments.seconds, "connections": arguments.connections}
    return results.begin(chosen, list(programs), settings), pairs


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
        raise BenchError(f"not installed: {', '.join(missing)}; bench/setup.sh installs what it takes")
    if not {PROXY_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        raise BenchError(f"CPUs {PROXY_CPU} and {LOAD_CPU} are needed, one for the proxy and one for load and origin")
    if (load := os.getloadavg()[0]) > LOAD_MAX:
        say(f"warning: the machine has a load of {load:.1f}; for figures to keep, wait until it is under {LOAD_MAX}")


def say(text: str) -> None:
    """Tells how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
