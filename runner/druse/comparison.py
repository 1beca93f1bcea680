"""What differs between two runs: metrics, artifacts, code, values and environment. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from druse.fingerprint.manifest import Manifest, diff
from druse.globs import BETWEEN
from druse.layout import merged
from druse_store import Digest, Record

Key = tuple[str, int]


@dataclass(frozen=True)
class Side:
    """One run: its cells by condition and replicate, and what their keys were made of."""

    name: str
    conditions: Sequence[str]
    steps: Sequence[str]
    cells: Mapping[Key, Record]
    manifests: Sequence[Manifest]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """The values of one metric in one condition. `mean` and `sd` are None without numbers."""

    n: int
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class MetricChange:
    """One metric of one condition on both sides; None where a side does not have it.

    `difference` is that of the means, the second less the first.
    """

    condition: str
    metric: str
    before: Sample | None
    after: Sample | None
    difference: float | None
    is_same: bool


@dataclass
class ArtifactChange:
    """The files of one artifact, compared cell by cell."""

    step: str
    name: str
    same: int = 0
    changed: int = 0
    removed: int = 0
    added: int = 0

    @property
    def is_same(self) -> bool:
        return not (self.changed or self.removed or self.added)


@dataclass
class Comparison:
    """Everything that differs, and how much is the same."""

    before: str
    after: str
    metrics: list[MetricChange] = field(default_factory=list)
    artifacts: list[ArtifactChange] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    same_records: int = 0
    cells: int = 0

    @property
    def is_same(self) -> bool:
        """Whether the results are the same, whatever they came from."""
        metrics = all(each.is_same for each in self.metrics)
        return metrics and all(each.is_same for each in self.artifacts)


def compare(before: Side, after: Side) -> Comparison:
    """What differs between two runs."""
    both = before.cells.keys() & after.cells.keys()
    return Comparison(
        before=before.name,
        after=after.name,
        metrics=list(_metrics(before, after)),
        artifacts=list(_artifacts(before, after)),
        code=list(_code(before, after)),
        values=list(_values(before, after)),
        environment=list(_environment(before, after)),
        same_records=sum(before.cells[k].digest == after.cells[k].digest for k in both),
        cells=len(before.cells.keys() | after.cells.keys()),
    )


# --- metrics ---------------------------------------------------------------------------------


def _metrics(before: Side, after: Side) -> Iterator[MetricChange]:
    for condition in dict.fromkeys([*before.conditions, *after.conditions]):
        sides = [_of_condition(side, condition) for side in (before, after)]
        for metric in dict.fromkeys([*sides[0], *sides[1]]):
            old, new = (side.get(metric) for side in sides)
            samples = [None if values is None else sample(values) for values in (old, new)]
            means = [each.mean if each is not None else None for each in samples]
            difference = None
            if means[0] is not None and means[1] is not None:
                difference = means[1] - means[0]
            yield MetricChange(
                condition, metric, samples[0], samples[1], difference, _is_equal(old, new)
            )


def _of_condition(side: Side, condition: str) -> dict[str, list[Any]]:
    cells = sorted(key for key in side.cells if key[0] == condition)
    return merged([side.cells[key].metrics for key in cells])


def sample(values: Sequence[Any]) -> Sample:
    """How many values, their mean and standard deviation (None where they are no numbers)."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not numbers or len(numbers) < len(values):
        return Sample(len(values), None, None)
    if not all(math.isfinite(number) for number in numbers):
        return Sample(len(numbers), sum(numbers) / len(numbers), None)
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Sample(len(numbers), statistics.fmean(numbers), deviation)


def _is_equal(old: Any, new: Any) -> bool:
    """Whether two metrics hold the same, NaN being the same as NaN."""
    return repr(old) == repr(new)


# --- artifacts -------------------------------------------------------------------------------


def _artifacts(before: Side, after: Side) -> Iterator[ArtifactChange]:
    old, new = _digests(before), _digests(after)
    found: dict[tuple[str, str], ArtifactChange] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        _, step, name = key
        change = found.setdefault((step, name), ArtifactChange(step, name))
        if key not in new:
            change.removed += 1
        elif key not in old:
            change.added += 1
        elif old[key] == new[key]:
            change.same += 1
        else:
            change.changed += 1
    yield from sorted(found.values(), key=lambda each: (each.step, each.name))


