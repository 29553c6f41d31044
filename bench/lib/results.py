"""What a run has found, as it is kept in a file of JSON."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .contestants import BENCH, ROOT, Contestant
from .processes import BenchError

FOLDER = BENCH / "results"
LAST = FOLDER / "last.json"
FORMAT = 1

Results = dict[str, Any]
"""The run itself under `run`, and the samples of each step under its name."""


def begin(chosen: list[Contestant], programs: Mapping[str, Path], settings: dict[str, Any]) -> Results:
    """The results of a run that has measured nothing yet."""
    return {
        "format": FORMAT,
        "run": {
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "machine": {
                "cpu": _cpu_model(),
                "cores": os.cpu_count(),
                "kernel": platform.release(),
                "load_before": os.getloadavg()[0],
            },
            "commit": _git("describe", "--always", "--dirty", "--exclude=*"),
            "gateways": list(programs),
            "programs": {name: _digest(program) for name, program in programs.items()},
            "contestants": {
                one.name: {"title": one.title, "version": one.version_text(), "filter_kind": one.filter_kind}
                for one in chosen
            },
            "settings": settings,
        },
    }


def load(path: Path) -> Results:
    """Reads what was kept."""
    try:
        results: Results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}") from None
    if results.get("format") != FORMAT:
        raise BenchError(f"{path} is of format {results.get('format')}, this program reads {FORMAT}")
    return results


def save(results: Results, path: Path) -> None:
    """Keeps it; a file is there whole or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    part.rename(path)


def _digest(program: Path) -> str:
    """By which a program is known again: the commit is that of the folder, not of what was built elsewhere."""
    if not program.exists():
        return ""
    with open(program, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"
