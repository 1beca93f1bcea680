"""Which experiment, condition and replicate are meant by `EXP[/CONDITION[/REPLICATE]]`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from druse import config
from druse.errors import ConfigNotFound, DefinitionError
from druse.graph import ExperimentGraph

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse_store import Store

_DEPTH = 3  # folders below the working directory that are searched


class Found(NamedTuple):
    """An experiment in its graph, and what of it is meant."""

    graph: ExperimentGraph
    experiment: str
    condition: str | None
    replicate: int | None
    rest: tuple[str, ...]


def find(text: str, store: Store, given: Path | None = None) -> Found:
    """`text` begins with an experiment's name, or with the path of its folder or config.yaml.

    A name is looked for in `given`, in the configuration of its latest run, and below the working
    directory. Raises ConfigError, DefinitionError.
    """
    parts = tuple(text.strip("/").split("/")) if text.strip("/") else (".",)
    if given is None:
        for count in range(len(parts), 0, -1):
            path = Path("/" if text.startswith("/") else "", *parts[:count])
            if (path / config.FILE).is_file() or (path.name == config.FILE and path.is_file()):
                return _within(path, config.load(path).folder_name, parts[count:])
    name, rest = parts[0], parts[1:]
    return _within(given if given is not None else _config_of(name, store), name, rest)


def find_graph(text: str, store: Store, given: Path | None = None) -> ExperimentGraph:
    """The graph of an experiment by its name, or of a configuration or a folder of them."""
    if given is None and Path(text).exists():
        return ExperimentGraph.from_yaml(text)
    return find(text, store, given).graph


def _within(path: Path, name: str, rest: tuple[str, ...]) -> Found:
    graph = ExperimentGraph.from_yaml(path)
    if name not in graph.experiments:
        known = ", ".join(graph.experiments)
        raise DefinitionError(f"{path} has no experiment {name!r} (it has: {known})")
    condition, replicate = _cell(graph.experiments[name], graph, rest)
    return Found(graph, name, condition, replicate, rest)


def _cell(
    experiment: Experiment, graph: ExperimentGraph, rest: tuple[str, ...]
) -> tuple[str | None, int | None]:
    """The condition and replicate of what stands behind the name, where it is that."""
    known = ["baseline", *(t.name for t in graph.treatments_of(experiment.folder_name))]
    if not rest or rest[0] not in known:
        return None, None
    if len(rest) == 1:
        return rest[0], None
    if len(rest) > 2 or not rest[1].isdigit():
        raise DefinitionError(f"{'/'.join(rest)!r} names no cell: write CONDITION/REPLICATE")
    return rest[0], int(rest[1])


def require_condition(found: Found) -> None:
    """Raises DefinitionError where a condition is named that the experiment does not have."""
    if found.rest and found.condition is None:
        known = ["baseline", *(t.name for t in found.graph.treatments_of(found.experiment))]
        near = difflib.get_close_matches(found.rest[0], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}"
        raise DefinitionError(f"{found.experiment} has no condition {found.rest[0]!r}; {hint}")


# --- where a configuration lies --------------------------------------------------------------


def _config_of(name: str, store: Store) -> Path:
    run = store.run(name)
    noted = run.info.get("config") if run is not None else None
    if isinstance(noted, str) and noted and Path(noted).is_file():
        return Path(noted)
    names = []
    for path in _configs(Path(), _DEPTH):
        found = config._peek_name(path) or path.parent.name
        if found == name:
            return path
        names.append(found)
    if run is not None and not noted:
        raise ConfigNotFound(
            f"{name} was run from Python, where today's code and parameters cannot be seen from "
            "here: call `explain` or `plan` on the experiment there, or name a config.yaml with "
            "--config"
        )
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "name its config.yaml with --config"
    raise ConfigNotFound(f"no configuration of an experiment {name!r} was found below here; {hint}")


def _configs(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / config.FILE).is_file():
        yield folder / config.FILE
    if depth:
        for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
            if not inner.name.startswith((".", "__")) and inner.name != "node_modules":
                yield from _configs(inner, depth - 1)
