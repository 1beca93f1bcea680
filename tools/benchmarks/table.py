"""Rows as a table for people, and as JSON for programs."""

import json
import platform
import statistics

from measure import verdicts


def print_table(rows):
    for row in rows:
        print(f"\n{row.name}")
        own = row.results.get("druse")
        for result in row.results.values():
            print("  " + _line(row, result, own))
        for text, met in verdicts(row):
            print(f"  {'ok  ' if met else '?   ' if met is None else 'MISS'}  {text}")


def _line(row, result, own):
    if result.missing:
        return f"{result.system:<22} missing: {result.missing}"
    cells = [f"{result.system:<22}", _seconds(result.median)]
    if result.cpu:
        cells.append(f"cpu {statistics.median(result.cpu):7.3f} s")
    if row.volume:
        cells.append(f"{row.volume / result.median / 1e6:8.0f} MB/s")
    if row.count:
        cells.append(f"{result.median / row.count * 1e6:8.1f} us each")
    if result.size is not None:
        cells.append(f"{result.size / 1e6:9.1f} MB")
    if own is not None and own.median and result is not own:
        cells.append(f"{result.median / own.median:7.2f} x")
    return "  ".join(cells)


def _seconds(value):
    return f"{value:8.3f} s " if value >= 0.1 else f"{value * 1e3:8.3f} ms"


def print_latencies(name, latencies):
    if latencies:
        print(f"\n{name}")
    for operation, found in sorted(latencies.items()):
        print(
            f"  {operation:<22}  {found['count']:8} times  p50 {found['p50_ms']:8.3f} ms  "
            f"p99 {found['p99_ms']:8.3f} ms  max {found['max_ms']:8.1f} ms"
        )


def print_json(rows, latencies=None):
    found = {"machine": _machine(), "rows": [_row(row) for row in rows]}
    if latencies:
        found["latencies"] = latencies
    print(json.dumps(found, indent=2))


def _machine():
    return {"python": platform.python_version(), "machine": platform.machine()}


def _row(row):
    return {
        "name": row.name,
        "volume": row.volume,
        "count": row.count,
        "systems": {
            result.system: {
                "median_s": result.median,
                "seconds": result.seconds,
                "cpu_s": result.cpu,
                "bytes": result.size,
                "missing": result.missing,
            }
            for result in row.results.values()
        },
        "targets": [{"text": text, "met": met} for text, met in verdicts(row)],
    }
