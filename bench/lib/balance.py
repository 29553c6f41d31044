"""One of five endpoints is ten times as slow as the others: latency, and the requests that it gets."""

from collections.abc import Callable
from functools import partial
from typing import Any

from . import latency, quiet
from .arena import Arena, Running
from .balancers import Balancer
from .endpoints import Endpoint
from .processes import Others

ENDPOINTS, RATE, SECONDS, CONNECTIONS = 5, 2000, 10, 512
FAST_MS, SLOW_MS = 5, 50
WARM_SECONDS = 2


def run(
    balancers: list[Balancer], rounds: int, others_max: float | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measures all in turn, every other round backwards."""
    samples = []
    with Arena() as arena:
        endpoints = [Endpoint(arena, delay_ms=SLOW_MS if number == 0 else FAST_MS) for number in range(ENDPOINTS)]
        for number in range(rounds):
            for balancer in balancers if number % 2 == 0 else balancers[::-1]:
                contestant = balancer.before([endpoint.port for endpoint in endpoints])
                running = arena.get(contestant)
                measured = quiet.measure(partial(_measure, running, endpoints), others_max, say)
                samples.append({"contestant": contestant.name, "round": number, **measured})
                say(
                    f"round {number + 1}: {contestant.name}: p50 {measured['p50'] / 1000:.1f} ms, "
                    f"p99 {measured['p99'] / 1000:.1f} ms, {measured['slow_share']:.1%} to the slow one"
                )
    return samples


def _measure(running: Running, endpoints: list[Endpoint]) -> dict[str, Any]:
    url = running.url("/1k")
    latency.pace(url, RATE, CONNECTIONS, WARM_SECONDS)
    before, others = endpoints[0].counts()["requests"], Others()
    told = latency.pace(url, RATE, CONNECTIONS, SECONDS)
    return {
        "others_cpus": others.cpus(),
        "rate": RATE,
        "slow_share": (endpoints[0].counts()["requests"] - before) / (RATE * SECONDS),
        **{name: told[name] for name in ("failed", "p50", "p90", "p99", "p99_9", "max")},
    }
