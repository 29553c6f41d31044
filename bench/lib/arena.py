"""The place where contestants meet: a folder, a certificate, the origin, and those contestants that run."""

import http.client
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from . import credentials
from .contestants import BENCH, FILTERS, INSTALLED, Contestant, fill
from .processes import LOAD_CPU, PROXY_CPU, BenchError, Process, free_port
from .scenarios import Scenario

ORIGIN = BENCH / "tools/target/release/origin"
START_SECONDS, ROUTE_SECONDS = 30, 0.02
"""How long a contestant may take to start, and for each of many routes besides."""
FILES_MAX = 20_000

T = TypeVar("T")


@dataclass
class Running:
    """A contestant that runs."""

    contestant: Contestant
    process: Process
    folder: Path
    port: int
    tls_port: int
    values: dict[str, object]

    def url(self, path: str, tls: bool = False) -> str:
        """Where it answers the path."""
        return f"https://127.0.0.1:{self.tls_port}{path}" if tls else f"http://127.0.0.1:{self.port}{path}"

    def headers(self, scenario: Scenario) -> list[tuple[str, str]]:
        """The fields of the scenario's request."""
        return [(name, fill(value, self.values)) for name, value in scenario.headers]

    def configure(self, version: int) -> None:
        """Writes its configuration anew, in which /version answers this number."""
        self.values["version"] = version
        _configure(self.contestant, self.folder, self.values)


class Arena(ExitStack):
    """Starts contestants when they are asked for, and ends all of them with itself."""

    def __enter__(self) -> "Arena":
        """Makes the folder and the certificate, and starts the origin."""
        super().__enter__()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def counts(self) -> dict[str, int]:
        """What the origin has counted so far."""
        self._counts.request("GET", "/")
        counts: dict[str, int] = json.loads(self._counts.getresponse().read())
        return counts

    def get(self, contestant: Contestant, routes: int = 0) -> Running:
        """The contestant with so many routes besides the usual ones, started if need be."""
        key = (contestant.name, routes)
        if key not in self._running:
            self._running[key] = self._start(contestant, routes)
        return self._running[key]

    def end(self, contestant: Contestant, routes: int = 0) -> None:
        """Ends the contestant, if it runs."""
        if running := self._running.pop((contestant.name, routes), None):
            running.process.stop()

    def values(self, routes: int, folder: Path) -> dict[str, object]:
        """What {{name}} stands for in commands and configurations."""
        return {
            "port": free_port(),
            "tls_port": free_port(),
            "admin_port": free_port(),
            "origin": f"127.0.0.1:{self.origin_port}",
            "origin_port": self.origin_port,
            "origin_tls": f"127.0.0.1:{self.origin_tls_port}",
            "origin_tls_port": self.origin_tls_port,
            "origin_h2": f"127.0.0.1:{self.origin_h2_port}",
            "origin_h2_port": self.origin_h2_port,
            "certificate": self.folder / "cert.pem",
            "key": self.folder / "key.pem",
            "certificate_and_key": self.folder / "both.pem",
            "folder": folder,
            "here": BENCH / "peers",
            "installed": INSTALLED,
            "built": FILTERS,
            "routes_count": routes,
            "version": 0,
            **self._credentials,
        }

    def _prepare(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_MAX, most), most))
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.folder.chmod(0o755)  # nginx's workers are somebody else.
        self._running: dict[tuple[str, int], Running] = {}
        _make_certificate(self.folder)
        self._credentials = credentials.make(self.folder)
        self._start_origin()

    def _start_origin(self) -> None:
        if not ORIGIN.exists():
            raise BenchError(f"there is no {ORIGIN}: run bench/setup.sh")
        folder = self.folder / "origin"
        folder.mkdir()
        command = [
            str(ORIGIN),
            "--certificate",
            str(self.folder / "cert.pem"),
            "--key",
            str(self.folder / "key.pem"),
        ]
        origin = Process(command, LOAD_CPU, folder)
        self.callback(origin.stop)
        told = wait_for(lambda: first_line(origin), origin, START_SECONDS)
        if not told:
            raise BenchError(f"the origin does not start:\n{origin.said()}")
        told = json.loads(told)
        self.origin_port, self.origin_tls_port = told["plain"], told["tls"]
        self.origin_tls12_port, self.origin_h2_port = told["tls12"], told["h2"]
        self._counts = http.client.HTTPConnection("127.0.0.1", told["counts"], timeout=10)

    def _start(self, contestant: Contestant, routes: int) -> Running:
        if missing := contestant.missing():
            raise BenchError(f"{missing}: run bench/setup.sh")
        folder = Path(tempfile.mkdtemp(prefix=f"{contestant.name}-", dir=self.folder))
        folder.chmod(0o755)
        (folder / "logs").mkdir()
        values = self.values(routes, folder)
        if contestant.upstream_tls12:
            values["origin_tls"] = f"127.0.0.1:{self.origin_tls12_port}"
        lines = (fill(contestant.route, {"number": number}) for number in range(routes))
        values |= {**contestant.values, "routes": "\n".join(lines)}
        command = [fill(part, values) for part in contestant.command]
        environment = {name: fill(value, values) for name, value in contestant.environment.items()}
        _configure(contestant, folder, values)
        process = Process(command, PROXY_CPU, folder, environment)
        self.callback(process.stop)
        port, tls_port = int(str(values["port"])), int(str(values["tls_port"]))
        if not wait_for(lambda: answers(port, "/1k"), process, START_SECONDS + routes * ROUTE_SECONDS):
            raise BenchError(f"{contestant.name} does not start:\n{process.said()}")
        return Running(contestant, process, folder, port, tls_port, values)


def _configure(contestant: Contestant, folder: Path, values: dict[str, object]) -> None:
    """Writes a contestant's configuration, which is there whole or as it was."""
    if contestant.config:
        # Values hold further names, so it takes two goes.
        text = fill(fill((BENCH / "peers" / contestant.config).read_text(), values), values)
        part = folder / "new"
        part.write_text(text)
        part.rename(folder / contestant.config)


def answers(port: int, path: str) -> bytes | None:
    """The body of a 200 for the path, if that is what comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return body if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def first_line(process: Process) -> str:
    """What a process says first, once that is whole."""
    line, end, _ = process.messages.read_text().partition("\n")
    return line if end else ""


def wait_for(condition: Callable[[], T], process: Process, seconds: float) -> T | None:
    """What the condition answers once it is true; None when that takes too long or the process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.running():
        if result := condition():
            return result
        time.sleep(0.05)
    return None


def _make_certificate(folder: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(folder / "cert.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    (folder / "key.pem").chmod(0o644)
    (folder / "both.pem").chmod(0o644)
