"""What each system does in a row of `tools/bench store`: see `measure` for the form."""

import subprocess
import sys

from measure import Missing, disk_bytes
from peers import Borg, Restic, copy_durably, read_once

from druse_store import Store

__all__ = ["Borg", "Restic"]


# --- druse ----------------------------------------------------------------------------------


def put_arrays(folder, arrays):
    with Store.open(folder / "store") as store:

        def action():
            with store.batch():
                for array in arrays:
                    store.put_object(array)

        yield action
    yield disk_bytes(folder / "store")


put_each = put_arrays


def put_files(folder, source):
    read_once(source)
    with Store.open(folder / "store") as store:

        def action():
            with store.batch():
                for path in sorted(p for p in source.rglob("*") if p.is_file()):
                    store.put_path(path)

        yield action
    yield disk_bytes(folder / "store")


def put_objects(folder, objects):
    with Store.open(folder / "store") as store:

        def action():
            with store.batch():
                for item in objects:
                    store.put(item)

        yield action
    yield disk_bytes(folder / "store")


def put_versions(folder, source):
    read_once(source)
    with Store.open(folder / "store") as store:

        def action():
            for version in sorted(source.iterdir()):
                store.put_path(version / "file")  # each is durable before the next

        yield action
    yield disk_bytes(folder / "store")


def get_arrays(folder, arrays):
    with Store.open(folder / "store") as store:
        refs = [store.put_object(array) for array in arrays]
    with Store.open(folder / "store") as store:

        def action():
            for ref in refs:
                store.get_object(ref)

        yield action
    yield None


def get_files(folder, source):
    with Store.open(folder / "store") as store:
        digests = {path.name: store.put_path(path) for path in source.iterdir()}
    (folder / "out").mkdir()
    with Store.open(folder / "store") as store:

        def action():
            for name, digest in digests.items():
                store.get_to(digest, folder / "out" / name)

        yield action
    yield None


def get_objects(folder, objects):
    with Store.open(folder / "store") as store, store.batch():
        digests = [store.put(item) for item in objects]
    with Store.open(folder / "store") as store:

        def action():
            for digest in digests:
                store.get(digest)

        yield action
    yield None


def verify_store(folder, arrays):
    with Store.open(folder / "store") as store:
        with store.batch():
            for array in arrays:
                store.put_object(array)
        if not hasattr(store, "verify"):
            raise Missing("this version cannot verify")
        yield store.verify
    yield None


_MAP = """
import sys, time
from druse_store import Store
from druse_store.digest import Digest
import numpy as np
path, mib, first = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
array = np.random.default_rng(0).integers(0, 2**64, size=mib * 2**17, dtype="u8")
with Store.open(path) as store:
    ref = store.put_object(array)
with Store.open(path) as store:
    if not first:
        store.get_object(ref)
    begin = time.perf_counter()
    found = store.get_object(ref)
    print(time.perf_counter() - begin)
    assert not found.flags.writeable and not found.flags.owndata
    assert (found[::4096] == array[::4096]).all()
"""


def map_array(folder, mib, first):
    def action():
        arguments = [str(folder / "store"), str(mib), str(first)]
        return float(_child(_MAP, *arguments).split()[-1])

    yield action
    yield None


# Not getrusage's ru_maxrss: that includes what the parent had before the exec.
_STREAM = """
import sys
from druse_store import Store
path, source, target = sys.argv[1:]
with Store.open(path) as store:
    store.get_to(store.put_path(source), target)
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmHWM")))
"""


def stream_large(folder, mib):
    import numpy as np

    block = np.random.default_rng(0).integers(0, 256, size=1 << 20, dtype="u1")
    with (folder / "large").open("wb") as file:
        for i in range(mib):
            file.write((block + i % 256).astype("u1").tobytes())
    peak = []

    def action():
        arguments = [folder / "store", folder / "large", folder / "back"]
        peak.append(int(_child(_STREAM, *map(str, arguments)).split()[-1]) * 1024)

    yield action
    subprocess.run(["cmp", folder / "large", folder / "back"], check=True)
    yield peak[0]


def open_store(folder, count):
    with Store.open(folder / "store") as store:
        for start in range(0, count, 100_000):
            with store.batch():
                for i in range(start, min(start + 100_000, count)):
                    store.put(i.to_bytes(8, "little"))

    def action():
        program = (
            "import sys, time\nfrom druse_store import Store\nbegin = time.perf_counter()\n"
            "Store.open(sys.argv[1]).close()\nprint(time.perf_counter() - begin)"
        )
        return float(_child(program, str(folder / "store")))

    yield action
    yield disk_bytes(folder / "store")


def _child(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


# --- files and backups ----------------------------------------------------------------------


def copy(folder, source):
    read_once(source)
    yield lambda: copy_durably(source, folder / "copy")
    yield disk_bytes(folder / "copy")


def backup(tool, folder, source):
    repository = tool(folder)
    read_once(source)
    yield lambda: repository.backup(source)
    yield repository.size()


def backup_versions(tool, folder, source):
    repository = tool(folder)
    read_once(source)

    def action():
        for version in sorted(source.iterdir()):
            repository.backup(version)

    yield action
    yield repository.size()


def write_and_backup(tool, folder, objects):
    repository = tool(folder)

    def action():
        (folder / "files").mkdir()
        for i, item in enumerate(objects):
            (folder / "files" / str(i)).write_bytes(item)
        repository.backup(folder / "files")

    yield action
    yield repository.size()


def restore(tool, folder, source):
    repository = tool(folder)
    repository.backup(source)
    yield lambda: repository.restore(folder / "out")
    yield None


def verify(tool, folder, source):
    repository = tool(folder)
    repository.backup(source)
    yield repository.verify
    yield None


# --- caches ---------------------------------------------------------------------------------


def joblib_dump(folder, objects):
    joblib = _installed("joblib")

    def action():
        for i, item in enumerate(objects):
            joblib.dump(item, folder / str(i))

    yield action
    yield disk_bytes(folder)


def joblib_load(folder, objects):
    joblib = _installed("joblib")
    for i, item in enumerate(objects):
        joblib.dump(item, folder / str(i))

    def action():
        for i in range(len(objects)):
            joblib.load(folder / str(i))

    yield action
    yield None


def joblib_memory(folder, objects):
    joblib = _installed("joblib")
    compute = joblib.Memory(folder / "memory", verbose=0).cache(objects.__getitem__)

    def action():
        for i in range(len(objects)):
            compute(i)

    yield action
    yield disk_bytes(folder)


def diskcache_set(folder, objects):
    with _installed("diskcache").Cache(str(folder / "cache"), size_limit=1 << 40) as cache:

        def action():
            with cache.transact():
                for i, item in enumerate(objects):
                    cache.set(i, item)

        yield action
    yield disk_bytes(folder)


def diskcache_get(folder, objects):
    with _installed("diskcache").Cache(str(folder / "cache"), size_limit=1 << 40) as cache:
        with cache.transact():
            for i, item in enumerate(objects):
                cache.set(i, item)

        def action():
            for i in range(len(objects)):
                cache.get(i)

        yield action
    yield None


def _installed(name):
    try:
        return __import__(name)
    except ImportError:
        raise Missing(f"{name} is not installed") from None
