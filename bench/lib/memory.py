"""Memory: after the start, per idle client connection, and at the most."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from . import load
from .arena import Arena, Running
from .contestants import Contestant
from .processes import BenchError, Memory
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
        # In a fresh process: memory that was in use before would count as free.
        with Arena() as arena:
            sample |= _measure_http2(arena.get(contestant), idle, settings["connections"])
        samples.append({"contestant": contestant.name, "idle_connections": idle, **sample})
        say(
            f"{contestant.name}: {sample['started_kib'] / 1024:.1f} MiB after the start, "
            f"{sample['kib_per_connection']:.2f} KiB per idle connection, "
            f"{sample['kib_per_http2_connection']:.2f} KiB over TLS and HTTP/2"
        )
    return samples


def _measure(running: Running, idle: int, connections: int) -> dict[str, float]:
    started = running.process.memory().pss
    # What is set up with the first requests is no part of what a connection costs.
    load.run(running, SCENARIOS["s1"], connections, 1)
    time.sleep(SETTLE_SECONDS)
    warm = running.process.memory().pss
    full = _with_idle(running, idle, lambda: _ask(running.port))
    return {
        "started_kib": started,
        "warm_kib": warm,
        "idle_kib": full.pss,
        "peak_rss_kib": full.peak_rss,
        "kib_per_connection": (full.pss - warm) / idle,
    }


def _measure_http2(running: Running, idle: int, connections: int) -> dict[str, float]:
    load.run(running, SCENARIOS["s6"], connections, 1)
    time.sleep(SETTLE_SECONDS)
    warm = running.process.memory().pss
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    full = _with_idle(running, idle, lambda: _ask_http2(running.tls_port, context))
    return {"kib_per_http2_connection": (full.pss - warm) / idle}


def _with_idle(running: Running, idle: int, ask: Callable[[], socket.socket]) -> Memory:
    """The memory with so many idle connections."""
    with ExitStack() as open_connections:
        for number in range(idle):
            try:
                open_connections.enter_context(ask())
            except OSError as error:
                raise BenchError(
                    f"{running.contestant.name}: connection {number + 1} of {idle}: {error}"
                ) from None
        time.sleep(SETTLE_SECONDS)
        return running.process.memory()


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


def _ask_http2(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection over TLS and HTTP/2 on which one request was answered."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    fields = {":method": "GET", ":scheme": "https", ":authority": f"127.0.0.1:{port}", ":path": "/1k"}
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS) + _frame(HEADERS, 0x5, 1, block))
    buffer, has_ended = b"", False
    while not has_ended:
        piece = connection.recv(65536)
        if not piece:
            connection.close()
            raise ConnectionError("it was closed")
        buffer += piece
        while len(buffer) >= 9 and len(buffer) >= 9 + (length := int.from_bytes(buffer[:3])):
            kind, flags = buffer[3], buffer[4]
            if kind == SETTINGS and not flags & 1:
                connection.sendall(_frame(SETTINGS, 1))
            has_ended |= kind in (DATA, HEADERS) and bool(flags & 1)
            buffer = buffer[9 + length :]
    return connection


DATA, HEADERS, SETTINGS = 0, 1, 4


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
