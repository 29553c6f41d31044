"""Runs that other programs have disturbed, once more."""

import time
from collections.abc import Callable
from typing import Any

from .processes import Others

TRIES = 4
LOOK_SECONDS = 3
WAIT_SECONDS = 300
"""How long a quiet moment to begin is waited for."""

Measure = Callable[[], dict[str, Any]]


def measure(run: Measure, others_max: float | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns the first sample during which others used no more CPUs than that, or the least disturbed one."""
    best: dict[str, Any] = {}
    for _ in range(TRIES):
        if others_max is not None:
            _await_quiet(others_max)
        sample = run()
        if not best or sample["others_cpus"] < best["others_cpus"]:
            best = sample
        if others_max is None or best["others_cpus"] <= others_max:
            break
        say(f"once more: others used {sample['others_cpus']:.2f} CPUs")
    return best


def _await_quiet(others_max: float) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        others = Others()
        time.sleep(LOOK_SECONDS)
        if others.cpus() <= others_max:
            return
