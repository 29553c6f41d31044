"""The founding experiment: an HTTPS upstream with its connections kept, and with a new one for each request."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from . import cpu, load
from .arena import Arena
from .contestants import Contestant
from .processes import sockets_to
from .scenarios import SCENARIOS

KEPT, OFF = "s7", "s7-off"
SOCKETS_AT = 0.8
"""When sockets are counted: this part of the load is done."""


def run(
    contestants: list[Contestant], settings: dict[str, int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Both ways in turn. Each time has an origin, and so a port, of its own: no socket of an earlier one is counted."""
    samples = []
    for number in range(settings["rounds"]):
        for contestant in contestants if number % 2 == 0 else contestants[::-1]:
            for name in (KEPT, OFF):
                with Arena() as arena:
                    sample = _measure(arena, contestant, name, number, settings)
                samples.append(sample)
                say(
                    f"round {number + 1}: {name} {contestant.name} {sample['requests_per_second']:,.0f}/s, "
                    f"{sample['cpu_us']:.1f} µs, {sample['established']} ESTABLISHED, {sample['time_wait']} TIME_WAIT"
                )
    return samples


def _measure(
    arena: Arena, contestant: Contestant, name: str, number: int, settings: dict[str, int]
) -> dict[str, Any]:
    running, scenario = arena.get(contestant), SCENARIOS[name]
    connections, seconds = settings["connections"], settings["seconds"]
    load.run(running, scenario, connections, 1)
    sockets: dict[str, int] = {}
    port = int(str(running.values["origin_tls"]).rpartition(":")[2])
    timer = threading.Timer(seconds * SOCKETS_AT, lambda: sockets.update(sockets_to(port)))
    timer.start()
    sample = cpu.measure(arena, running, scenario, number, connections, seconds)
    timer.join()
    return {**asdict(sample), "established": sockets["ESTABLISHED"], "time_wait": sockets["TIME_WAIT"]}
