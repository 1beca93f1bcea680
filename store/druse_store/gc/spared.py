"""What a collection must leave alone although its plan did not know: looked up in each transaction.

The log is followed from where the plan saw it: a cell or pin that names a record which was there
already makes that a root. So do leases that were taken since. All of what such a root needs, down
to chunks, is spared from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from druse_store import changes
from druse_store.changes import Change
from druse_store.digest import Digest, trusted
from druse_store.errors import BlobNotFound, Damaged, StoreBusy
from druse_store.frames import Link
from druse_store.history import START
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.index.values import Head
from druse_store.leases import Leases
from druse_store.location import Location
from druse_store.records import Record
from druse_store.scan import FrameFile

ReadList = Callable[[Digest, Digest, int], list[Digest]]


class Spared:
    """Digests of records, blobs, chunks, and nodes of reads: a set that only grows."""

    def __init__(self, location: Location, leases: Leases, head: Head, read_list: ReadList) -> None:
        self._location = location
        self._leases = leases
        self._seen = (head.segment, head.offset)
        self._read_list = read_list
        self.digests: set[bytes] = set()
        self.nodes: set[bytes] = set()

    def look(self, snapshot: Snapshot) -> None:
        """Takes in what happened since the last look. Call it inside the transaction."""
        head = snapshot.head()
        for change in self._since(head):
            self._follow(snapshot, change)
        self._seen = (head.segment, head.offset)
        leased = self._leases.fresh()
        self.add(snapshot, leased.digests)
        for name in leased.runs:
            self._add_run(snapshot, *name)

    def go_on_from(self, head: Head) -> None:
        """Says that the log was written anew, by this collection, up to here."""
        self._seen = (head.segment, head.offset)

    def add(self, snapshot: Snapshot, digests: Iterable[bytes]) -> None:
        """Spares records with all that they name, and blobs with their chunks."""
        for digest in digests:
            if digest in self.digests:
                continue
            self.digests.add(digest)
            packed = snapshot.record(digest)
            for blob in (digest,) if packed is None else Record.decode(packed).blobs():
                self.add_blob(snapshot, blob)

    def add_blob(self, snapshot: Snapshot, digest: bytes) -> None:
        """Spares a blob and its chunks."""
        self.digests.add(digest)
        entry = snapshot.blob(digest)
        if entry is not None:
            self.digests.add(entry.chunks)
            self.digests.update(self.chunks_of(trusted(digest), entry.chunks, entry.size))

    def chunks_of(self, digest: Digest, chunks: Digest, size: int) -> list[Digest]:
        """The chunks of a blob; none where its list is damaged, as the blob then is."""
        try:
            return self._read_list(digest, chunks, size)
        except (Damaged, BlobNotFound):
            return []

    def _follow(self, snapshot: Snapshot, change: Change) -> None:
        if change[0] == changes.CELLS:
            self.add(snapshot, [cell[2] for cell in change[3]])
        elif change[0] == changes.PIN:
            kind, *target = change[2]
            if kind == "run":
                self._add_run(snapshot, *target)
            else:
                self.add(snapshot, target)
        elif change[0] in (changes.RECORD, changes.ADOPT):
            self.nodes.update(Record.decode(change[1]).nodes())

    def _add_run(self, snapshot: Snapshot, experiment: str, version: int) -> None:
        for cells in snapshot.cells(values.run_key(experiment, version)):
            self.add(snapshot, [cell[2] for cell in cells])

    def _since(self, head: Head) -> Iterator[Change]:
        """The changes behind the last look; the latest frame first, which is as good."""
        at = (head.segment, head.offset)
        while at != self._seen:
            path = self._location.segment(at[0])
            if at == START or not path.exists():
                raise StoreBusy(
                    "the log was written anew while the collection went on: start it again"
                )
            with FrameFile(path) as file:
                frame = file.frame(at[1])
                link = Link.decode(file.table(frame))
                yield from changes.decode(file.payload(frame))
            at = (link.segment, link.offset)
