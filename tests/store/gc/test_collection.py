import time

import pytest

from druse_store import Policy, RunName, Store, rebuild_index
from druse_store.errors import BlobNotFound, StoreBusy
from druse_store.gc import execute, upkeep
from support.runs import add_run, chain, make_record, noise, pack_bytes, payloads_of

MIB = 1 << 20


def ten_versions(store, *, small=2_000, large=200_000):
    for version in range(10):
        add_run(store, "exp", [[noise(small, version), noise(large, ("large", version))]])


def test_crystallizes_rule_over_ten_versions(path):
    with Store.open(path) as store:
        ten_versions(store)
        policy = Policy(artifact_retention=3, big_file_threshold=100_000)
        report = store.gc(policy, grace=0)
        assert [run.level for run in store.runs("exp")] == ["metrics"] * 7 + ["light"] * 2 + [
            "full"
        ]
        assert payloads_of(store, "exp", 9) == [noise(2_000, 9), noise(200_000, ("large", 9))]
        for version in (7, 8):
            assert payloads_of(store, "exp", version) == [noise(2_000, version), BlobNotFound]
        for version in range(7):
            assert payloads_of(store, "exp", version) == [BlobNotFound, BlobNotFound]
            record = store.record_by_digest(store.run("exp", version).cells[0].record)
            assert record.metrics["name"] == f"exp/{version}/0"
        assert report.freed > 9 * 200_000
        assert not store.verify().findings


def test_what_was_dropped_is_computed_again_and_is_there_for_all_who_name_it(path):
    with Store.open(path) as store:
        ten_versions(store)
        store.gc(Policy(keep_last=1), grace=0)
        record = store.record_by_digest(store.run("exp", 3).cells[0].record)
        with store.reading() as view:
            assert len(view.missing(record)) == 2
            assert view.record_at(record.signature, record.replicate) == record
        again = store.put_object(noise(2_000, 3))
        assert again == record.artifacts[0].ref  # the same bytes under the same name
        with store.reading() as view:
            assert view.missing(record) == [record.artifacts[1].ref.root.digest]


def test_shared_bytes_stay_as_long_as_one_run_needs_them(path):
    shared = noise(300_000, "shared")
    with Store.open(path) as store:
        for version in range(5):
            add_run(store, "exp", [[shared, noise(1_000, version)]])
        add_run(store, "other", [[shared]])
        store.gc(Policy(keep_last=1), grace=0)
        assert payloads_of(store, "exp") == [shared, noise(1_000, 4)]
        store.remove_run("exp", 4)
        store.gc(Policy(keep_last=1), grace=0)
        assert payloads_of(store, "other") == [shared]
        store.remove_run("other", 0)
        store.gc(Policy(keep_last=1), grace=0)
        # v3 is the newest now; its own artifact is gone, what others kept for it is not.
        assert payloads_of(store, "exp", 3) == [shared, BlobNotFound]
        for version in range(4):
            store.remove_run("exp", version)
        store.gc(Policy(keep_last=1), grace=0)
        assert store.stats()[:4] == (0, 0, 0, 0)
        assert pack_bytes(path) == 0


@pytest.mark.parametrize("alone", [False, True])
def test_a_dry_run_says_to_the_byte_what_happens(path, alone):
    with Store.open(path) as store:
        for version in range(6):
            add_run(store, "a", [[noise(70_000, (version, i))] for i in range(4)])
            add_run(
                store, "b", [[b"text that compresses " * (version + 50)], [noise(2 * MIB, version)]]
            )
        add_run(store, "c", [[noise(100, i)] for i in range(500)])
        store.put(noise(5_000, "nobody's"))
        store.remove_run("c", 0)
        policy = Policy(keep_last=2)
        before = pack_bytes(path)
        said = store.gc(policy, grace=0, dry_run=True)
        assert pack_bytes(path) == before
        done = store.gc(policy, grace=0, alone=alone)
        assert before - pack_bytes(path) == done.freed == said.freed > 10 * MIB // 2
        assert done.problems == []
        for name in (
            "levels",
            "later",
            "swept",
            "waiting",
            "packs_removed",
            "packs_written",
            "by_run",
        ):
            assert getattr(done, name) == getattr(said, name), name
        assert sum(share.freed for share in said.by_run) == said.freed
        again = store.gc(policy, grace=0)
        assert (again.freed, again.swept.chunks, again.levels) == (0, 0, [])
        assert not store.verify().findings


