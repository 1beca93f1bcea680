"""Numbers of bytes for somebody to read."""

from __future__ import annotations


def shown_size(size: float) -> str:
    """A number of bytes with the unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
