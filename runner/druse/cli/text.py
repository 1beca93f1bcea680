"""Plain text for people: tables, numbers, times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from druse_store import shown_size

size = shown_size


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as they need to be; those of `right` (by place) at their right edge."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    out = []
    for line in lines:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 90:
        return f"{value:.1f} s"
    if value < 5400:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


def moment(nanoseconds: int) -> str:
    """A point in time, in local time."""
    if not nanoseconds:
        return "-"
    utc = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return utc.astimezone().strftime("%Y-%m-%d %H:%M")


def signed(count: int) -> str:
    """A size that may be less than nothing."""
    return f"-{size(-count)}" if count < 0 else size(count)


def number(value: float) -> str:
    """A number with four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def spread(values: Sequence[Any]) -> str | None:
    """Mean and standard deviation of numbers; None where there are none."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not numbers:
        return None
    if any(not math.isfinite(v) for v in numbers):
        return number(sum(numbers))
    mean = statistics.fmean(numbers)
    if len(numbers) == 1:
        return number(mean)
    return f"{number(mean)} ± {number(statistics.stdev(numbers))}"


def metrics_table(metrics: dict[str, dict[str, list[Any]]]) -> str | None:
    """A row for each condition: mean ± standard deviation of each metric, and how many values."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    shown = [n for n in names if any(spread(v.get(n, ())) is not None for v in metrics.values())]
    if not shown:
        return None
    rows = []
    for condition, values in metrics.items():
        count = max((len(values.get(name, ())) for name in shown), default=0)
        cells = [spread(values.get(name, ())) or "-" for name in shown]
        rows.append([condition, *cells, str(count)])
    return table(["condition", *shown, "n"], rows, right=(len(shown) + 1,))


def accepted(audit: dict[str, Any]) -> str:
    """How a result came to be taken over for another key."""
    by = f" by {audit['by']}" if audit.get("by") else ""
    changes = "; ".join(str(each) for each in audit.get("differences", []))
    return f"accepted{by}{_on(audit)}, though it was computed before: {changes}"


def audited(audit: dict[str, Any]) -> str:
    """What an audit found of a result."""
    found = "; ".join(str(each) for each in audit.get("found", []))
    return f"not deterministic, as an audit found{_on(audit)}: {found}"


def _on(audit: dict[str, Any]) -> str:
    at = audit.get("at")
    return f" on {moment(int(at * 1e9))}" if isinstance(at, int | float) else ""
