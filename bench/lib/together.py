"""CPU time per request of contestants that are loaded at once, on one CPU.

One after the other, what else a machine does makes a round dearer by a fifth, and hides a difference of a few hundredths. At once it hits
all alike. Where a process happens to lie in memory is worth two hundredths by itself, so each round has new ones.

As much as comes back is not the same for all: whoever is dearer answers later, finds its client asleep more often, and pays for waking it.
At a fixed rate all wake theirs as often.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import latency, load
from .arena import Arena, Running
from .contestants import Pairs
from .cpu import SETTLE_SECONDS, WARM_SECONDS
from .scenarios import Scenario

PARTS = 3
"""The measurements of a round, which share their processes."""


def run(
    arena: Arena, pairs: Pairs, rate: int | None, settings: dict[str, int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All contestants of a scenario at once, in several rounds: each at a rate, or with as much as comes back."""
    connections, seconds = settings["connections"], settings["seconds"]
    samples = []
    for number in range(settings["rounds"]):
        for scenario, contestants in pairs:
            for contestant in contestants:
                arena.end(contestant, scenario.routes)
            running = [arena.get(one, scenario.routes) for one in contestants]
            load_all(running, scenario, connections, rate, WARM_SECONDS)
            for part in range(PARTS):
                time.sleep(SETTLE_SECONDS)
                before = [one.process.cpu_time() for one in running]
                done = load_all(running, scenario, connections, rate, seconds)
                used = [one.process.cpu_time() - earlier for one, earlier in zip(running, before)]
                for contestant, took, had in zip(contestants, used, done):
                    sample = {
                        "scenario": scenario.name,
                        "contestant": contestant.name,
                        "round": number * PARTS + part,
                        "rate": rate,
                        "cpu_us": took.total / max(had.requests, 1) * 1e6,
                        "requests": had.requests,
                        "failed": had.failed,
                    }
                    samples.append(sample)
                    say(f"round {number + 1}: {scenario.name} {contestant.name} {sample['cpu_us']:.1f} µs")
    return samples


def load_all(
    running: list[Running], scenario: Scenario, connections: int, rate: int | None, seconds: int
) -> list[load.Load]:
    """Loads all of them at once, and returns what each load generator counted."""

    def load_one(one: Running) -> load.Load:
        if rate is None:
            return load.run(one, scenario, connections, seconds)
        told = latency.pace(one.url(scenario.path, scenario.tls), rate, connections, seconds)
        return load.Load(told["done"], told["failed"], seconds)

    with ThreadPoolExecutor(len(running)) as pool:
        return list(pool.map(load_one, running))
