"""The log written anew: a rebuild from it gives the records, runs and pins that there are."""

import pytest

from druse_store import Store, changes, checkpoint, rebuild_index
from druse_store.index import values
from druse_store.index.values import Origin

LOGICAL = (
    *(values.CURRENT, values.BASES, values.RUNS, values.CELLS),
    *(values.EXPERIMENTS, values.PINS, values.ORIGINS),
)


def everything(store):
    """The rows of all tables that the log makes; of records all but when that happened."""
    with store._session.snapshot() as snapshot:
        found = {table: snapshot.rows_under(table, b"") for table in LOGICAL}
        found["records"] = [
            (key, value[: -values.RECORD_TAIL - 4], values.record_state(value)[0])
            for key, value in snapshot.rows_after(values.RECORDS, None, 10_000)
        ]
    return found


def write_checkpoint(store):
    session = store._session
    session.writer.leave_files()
    replaced = checkpoint.write(session.location, session.environment, session.write_lock)
    for path in replaced:
        path.unlink()


@pytest.fixture
def filled(path, make_record):
    """A store with records in every state that they can have, and runs that came and went."""
    with Store.open(path) as store:
        writer = store._session.writer
        for version in range(3):
            run = store.begin_run("exp", {"n": version})
            for n in range(4):
                record = make_record(n, metrics={"v": version}, blob=store.put(b"%d" % n))
                run.add("base", 0, store.put_record(record), "run")
            run.finish(complete=version != 1)
        store.set_level("exp", 0, "metrics")
        store.remove_run("exp", 2)
        unfinished = store.begin_run("unfinished")
        unfinished.add("base", 0, record.digest, "hit")
        store.flush()
        store.begin_run("gone").abandon()
        store.pin("run", store.run("exp", 0))
        store.pin("blob", store.put(b"1"))
        keys = [store.put_record(make_record(n, replicate=1)) for n in range(10, 14)]
        for change in (
            [changes.RETIRE, keys[0]],
            [changes.MARK, values.TOMBSTONED, keys[1]],
            [changes.MARK, values.EVICTED, keys[2]],
            [changes.REMOVE_RECORD, keys[3]],
        ):
            store._change(change)
        for n, signer in ((20, b"a"), (21, b"b"), (22, b"b")):
            writer.adopt(make_record(n), Origin(signer * 32, b"r" * 16))
        writer.flush()
        store._change([changes.HIDE, b"b" * 32, True])
        store.put_record(make_record(22, metrics={"own": 1}))
        yield store


def test_a_checkpoint_says_what_all_segments_said(path, filled):
    before = everything(filled)
    write_checkpoint(filled)
    assert everything(filled) == before
    assert filled.verify().clean
    filled.close()
    assert len(list((path / "log").iterdir())) == 1
    rebuilt = rebuild_index(path)
    assert rebuilt.damage == []
    with Store.open(path) as store:
        assert everything(store) == before
        assert store.verify().clean
        assert store.begin_run("gone").version == 1


def test_writing_goes_on_after_a_checkpoint_and_checkpoints_can_follow_each_other(path, filled):
    for name in ("one", "two"):
        write_checkpoint(filled)
        filled.pin(name, filled.put(name.encode()))
    before = everything(filled)
    assert filled.verify().clean
    filled.close()
    rebuild_index(path)
    with Store.open(path) as store:
        assert everything(store) == before


def test_a_segment_of_another_process_is_left_to_it(path, filled):
    import subprocess
    import sys

    program = """if True:
        import sys
        from druse_store import Store
        store = Store.open(sys.argv[1])
        store.pin("before", store.put(b"x"))
        print("ready", flush=True)
        sys.stdin.readline()
        store.pin("after", store.put(b"y"))
        store.unpin("before")
        store.close()
    """
    filled._session.writer.leave_files()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    write_checkpoint(filled)
    process.communicate("\n", timeout=20)
    assert process.returncode == 0
    before = everything(filled)
    assert {"after", "run"} <= set(filled.pins())
    assert filled.verify().clean
    filled.close()
    rebuild_index(path)
    with Store.open(path) as store:
        assert everything(store) == before


def test_an_empty_store_has_a_checkpoint_too(path, store):
    write_checkpoint(store)
    assert store.verify().clean
    store.pin("x", store.put(b"x"))
    store.close()
    rebuild_index(path)
    with Store.open(path) as again:
        assert set(again.pins()) == {"x"}
