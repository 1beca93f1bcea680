"""Which runs keep what: pure. Levels, from the most kept to the least: full, light, metrics, gone.

full     every artifact
light    artifacts up to a size; metrics
metrics  records (metrics, and the digest and recipe of each artifact), none of the artifacts
gone     nothing
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from druse_store.policy import Policy
from druse_store.run import Run, RunName

FULL, LIGHT, METRICS, GONE = "full", "light", "metrics", "gone"
LEVELS: Final = (GONE, METRICS, LIGHT, FULL)  # each keeps more than the one before
RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}
UNFINISHED: Final = 30 * 86400.0  # seconds that a run without a successor may take, or be resumed


def plan(
    runs: Iterable[Run],
    policy: Policy,
    now: float,
    pins: Collection[RunName] = (),
    alive: Collection[RunName] = (),
) -> dict[RunName, str]:
    """The level of each run. `now` is in seconds since 1970; `alive` runs still go on.

    Pinned and living runs are full, and so is the newest complete run of an experiment. Only
    complete runs count; one that is not is full until a later one is complete, or for 30 days.
    """
    experiments: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        experiments[run.experiment].append(run)
    levels: dict[RunName, str] = {}
    for name, found in experiments.items():
        found.sort(key=lambda run: run.version, reverse=True)
        levels.update(_experiment(found, policy.of(name), now))
    for kept in (*pins, *alive):
        if kept in levels:
            levels[kept] = FULL
    return levels


def held(
    runs: Iterable[Run], levels: Mapping[RunName, str], full: Collection[RunName] = ()
) -> dict[RunName, str]:
    """The level at which each run holds what it names: no more than it was lowered to before, but
    for those that are `full` in any case, and the newest complete one of each experiment."""
    listed = list(runs)
    newest: dict[str, int] = {}
    for run in listed:
        if run.complete:
            newest[run.experiment] = max(run.version, newest.get(run.experiment, -1))
    found = {}
    for run in listed:
        name = RunName(run.experiment, run.version)
        level = levels[name]
        if name not in full and run.version != newest.get(run.experiment):
            level = min(level, run.level, key=lambda each: RANK.get(each, 0))
        found[name] = level
    return found


def _experiment(runs: list[Run], rules: Policy, now: float) -> dict[RunName, str]:
    """The levels of the runs of one experiment, newest first."""
    complete = [run for run in runs if run.complete]
    newest = complete[0].version if complete else -1
    full = _full(complete, rules)
    light = {run.version for run in complete[: max(rules.artifact_retention or 0, 0)]}
    within = -1.0 if rules.keep_within is None else rules.keep_within
    levels = {}
    for run in runs:
        age = max(now - seconds(run), 0.0)
        unfinished = not run.complete and run.version > newest and age <= UNFINISHED
        if unfinished or run.version in full or age <= within:
            level = FULL
        elif run.version in light:
            level = LIGHT
        elif age > rules.keep_metrics:
            level = GONE
        else:
            level = METRICS if _limits(rules) else FULL
        levels[RunName(run.experiment, run.version)] = level
    return levels


def _limits(rules: Policy) -> bool:
    keeps_all = rules.artifact_retention is not None and rules.artifact_retention <= 0
    return rules.limits_artifacts and not keeps_all


def _full(complete: list[Run], rules: Policy) -> set[int]:
    """The versions of complete runs, newest first, that a counting rule keeps in full."""
    kept = {run.version for run in complete[: max(rules.keep_last or 0, 1)]}
    for count, period in (
        (rules.keep_daily, _day),
        (rules.keep_weekly, _week),
        (rules.keep_monthly, _month),
    ):
        kept |= _newest_each(complete, count or 0, period)
    return kept


def _newest_each(
    complete: list[Run], count: int, period: Callable[[datetime], tuple[int, ...]]
) -> set[int]:
    """The newest run of each of the last `count` periods that have one."""
    newest: dict[tuple[int, ...], int] = {}
    for run in complete:
        newest.setdefault(period(datetime.fromtimestamp(seconds(run), UTC)), run.version)
    return {newest[key] for key in sorted(newest, reverse=True)[:count]}


def seconds(run: Run) -> float:
    """When a run ended, or began if it has not: in seconds since 1970."""
    return (run.finished or run.started) / 1e9


def _day(at: datetime) -> tuple[int, ...]:
    return at.year, at.month, at.day


def _week(at: datetime) -> tuple[int, ...]:
    return tuple(at.isocalendar())[:2]


def _month(at: datetime) -> tuple[int, ...]:
    return at.year, at.month
