"""Trying a function out on several configurations, without an experiment and without the store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from druse import seeds
from druse.context import FrozenContext
from druse.names import BASELINE, CONDITION_KEY, REPLICATE_KEY


def quick_experiment(
    fn: Callable[..., Any],
    configs: Mapping[str, Any] | None = None,
    replicates: int = 1,
    *,
    seed: int | None = None,
    verbose: bool = False,
) -> dict[str, list[Any]]:
    """What `fn(config)` or `fn(config, ctx)` gives for each configuration and replicate.

    Without configurations it is called as `fn()` or `fn(ctx)`. With a seed, the generators are set
    before each call, the same for all configurations. Nothing is kept.
    """
    parameters = inspect.signature(fn).parameters
    takes_ctx = "ctx" in parameters or len(parameters) >= 2
    found: dict[str, list[Any]] = {}
    for name, config in (configs if configs is not None else {BASELINE: None}).items():
        values = found[name] = []
        for replicate in range(replicates):
            if verbose:
                print(f"{name}: replicate {replicate + 1} of {replicates}")  # noqa: T201
            if seed is not None:
                seeds.seed_generators(seeds.derive(seed, replicate, 0))
            given = {REPLICATE_KEY: replicate, CONDITION_KEY: name, "seed": seed}
            arguments = [] if config is None else [config]
            values.append(fn(*arguments, *([FrozenContext(given)] if takes_ctx else [])))
    return found
