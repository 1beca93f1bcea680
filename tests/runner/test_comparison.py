"""What differs between two runs, from their records alone."""

from __future__ import annotations

import math
from typing import Any

from druse.comparison import ArtifactChange, Side, compare, sample
from druse.fingerprint.closures import Component
from druse.fingerprint.manifest import Manifest
from druse_store import ArtifactRef, BlobRef, Digest, ObjectRef, Read, Record, extend


def record(
    metrics: dict[str, Any],
    files: dict[str, bytes] | None = None,
    reads: dict[str, tuple[bytes, str]] | None = None,
) -> Record:
    start = signature = Digest.of(b"start")
    found = tuple(Read(key, Digest.of(value)) for key, (value, _) in (reads or {}).items())
    for read in found:
        signature = extend(signature, read.key, read.value)
    artifacts = []
    for name, data in (files or {}).items():
        blob = BlobRef(Digest.of(data), len(data), Digest.of(data))
        artifacts.append(ArtifactRef(name, 0, ObjectRef("bytes", blob)))
    return Record(
        signature=signature,
        replicate=0,
        status="ok",
        base=Digest.of(b"base"),
        start=start,
        reads=found,
        metrics=metrics,
        artifacts=tuple(artifacts),
        output=None,
        provenance={"shown": {key: text for key, (_, text) in (reads or {}).items()}},
        manifest=None,
    )


def side(name: str, cells: dict[tuple[str, int], Record], **more: Any) -> Side:
    conditions = list(dict.fromkeys(condition for condition, _ in cells))
    values: dict[str, Any] = {"steps": ["Fit"], "manifests": [], "environment": {}} | more
    return Side(
        name, conditions, values["steps"], cells, values["manifests"], values["environment"]
    )


def test_metrics_are_compared_condition_by_condition() -> None:
    before = side(
        "e/v0", {("baseline", r): record({"acc": [0.5 + r / 10], "text": ["a"]}) for r in range(3)}
    )
    after = side(
        "e/v1",
        {
            **{("baseline", r): record({"acc": [0.7 + r / 10], "text": ["b"]}) for r in range(2)},
            ("new", 0): record({"loss": [1]}),
        },
    )
    rows = {(m.condition, m.metric): m for m in compare(before, after).metrics}
    acc = rows[("baseline", "acc")]
    assert acc.before is not None
    assert acc.after is not None
    assert (acc.before.n, acc.after.n) == (3, 2)
    assert math.isclose(acc.before.mean or 0, 0.6)
    assert math.isclose(acc.before.sd or 0, 0.1)
    assert math.isclose(acc.difference or 0, 0.75 - 0.6)
    assert not acc.is_same
    text = rows[("baseline", "text")]
    assert (text.difference, text.is_same) == (None, False)
    new = rows[("new", "loss")]
    assert new.before is None
    assert new.difference is None
    assert not compare(before, after).is_same


def test_the_same_is_the_same_also_where_it_is_no_number() -> None:
    cells = {("baseline", 0): record({"acc": [math.nan, 1], "text": ["a"], "flag": [True]})}
    found = compare(side("e/v0", cells), side("e/v1", dict(cells)))
    assert found.is_same
    assert (found.same_records, found.cells) == (1, 1)
    assert all(each.is_same for each in found.metrics)


def test_samples_of_few_or_strange_values() -> None:
    assert sample([]) == (sample([]).__class__)(0, None, None)
    assert (sample([3]).mean, sample([3]).sd) == (3.0, None)
    assert sample([True, False]).mean is None
    assert sample([1, "x"]).mean is None
    assert math.isinf(sample([1.0, math.inf]).mean or 0)


def test_artifacts_are_compared_by_content_cell_by_cell() -> None:
    before = side(
        "e/v0",
        {
            ("baseline", 0): record({}, {"m": b"1", "gone": b"x"}),
            ("baseline", 1): record({}, {"m": b"2"}),
            ("old", 0): record({}, {"m": b"3"}),
        },
    )
    after = side(
        "e/v1",
        {
            ("baseline", 0): record({}, {"m": b"1"}),
            ("baseline", 1): record({}, {"m": b"other"}),
            ("baseline", 2): record({}, {"m": b"4"}),
        },
    )
    assert compare(before, after).artifacts == [
        ArtifactChange("Fit", "gone", removed=1),
        ArtifactChange("Fit", "m", same=1, changed=1, removed=1, added=1),
    ]


def component(name: str, kind: str, text: bytes, detail: str = "") -> Component:
    return Component(name, kind, Digest.of(text), "fit.py", 3, detail)


def test_code_is_compared_by_manifests_and_packages_by_version() -> None:
    old = Manifest.of(
        [
            ("step 0", component("helper", "function", b"1")),
            ("step 0", component("numpy", "package", b"1", "1.26")),
        ]
    )
    new = Manifest.of(
        [
            ("step 0", component("helper", "function", b"2")),
            ("step 0", component("numpy", "package", b"2", "2.0")),
            ("step 1", component("other", "function", b"3")),
        ]
    )
    cells = {("baseline", 0): record({})}
    found = compare(
        side("e/v0", cells, manifests=[old], environment={"python": "3.11"}),
        side("e/v1", cells, manifests=[new], steps=["Fit", "Eval"], environment={"python": "3.12"}),
    )
    assert found.code[0] == "steps: Fit → Fit, Eval"
    assert found.code[1] == "Fit: helper fit.py:3 helper() changed"
    assert found.code[2] == "Eval: helper fit.py:3 other() added"
    assert found.environment == ["numpy 1.26 → 2.0", "python 3.11 → 3.12"]
    unknown = compare(side("e/v0", cells), side("e/v1", cells, manifests=[new]))
    assert unknown.code == ["which code e/v0 came from is not known"]


def test_values_that_cells_read_are_told_with_their_conditions() -> None:
    def cells(lr: str, size: bytes) -> dict[tuple[str, int], Record]:
        reads = {
            "ctx:lr": (lr.encode(), lr),
            "param:0:C": (size, ""),
            "file:@/data/x.csv": (size, ""),
        }
        return {(c, r): record({}, reads=reads) for c in ("baseline", "t") for r in range(2)}

    found = compare(side("e/v0", cells("0.1", b"1")), side("e/v1", cells("0.3", b"2")))
    assert found.values == [
        "ctx lr 0.1 → 0.3 (baseline, t)",
        "parameter C of Fit changed (baseline, t)",
        "file data/x.csv changed (baseline, t)",
    ]
