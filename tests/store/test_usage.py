import random

import numpy as np
import pytest

from druse_store import ArtifactRef, Digest, Store


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def add_run(make_record):
    """A run of an experiment whose cells have these objects as artifacts."""

    def add(store, experiment, objects, *, step=0, name="a"):
        writer = store.begin_run(experiment)
        for number, obj in enumerate(objects):
            artifact = ArtifactRef(name, step, store.put_object(obj))
            start = Digest.of(experiment.encode())
            record = make_record(number, start=start, artifacts=(artifact,))
            writer.add("base", number, store.put_record(record), "run")
        return writer.finish(complete=True)

    return add


def test_what_is_stored_once_counts_for_all_that_name_it_and_for_none_alone(store, add_run):
    common, own = content(50_000), content(10_000, 1)
    add_run(store, "one", [common, own])
    add_run(store, "two", [common])
    used = store.du()
    one, two = used.experiments
    assert (one.experiment, two.experiment) == ("one", "two")
    assert (one.usage.raw, one.usage.unique, one.usage.alone) == (60_000, 60_000, 10_000)
    assert (two.usage.raw, two.usage.unique, two.usage.alone) == (50_000, 50_000, 0)
    assert (used.total.raw, used.total.unique) == (110_000, 60_000)
    assert used.total.stored == store.stats().pack_bytes - used.overhead


def test_what_versions_share_is_held_by_the_experiment_and_by_no_version(store, add_run):
    for seed in (1, 2, 3):
        add_run(store, "exp", [content(50_000), content(1_000, seed)])
    (experiment,) = store.du().experiments
    assert [v.usage.alone for v in experiment.versions] == [1_000] * 3
    assert [v.usage.raw for v in experiment.versions] == [51_000] * 3
    assert experiment.usage.raw == 153_000
    assert experiment.usage.alone == experiment.usage.unique == 53_000


def test_what_a_version_alone_holds_is_what_its_removal_leaves_unnamed(store, add_run):
    random.seed(3)
    for version in range(4):
        blobs = [content(1_000, random.randrange(12)) for _ in range(5)]
        add_run(store, "exp", [*blobs, content(300_000, version % 3)])
    for version in store.du().experiments[0].versions:
        assert version.usage.alone == _freed_by_removing(store, version.version)


def _freed_by_removing(store, version):
    """By counting, without the ledger: chunks that only this version's records lead to."""
    chunks = {}
    for run in store.runs("exp"):
        for cell in run.cells:
            for blob in store.record_by_digest(cell.record).blobs():
                entry = store._session.reader.blob(blob)
                parts = [] if entry is None else [entry.chunks]
                outline = store._session.reader.outline(blob)
                for part in (*parts, *(digest for digest, _ in outline.chunks)):
                    chunks.setdefault(part, set()).add(run.version)
    alone = [digest for digest, versions in chunks.items() if versions == {version}]
    return sum(store._session.reader.chunk(digest).stored for digest in alone)


def test_artifacts_are_listed_by_step_and_name(store, add_run):
    add_run(store, "exp", [content(2_000), content(3_000, 1)], step=2, name="model")
    (artifact,) = store.du().experiments[0].versions[0].artifacts
    assert (artifact.step, artifact.name) == (2, "model")
    assert artifact.usage.raw == artifact.usage.alone == 5_000


def test_compression_and_deduplication_show_in_the_ratio(store, add_run):
    add_run(store, "exp", [np.zeros(100_000), np.zeros(100_000)])
    usage = store.du().total
    assert usage.raw == 1_600_000
    assert usage.unique == 800_000
    assert usage.ratio > 100


def test_what_is_outside_of_runs_is_named_apart(store, add_run, make_record):
    pinned, cached = store.put(content(700, 1)), store.put(content(900, 2))
    loose = store.put(content(200_000, 3))
    store.pin("keep", pinned)
    store.put_record(make_record(blob=cached))
    used = store.du()
    assert used.experiments == []
    assert (used.pinned.unique, used.pinned.alone) == (700, 700)
    assert used.outside_runs.alone == 900
    assert used.unnamed.unique >= 200_000
    assert used.total.unique == used.unnamed.unique + 1_600
    assert loose in store


def test_an_empty_store_uses_nothing(store):
    used = store.du()
    assert used.total == type(used.total)()
    assert used.total.ratio == 1.0


def test_a_store_opened_to_read_can_be_asked(path, add_run):
    with Store.open(path) as store:
        add_run(store, "exp", [content(500)])
        before = store.du()
    with Store.open(path, read_only=True) as store:
        assert store.du() == before
