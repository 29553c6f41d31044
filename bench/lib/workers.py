"""Connections to the upstream by the number of workers: how many are opened, and how many requests find an idle one.

Each worker has idle connections of its own. With one worker all requests share them, so what more workers open beyond that is
what they open although another one has an idle connection.
"""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import latency
from .arena import Arena, Running
from .contestants import Contestant
from .peers import gateway

WORKERS = (1, 2, 4, 8, 16)
KINDS = ("plain", "tls")
"""The upstreams, each with a pool."""
IDLE_SECONDS = 5
"""The pool's idle timeout, as peers/workers.yaml has it."""


@dataclass(frozen=True)
class Load:
    """Requests at a fixed rate on connections that take turns."""

    name: str
    path: str
    rate: int
    clients: int
    seconds: int

    @property
    def is_sparse(self) -> bool:
        """True if so little is going on that all can be measured at once."""
        return self.rate < 100


LOADS = (
    Load("fast", "/1k", 2000, 64, 10),
    Load("slow", "/slow", 2000, 64, 10),
    Load("sparse-20", "/1k", 20, 32, 30),
    Load("sparse-2", "/1k", 2, 32, 60),
)
"""`slow` takes ten milliseconds, so that 20 requests are under way at once."""

COUNTS = ("acquired", "opened", "reused", "tls_handshakes", "tls_resumed")
"""Those of the pool that a sample has."""


def contestants(programs: Mapping[str, Path]) -> list[Contestant]:
    """Returns each program of the gateway with each number of workers."""
    return [
        replace(
            gateway(name, program, "workers.yaml"),
            name=f"{name}-{workers}",
            values={"workers": str(workers)},
        )
        for name, program in programs.items()
        for workers in WORKERS
    ]


def run(chosen: list[Contestant], rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures all loads with all numbers of workers."""
    samples = []
    with Arena() as arena:
        everything = [(arena.get(one), kind) for one in chosen for kind in KINDS]
        for number in range(rounds):
            for load in LOADS:
                # Until all connections of the load before are closed.
                time.sleep(IDLE_SECONDS + 1)
                # A sparse load takes long and hardly any time of a CPU, and what is counted does not depend on that.
                with ThreadPoolExecutor(len(everything) if load.is_sparse else 1) as pool:
                    futures = [pool.submit(_measure, one, kind, load) for one, kind in everything]
                    done = [future.result() for future in futures]
                for sample in done:
                    samples.append({"round": number, **sample})
                    say(
                        f"round {number + 1}: {sample['load']}, {sample['kind']}, {sample['workers']} workers: "
                        f"{sample['opened']} opened for {sample['acquired']} requests"
                    )
    return samples


def _measure(running: Running, kind: str, load: Load) -> dict[str, Any]:
    before, used = pool(running, kind), running.process.cpu_time()
    path = load.path if kind == "plain" else f"/{kind}{load.path}"
    told = latency.pace(running.url(path), load.rate, load.clients, load.seconds)
    after, used = pool(running, kind), running.process.cpu_time() - used
    return {
        "gateway": running.contestant.family,
        "workers": int(str(running.values["workers"])),
        "kind": kind,
        "load": load.name,
        "failed": told["failed"],
        "p50": told["p50"],
        "p99": told["p99"],
        # Of both upstreams, where they are measured at once.
        "cpu_us": None if load.is_sparse else used.total / max(1, told["done"]) * 1e6,
        **{name: after[name] - before[name] for name in COUNTS},
    }


def pool(running: Running, name: str) -> dict[str, Any]:
    """Returns the report of a pool that has one endpoint."""
    return next(one for one in pools(running) if one["pool"] == name)


def pools(running: Running) -> list[dict[str, Any]]:
    """Returns the gateway's reports of its pools."""
    admin = http.client.HTTPConnection("127.0.0.1", int(str(running.values["admin_port"])), timeout=10)
    admin.request("GET", "/pools")
    told: list[dict[str, Any]] = json.loads(admin.getresponse().read())["pools"]
    admin.close()
    return told


def avoidable(opened: Mapping[int, int]) -> dict[int, float]:
    """Returns the share of dials, by the number of workers, that one worker did not need for the same load."""
    least = opened[1]
    return {workers: max(0, count - least) / count if count else 0.0 for workers, count in opened.items()}
