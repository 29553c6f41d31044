"""The main figure: CPU time of the proxy per request, in a closed loop."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from . import load
from .arena import Arena, Running
from .contestants import Pairs
from .scenarios import Scenario

WARM_SECONDS = 1
SETTLE_SECONDS = 0.2
"""For requests that an earlier load has left under way."""


@dataclass(frozen=True)
class Sample:
    """One contestant in one scenario in one round."""

    scenario: str
    contestant: str
    round: int
    cpu_us: float
    """CPU time per request."""
    system_us: float
    """What of it is the kernel's."""
    busy: float
    """CPU time over time: 1 where the proxy's CPU was the bottleneck."""
    requests: int
    """Answered with success, by the load generator's count."""
    failed: int
    requests_per_second: float
    origin_requests: int
    """What the origin counted: it is more by those that were under way at the end."""
    origin_connections: int
    """Connections that the origin accepted meanwhile."""
    tls_resumed: int
    """TLS sessions among them that were resumed."""


def measure(
    arena: Arena, running: Running, scenario: Scenario, number: int, connections: int, seconds: int
) -> Sample:
    """Loads a contestant and looks what it took."""
    time.sleep(SETTLE_SECONDS)
    counts, used, began = arena.counts(), running.process.cpu_time(), time.monotonic()
    done = load.run(running, scenario, connections, seconds)
    took = time.monotonic() - began
    used, after = running.process.cpu_time() - used, arena.counts()
    more = {name: after[name] - count for name, count in counts.items()}
    requests = max(done.requests, 1)
    return Sample(
        scenario.name,
        running.contestant.name,
        number,
        cpu_us=used.total / requests * 1e6,
        system_us=used.system / requests * 1e6,
        busy=used.total / took,
        requests=done.requests,
        failed=done.failed,
        requests_per_second=done.requests / done.seconds,
        origin_requests=more["requests"],
        origin_connections=more["plain_connections"] + more["tls_connections"] + more["h2_connections"],
        tls_resumed=more["tls_resumed"],
    )


def run(
    arena: Arena, pairs: Pairs, settings: dict[str, int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All pairs in several rounds.

    Those of a scenario follow one another, every other round backwards: what else the machine does hits all of them, and
    none always follows the same other.
    """
    connections, seconds = settings["connections"], settings["seconds"]
    samples = []
    for scenario, contestants in pairs:
        for contestant in contestants:
            load.run(arena.get(contestant, scenario.routes), scenario, connections, WARM_SECONDS)
    for number in range(settings["rounds"]):
        for scenario, contestants in pairs:
            for contestant in contestants if number % 2 == 0 else contestants[::-1]:
                running = arena.get(contestant, scenario.routes)
                sample = measure(arena, running, scenario, number, connections, seconds)
                samples.append(asdict(sample))
                failed = f", {sample.failed} failed" if sample.failed else ""
                say(
                    f"round {number + 1}: {scenario.name} {contestant.name} {sample.cpu_us:.1f} µs, "
                    f"{sample.requests_per_second:,.0f}/s{failed}"
                )
    return samples
