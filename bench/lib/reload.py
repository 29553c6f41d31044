"""Reloads under load: requests that fail, and what becomes of the latency.

Each reload writes a configuration that differs from the one before and tells the proxy, and is over when the proxy
answers by it.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from . import latency, load
from .arena import Arena, Running, answers
from .contestants import Contestant
from .processes import BenchError
from .scenarios import SCENARIOS

RATE, FULL = "rate", "full"
"""The kinds of load: a fixed rate, or as much as comes back."""
SECONDS_EACH = 1
"""One reload in each second of a window."""
LIVE_SECONDS = 10
"""How long a new configuration may take to be live."""
POLL_SECONDS = 0.01


class Reloads(threading.Thread):
    """Reloads a contestant so many times, in the middle of each second."""

    def __init__(self, running: Running, number: int):
        super().__init__(daemon=True)
        self._running, self._number = running, number
        self._signal = running.contestant.reload or signal.SIGHUP
        self.took_ms: list[float] = []
        """How long each took from the signal until it was live."""
        self.problem = ""

    def run(self) -> None:
        """Overrides Thread.run."""
        began = time.monotonic()
        for number in range(self._number):
            time.sleep(max(0, began + (number + 0.5) * SECONDS_EACH - time.monotonic()))
            if not self._reload():
                self.problem = f"{self._running.contestant.name}: a reload is not live after {LIVE_SECONDS} s"
                return

    def _reload(self) -> bool:
        version = int(str(self._running.values["version"])) + 1
        began = time.monotonic()
        self._running.configure(version)
        self._running.process.signal(self._signal)
        while answers(self._running.port, "/version") != str(version).encode():
            if time.monotonic() > began + LIVE_SECONDS:
                return False
            time.sleep(POLL_SECONDS)
        self.took_ms.append((time.monotonic() - began) * 1000)
        return True


def run(
    contestants: list[Contestant],
    number: int,
    rate: int,
    settings: dict[str, int],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Windows at a fixed rate without and with reloads, and one with reloads under as much load as comes back."""
    samples = []
    with Arena() as arena:
        for turn in range(settings["rounds"]):
            for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
                for kind, reloads in ((RATE, 0), (RATE, number), (FULL, number)):
                    told = _window(
                        arena.get(contestant), kind, reloads, number * SECONDS_EACH, rate, settings
                    )
                    samples.append({"contestant": contestant.name, "round": turn, **told})
                    say(
                        f"round {turn + 1}: {contestant.name}, {reloads} reloads, load {kind}: {told['failed']} failed"
                        + (f", p99.9 {told['p99_9']} µs" if kind == RATE else "")
                    )
    return samples


def _window(
    running: Running, kind: str, reloads: int, seconds: int, rate: int, settings: dict[str, int]
) -> dict[str, Any]:
    """What becomes of requests while it is reloaded so many times."""
    thread = Reloads(running, reloads)
    thread.start()
    if kind == RATE:
        told = latency.pace(running.url("/1k"), rate, settings["connections"], seconds)
    else:
        done = load.run(running, SCENARIOS["s1"], settings["connections"], seconds)
        told = {
            "done": done.requests,
            "failed": done.failed,
            "requests_per_second": done.requests / done.seconds,
        }
    thread.join()
    if thread.problem:
        raise BenchError(thread.problem)
    return {"load": kind, "reloads": reloads, "took_ms": thread.took_ms, **told}
