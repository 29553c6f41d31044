"""An endpoint that degrades under load, with a burst: latency with `max_concurrent: auto` and without a limit.

Its response time grows with the square of the requests under way, as that of a server which swaps or fights over locks. Beyond
its peak it answers fewer a second the more it has to do.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from . import latency, quiet, timeline
from .arena import Arena
from .balancers import Balancer, of_gateway
from .endpoints import Endpoint
from .processes import Others

RATE, SECONDS = 1000, 45
DELAY_MS, CAPACITY = 5, 20
"""With 20 requests at once a response takes twice as long, and 2,000 a second are answered: that is the most."""
BURST_RATE, BURST_AT, BURST_SECONDS = 2000, 15, 3
"""More requests, besides the steady ones."""
BURST_CONNECTIONS = 512


def balancers(programs: Mapping[str, Path]) -> list[Balancer]:
    """Returns each program of the gateway with a limit that adapts, and with none."""
    return [
        of_gateway(name, kind, program, title, f"max_concurrent: {limit}", defaults="")
        for name, program in programs.items()
        for kind, limit, title in (
            ("auto", "auto", f"{name}, max_concurrent: auto"),
            ("unlimited", '"off"', f"{name}, no limit"),
        )
    ]


def run(
    chosen: list[Balancer], rounds: int, others_max: float | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measures all in turn, every other round backwards."""
    samples = []
    for number in range(rounds):
        for balancer in chosen if number % 2 == 0 else chosen[::-1]:
            measured = quiet.measure(partial(_measure, balancer), others_max, say)
            sample = {"contestant": balancer.contestant.name, "round": number, **measured}
            samples.append(sample)
            last = sample["seconds"][-1]
            say(
                f"round {number + 1}: {sample['contestant']}: {sample['failed']} failed, "
                f"in the last second p99 {(last['p99'] or 0) / 1000:.0f} ms, {last['failed']} failed"
            )
    return samples


def _measure(balancer: Balancer) -> dict[str, Any]:
    with Arena() as arena:
        endpoint = Endpoint(arena, delay_ms=DELAY_MS, capacity=CAPACITY)
        url = arena.get(balancer.before([endpoint.port])).url("/1k")
        burst: dict[str, Any] = {}
        others = Others()
        thread = threading.Thread(
            target=lambda: burst.update(latency.pace(url, BURST_RATE, BURST_CONNECTIONS, BURST_SECONDS)),
            daemon=True,
        )
        # It counts what is under way at the end of each second; the burst's own requests are told of by their sum alone.
        done = timeline.run(url, RATE, SECONDS, [(BURST_AT, thread.start)], endpoint.counts)
        thread.join()
        return {
            "others_cpus": others.cpus(),
            "rate": RATE,
            "events": [[f"{BURST_RATE:,} more a second", BURST_AT, BURST_AT + BURST_SECONDS]],
            **{name: done.told[name] for name in ("failed", "failures", "p50", "p99", "seconds")},
            "burst_failed": burst["failed"],
            "under_way": [counts["under_way"] for counts in done.observed[1:]],
            "answered": timeline.increases([counts["requests"] for counts in done.observed]),
        }
