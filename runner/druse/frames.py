"""A result's metrics as rows, as frames of pandas or polars, and as a table for notebooks."""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from druse.errors import DefinitionError

if TYPE_CHECKING:
    from druse.result import Result

_LIBRARIES = ("pandas", "polars")
_SHOWN = 20  # errors in a notebook; `errors` has them all


def rows_of(result: Result) -> list[dict[str, Any]]:
    """A row for each cell: condition, replicate, and each metric's value.

    Cells that recorded several values of a metric have a row for each value, counted by `index`.
    """
    cells = [(c.condition, c.replicate, c.metrics) for c in result.cells]
    cells = cells or _cells_of_lists(result)
    several = any(len(values) > 1 for _, _, metrics in cells for values in metrics.values())
    names = list(dict.fromkeys(name for _, _, metrics in cells for name in metrics))
    rows = []
    for condition, replicate, metrics in cells:
        for index in range(max((len(values) for values in metrics.values()), default=1)):
            row: dict[str, Any] = {"condition": condition, "replicate": replicate}
            if several:
                row["index"] = index
            for name in names:
                values = metrics.get(name, ())
                row[name] = values[index] if index < len(values) else None
            rows.append(row)
    return rows


def _cells_of_lists(result: Result) -> list[Any]:
    """Cells of a result that was put together by hand: one for each value of its lists."""
    found = []
    for condition, each in result.metrics.conditions().items():
        count = max((len(values) for values in each.metrics.values()), default=0)
        for place in range(count):
            metrics = {n: values[place : place + 1] for n, values in each.metrics.items()}
            found.append((condition, place, metrics))
    return found


# --- frames ----------------------------------------------------------------------------------


def frame(rows: Sequence[Mapping[str, Any]], what: str, library: str | None = None) -> Any:
    """A frame of rows. Raises ImportError without pandas and polars, or the one that is named."""
    if library is not None and library not in _LIBRARIES:
        raise DefinitionError(f"{what} makes frames of pandas or polars, and not of {library!r}")
    for name in (library,) if library is not None else _LIBRARIES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "polars":
            return module.DataFrame(list(rows), infer_schema_length=None)
        return module.DataFrame(rows)
    named = library or "pandas or polars"
    raise ImportError(f"{named} is required for {what}: install it, e.g. with `pip install pandas`")


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Raises ImportError."""
    made = frame(rows, "to_parquet()")
    if hasattr(made, "write_parquet"):
        made.write_parquet(path)
    else:
        made.to_parquet(path, index=False)


# --- numbers ---------------------------------------------------------------------------------


def mean(values: Sequence[Any]) -> float | None:
    """The mean of numbers; None where there are none, or other things among them."""
    if not values or not all(isinstance(value, int | float) for value in values):
        return None
    return float(sum(values)) / len(values)


def spread(values: Sequence[Any]) -> str:
    """Mean ± standard deviation, for people; "" where there are no numbers."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not numbers:
        return ""
    if len(numbers) == 1 or not all(math.isfinite(number) for number in numbers):
        return f"{sum(numbers) / len(numbers):.4g}"
    return f"{statistics.fmean(numbers):.4g} ± {statistics.stdev(numbers):.2g}"


# --- in notebooks ----------------------------------------------------------------------------


def html_of(result: Result) -> str:
    """A table of each condition's metrics, the hypotheses, and what went wrong."""
    conditions = result.metrics.conditions()
    names = list(dict.fromkeys(n for each in conditions.values() for n in each.metrics))
    rows = []
    for condition, each in conditions.items():
        counts = [len(values) for values in each.metrics.values()]
        cells = [spread(each.metrics.get(name, ())) for name in names]
        rows.append([condition, *cells, str(max(counts, default=0))])
    parts = [f"<b>{escape(result.run or 'not kept')}</b>", _table(["condition", *names, "n"], rows)]
    for hypothesis in result.metrics.hypotheses:
        verdicts = [[name, _short(found)] for name, found in hypothesis.results.items()]
        head = [f"{hypothesis.name} (best: {hypothesis.ranking.get('best')})", ""]
        parts.append(_table(head, verdicts))
    problems = [f"{name}: {error}" for name, error in result.errors.items()]
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [f"{len(problems)} errors in all"]
    parts += [f"<div>{escape(text)}</div>" for text in (*problems, *result.warnings)]
    return "<div>" + "".join(parts) + "</div>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{first}</tr></thead><tbody>{lines}</tbody></table>"


def _short(found: Any) -> str:
    if not isinstance(found, Mapping):
        return str(found)
    shown = (
        f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in found.items()
    )
    return ", ".join(shown)
