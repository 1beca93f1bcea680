"""Runs of whole graphs: what runs, what is blocked, mixed replicates, bytes that went missing."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest

from druse import (
    Artifact,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    ParallelExecution,
    Treatment,
    api,
    location,
    pipeline_step,
)
from druse.commit import Committer
from druse.errors import Blocked, DefinitionError
from druse_store import BlobVanished
from support import cells
from support.cells import experiment, metrics
from support.damage import damage

CONDITIONS = ("baseline", "t1", "t2", "t3")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    logging.getLogger("druse").setLevel("ERROR")
    return tmp_path


@pipeline_step()
def combine(data, ctx, out: Artifact, name="", level=0):
    """Adds up what it reads, and fails where a marker says so (which no key knows of)."""
    cell = f"{name} {ctx.get('condition')} {ctx.get('replicate')}"
    with Path("ran").open("a") as file:
        file.write(cell + "\n")
    if Path("broken", cell).exists():
        raise RuntimeError(f"broken: {cell}")
    total = sum(data.values()) if isinstance(data, dict) else data
    total = (total * 31 + hash_of(name) + level * 7 + ctx.get("replicate")) % 1_000_003
    ctx.record("total", total)
    out.write(str(total))
    return total


def hash_of(name: str) -> int:
    return sum(map(ord, name))


def number(path: Path) -> int:
    return int(path.read_text())


def make_graph(seed: int, count: int, replicates: int, plugin: Any) -> list[Experiment]:
    """A random acyclic graph in which everything is connected."""
    chance = random.Random(seed)
    made: list[Experiment] = []
    for place in range(count):
        name = f"e{place:02}"
        out = Artifact("out.txt", loader=number)
        upstream = chance.sample(made, min(len(made), chance.choice([1, 1, 2, 3])))
        more: dict[str, Any] = {}
        if upstream:
            more["datasource"] = ExperimentInput(
                **{each.name: each.outputs["out.txt"] for each in upstream}
            )
        more["treatments"] = [Treatment(f"t{level}", {"level": level}) for level in (1, 2, 3)]
        step = combine(out=out, name=name)
        made.append(
            experiment(
                step, name=name, outputs=[out], replicates=replicates, plugin=plugin(), **more
            )
        )
    return made


def resume(made: list[Experiment]) -> dict[str, Any]:
    graph = ExperimentGraph.from_experiments(made)
    return api.run(graph.wanted(), strategy="resume", views="none")


def ran() -> list[str]:
    path = Path("ran")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(lines)


def upstream_of(made: list[Experiment]) -> dict[str, list[str]]:
    found = {}
    for each in made:
        inputs = getattr(each.datasource, "_inputs", {})
        found[each.name] = list(inputs)
    return found


@pytest.mark.parametrize(
    ("count", "replicates", "plugin"),
    [(50, 10, lambda: None), (12, 4, lambda: ParallelExecution(3, "process"))],
    ids=["50 experiments, one after another", "12 experiments, in processes"],
)
def test_exactly_what_needs_a_failed_cell_is_blocked_and_after_the_fix_runs(
    count: int, replicates: int, plugin: Any
) -> None:
    chance = random.Random(count)
    made = make_graph(count, count, replicates, plugin)
    needs = upstream_of(made)
    all_cells = [(e.name, c, r) for e in made for c in CONDITIONS for r in range(replicates)]
    broken = set(chance.sample(all_cells, len(all_cells) // 40))
    Path("broken").mkdir()
    for name, condition, replicate in broken:
        Path("broken", f"{name} {condition} {replicate}").write_text("")
    blocked: set[tuple[str, str, int]] = set()
    for name, condition, replicate in all_cells:  # upstream comes first
        lost = broken | blocked
        if any((each, condition, replicate) in lost for each in needs[name]):
            blocked.add((name, condition, replicate))
    failed = broken - blocked

    found = resume(made)
    assert ran() == sorted(" ".join(map(str, c)) for c in set(all_cells) - blocked)
    for name, result in found.items():
        expected = {f"{c}_rep_{r}" for n, c, r in failed | blocked if n == name}
        assert set(result.errors) == expected
        is_blocked = {key for key, error in result.errors.items() if isinstance(error, Blocked)}
        assert is_blocked == {f"{c}_rep_{r}" for n, c, r in blocked if n == name}

    for path in Path("broken").iterdir():
        path.unlink()
    made = make_graph(count, count, replicates, plugin)
    fixed = resume(made)
    assert ran() == sorted(" ".join(map(str, c)) for c in failed | blocked)
    assert not any(result.errors for result in fixed.values())

    made = make_graph(count, count, replicates, lambda: None)
    resume(made)
    assert ran() == []


# --- mixed replicates ------------------------------------------------------------------------


def pair(produced: int, consumed: int, **more: Any) -> ExperimentGraph:
    out = Artifact("out.txt", loader=number)
    first = experiment(
        combine(out=out, name="first"), name="first", outputs=[out], replicates=produced, **more
    )
    last = Artifact("out.txt")
    second = experiment(
        combine(out=last, name="second"),
        name="second",
        datasource=ExperimentInput(first=out),
        outputs=[last],
        replicates=consumed,
    )
    return ExperimentGraph.from_experiments([first, second])


def test_a_consumer_with_more_replicates_reads_the_producers_again_from_the_first() -> None:
    found = pair(2, 5).run()
    made = found["first"].metrics.baseline.metrics["total"]
    expected = [(made[r % 2] * 31 + hash_of("second") + r) % 1_000_003 for r in range(5)]
    assert found["second"].metrics.baseline.metrics["total"] == expected


def test_a_consumer_with_fewer_replicates_reads_the_first_ones() -> None:
    found = pair(5, 2).run()
    made = found["first"].metrics.baseline.metrics["total"]
    expected = [(made[r] * 31 + hash_of("second") + r) % 1_000_003 for r in range(2)]
    assert found["second"].metrics.baseline.metrics["total"] == expected


def test_more_replicates_of_the_producer_run_only_its_new_ones_and_the_consumers_that_change() -> (
    None
):
    pair(2, 4).run()
    ran()
    pair(4, 4).run(strategy="resume")
    # The consumer's replicates 2 and 3 read other artifacts now; 0 and 1 the same ones.
    assert ran() == [f"{n} baseline {r}" for n in ("first", "second") for r in (2, 3)]
    pair(3, 4).run(strategy="resume")
    assert ran() == ["second baseline 3"]  # which reads replicate 0 of three


def test_two_inputs_with_different_replicates_above_one_are_an_error() -> None:
    made = [
        experiment(combine(out=out, name=f"p{n}"), name=f"p{n}", outputs=[out], replicates=n)
        for n in (2, 3)
        for out in [Artifact("out.txt", loader=number)]
    ]
    outs = {each.name: each.outputs["out.txt"] for each in made}
    with pytest.raises(
        DefinitionError, match="Conflicting replicates across artifacts: p2=2, p3=3"
    ):
        ExperimentInput(**outs)


def test_one_and_several_replicates_can_be_read_together() -> None:
    outs = [Artifact("out.txt", loader=number) for _ in range(3)]
    one_and_three = [
        experiment(
            combine(out=outs[n], name=f"p{n}"), name=f"p{n}", outputs=[outs[n]], replicates=n
        )
        for n in (1, 2)
    ]
    both = ExperimentInput(p1=outs[1], p2=outs[2])
    reader = experiment(
        combine(out=outs[0], name="reader"),
        name="reader",
        datasource=both,
        outputs=[outs[0]],
        replicates=4,
    )
    found = ExperimentGraph.from_experiments([*one_and_three, reader]).run()
    first = found["p1"].metrics.baseline.metrics["total"]
    second = found["p2"].metrics.baseline.metrics["total"]
    expected = [
        ((first[0] + second[r % 2]) * 31 + hash_of("reader") + r) % 1_000_003 for r in range(4)
    ]
    assert found["reader"].metrics.baseline.metrics["total"] == expected


def test_a_condition_that_the_producer_lacks_reads_its_baseline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, last = Artifact("out.txt", loader=number), Artifact("out.txt")
    first = experiment(combine(out=out, name="first"), name="first", outputs=[out])
    second = experiment(
        combine(out=last, name="second"),
        name="second",
        datasource=ExperimentInput(first=out),
        outputs=[last],
        treatments=[Treatment("only here", {"level": 1})],
    )
    found = ExperimentGraph.from_experiments([first, second]).run()
    base = found["first"].metrics.baseline.metrics["total"][0]
    assert metrics(found["second"])["only here"]["total"] == [
        (base * 31 + hash_of("second") + 7) % 1_000_003
    ]


# --- bytes that went missing -----------------------------------------------------------------


@pipeline_step()
def grow(data, ctx, out: Artifact, name=""):
    """Writes bytes that do not compress and follow from what it reads."""
    with Path("ran").open("a") as file:
        file.write(f"{name} {ctx.get('replicate')}\n")
    known = data if isinstance(data, bytes) else b""
    out.write(random.Random(known[:50] + f"{name} {ctx.get('replicate')}".encode()).randbytes(5000))
    return data


def grown(plugin: Any) -> ExperimentGraph:
    made = []
    source: Any = cells.one()
    for name in ("first", "second", "third"):
        out = Artifact("out.bin")
        made.append(
            experiment(
                grow(out=out, name=name),
                name=name,
                datasource=source,
                outputs=[out],
                replicates=2,
                plugin=plugin(),
            )
        )
        source = out
    return ExperimentGraph.from_experiments(made)


@pytest.mark.parametrize(
    "plugin", [lambda: None, lambda: ParallelExecution(2, "process")], ids=["serial", "process"]
)
def test_an_upstream_artifact_whose_bytes_are_damaged_is_computed_again_for_who_needs_it(
    plugin: Any,
) -> None:
    grown(plugin).run(strategy="resume")
    ran()
    with location.open_store(create=False) as store:
        for name in ("first", "second"):
            record = record_of(store, name)
            damage(store.path, store.get(record.artifacts[0].ref.root.digest))
        store.remove_record(record_of(store, "third").digest)
    found = grown(plugin).run(strategy="resume")
    assert not any(result.errors for result in found.values())
    assert ran() == ["first 0", "second 0", "third 0"]
    grown(plugin).run(strategy="resume")
    assert ran() == []


def test_all_who_read_an_artifact_that_is_computed_again_wait_for_it() -> None:
    pair(1, 5).run()
    with location.open_store(create=False) as store:
        record = record_of(store, "first")
        damage(store.path, store.get(record.artifacts[0].ref.root.digest))
        for cell in store.run("second").cells:
            store.remove_record(cell.record)
    ran()
    found = pair(1, 5).run(strategy="resume")
    assert not any(result.errors for result in found.values())
    assert sorted(ran()) == ["first baseline 0", *(f"second baseline {r}" for r in range(5))]


def record_of(store: Any, name: str) -> Any:
    cells_of = store.run(name).cells
    digest = next(c.record for c in cells_of if (c.condition, c.replicate) == ("baseline", 0))
    return store.record_by_digest(digest)


@pytest.mark.parametrize(
    "plugin", [lambda: None, lambda: ParallelExecution(2, "process")], ids=["serial", "process"]
)
def test_a_cell_whose_artifact_vanished_before_its_commit_is_executed_again(
    plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, vanished = Committer.put, []

    def lose_one(self: Committer, prepared: Any, outcome: Any, *more: Any) -> Any:
        if outcome.cell.replicate == 0 and len(vanished) < 2:
            vanished.append(outcome.cell)
            raise BlobVanished("a collection took it")
        return put(self, prepared, outcome, *more)

    monkeypatch.setattr(Committer, "put", lose_one)
    made = experiment(
        grow(out=Artifact("out.bin"), name="e"),
        replicates=6,
        treatments=[Treatment("t", {"unread": 1})],
        plugin=plugin(),
    )
    found = made.run()
    assert not found.errors
    assert len(vanished) == 2
    assert ran() == ["e 0"] * 3 + [f"e {replicate}" for replicate in range(1, 6)]
