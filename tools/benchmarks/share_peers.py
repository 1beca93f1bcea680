"""druse, DVC and aws, as a user would call them: push, lose what is here, pull."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = os.pathsep.join(
    str(Path(__file__).resolve().parents[2] / name) for name in ("store", "runner")
)


class Missing(Exception):
    """A peer that is not installed here."""


class System:
    """One system in a folder, with a bucket of its own."""

    def __init__(self, folder, server, peers_bin):
        self.folder = folder
        self.server = server
        self.bin = peers_bin
        self.bucket = server.bucket()
        self.environment = {**server.environment, "HOME": str(folder)}

    def prepare(self, what, size):
        """Files of random bytes, or arrays of floats."""
        self.data = self.folder / "work" / "data"
        self.data.mkdir(parents=True)
        count, each = size
        for number, content in enumerate(contents(what, count, each)):
            place = self.data / f"{number % 100:02d}"
            place.mkdir(exist_ok=True)
            (place / f"{number:05d}").write_bytes(content)
        self.count = count

    def run(self, *command, cwd=None):
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd or self.folder / "work",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def check(self):
        """Everything came back."""
        found = [path for path in self.data.rglob("*") if path.is_file()]
        assert len(found) == self.count, (len(found), self.count)


def contents(what, count, each):
    maker = random.Random(1)
    if what == "small objects":
        yield from (maker.randbytes(each) for _ in range(count))
        return
    import numpy

    generator = numpy.random.default_rng(1)
    for _ in range(count):
        yield numpy.cumsum(generator.standard_normal(each // 8)).tobytes()


class Druse(System):
    """Records with an artifact each, in a store; `druse push --all` and `druse pull --all`."""

    def prepare(self, what, size):
        from druse_store import ArtifactRef, Digest, Read, Record, Store, extend

        (self.folder / "work").mkdir()
        self.count = size[0]
        self.environment |= {
            "PYTHONPATH": SOURCES,
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        self.store = self.folder / "store"
        start = base = Digest.of(b"bench")
        with Store.open(self.store) as store, store.batch():
            for number, content in enumerate(contents(what, *size)):
                read = Read("ctx:n", Digest.of(b"%d" % number))
                ref = store.put_object(content)
                fields = ((), {"n": number}, (ArtifactRef("a", 0, ref),), None, {}, None)
                signature = extend(start, read.key, read.value)
                store.put_record(Record(signature, 0, "ok", base, start, (read,), *fields[1:]))
        self.druse("trust", "init")
        self.druse("remote", "add", "team", f"s3://{self.bucket}/druse")

    def druse(self, *command):
        program = [sys.executable, "-c", "from druse.cli import main; main()"]
        return (
            self.run(*program, *command, "--store", self.store)
            if command[0] != "trust"
            else (self.run(*program, *command))
        )

    def push(self):
        self.druse("push", "--all", "--quiet")

    def forget(self):
        shutil.rmtree(self.store)
        self.druse("remote", "add", "team", f"s3://{self.bucket}/druse")

    def pull(self):
        self.druse("pull", "--all", "--quiet")

    def check(self):
        from druse_store import Store

        with Store.open(self.store) as store:
            records = [store.record_by_digest(d) for d in store._session.record_digests()]
            assert len(records) == self.count
            with store.reading() as view:
                assert not any(view.missing(record) for record in records)


class Dvc(System):
    """`dvc add`, `dvc push`; then without its cache, `dvc pull`."""

    def __init__(self, folder, server, peers_bin):
        super().__init__(folder, server, peers_bin)
        self.dvc = program(peers_bin, "dvc")

    def prepare(self, what, size):
        super().prepare(what, size)
        self.run(self.dvc, "init", "--no-scm", "--quiet")
        self.run(self.dvc, "config", "core.analytics", "false")
        self.run(self.dvc, "remote", "add", "-d", "team", f"s3://{self.bucket}/dvc")
        self.run(self.dvc, "remote", "modify", "team", "endpointurl", self.server.endpoint)
        self.run(self.dvc, "add", "data", "--quiet")

    def push(self):
        self.run(self.dvc, "push", "--quiet", "--jobs", "16")

    def forget(self):
        shutil.rmtree(self.folder / "work" / ".dvc" / "cache")
        shutil.rmtree(self.data)

    def pull(self):
        self.run(self.dvc, "pull", "--quiet", "--jobs", "16")


class Aws(System):
    """`aws s3 cp --recursive`, up and down."""

    def __init__(self, folder, server, peers_bin):
        super().__init__(folder, server, peers_bin)
        self.aws = program(peers_bin, "aws")

    def copy(self, source, target):
        endpoint = ("--endpoint-url", self.server.endpoint)
        self.run(self.aws, *endpoint, "s3", "cp", "--recursive", "--quiet", source, target)

    def push(self):
        self.copy(self.data, f"s3://{self.bucket}/data")

    def forget(self):
        shutil.rmtree(self.data)

    def pull(self):
        self.copy(f"s3://{self.bucket}/data", self.data)


SYSTEMS = {"druse": Druse, "dvc": Dvc, "aws": Aws}


def program(peers_bin, name):
    """A program of the peers' environment, which is made where none is named."""
    if peers_bin is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        import environment

        peers_bin = environment.ensure_peer("dvc").parent
    path = Path(peers_bin) / name
    if not path.exists():
        raise Missing(f"{path} is not there")
    return path
