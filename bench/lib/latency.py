"""Latency at a fixed rate that every contestant can keep, counted from the time at which each request was due."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from .arena import Arena
from .contestants import BENCH, Pairs
from .processes import LOAD_CPU, BenchError
from .scenarios import Scenario

PACE = BENCH / "tools/target/release/pace"
DIRECT = "origin"
"""What the requests are called that go to the origin without a proxy: the part of the figures that is no proxy's."""


def pace(url: str, rate: int, connections: int, seconds: int) -> dict[str, Any]:
    """What the load generator tells of requests at this rate, in microseconds."""
    command = ["taskset", "-c", str(LOAD_CPU), str(PACE), url]
    command += ["--rate", str(rate), "--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False, start_new_session=True
    )
    if done.returncode:
        raise BenchError(f"pace: {done.stderr.strip()}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def can_pace(scenario: Scenario) -> bool:
    """Whether the load generator sends such requests."""
    return not (scenario.http2 or scenario.post_bytes or scenario.client_close)


def run(
    arena: Arena, pairs: Pairs, rate: int, settings: dict[str, int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All pairs in several rounds, and the origin by itself."""
    samples = []

    def measure(scenario: str, contestant: str, url: str, number: int) -> None:
        told = pace(url, rate, settings["connections"], settings["seconds"])
        samples.append(
            {"scenario": scenario, "contestant": contestant, "round": number, "rate": rate, **told}
        )
        say(
            f"round {number + 1}: {scenario} {contestant} at {rate:,}/s: "
            f"p50 {told['p50']} µs, p99.9 {told['p99_9']} µs, "
            f"{told['failed']} failed"
        )

    for number in range(settings["rounds"]):
        for scenario, contestants in pairs:
            if not scenario.tls:
                direct = f"http://127.0.0.1:{arena.origin_port}/{scenario.path.rpartition('/')[2]}"
                measure(scenario.name, DIRECT, direct, number)
            for contestant in contestants if number % 2 == 0 else contestants[::-1]:
                running = arena.get(contestant, scenario.routes)
                measure(scenario.name, contestant.name, running.url(scenario.path, scenario.tls), number)
    return samples
