"""What steps read and wrote, printed as a tree whose levels the caller chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from druse.errors import DefinitionError

LEVELS = ("treatment", "replicate", "step")
_LAST = "action"
_STYLES = ("bold yellow", "green", "cyan")
_ACTIONS = (
    ("reads", "Reads", "green"),
    ("wrote", "Writes", "blue"),
    ("metrics", "Write Metrics", "red"),
)


@dataclass
class Node:
    """A line of the tree, and what hangs below it."""

    label: str
    style: str | None = None
    children: list[Node] = field(default_factory=list)

    def add(self, label: str, style: str | None = None) -> Node:
        child = Node(label, style)
        self.children.append(child)
        return child


def parse(fmt: str) -> list[str]:
    """The levels that a format names. Raises DefinitionError."""
    levels = [part.strip().lower() for part in fmt.split(">")]
    unknown = [level for level in levels if level not in (*LEVELS, _LAST)]
    if unknown or len(set(levels)) < len(levels):
        raise DefinitionError(
            f"Invalid format spec: {fmt!r}. It names levels, each once, with '>' between them: "
            f"{', '.join(LEVELS)}, and {_LAST!r} as the last one"
        )
    if _LAST in levels and levels[-1] != _LAST:
        raise DefinitionError(f"{_LAST!r} must be the final element of the format, in {fmt!r}")
    return levels


def build(changes: Mapping[str, Any], fmt: str) -> Node:
    """The tree of `{condition: {replicate: [{"step": ..., "ctx_changes": {...}}]}}`."""
    levels = [level for level in parse(fmt) if level != _LAST]
    rows = [
        {"treatment": condition, "replicate": replicate, "step": step["step"], "changes": each}
        for condition, replicates in changes.items()
        for replicate, steps in replicates.items()
        for step in steps
        if any((each := step.get("ctx_changes", {})).get(kind) for kind, _, _ in _ACTIONS)
    ]
    root = Node("Experiment Summary", "bold")
    _grow(root, rows, levels, 0)
    return root


def _grow(node: Node, rows: list[dict[str, Any]], levels: list[str], depth: int) -> None:
    if depth == len(levels):
        for row in rows:
            place = node if "step" in levels else node.add(f"Step {row['step']}")
            _add_actions(place, row["changes"])
        return
    level = levels[depth]
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[level], []).append(row)
    for key, group in sorted(groups.items()):
        label = f"Treatment '{key}'" if level == "treatment" else f"{level.capitalize()} {key}"
        _grow(node.add(label, _STYLES[depth]), group, levels, depth + 1)


def _add_actions(node: Node, changes: Mapping[str, Any]) -> None:
    for kind, label, style in _ACTIONS:
        details = changes.get(kind) or {}
        if not details:
            continue
        below = node.add(label, style)
        for key, value in details.items():
            if kind == "reads":
                below.add(f"{key}={value}")
            else:
                below.add(f"{key}: {value.get('before')} -> {value.get('after')}")


def show(changes: Mapping[str, Any], fmt: str) -> None:
    """Prints the tree: in colours on a terminal, as it is elsewhere."""
    root = build(changes, fmt)
    try:
        from rich.console import Console
        from rich.text import Text
        from rich.tree import Tree
    except ImportError:
        _show_plainly(root, 0)
        return

    def rich_tree(node: Node) -> Tree:
        made = Tree(Text(node.label, style=node.style or ""))
        made.children = [rich_tree(child) for child in node.children]
        return made

    Console().print(rich_tree(root))


def _show_plainly(node: Node, depth: int) -> None:
    print("  " * depth + node.label)  # noqa: T201 - printing is what it is for
    for child in node.children:
        _show_plainly(child, depth + 1)
