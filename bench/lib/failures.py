"""One of three endpoints dies, stalls, and answers errors: requests that fail, and latency, in the same minute."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from . import latency, quiet, timeline
from .arena import Arena
from .balancers import Balancer
from .endpoints import Endpoint
from .processes import Others

ENDPOINTS, RATE, SECONDS = 3, 2000, 60
DELAY_MS = 2
"""The response time of endpoints that work."""
EVENTS = (("dead", 10, 20), ("stalled", 25, 35), ("500", 40, 50))
"""What becomes of one endpoint, from this second until that one."""
WARM_SECONDS = 2
SETTLE_SECONDS = 3
"""For the first probes."""


def run(
    balancers: list[Balancer], rounds: int, others_max: float | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measures all in turn, every other round backwards."""
    samples = []
    for number in range(rounds):
        for balancer in balancers if number % 2 == 0 else balancers[::-1]:
            measured = quiet.measure(partial(_measure, balancer), others_max, say)
            sample = {"contestant": balancer.contestant.name, "round": number, **measured}
            samples.append(sample)
            p99 = max(second["p99"] or 0 for second in sample["seconds"]) / 1000
            say(
                f"round {number + 1}: {sample['contestant']}: {sample['failed']} of {RATE * SECONDS} failed, "
                f"the worst second's p99 {p99:.0f} ms, {sample['others_cpus']:.2f} CPUs used by others"
            )
    return samples


def _measure(balancer: Balancer) -> dict[str, Any]:
    with Arena() as arena:
        endpoints = [Endpoint(arena, delay_ms=DELAY_MS) for _ in range(ENDPOINTS)]
        running = arena.get(balancer.before([endpoint.port for endpoint in endpoints]))
        time.sleep(SETTLE_SECONDS)
        url = running.url("/1k")
        latency.pace(url, RATE, 64, WARM_SECONDS)
        bad, others = endpoints[0], Others()
        done = timeline.run(url, RATE, SECONDS, _actions(bad), bad.counts)
        told = done.told
        return {
            "others_cpus": others.cpus(),
            "rate": RATE,
            "events": [list(event) for event in EVENTS],
            "failed": told["failed"],
            "failures": told["failures"],
            "p50": told["p50"],
            "p99": told["p99"],
            "p99_9": told["p99_9"],
            "seconds": told["seconds"],
            "bad_requests": timeline.increases([counts["requests"] for counts in done.observed]),
            "bad_probes": timeline.increases([counts["probes"] for counts in done.observed]),
            "messages": running.process.said(),
        }


def _actions(bad: Endpoint) -> list[timeline.Action]:
    (_, dies, returns), (_, stalls, resumes), (_, errs, recovers) = EVENTS
    return [
        (dies, bad.kill),
        (returns, lambda: bad.start(delay_ms=DELAY_MS)),
        (stalls, lambda: bad.set(stalled=1)),
        (resumes, lambda: bad.set(stalled=0)),
        (errs, lambda: bad.set(status=500)),
        (recovers, lambda: bad.set(status=200)),
    ]
