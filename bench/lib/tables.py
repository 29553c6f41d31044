"""What tables and charts of results consist of."""

import statistics
from collections.abc import Iterable

from .results import Results


def spread(values: Iterable[float], digits: int = 1) -> str:
    """The median, and between which the values lie."""
    values = list(values)
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def titles(results: Results, filtered: bool = False, versions: bool = True) -> dict[str, str]:
    """What contestants are called, where there are filters with what these are made of."""
    return {
        name: " ".join(filter(None, [one["title"], one["version"] if versions else ""]))
        + (f", {one['filter_kind']}" if filtered and one["filter_kind"] else "")
        for name, one in results["run"]["contestants"].items()
    }


def markdown(header: str, rows: Iterable[Iterable[str]]) -> str:
    """A table, the columns' names separated by `|`."""
    columns = header.count("|") + 1
    return "\n".join([f"| {header} |", "|---" * columns + "|", *(f"| {' | '.join(row)} |" for row in rows)])
