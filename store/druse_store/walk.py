"""Walking the whole index: does every value check, and does what they say fit together?

A damaged LMDB file can kill the process that reads it. So this runs in a child, as
`python -m druse_store.walk FOLDER`, which prints one finding a line and its counts at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from druse_store import packing
from druse_store.digest import Digest
from druse_store.errors import IndexDamaged, StoreError
from druse_store.index import environment as environments
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.records import Record

_SLICE = 5_000  # keys per read transaction: long ones would keep freed pages from being used


class Walked(NamedTuple):
    """What a walk found: sentences, and how many records lack a blob (pruned, or lost)."""

    findings: list[str]
    lacking: int


def walk_in_child(folder: Path, *, locking: bool) -> Walked:
    """Walks the index in `folder` in a process of its own."""
    command = [sys.executable, "-m", "druse_store.walk", str(folder), "lock" if locking else "-"]
    paths = [entry for entry in sys.path if entry]
    done = subprocess.run(  # noqa: S603  # this very module
        command,
        capture_output=True,
        check=False,
        text=True,
        env={"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin"},
    )
    lines = done.stdout.splitlines()
    findings: list[str] = [json.loads(line) for line in lines if line.startswith('"')]
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        findings.append(f"reading the index ended with status {done.returncode}: {last[0]}")
        return Walked(findings, 0)
    return Walked(findings, int(json.loads(lines[-1])["lacking"]))


class Walk:
    """One pass over all tables."""

    def __init__(self, environment: environments.Environment) -> None:
        self._environment = environment
        self.lacking = 0

    def findings(self) -> Iterator[str]:
        """A sentence for everything that is wrong."""
        steps = {
            values.CHUNKS: self._chunk,
            values.BLOBS: self._blob,
            values.RECORDS: self._record,
            values.CURRENT: self._current,
            values.BASES: self._base,
            values.EDGES: self._checked,
            values.EXPERIMENTS: self._checked,
            values.RUNS: self._run,
            values.CELLS: self._cells,
            values.PINS: self._pin,
            values.PACKS: self._file,
            values.WRITERS: self._checked,
            values.HEAD: self._head,
            values.ORIGINS: self._origin,
            values.ATTESTED: self._checked,
            values.BATCHES: self._checked,
            values.CLOCK: self._checked,
            values.TRASH: self._checked,
        }
        for table, check in steps.items():
            for key, value in self._rows(table):
                with Snapshot(self._environment) as snapshot:
                    try:
                        found = check(snapshot, table, key, value)
                    except StoreError as error:
                        found = str(error)
                if found is not None:
                    yield found

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Every row, without holding a read transaction for long."""
        after: bytes | None = None
        while True:
            with Snapshot(self._environment) as snapshot:
                rows = snapshot.rows_after(table, after, _SLICE)
                if after is None and len(rows) != min(_SLICE, snapshot.count(table)):
                    raise IndexDamaged(f"not all rows of the table {table!r} are to be found")
            yield from rows
            if len(rows) < _SLICE:
                return
            after = rows[-1][0]

    # --- blobs ---------------------------------------------------------------------------------

    def _chunk(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        entry = values.unpack_chunk(key, value)
        pack = snapshot.file(entry.pack)
        if pack is None or entry.offset + entry.stored > pack.end:
            return f"chunk {key.hex()} lies outside of what is committed of its pack"
        return None

    def _blob(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        entry = values.unpack_blob(key, value)
        if snapshot.chunk(entry.chunks) is None:
            return f"blob {key.hex()} lacks its chunk list"
        return None

    # --- records -------------------------------------------------------------------------------

    def _record(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        packed = values.body(table, key, value)
        if values.record_state(value)[0] == values.TOMBSTONED:
            return None
        if Digest.of(packed) != key:
            return f"record {key.hex()} has another digest"
        record = Record.decode(packed)
        for ref in record.refs():
            blob = snapshot.blob(ref.digest)
            if blob is not None and (blob.chunks, blob.size) != (ref.chunks, ref.size):
                return f"record {key.hex()} names another chunk list for blob {ref.digest}"
        if not all(snapshot.is_known(blob) for blob in record.blobs()):
            self.lacking += 1
        return None

    def _current(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        digest = values.body(table, key, value, 32)
        packed = snapshot.record(digest)
        if packed is None and snapshot.is_removed(digest):
            return None
        if packed is None:
            return f"the current record {digest.hex()} of a cell is missing"
        record = Record.decode(packed)
        if values.record_key(record.signature, record.replicate) != key:
            return f"the current record {digest.hex()} of a cell is that of another cell"
        return None

    def _base(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        values.body(table, key, value, 0)
        if snapshot.current(key[32:]) is None:
            return f"the base {key[:32].hex()} names a cell that has no record"
        return None

    # --- runs and files ------------------------------------------------------------------------

    def _run(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        header = packing.unpack(values.body(table, key, value))
        pieces = snapshot.cells(key)
        if len(pieces) != header[6] or sum(map(len, pieces)) != header[5]:
            return f"the run {values.split_run_key(key)} does not have all its cells"
        return None

    def _cells(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        cells: list[list[Any]] = packing.unpack(values.body(table, key, value))
        if snapshot.run(key[:-4]) is None:
            return f"there are cells of a run that is not there: {values.split_run_key(key[:-4])}"
        missing = sum(not snapshot.has_record(cell[2]) for cell in cells)
        return f"a run names {missing} records that are not there" if missing else None

    def _pin(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        packing.unpack(values.body(table, key, value))
        return None

    def _file(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        values.unpack_file(key, value)
        return None

    def _head(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        head = values.unpack_head(value)
        if head.segment != bytes(8) and snapshot.file(head.segment) is None:
            return "the head names a log segment that is not known"
        return None

    def _origin(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        values.unpack_origin(key, value)
        if not snapshot.has_record(key):
            return f"there is the origin of a record {key.hex()} that is not there"
        return None

    def _checked(self, snapshot: Snapshot, table: str, key: bytes, value: bytes) -> str | None:
        values.body(table, key, value)
        return None


def main(folder: str, lock: str) -> None:
    """Prints the findings, and at last the counts."""
    environment = environments.acquire(Path(folder), None, locking=lock == "lock", mode=None)
    walk = Walk(environment)
    for finding in walk.findings():
        print(json.dumps(finding))  # noqa: T201  # this is how the child answers
    print(json.dumps({"lacking": walk.lacking}))  # noqa: T201


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StoreError as error:
        sys.exit(str(error))
