"""How long runs are kept: what druse.yaml says, else the experiments' ArtifactPlugins; done when
runs have ended. Never a reason for a run to fail.

A run notes what its plugin said. So every collection of the store knows, also one that was started
by another experiment, or by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from druse import pruning
from druse.errors import ConfigError
from druse_store import Policy, Run, Store, StoreError

if TYPE_CHECKING:
    from druse.listener import Listener
    from druse.plugins import ArtifactPlugin
    from druse.prepared import Prepared
    from druse.project import Project


def policy_of(project: Project) -> Policy:
    """The policy of a project's druse.yaml. Raises ConfigError."""
    section = project.retention
    try:
        return Policy.parse({name: section.get(name) for name in section})
    except StoreError as error:
        raise ConfigError(f"{project.file}: {error}") from error


def noted(plugin: ArtifactPlugin) -> list[int] | None:
    """What a run notes of its plugin: Crystallize's rule, for versioned experiments."""
    if not plugin.versioned or plugin.artifact_retention <= 0:
        return None
    return [plugin.artifact_retention, plugin.big_file_threshold_mb << 20]


def with_noted(policy: Policy, store: Store) -> Policy:
    """The policy, with what the newest run of each experiment noted, where it says nothing."""
    for name in store.experiments():
        rule = None if policy.of(name).limits_artifacts else _rule(store.run(name))
        if rule is not None:
            newest, threshold = rule
            policy = policy.with_experiment(
                name, artifact_retention=newest, big_file_threshold=threshold
            )
    return policy


def _rule(run: Run | None) -> tuple[int, int] | None:
    """What a run noted, if it can be that: it may be from another machine."""
    said = None if run is None else run.info.get("retention")
    if not isinstance(said, list) or len(said) != 2:
        return None
    newest, threshold = said
    if type(newest) is not int or type(threshold) is not int or newest <= 0 or threshold < 0:
        return None
    return newest, threshold


def after_runs(store: Store, policy: Policy, ended: list[Prepared], listener: Listener) -> None:
    """Applies retention to the experiments that have new runs, to their views first; collects what
    is garbage where that is due."""
    roots = {prepared.name: Path(prepared.artifact_plugin.root_dir) for prepared in ended}
    try:
        policy = with_noted(policy, store)
        for change in store.plan_levels(roots, policy):
            threshold = policy.of(change.experiment).big_file_threshold
            pruning.prune(store, change, roots[change.experiment], threshold)
        _, report = store.after_runs(roots, policy)
    except (StoreError, OSError) as error:
        listener.warned(f"old runs were not tidied up: {error}")
        return
    for problem in report.problems if report is not None else ():
        listener.warned(problem)