def test_bytes_are_told_by_run(path):
    with Store.open(path) as store:
        add_run(store, "a", [[noise(100_000, 1)]])
        add_run(store, "a", [[noise(200_000, 2)], [noise(50_000, "both")]])
        add_run(store, "a", [[noise(400_000, 3)], [noise(50_000, "both")]])
        report = store.gc(Policy(keep_last=1), grace=0, dry_run=True)
        shares = {(share.experiment, share.version): share for share in report.by_run}
        assert 100_000 < shares["a", 0].freed < 101_000
        assert 200_000 < shares["a", 1].freed < 201_000  # what both have stays
        assert ("a", 2) not in shares
        assert (shares["a", 0].old, shares["a", 0].new, shares["a", 0].blobs) == (
            "full",
            "metrics",
            1,
        )


def test_garbage_waits_for_the_grace_and_then_leaves(path):
    with Store.open(path) as store:
        ten_versions(store)
        now = time.time()
        policy = Policy(keep_last=1)
        first = store.gc(policy, grace=3600, now=now + 7200)
        assert first.waiting.chunks > 9
        assert (first.freed, first.swept.chunks) == (0, 0)
        assert first.later > 9 * 200_000
        record = store.record_by_digest(store.run("exp", 2).cells[0].record)
        assert not any(blob in store for blob in record.blobs())
        soon = store.gc(policy, grace=3600, now=now + 1800)
        assert (soon.freed, soon.waiting.chunks) == (0, 0)
        late = store.gc(policy, grace=3600, now=now + 20_000)
        assert late.freed > 9 * 200_000
        assert payloads_of(store, "exp") == [noise(2_000, 9), noise(200_000, ("large", 9))]


def test_what_is_younger_than_the_grace_stays(path):
    with Store.open(path) as store:
        blob = store.put(b"on its way to a record")
        record = make_record(store, "of no run", [b"artifact"])
        store.put_record(record)
        assert store.gc(grace=3600).waiting == (0, 0, 0)
        assert blob in store
        assert store.record_by_digest(record.digest) == record
        assert store.gc(grace=0).swept == (1, 0, 2)
        assert store.record(record.signature, 0) is None
        assert list(store.records_of_base(record.base)) == []
        assert not store.verify().findings


def test_pins_keep_runs_records_and_blobs(path):
    with Store.open(path) as store:
        for version in range(3):
            add_run(store, "exp", [[noise(90_000, version)]])
        lonely, large = store.put(b"lonely"), store.put(noise(2 * MIB, "large"))
        record = make_record(store, "record", [noise(500, "of it")])
        store.pin("run", RunName("exp", 0))
        store.pin("blob", lonely)
        store.pin("large", large)
        store.pin("record", store.put_record(record))
        store.gc(Policy(keep_last=1, keep_metrics=0.0), grace=0)
        assert payloads_of(store, "exp", 0) == [noise(90_000, 0)]
        assert [run.version for run in store.runs("exp")] == [0, 2]
        assert store.get(lonely) == b"lonely"
        assert store.get(large) == noise(2 * MIB, "large")
        assert store.get_object(record.artifacts[0].ref) == noise(500, "of it")
        for name in ("run", "blob", "large", "record"):
            store.unpin(name)
        store.gc(Policy(keep_last=1, keep_metrics=0.0), grace=0)
        assert (store.stats().chunks, store.stats().records, store.stats().blobs) == (1, 1, 0)


def test_a_raw_array_is_still_mapped_after_its_pack_was_written_anew(path):
    import numpy as np

    keep = np.frombuffer(noise(3 * MIB, "keep"), "u8")
    with Store.open(path) as store:
        ref = store.put_object(keep)
        store.pin("kept", ref.root.digest)
        for blob in ref.buffers:
            store.pin(str(blob.digest)[:10], blob.digest)
        for i in range(4):
            store.put_object(np.frombuffer(noise(3 * MIB, i), "u8"))
        report = store.gc(grace=0)
        assert report.packs_written == 1
        found = store.get_object(ref)
        assert (found == keep).all()
        assert not found.flags.owndata
        assert not store.verify().findings
    with Store.open(path) as store:
        assert (store.get_object(ref) == keep).all()


def test_packs_below_the_waste_threshold_are_left_alone(path):
    with Store.open(path) as store:
        for i in range(20):
            store.pin(f"p{i}", store.put(noise(50_000, i)))
        store.put(noise(100_000, "waste"))
        assert store.gc(grace=0, waste=0.2).freed == 0
        assert store.gc(grace=0, waste=0.05).freed >= 100_000
        assert not store.verify().findings


