"""Endpoints that fail on command (`tools/`: `endpoint`)."""

import http.client
import json
import tempfile
from pathlib import Path

from .arena import START_SECONDS, Arena, first_line, wait_for
from .contestants import BENCH
from .processes import LOAD_CPU, BenchError, Process

ENDPOINT = BENCH / "tools/target/release/endpoint"


class Endpoint:
    """An endpoint that is started, killed and started again at the same port."""

    def __init__(self, arena: Arena, **settings: int):
        if not ENDPOINT.exists():
            raise BenchError(f"there is no {ENDPOINT}: run bench/setup.sh")
        self._folder = arena.folder
        self.port = 0
        self._process: Process | None = None
        self._before: dict[str, int] = {}
        """What was counted by processes that have been killed."""
        arena.callback(self.kill)
        self.start(**settings)

    def start(self, **settings: int) -> None:
        """Starts it with these settings."""
        folder = Path(tempfile.mkdtemp(prefix="endpoint-", dir=self._folder))
        process = Process([str(ENDPOINT), "--port", str(self.port)], LOAD_CPU, folder)
        self._process = process
        line = wait_for(lambda: first_line(process), process, START_SECONDS)
        if not line:
            raise BenchError(f"an endpoint does not start:\n{process.said()}")
        told = json.loads(line)
        self.port = told["plain"]
        self._control = http.client.HTTPConnection("127.0.0.1", told["control"], timeout=10)
        self.set(**settings)

    def kill(self) -> None:
        """Ends it at once, whatever it is doing, unless it has been ended."""
        if self._process:
            self._before = self.counts() if self._process.running() else self._before
            self._process.stop()
            self._process = None

    def set(self, **settings: int) -> None:
        """Changes its behaviour; `tools/src/bin/endpoint.rs` has the settings."""
        self._ask("&".join(f"{name}={value}" for name, value in settings.items()))

    def counts(self) -> dict[str, int]:
        """Returns its counts from the first start on."""
        if not self._process:
            return self._before
        return {name: count + self._before.get(name, 0) for name, count in self._ask("").items()}

    def _ask(self, query: str) -> dict[str, int]:
        self._control.request("GET", f"/?{query}")
        response = self._control.getresponse()
        text = response.read()
        if response.status != 200:
            raise BenchError(f"the endpoint: {text.decode()}")
        counts: dict[str, int] = json.loads(text)
        return counts
