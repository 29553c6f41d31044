"""Memory: after the start, per idle client connection, and at the most."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from . import load
from .arena import Arena, Running
from .contestants import Contestant
from .processes import BenchError
from .scenarios import SCENARIOS

SETTLE_SECONDS = 1.0


def run(
    contestants: list[Contestant], idle: int, settings: dict[str, int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Each contestant by itself, fresh from its start."""
    samples = []
    for contestant in contestants:
        with Arena() as arena:
            running = arena.get(contestant)
            sample = _measure(running, idle, settings["connections"])
        samples.append({"contestant": contestant.name, "idle_connections": idle, **sample})
        say(
            f"{contestant.name}: {sample['started_kib'] / 1024:.1f} MiB after the start, "
            f"{sample['kib_per_connection']:.2f} KiB per idle connection"
        )
    return samples


def _measure(running: Running, idle: int, connections: int) -> dict[str, float]:
    started = running.process.memory().pss
    # What is set up with the first requests is no part of what a connection costs.
    load.run(running, SCENARIOS["s1"], connections, 1)
    time.sleep(SETTLE_SECONDS)
    warm = running.process.memory().pss
    with ExitStack() as open_connections:
        for number in range(idle):
            try:
                open_connections.enter_context(_ask(running.port))
            except OSError as error:
                raise BenchError(
                    f"{running.contestant.name}: connection {number + 1} of {idle}: {error}"
                ) from None
        time.sleep(SETTLE_SECONDS)
        full = running.process.memory()
    return {
        "started_kib": started,
        "warm_kib": warm,
        "idle_kib": full.pss,
        "peak_rss_kib": full.peak_rss,
        "kib_per_connection": (full.pss - warm) / idle,
    }


def _ask(port: int) -> socket.socket:
    """A connection on which one request was answered."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"GET /1k HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    answer = b""
    # The rest is the body, whose length the check has looked at.
    while len(answer.partition(b"\r\n\r\n")[2]) < 1024:
        piece = connection.recv(65536)
        if not piece:
            connection.close()
            raise ConnectionError("it was closed")
        answer += piece
    return connection
