"""CPU time per request of contestants that are loaded at once, on one CPU.

One after the other, what else a machine does makes a round dearer by a fifth, and hides a difference of a few hundredths. At once it hits
all alike. Where a process happens to lie in memory is worth two hundredths by itself, so each round has new ones.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import load
from .arena import Arena, Running
from .contestants import Pairs
from .cpu import SETTLE_SECONDS, WARM_SECONDS
from .scenarios import Scenario

PARTS = 3
"""The measurements of a round, which share their processes."""


def run(
    arena: Arena, pairs: Pairs, settings: dict[str, int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All contestants of a scenario at once, in several rounds."""
    connections, seconds = settings["connections"], settings["seconds"]
    samples = []
    for number in range(settings["rounds"]):
        for scenario, contestants in pairs:
            for contestant in contestants:
                arena.end(contestant, scenario.routes)
            running = [arena.get(one, scenario.routes) for one in contestants]
            load_all(running, scenario, connections, WARM_SECONDS)
            for part in range(PARTS):
                time.sleep(SETTLE_SECONDS)
                before = [one.process.cpu_time() for one in running]
                done = load_all(running, scenario, connections, seconds)
                used = [one.process.cpu_time() - earlier for one, earlier in zip(running, before)]
                for contestant, took, had in zip(contestants, used, done):
                    sample = {
                        "scenario": scenario.name,
                        "contestant": contestant.name,
                        "round": number * PARTS + part,
                        "cpu_us": took.total / max(had.requests, 1) * 1e6,
                        "requests": had.requests,
                        "failed": had.failed,
                    }
                    samples.append(sample)
                    say(f"round {number + 1}: {scenario.name} {contestant.name} {sample['cpu_us']:.1f} µs")
    return samples


def load_all(running: list[Running], scenario: Scenario, connections: int, seconds: int) -> list[load.Load]:
    """Loads all of them at once, and returns what each load generator counted."""
    with ThreadPoolExecutor(len(running)) as pool:
        return list(pool.map(lambda one: load.run(one, scenario, connections, seconds), running))
