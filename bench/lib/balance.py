"""One of five endpoints is ten times as slow as the others: latency, and the requests that it gets."""

from collections.abc import Callable
from typing import Any

from . import latency
from .arena import Arena
from .balancers import Balancer
from .endpoints import Endpoint
from .processes import Others

ENDPOINTS, RATE, SECONDS, CONNECTIONS = 5, 2000, 10, 512
FAST_MS, SLOW_MS = 5, 50
WARM_SECONDS = 2


def run(balancers: list[Balancer], rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures all in turn, every other round backwards."""
    samples = []
    with Arena() as arena:
        endpoints = [Endpoint(arena, delay_ms=SLOW_MS if number == 0 else FAST_MS) for number in range(ENDPOINTS)]
        ports = [endpoint.port for endpoint in endpoints]
        for number in range(rounds):
            for balancer in balancers if number % 2 == 0 else balancers[::-1]:
                url = arena.get(balancer.before(ports)).url("/1k")
                latency.pace(url, RATE, CONNECTIONS, WARM_SECONDS)
                before = [endpoint.counts()["requests"] for endpoint in endpoints]
                others = Others()
                told = latency.pace(url, RATE, CONNECTIONS, SECONDS)
                counts = [endpoint.counts()["requests"] for endpoint in endpoints]
                shares = [(after - first) / (RATE * SECONDS) for first, after in zip(before, counts, strict=True)]
                samples.append(
                    {
                        "contestant": balancer.contestant.name,
                        "round": number,
                        "others_cpus": others.cpus(),
                        "rate": RATE,
                        "slow_share": shares[0],
                        **{name: told[name] for name in ("failed", "p50", "p90", "p99", "p99_9", "max")},
                    }
                )
                say(
                    f"round {number + 1}: {balancer.contestant.name}: p50 {told['p50'] / 1000:.1f} ms, "
                    f"p99 {told['p99'] / 1000:.1f} ms, {shares[0]:.1%} to the slow one"
                )
    return samples
