"""Reloads under load: requests that fail, and what becomes of the latency.

Each reload writes a configuration that differs from the one before and tells the proxy; it is done when the proxy answers by it.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from . import latency, load
from .arena import Arena, Running, answers
from .contestants import Contestant
from .processes import BenchError
from .scenarios import SCENARIOS

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
        self._running.process.signal(self._running.contestant.reload)
        while answers(self._running.port, "/version") != str(version).encode():
            if time.monotonic() > began + LIVE_SECONDS:
                return False
            time.sleep(POLL_SECONDS)
        self.took_ms.append((time.monotonic() - began) * 1000)
        return True


def run(contestants: list[Contestant], number: int, rate: int, settings: dict[str, int], say: Callable[[str], None]):
    """Windows at a fixed rate without and with reloads, and one with reloads under as much load as comes back."""
    samples: list[dict[str, Any]] = []
    seconds = number * SECONDS_EACH
    with Arena() as arena:
        for turn in range(settings["rounds"]):
            for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
                running = arena.get(contestant)
                url = running.url("/1k")
                for kind, reloads, send in (
                    ("rate", 0, lambda: latency.pace(url, rate, settings["connections"], seconds)),
                    ("rate", number, lambda: latency.pace(url, rate, settings["connections"], seconds)),
                    ("full", number, lambda: _full(running, settings["connections"], seconds)),
                ):
                    thread = Reloads(running, reloads)
                    thread.start()
                    told = send()
                    thread.join()
                    if thread.problem:
                        raise BenchError(thread.problem)
                    samples.append({
                        "contestant": contestant.name, "round": turn, "load": kind, "reloads": reloads,
                        "took_ms": thread.took_ms, **told,
                    })
                    say(f"round {turn + 1}: {contestant.name}, {reloads} reloads, {kind}: {told['failed']} failed"
                        + (f", p99.9 {told['p99_9']} µs" if kind == "rate" else ""))
    return samples


def _full(running: Running, connections: int, seconds: int) -> dict[str, Any]:
    done = load.run(running, SCENARIOS["s1"], connections, seconds)
    return {"done": done.requests, "failed": done.failed, "requests_per_second": done.requests / done.seconds}