def _digests(side: Side) -> dict[tuple[Key, str, str], Digest]:
    return {
        (cell, _name(side.steps, artifact.step), artifact.name): artifact.ref.root.digest
        for cell, record in sorted(side.cells.items())
        for artifact in record.artifacts
    }


def _name(steps: Sequence[str], place: int) -> str:
    return steps[place] if 0 <= place < len(steps) else f"step {place}"


# --- code ------------------------------------------------------------------------------------


def _code(before: Side, after: Side) -> Iterator[str]:
    old = Manifest.of(entry for manifest in before.manifests for entry in manifest.entries)
    new = Manifest.of(entry for manifest in after.manifests for entry in manifest.entries)
    if bool(before.manifests) != bool(after.manifests):
        unknown = before.name if after.manifests else after.name
        yield f"which code {unknown} came from is not known"
        return
    if list(before.steps) != list(after.steps):
        yield f"steps: {', '.join(before.steps)} → {', '.join(after.steps)}"
    for change in diff(old, new):
        component = change.new or change.old
        if component is not None and component.kind != "package":
            yield _with_step_names(change.sentence, after.steps).replace(" -> ", " → ")


def _with_step_names(sentence: str, steps: Sequence[str]) -> str:
    part, colon, rest = sentence.partition(": ")
    place = part.removeprefix("step ")
    if colon and part.startswith("step ") and place.isdecimal():
        return f"{_name(steps, int(place))}: {rest}"
    return sentence


# --- values ----------------------------------------------------------------------------------


def _values(before: Side, after: Side) -> Iterator[str]:
    """What cells of the same name read that is not the same: a sentence, and whose cells."""
    found: dict[str, list[str]] = {}
    for key in sorted(before.cells.keys() & after.cells.keys()):
        for sentence in _read_otherwise(before.cells[key], after.cells[key], after.steps):
            conditions = found.setdefault(sentence, [])
            if key[0] not in conditions:
                conditions.append(key[0])
    for sentence, conditions in found.items():
        yield f"{sentence} ({', '.join(conditions)})"


def _read_otherwise(old: Record, new: Record, steps: Sequence[str]) -> Iterator[str]:
    values = {read.key: read.value for read in old.reads}
    texts = [_texts(record) for record in (old, new)]
    for read in new.reads:
        if read.key in values and values[read.key] != read.value:
            told = [text.get(read.key) for text in texts]
            arrow = f" {told[0]} → {told[1]}" if None not in told and told[0] != told[1] else ""
            yield f"{_told(read.key, steps)}{arrow or ' changed'}"


def _texts(record: Record) -> Mapping[str, Any]:
    shown = record.provenance.get("shown", {})
    return shown if isinstance(shown, dict) else {}


def _told(key: str, steps: Sequence[str]) -> str:
    """A read, as people know it."""
    kind, _, rest = key.partition(":")
    if kind in ("param", "bound"):
        place, _, name = rest.partition(":")
        step = _name(steps, int(place)) if place.isdecimal() else place
        return f"parameter {name} of {step}"
    words = {"up": "artifact", "stored": "artifact", "dir": "folder", "glob": "files"}
    path = rest.removeprefix("@/").removeprefix("./").replace(BETWEEN, "/")
    return f"{words.get(kind, kind)} {path}"


# --- environment -----------------------------------------------------------------------------


def _environment(before: Side, after: Side) -> Iterator[str]:
    old, new = ({**_packages(side), **side.environment} for side in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name, '-')} → {new.get(name, '-')}"


def _packages(side: Side) -> dict[str, str]:
    """The versions of the packages that the code refers to, or that pickles needed."""
    found: dict[str, Counter[str]] = {}
    for manifest in side.manifests:
        for _, component in manifest.entries:
            if component.kind == "package" and component.detail:
                found.setdefault(component.name, Counter())[component.detail] += 1
    for record in side.cells.values():
        for key, text in _texts(record).items():
            if key.startswith("package:"):
                found.setdefault(key.partition(":")[2], Counter())[str(text)] += 1
    return {name: _several(versions) for name, versions in found.items()}


def _several(versions: Iterable[str]) -> str:
    return " and ".join(sorted(versions))
