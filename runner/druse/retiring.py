"""How long runs are kept: what druse.yaml says, else the experiments' ArtifactPlugins; done when
runs have ended. Never a reason for a run to fail."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from druse import pruning
from druse.errors import ConfigError
from druse_store import Policy, Store, StoreError

if TYPE_CHECKING:
    from druse.listener import Listener
    from druse.prepared import Prepared
    from druse.project import Project


def policy_of(project: Project) -> Policy:
    """The policy of a project's druse.yaml. Raises ConfigError."""
    section = project.retention
    try:
        return Policy.parse({name: section.get(name) for name in section})
    except StoreError as error:
        raise ConfigError(f"{project.file}: {error}") from error


def with_plugins(policy: Policy, experiments: Iterable[Prepared]) -> Policy:
    """The policy, with Crystallize's rule for versioned experiments about which it says nothing."""
    for prepared in experiments:
        plugin = prepared.artifact_plugin
        said = policy.of(prepared.name).limits_artifacts
        if plugin.versioned and plugin.artifact_retention > 0 and not said:
            policy = policy.with_experiment(
                prepared.name,
                artifact_retention=plugin.artifact_retention,
                big_file_threshold=plugin.big_file_threshold_mb << 20,
            )
    return policy


def after_runs(store: Store, policy: Policy, ended: list[Prepared], listener: Listener) -> None:
    """Applies retention to the experiments that have new runs, to their views first; collects what
    is garbage where that is due."""
    policy = with_plugins(policy, ended)
    roots = {prepared.name: Path(prepared.artifact_plugin.root_dir) for prepared in ended}
    try:
        for change in store.plan_levels(roots, policy):
            threshold = policy.of(change.experiment).big_file_threshold
            pruning.prune(store, change, roots[change.experiment], threshold)
        _, report = store.after_runs(roots, policy)
    except (StoreError, OSError) as error:
        listener.warned(f"old runs were not tidied up: {error}")
        return
    for problem in report.problems if report is not None else ():
        listener.warned(problem)
