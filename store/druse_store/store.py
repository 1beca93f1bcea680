"""The store: what a program sees. Composes the parts; the order of writes is in `commit`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from druse_store import changes, location, names, packing, runs
from druse_store.codec import Level
from druse_store.digest import Digest
from druse_store.errors import InvalidInput, RunNotFound
from druse_store.records import JSON, BlobRef, ObjectRef, Record
from druse_store.run import Run, RunName
from druse_store.session import Session
from druse_store.view import View
from druse_store.writes import Writes

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from druse_store.changes import Change
    from druse_store.gc.plan import GcPlan, GcProgress
    from druse_store.gc.report import Freed, GcReport
    from druse_store.gc.roots import LevelChange
    from druse_store.gc.undo import Undone
    from druse_store.index.values import Origin
    from druse_store.leases import Lease
    from druse_store.policy import Policy
    from druse_store.repaired import Fetch, Repaired
    from druse_store.runwriter import RunWriter
    from druse_store.stats import Stats
    from druse_store.usage import SpaceUsed
    from druse_store.verify import Progress, Report

_VERSIONS = 1_000_000_000  # of one experiment; the index has room for a few more


class Store:
    """A content-addressed store in a folder. Everything but `close` is thread-safe.

    Outside a batch, what a method wrote is durable when it returns. A batch belongs to the store:
    until the outermost one closes, what any thread writes waits for it, or for `flush`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        immutable: bool = False,
        level: Level = "balanced",
        any_filesystem: bool = False,
        shared: bool = False,
    ) -> Self:
        """Opens the store at `path`, made there if missing, unless `create=False`.

        `immutable` reads a store that nobody writes to, without locks: the only way where it is
        mounted read-only (and the way of `read_only`, where its whole filesystem is read-only, so
        that nobody could). `shared` is for a new store: the group may write.
        """
        read_only = read_only or immutable
        place = location.find(
            Path(path),
            create=create and not read_only,
            any_filesystem=any_filesystem,
            shared=shared,
        )
        immutable = immutable or (read_only and place.frozen)
        return cls(Session(place, read_only=read_only, immutable=immutable, level=level))

    @property
    def path(self) -> Path:
        """The folder, with symbolic links resolved."""
        return self._session.location.root

    @property
    def id(self) -> str:
        """32 hex digits, made when the store was created."""
        return self._session.location.store_id.hex()

    # --- blobs ---------------------------------------------------------------------------------

    def put(self, data: Buffer | BinaryIO) -> Digest:
        """Stores bytes, or what a binary file gives until its end; returns their digest."""
        with self._session.writing() as writing:
            if hasattr(data, "read"):
                return writing.ingest.put_stream(cast("BinaryIO", data)).digest
            return writing.ingest.put(data).digest

    def get(self, digest: Digest) -> bytes:
        """The bytes of a blob, verified. Raises BlobNotFound, Damaged."""
        return self._session.read(digest)

    def open_blob(self, blob: Digest | BlobRef) -> BinaryIO:
        """A blob as a seekable read-only file. Chunks are read, and verified, as needed.

        By a bare digest the whole blob is read and verified first, once; a BlobRef names its
        chunk list, and so needs no such pass.
        """
        return self._session.open_blob(blob)

    def __contains__(self, digest: object) -> bool:
        with self._session.reading() as view:
            return digest in view

    def put_path(self, path: str | os.PathLike[str]) -> Digest:
        """Stores a file's content, in constant memory."""
        from druse_store import files

        return files.put_path(self._session, Path(path)).digest

    def get_to(self, digest: Digest, path: str | os.PathLike[str]) -> None:
        """Writes a blob to a file, which appears there only once it is whole and verified."""
        from druse_store import files

        files.get_to(self._session, digest, Path(path))

    def put_object(self, obj: Any) -> ObjectRef:
        """Stores any Python value; equal arrays in it are stored once. Raises Unserialisable."""
        from druse_store import serial

        with self._session.writing() as writing:
            return serial.dump(obj, writing.ingest.put)

    def put_file(self, path: str | os.PathLike[str]) -> ObjectRef:
        """Stores a file's content as `put_object` stores these bytes, in constant memory."""
        from druse_store import files

        return ObjectRef("bytes", files.put_path(self._session, Path(path)))

    def get_object(
        self, ref: ObjectRef, *, allow_pickle: bool = True, writable: bool = False
    ) -> Any:
        """The value that `put_object` stored. Arrays are read-only unless `writable`."""
        from druse_store import serial

        return serial.load(
            ref, self._session.read_ref, allow_pickle=allow_pickle, writable=writable
        )

    def resolve(self, prefix: str) -> Digest:
        """The one blob or record whose digest begins so. Raises NotFound, AmbiguousPrefix."""
        return self._session.resolve(prefix)

    # --- records -------------------------------------------------------------------------------

    def reading(self) -> View:
        """One state of the store, for many lookups at a fraction of their cost.

        `with store.reading() as view: view.record_at(signature, replicate)`, `view.next_reads`,
        `digest in view`. Keep the block short, and run no user code in it.
        """
        return self._session.reading()

    def record(self, signature: Digest, replicate: int) -> Record | None:
        """The current record of a cell."""
        with self._session.reading() as view:
            return view.record_at(signature, replicate)

    def records(self, signature: Digest) -> Iterator[Record]:
        """The current records of all replicates of a signature, in order."""
        return self._session.records(signature)

    def record_by_digest(self, digest: Digest) -> Record | None:
        """The record with this digest, current or not."""
        with self._session.reading() as view:
            return view.record_by_digest(digest)

    def records_of_base(self, base: Digest) -> Iterator[Record]:
        """The current records under a base signature, ordered by signature and replicate."""
        return self._session.records_of_base(base)

    def put_record(self, record: Record) -> Digest:
        """Stores a record, and points its (signature, replicate) at it.

        Raises BlobVanished if a blob that it names is not here, InvalidRecord if its reads do not
        lead from `start` to `signature`.
        """
        with self._session.writing() as writing:
            writing.writer.add_record(record, self._session.reader.is_known)
            return record.digest

    def adopt_record(self, record: Record, origin: Origin) -> None:
        """Stores a record that others computed. It becomes current where its cell has none yet.

        Its blobs need not be here. Raises InvalidRecord if its reads do not lead to its signature.
        """
        with self._session.writing() as writing:
            writing.writer.adopt(record, origin)

    def origin(self, digest: Digest) -> Origin | None:
        """Who computed a record, if that was not here."""
        with self._session.reading() as view:
            return view.origin(digest)

    def strangers(self) -> dict[str, int]:
        """In a store that a group shares: by whose keys, which are not trusted here, how many
        records were passed over in this process. By the first 16 hex digits of the key."""
        judge = self._session.judge
        return {} if judge is None else dict(judge.strangers)

    def hide_signer(self, signer: bytes, hidden: bool = True) -> None:
        """Takes all records that a key signed out of use, or back into it. They stay stored."""
        self._change([changes.HIDE, bytes(signer), hidden])

    def remove_record(self, digest: Digest) -> None:
        """Removes a record; the cell that it is current for has none then."""
        self._change([changes.REMOVE_RECORD, digest])

    def next_reads(self, node: Digest) -> tuple[str, ...]:
        """The keys that are read next by the cells that came to this node; "" is the end."""
        with self._session.reading() as view:
            return view.next_reads(node)

    # --- runs ----------------------------------------------------------------------------------

    def begin_run(
        self,
        experiment: str,
        info: Mapping[str, JSON] | None = None,
        *,
        least: int = 0,
        version: int | None = None,
    ) -> RunWriter:
        """Begins the next version of an experiment, from `least`; durable when this returns.

        `version` is one that an earlier run, which is taken in now, is known by: where another run
        has it, the next one is taken as well.
        """
        names.check(experiment, "an experiment")
        for number in (least, version):
            if number is not None and (type(number) is not int or not 0 <= number <= _VERSIONS):
                raise InvalidInput(f"a version is a whole number up to {_VERSIONS}, not {number!r}")
        from druse_store.pending import Beginning
        from druse_store.runwriter import RunWriter

        packed = packing.sorted_map(info or {})
        beginning = Beginning(experiment, packed, time.time_ns(), least=least, wanted=version)
        with self._session.writing() as writing:
            writing.writer.flush(writing.writer.begin(beginning))
        lease = self._session.lease((), [RunName(experiment, beginning.version)])
        return RunWriter(self, experiment, beginning.version, lease)

    def run(self, experiment: str, version: int | None = None) -> Run | None:
        """A run; the latest one without a version."""
        with self._session.snapshot() as snapshot:
            return runs.find(self._session, snapshot, experiment, version)

    def runs(self, experiment: str | None = None) -> Iterator[Run]:
        """The runs, ordered by experiment and version."""
        with self._session.snapshot() as snapshot:
            found = runs.find_all(self._session, snapshot, experiment)
        return iter(found)

    def experiments(self) -> list[str]:
        """The experiments that have runs."""
        with self._session.snapshot() as snapshot:
            return sorted({experiment for experiment, _ in snapshot.run_keys()})

    def remove_run(self, experiment: str, version: int) -> None:
        """Removes a run; what only it needs goes with the next collections, `undo` brings it back
        until then. Raises RunNotFound."""
        self._require_run(experiment, version)
        self._change([changes.REMOVE_RUN, experiment, version])

    def set_level(self, experiment: str, version: int, level: str) -> None:
        """Notes the level at which retention keeps a run: full, light or metrics."""
        self._require_run(experiment, version)
        self._change([changes.LEVEL, experiment, version, level])

    def _require_run(self, experiment: str, version: int) -> None:
        if self.run(experiment, version) is None:
            raise RunNotFound(f"there is no run {experiment}/v{version}")

    # --- pins ----------------------------------------------------------------------------------

    def pin(self, name: str, target: Run | RunName | Digest) -> None:
        """Names a run, or a blob or record, that retention shall never remove."""
        names.check(name, "a pin")
        self._change([changes.PIN, name, runs.pin_target(target)])

    def unpin(self, name: str) -> None:
        """Takes a pin away. Raises PinNotFound."""
        with self._session.snapshot() as snapshot:
            runs.require_pin(snapshot, name)
        self._change([changes.UNPIN, name])

    def pins(self) -> dict[str, RunName | Digest]:
        """What each pin names."""
        with self._session.snapshot() as snapshot:
            return runs.pins(snapshot)

    # --- writing at once -----------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[Self]:
        """Many writes, few commits; all are durable when the outermost batch closes.

        A batch is no transaction: what was written before an error is committed all the same,
        where it can be. A commit that fails in it raises its error there, and at its end again.
        """
        with self._session.batch():
            yield self

    def flush(self) -> None:
        """Commits what waits, inside a batch too."""
        self._session.flush()

    def _change(self, change: Change) -> None:
        """A change on its own: what waits is committed before it, so that order is kept."""
        with self._session.writing() as writing:
            writing.writer.flush()
            writing.writer.flush(writing.writer.change(change))

    def writes(self) -> Writes:
        """Several small writes in one go, at a fraction of their cost."""
        return Writes(self._session)

    def _finish_run(self, run: RunWriter, change: Change) -> Run:
        with self._session.writing() as writing:
            writing.writer.flush(writing.writer.change(change))
        finished = self.run(run.experiment, run.version)
        if finished is None:
            raise RunNotFound(f"run {run.experiment}/v{run.version} was removed while it went on")
        return finished

    # --- health --------------------------------------------------------------------------------

    def verify(
        self,
        *,
        quick: bool = False,
        resume: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Reads everything again; says what is not what was stored. Changes nothing.

        `quick` looks at structure only; `resume` goes on where an interrupted one was.
        """
        from druse_store.verify import Verify

        return Verify(self._session, progress).run(quick=quick, resume=resume)

    def repair(
        self,
        *,
        fetch: Fetch | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Repaired:
        """Verifies, mends what can be mended, and gives up the rest, so that it is computed again.

        `fetch` is asked for chunks that are damaged here, before they are given up. Raises
        IndexDamaged where `rebuild_index` has to come first.
        """
        from druse_store.repair import Repair

        with self._session.writing() as writing:
            return Repair(self._session, writing.writer, fetch).run(progress)

    # --- collection ----------------------------------------------------------------------------

    def plan_gc(
        self,
        policy: Policy | None = None,
        *,
        grace: float = 3600.0,
        now: float | None = None,
        waste: float = 0.2,
        progress: Callable[[GcProgress], None] | None = None,
    ) -> GcPlan:
        """What a collection would do: see `gc`. `.report()` says it, `.execute()` does it."""
        from druse_store.gc.collector import Collector, settings

        chosen = settings(policy, grace, now, waste)
        return Collector(self._session, progress).plan(chosen)

    def gc(
        self,
        policy: Policy | None = None,
        *,
        dry_run: bool = False,
        grace: float = 3600.0,
        now: float | None = None,
        alone: bool = False,
        details: bool = True,
        waste: float = 0.2,
        progress: Callable[[GcProgress], None] | None = None,
    ) -> GcReport:
        """Removes what no run, pin, lease or cached step needs, by a policy; safe beside others.

        What was made or used within `grace` seconds stays; what becomes garbage now leaves after
        them, and `undo` brings it back until then. `alone`: nobody else may have the store open.
        `now` is the time to go by (seconds since 1970). A pack of which the share `waste` is dead
        is written anew. Raises StoreBusy while another collection goes on, or for `alone`.
        """
        from druse_store.gc.collector import Collector, settings

        collector = Collector(self._session, progress)
        chosen = settings(policy, grace, now, waste)
        if dry_run:
            return collector.plan(chosen).report()
        return collector.collect(chosen, alone=alone, details=details)

    def plan_levels(
        self, experiments: Iterable[str], policy: Policy | None = None
    ) -> list[LevelChange]:
        """The runs of these experiments whose level `after_runs` would lower."""
        from druse_store.gc.collector import settings
        from druse_store.gc.levels import planned

        chosen = settings(policy, 0.0, None, 0.0)
        with self._session.snapshot() as snapshot:
            return [
                change
                for experiment in experiments
                for change in planned(
                    self._session, snapshot, experiment, chosen.policy, chosen.now
                )
            ]

    def after_runs(
        self, experiments: Iterable[str], policy: Policy | None = None, *, grace: float = 3600.0
    ) -> tuple[list[LevelChange], GcReport | None]:
        """What to do when runs have ended, outside of any batch: retention for their experiments,
        at once, and a collection (see `gc`) where one is due: over `max_size`, grown by a quarter,
        or once a day. Never waits for another collection."""
        from druse_store.gc.collector import Collector, settings

        chosen = settings(policy, grace, None, 0.2)
        return Collector(self._session).after_runs(experiments, chosen)

    def reclaimable(self, policy: Policy | None = None) -> list[Freed]:
        """The bytes that `gc` with this policy, and no grace, would free: by experiment and
        version, the rest last. Reads the index and every record of what would go."""
        return self.plan_gc(policy, grace=0).by_run()

    def undo(self, runs: Collection[RunName] | None = None) -> Undone:
        """Brings back what collections and `remove_run` removed within the grace: all, or these
        runs. Raises RunNotFound for one that is not to be had, StoreBusy during a collection."""
        from druse_store.gc.collector import Collector

        return Collector(self._session).undo(runs)

    def lease(self, digests: Iterable[Digest]) -> Lease:
        """Keeps records (with what they name) and blobs from any collection, in any process, until
        it is closed or this process ends. `.missing` names what was gone already."""
        self._session.flush_for_reading()
        return self._session.lease(digests, ())

    def touch(self, records: Iterable[Digest]) -> None:
        """Says that records are used now. Noted coarsely, with the next commit: cached steps are
        kept, and evicted, by it."""
        self._session.writer.touch(records)

    # --- the rest ------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """How much there is of what."""
        from druse_store import stats

        return stats.gather(self._session)

    def du(self) -> SpaceUsed:
        """What takes the space, and what would be free without it: by experiment, version, step.

        Reads every run and record, and no blob: some 25 µs for each cell of a run.
        """
        from druse_store import usage

        return usage.gather(self._session)

    def close(self) -> None:
        """Commits what waits, and closes. Closing twice is allowed."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"
