"""Several processes at one store. Each test runs real ones."""

from druse_store import Store
from support.writers import finish, spawn


def test_processes_write_the_same_and_different_things_at_once(path):
    body = """
    with Store.open(path) as store:
        writer = store.begin_run("all")
        for i in range(30):
            own, common = store.put(b"%d-%d" % (number, i)), store.put(b"common %d" % i)
            for n, blob in ((1000 * number + i, own), (10_000_000 + i, common)):
                writer.add("base", i, store.put_record(record(n, blob)), "run")
        print(writer.finish(complete=True).version)
    """
    processes = [spawn(path, body, number) for number in range(4)]
    versions = [int(finish(process)) for process in processes]
    assert sorted(versions) == [0, 1, 2, 3]
    with Store.open(path) as store:
        assert store.stats().records == 4 * 30 + 30
        assert store.stats().chunks == 4 * 30 + 30
        for run in store.runs():
            assert run.count == 60
            for cell in run.cells:
                record = store.record_by_digest(cell.record)
                assert store.get(record.artifacts[0].ref.root.digest)


def test_what_a_put_returned_survives_a_kill(path):
    body = """
    store = Store.open(path)
    store.put(b"durable")
    print(store.put(os.urandom(3_000_000)), flush=True)
    with store.batch():
        store.put(b"not yet")
        print("ready", flush=True)
        time.sleep(60)
    """
    process = spawn(path, body)
    digest = process.stdout.readline().strip()
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    with Store.open(path) as store:
        assert store.get(store.resolve(digest)).__len__() == 3_000_000
        assert store.stats().packs == 1
        store.put(b"more")
        assert store.stats().packs == 1  # the pack that was left is continued
        assert store.get(store.resolve(digest)).__len__() == 3_000_000


def test_processes_that_create_a_store_at_the_same_moment_share_one(tmp_path):
    body = """
    begin = time.time() + 0.3
    for i in range(20):
        time.sleep(max(0, begin + i * 0.05 - time.time()))
        with Store.open(f"{path}{i}") as store:
            print(store.id)
    """
    processes = [spawn(tmp_path / "store", body) for _ in range(4)]
    ids = [finish(process).split() for process in processes]
    assert len(ids[0]) == 20
    assert ids.count(ids[0]) == 4