def test_only_one_collection_goes_on_at_a_time(path):
    with Store.open(path) as store, Store.open(path) as other:
        store.put(b"garbage")
        plan = store.plan_gc(grace=0)
        with plan.collector.lock():
            with pytest.raises(StoreBusy, match="collects garbage"):
                other.gc()
            with pytest.raises(StoreBusy, match="collects garbage"):
                other.undo()
        with pytest.raises(StoreBusy, match="is open elsewhere"):
            store.gc(grace=0, alone=True)
        assert other.gc(grace=0).swept.chunks == 1


def test_progress_is_told_of_every_phase(path):
    seen = []
    with Store.open(path) as store:
        ten_versions(store)
        store.gc(Policy(keep_last=1), grace=0, progress=seen.append)
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases[:3] == ["records", "blobs", "chunks"]
    assert {"tombstone chunks", "sweep chunks", "write packs anew"} <= set(phases)
    assert all(0 <= progress.done <= progress.total and progress.eta >= 0 for progress in seen)


def test_a_large_log_is_written_anew_once_that_frees_a_share_of_the_store(path, monkeypatch):
    monkeypatch.setattr(upkeep, "CHEAP", 0)
    policy = Policy(keep_last=1, keep_metrics=0.0)
    with Store.open(path) as store:
        for version in range(4):
            add_run(store, "exp", [[noise(200, (version, i))] for i in range(50)])
        assert store.gc(policy, grace=0, alone=True).log_freed == 0
        monkeypatch.setattr(upkeep, "WORTH", 0.001)
        assert store.gc(policy, grace=0, alone=True).log_freed > 0  # what was removed before counts
        assert store.gc(policy, grace=0, alone=True).log_freed == 0
        assert not store.verify().findings
        assert payloads_of(store, "exp") == [noise(200, (3, i)) for i in range(50)]


def test_reads_that_lead_nowhere_are_forgotten_and_the_log_shrinks(path):
    with Store.open(path) as store:
        for version in range(4):
            add_run(store, "exp", [[noise(200, (version, i))] for i in range(100)])
        gone = store.record_by_digest(store.run("exp", 1).cells[0].record)
        kept = store.record_by_digest(store.run("exp", 3).cells[0].record)
        assert store.next_reads(gone.signature) == ("",)
        logged = store.stats().log_bytes
        done = store.gc(Policy(keep_last=1, keep_metrics=0.0), grace=0, alone=True)
        assert done.swept.records == 300
        assert store.next_reads(gone.signature) == ()
        assert store.next_reads(kept.signature) == ("",)
        assert done.log_freed > logged // 2
        assert store.stats().log_bytes < logged // 2
        assert payloads_of(store, "exp") == [noise(200, (3, i)) for i in range(100)]
        assert not store.verify().findings
        again = store.put_record(make_record(store, "exp/1/0", [noise(200, "again")]))
        assert store.record_by_digest(again).metrics == {"name": "exp/1/0"}
    assert rebuild_index(path).damage == []
    with Store.open(path) as store:
        assert payloads_of(store, "exp") == [noise(200, (3, i)) for i in range(100)]
        assert [run.version for run in store.runs()] == [3]
        assert store.begin_run("exp").version == 4


def test_chains_of_reads_that_lead_nowhere_are_forgotten_too(path, monkeypatch):
    monkeypatch.setattr(execute, "EDGES_SPARE", 10)

    with Store.open(path) as store:
        records = [make_record(store, "", [], **chain(number)) for number in range(10)]
        for record in records:
            store.put_record(record)
        store.pin("kept", records[3].digest)
        store.gc(grace=0)
        assert [len(store.next_reads(node)) for node in records[3].nodes()[1:]] == [1] * 9
        for record in (*records[:3], *records[4:]):
            assert not any(store.next_reads(node) for node in record.nodes()[1:])
        store.put_record(records[5])
        assert [len(store.next_reads(node)) for node in records[5].nodes()[1:]] == [1] * 9


def test_several_records_of_one_cell_leave_together_and_nothing_leads_to_them(path):
    with Store.open(path) as store:
        for number in range(24):
            store.put_record(make_record(store, f"cell {number % 8}", [noise(900, number)]))
        assert store.gc(grace=0).swept.records == 24
        assert store.verify().findings == []
        assert store.stats().records == 0
