"""A server that closes idle connections after five seconds, far away, and requests that come about as often.

A request that is sent while the server's close is on its way has to be sent again. The pool learns when the server closes, and
then closes first.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import timeline
from .arena import Arena, Running
from .contestants import Contestant
from .endpoints import Endpoint
from .peers import gateway
from .workers import pools

UPSTREAMS, SECONDS = 200, 60
"""Each upstream has a pool of its own, and learns by itself."""
IDLE_SECONDS, ROUND_TRIP_MS = 5.0, 50
GAP_SECONDS = (4.8, 5.6)
"""Between the requests of an upstream, at random."""
SEED = 16
"""All programs get the same requests."""


def contestants(programs: Mapping[str, Path]) -> list[Contestant]:
    """Returns each program of the gateway."""
    return [replace(gateway(name, program, "stale.yaml"), values={}) for name, program in programs.items()]


def before(contestant: Contestant, port: int) -> Contestant:
    """Returns the contestant with its upstreams, all at this port."""
    lines = (f'  app-{number}: {{ endpoints: ["http://127.0.0.1:{port}"] }}' for number in range(UPSTREAMS))
    return replace(
        contestant,
        route="  - { name: app-{{number}}, match: { prefix: /app-{{number}} }, upstream: app-{{number}} }",
        values={"upstreams": "\n".join(lines)},
    )


def run(chosen: list[Contestant], rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures each program."""
    samples = []
    for number in range(rounds):
        for contestant in chosen if number % 2 == 0 else chosen[::-1]:
            sample = {"gateway": contestant.name, "round": number, **_measure(contestant)}
            samples.append(sample)
            say(
                f"round {number + 1}: {contestant.name}: {sum(sample['lost'])} of {sample['requests']} requests "
                f"met the server's close, {sample['failed']} failed, {sum(sample['opened'])} connections"
            )
    return samples


def _measure(contestant: Contestant) -> dict[str, Any]:
    with Arena() as arena:
        endpoint = Endpoint(
            arena, idle_timeout_ms=int(IDLE_SECONDS * 1000), round_trip_ms=ROUND_TRIP_MS
        )
        running = arena.get(before(contestant, endpoint.port), UPSTREAMS)
        outcome, observed = asyncio.run(_play(running, endpoint))
        return {
            "requests": outcome["done"] + outcome["failed"],
            "failed": outcome["failed"],
            "lost": timeline.increases([counts["lost"] for counts in observed]),
            "opened": timeline.increases([counts["connections"] for counts in observed]),
            "retried": sum(pool["retried"] for pool in pools(running)),
        }


async def _play(running: Running, endpoint: Endpoint) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Sends the requests of all upstreams, and looks at the endpoint every second."""
    outcome = {"done": 0, "failed": 0}
    chance = random.Random(SEED)
    clients = [
        asyncio.create_task(_poll(running.port, number, random.Random(chance.random()), outcome))
        for number in range(UPSTREAMS)
    ]
    observed = [endpoint.counts()]
    began = asyncio.get_running_loop().time()
    for second in range(1, SECONDS + 1):
        await asyncio.sleep(max(0.0, began + second - asyncio.get_running_loop().time()))
        observed.append(endpoint.counts())
    for client in clients:
        client.cancel()
    return outcome, observed


async def _poll(port: int, number: int, chance: random.Random, outcome: dict[str, int]) -> None:
    """Sends requests to one upstream, each on a connection of its own, until it is cancelled."""
    await asyncio.sleep(chance.uniform(0, GAP_SECONDS[0]))
    while True:
        outcome["done" if await _ask(port, f"/app-{number}/1k") else "failed"] += 1
        await asyncio.sleep(chance.uniform(*GAP_SECONDS))


async def _ask(port: int, path: str) -> bool:
    """Returns true if the answer is a 200."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/1.1 200 ")
