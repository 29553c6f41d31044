"""What a contestant is: a proxy in one configuration, and what it takes part in."""

import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .scenarios import Scenario

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
INSTALLED = BENCH / ".peers"
"""Where setup.sh puts what no package brings to its place."""
FILTERS = INSTALLED / "filters"


@dataclass(frozen=True)
class Contestant:
    """A proxy in one configuration. In texts, {{name}} stands for a value: see Arena.values."""

    name: str
    family: str
    """The name of the same proxy without filters."""
    title: str
    filter_kind: str
    """What its filters are made of."""
    command: tuple[str, ...]
    config: str = ""
    """Its file in peers/, which is filled in and put into the working folder."""
    route: str = ""
    """What one of many prefix routes is in that file; {{number}} is its number."""
    values: Mapping[str, str] = field(default_factory=dict)
    """More values for its file."""
    environment: Mapping[str, str] = field(default_factory=dict)
    version: tuple[str, ...] = ()
    """The command that tells the version."""
    plain: bool = True
    """Whether it takes part where there are no filters."""
    upstream_tls12: bool = False
    """Whether it speaks TLS 1.2 to the origin and not 1.3, and takes part for that alone."""
    upstream_http2: bool = False
    """Whether it speaks HTTP/2 to the origin."""
    filters: frozenset[str] = frozenset()
    """What it has filters for."""
    policies: frozenset[str] = frozenset()
    """The policies that it has."""
    telemetry: frozenset[str] = frozenset()
    """The scenarios about records of requests that it takes part in: it records them, or is what those are compared with."""
    walls: Mapping[str, str] = field(default_factory=dict)
    """Scenarios in which it would take seconds a request or minutes to start, and why; left out unless asked for."""
    reload: signal.Signals | None = None
    """What makes it read its configuration again."""

    def takes_part(self, scenario: Scenario) -> bool:
        """Whether it can do what the scenario asks for."""
        if scenario.upstream_http2 and not self.upstream_http2:
            return False
        if scenario.telemetry:
            return scenario.telemetry in self.telemetry
        if scenario.policy:
            return scenario.policy in self.policies
        if scenario.filter:
            return scenario.filter in self.filters
        return self.plain and (scenario.upstream_tls or not self.upstream_tls12)

    def missing(self) -> str:
        """What has to be installed first, or nothing."""
        program = fill(self.command[0], {"installed": str(INSTALLED)})
        return "" if shutil.which(program) else f"{self.name}: there is no {program}"

    def version_text(self) -> str:
        """Its version, as it says itself."""
        if not self.version:
            return ""
        command = [fill(part, {"installed": str(INSTALLED)}) for part in self.version]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found[0] if found else "?"


def fill(text: str, values: Mapping[str, object]) -> str:
    """Puts values in their places. An unknown name is an error."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found[1]]), text)


Pairs = list[tuple[Scenario, list[Contestant]]]
"""Scenarios, and who takes part in each."""
