"""Load at a fixed rate while something happens, told second by second."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .latency import PACE
from .processes import LOAD_CPU, BenchError

Action = tuple[float, Callable[[], None]]
"""A time in seconds from the first request on, and what happens then."""
SETTLE_SECONDS = 0.05
"""The time from the load generator's word until its first request (`tools/`: `pace`)."""
CONNECTIONS = 1024
"""So many that a request never has to wait for the one before it on its connection."""


@dataclass
class Timeline:
    """The outcome of a load, and what was observed meanwhile at the end of each second."""

    told: dict[str, Any]
    observed: list[Any] = field(default_factory=list)


def run(
    url: str,
    rate: int,
    seconds: int,
    actions: Iterable[Action] = (),
    observe: Callable[[], Any] = lambda: None,
    connections: int = CONNECTIONS,
) -> Timeline:
    """Sends requests for some seconds. `observe` is called before the first one and at the end of each second."""
    command = ["taskset", "-c", str(LOAD_CPU), str(PACE), url, "--by-second"]
    command += ["--rate", str(rate), "--connections", str(connections), "--seconds", str(seconds)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    timer = threading.Timer(seconds + 60, child.kill)
    timer.start()
    try:
        assert child.stderr
        first = child.stderr.readline()
        if first != "begins\n":
            raise BenchError(f"pace: {first.strip()}")
        observed = _play(time.monotonic() + SETTLE_SECONDS, seconds, sorted(actions, key=_at), observe)
        output, errors = child.communicate()
    finally:
        timer.cancel()
        child.kill()
        child.wait()
    if child.returncode:
        raise BenchError(f"pace: {errors.strip()}")
    return Timeline(json.loads(output), observed)


def _at(action: Action) -> float:
    return action[0]


def _play(began: float, seconds: int, actions: list[Action], observe: Callable[[], Any]) -> list[Any]:
    """Does everything at its time."""
    observed = []
    waiting = list(actions)
    for second in range(seconds + 1):
        while waiting and waiting[0][0] < second:
            at, act = waiting.pop(0)
            _sleep_until(began + at)
            act()
        _sleep_until(began + second)
        observed.append(observe())
    return observed


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def increases(counts: list[int]) -> list[int]:
    """Returns by how much a count has grown in each second."""
    return [after - before for before, after in zip(counts, counts[1:], strict=False)]
