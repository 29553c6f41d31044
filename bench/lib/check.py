"""Before anything is measured: do all answer alike, and do they keep their connections to the origin?"""

import http.client
import re
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from .arena import Arena, Running
from .contestants import Pairs
from .processes import BenchError
from .scenarios import Scenario

CLIENTS, REQUESTS = 4, 300
STREAMS = 2
TEXT = b"hello, World 123"
"""What bodies consist of, POSTs and those of the origin."""
MESSAGE = b"\0" + (1024).to_bytes(4) + TEXT * 64
"""A message of gRPC."""


@dataclass(frozen=True)
class Answer:
    """What of a response has to be alike."""

    status: int
    body: bytes
    filtered: bool
    """Whether a filter has left its mark in the head."""


def check(arena: Arena, running: Running, scenario: Scenario) -> str:
    """What is wrong with a contestant in a scenario, or nothing."""
    expected = _expected(arena, scenario)
    before = arena.counts()
    try:
        problem = (_by_http2 if scenario.http2 else _by_http1)(running, scenario, expected)
    except (OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
        problem = f"no answer: {error!r}"
    if problem:
        return problem
    more = {name: count - before[name] for name, count in arena.counts().items()}
    return connections(more, scenario)


def connections(more: dict[str, int], scenario: Scenario) -> str:
    """What is wrong with the connections that the origin counted."""
    sent = REQUESTS + (1 if scenario.http2 else 0)
    wanted = "h2" if scenario.upstream_http2 else "tls" if scenario.upstream_tls else "plain"
    opened = more[f"{wanted}_connections"]
    other = sum(more[f"{kind}_connections"] for kind in ("plain", "tls", "h2") if kind != wanted)
    sent *= scenario.asks
    if more["requests"] != sent:
        return f"the origin has seen {more['requests']} requests instead of {sent}"
    if other:
        return f"{other} connections went to the origin's other port"
    if scenario.kept and opened > CLIENTS * STREAMS:
        return f"it does not keep its connections: {opened} for {sent} requests, {CLIENTS} clients"
    if not scenario.kept and opened < sent:
        return f"it keeps connections that should end: {opened} for {sent} requests"
    return ""


def _expected(arena: Arena, scenario: Scenario) -> Answer:
    """The origin's own answer, as the scenario's filter is to leave it."""
    if scenario.grpc:
        return Answer(200, MESSAGE, False)
    connection = http.client.HTTPConnection("127.0.0.1", arena.origin_port, timeout=10)
    answer = _ask(connection, scenario, {}, f"/{scenario.path.rpartition('/')[2]}")
    connection.close()
    body = answer.body.upper() if scenario.filter == "upper" else answer.body
    return Answer(200, body, scenario.filter == "heads")


def _ask(
    connection: http.client.HTTPConnection, scenario: Scenario, headers: dict[str, str], path: str
) -> Answer:
    method, body = (
        ("POST", TEXT * (scenario.post_bytes // len(TEXT))) if scenario.post_bytes else ("GET", None)
    )
    close = {"Connection": "close"} if scenario.client_close else {}
    connection.request(method, path, body, headers | close)
    response = connection.getresponse()
    return Answer(response.status, response.read(), response.getheader("x-filtered") is not None)


def _by_http1(running: Running, scenario: Scenario, expected: Answer) -> str:
    connections = [_connect(running, scenario) for _ in range(CLIENTS)]
    headers = dict(running.headers(scenario))
    try:
        if headers and (status := _ask(connections[0], scenario, {}, scenario.path).status) != 401:
            return f"it answers {status} to a request without credentials"
        for number in range(REQUESTS):
            # One that was closed connects again by itself.
            answer = _ask(connections[number % CLIENTS], scenario, headers, scenario.path)
            if answer != expected:
                return _difference(answer, expected)
    finally:
        for connection in connections:
            connection.close()
    return ""


def _connect(running: Running, scenario: Scenario) -> http.client.HTTPConnection:
    if not scenario.tls:
        return http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", running.tls_port, timeout=10, context=context)


def _by_http2(running: Running, scenario: Scenario, expected: Answer) -> str:
    url = running.url(scenario.path, scenario.tls)
    call = call_arguments(running, scenario)
    body = subprocess.run(["nghttp", *call, url], capture_output=True, timeout=30, check=True).stdout
    if body != expected.body:
        return _difference(Answer(200, body, False), expected)
    command = ["h2load", f"-n{REQUESTS}", f"-c{CLIENTS}", f"-m{STREAMS}", *call, url]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    if not re.search(rf"{REQUESTS} 2xx", output) or "protocol: h2" not in output.lower():
        return f"h2load: {output.strip()}"
    return ""


def call_arguments(running: Running, scenario: Scenario) -> list[str]:
    """What makes a request of nghttp or h2load a call of gRPC, if the scenario has one."""
    if not scenario.grpc:
        return []
    message = running.folder / "message"
    message.write_bytes(MESSAGE)
    return ["-d", str(message), "-H", "content-type: application/grpc", "-H", "te: trailers"]


def _difference(answer: Answer, expected: Answer) -> str:
    if answer.status != expected.status:
        return f"it answers {answer.status}: {answer.body[:100]!r}"
    if answer.body != expected.body:
        lengths = f"{len(answer.body)} bytes instead of {len(expected.body)}"
        return f"its body is not the expected one: {lengths}, {answer.body[:40]!r}"
    return "its filter leaves no mark" if expected.filtered else "it has a mark of a filter"


def run(arena: Arena, pairs: Pairs, say: Callable[[str], None]) -> None:
    """Checks all pairs; ends the run where one is wrong, once all have been looked at."""
    problems = []
    for scenario, contestants in pairs:
        for contestant in contestants:
            if problem := check(arena, arena.get(contestant, scenario.routes), scenario):
                problems.append(f"{scenario.name} {contestant.name}: {problem}")
        say(f"checked {scenario.name}: {', '.join(contestant.name for contestant in contestants)}")
    if problems:
        raise BenchError(
            "\n".join([*problems, "figures would not compare; --contestants and --scenarios leave some out"])
        )
