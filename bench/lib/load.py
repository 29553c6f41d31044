"""Load in a closed loop: as much as comes back, by wrk, or by h2load where clients speak HTTP/2."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .arena import Running
from .check import call_arguments
from .processes import LOAD_CPU, BenchError
from .scenarios import Scenario

HTTP2_CONNECTIONS, HTTP2_STREAMS = 16, 8
SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Load:
    """What a load generator counted."""

    requests: int
    """Answered with success."""
    failed: int
    seconds: float


def run(running: Running, scenario: Scenario, connections: int, seconds: int) -> Load:
    """Loads a contestant for some seconds."""
    command = (
        _h2load(running, scenario, seconds)
        if scenario.http2
        else _wrk(running, scenario, connections, seconds)
    )
    child = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CPU), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=3 * seconds + 30)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} does not end") from None
    finally:
        child.kill()
        child.wait()
    return read_h2load(output, seconds) if scenario.http2 else read_wrk(output)


def _wrk(running: Running, scenario: Scenario, connections: int, seconds: int) -> list[str]:
    fields = [part for name, value in running.headers(scenario) for part in ("-H", f"{name}: {value}")]
    close = ["-H", "Connection: close"] if scenario.client_close else []
    return [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(SCRIPT),
        *close,
        *fields,
        running.url(scenario.path, scenario.tls),
        "--",
        str(scenario.post_bytes),
    ]


def _h2load(running: Running, scenario: Scenario, seconds: int) -> list[str]:
    size = [f"-c{HTTP2_CONNECTIONS}", f"-m{HTTP2_STREAMS}", "-t1", f"-D{seconds}", "--warm-up-time=0"]
    return ["h2load", *size, *call_arguments(running, scenario), running.url(scenario.path, scenario.tls)]


def read_wrk(output: str) -> Load:
    """What wrk tells by its script."""
    found = re.search(r"^JSON (.*)$", output, re.MULTILINE)
    if not found:
        raise BenchError(f"wrk: {output.strip()}")
    told = json.loads(found[1])
    return Load(told["requests"] - min(told["failed"], told["requests"]), told["failed"], told["seconds"])


def read_h2load(output: str, seconds: int) -> Load:
    """What h2load tells of a run that was to take so long."""
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    if not found:
        raise BenchError(f"h2load: {output.strip()}")
    succeeded, *failed = map(int, found.groups())
    return Load(succeeded, sum(failed), seconds)
