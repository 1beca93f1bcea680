"""Copying packs on all cores: in this process, and in helpers that do nothing else.

What a small chunk takes is mostly work in Python, which threads do not do side by side. A helper
reads, verifies and writes; it knows paths alone, never the index. The file that it writes to was
made here, and is locked here: if this process is killed, what its helper still writes is an orphan.
What a helper leaves unfinished is done here, which then meets what was wrong.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import druse_store
from druse_store import frames, packing, parallel
from druse_store.appender import Appender
from druse_store.errors import StoreError
from druse_store.gc import copying, verbatim
from druse_store.gc.copying import Source
from druse_store.gc.stream import Stream
from druse_store.gc.swaps import Swaps
from druse_store.location import Location

WORTH = 32 << 20  # bytes to copy from which on a helper is worth its start
_MOST = 4  # helpers
_LENGTH = 8  # bytes that say how long a message is

_Pack: TypeAlias = "tuple[bytes, Path, bytes | bytearray]"  # its id, where it lies, its chunks


@dataclass(slots=True)
class Job:
    """Packs, each with the chunks that are to be copied from it, into a new one: `wanted` with keys
    and rows, `plain` ones with places (see `verbatim`)."""

    wanted: list[tuple[bytes, bytearray]]
    plain: list[tuple[bytes, bytearray]]
    size: int
    out: Appender
    copied: list[bytes] = field(default_factory=list)  # packs of which all is in the new one
    damaged: list[str] = field(default_factory=list)

    def give_up(self) -> None:
        """Removes the new pack, which nobody knows."""
        with suppress(OSError):
            self.out.path.unlink()
        self.out.close()


class Crew:
    """Does jobs: each by whoever is free. `finish` or `close` it."""

    def __init__(self, location: Location, swaps: Swaps, done: Callable[[Job], None]) -> None:
        """`done` is told of each job, in the thread that asks for `finish`: its pack is its own."""
        self._location = location
        self._swaps = swaps
        self._done = done
        self._waiting: deque[Job] = deque()
        self._answers: deque[tuple[Job, list[Any]]] = deque()
        self._helpers: list[_Helper] = []
        self._total = 0

    def add(self, job: Job) -> None:
        self._waiting.append(job)
        self._total += 1

    def start(self) -> None:
        """Begins, where that is worth it, beside whatever is done until `finish`."""
        # The last ones are small, so that nobody is long about one when all others are done.
        self._waiting = deque(sorted(self._waiting, key=lambda job: -job.size))
        if sum(job.size for job in self._waiting) >= WORTH:
            for _ in range(min(parallel.cores() - 1, _MOST, self._total)):
                helper = _Helper(self._location, self._waiting, self._answers)
                self._helpers.append(helper)

    def finish(self, advance: Callable[[int, int], None]) -> None:
        """Takes part until all jobs are done. `advance(done, total)`. Raises StoreError."""
        while self._waiting:
            advance(self._total - len(self._waiting), self._total)
            try:
                job = self._waiting.popleft()
            except IndexError:  # a helper was faster
                break
            self._do(job)
            self._take_answers()
        for helper in self._helpers:
            helper.thread.join()
            if helper.left is not None:
                self._do(self._begun_anew(helper.left))
        self._take_answers()

    def close(self) -> None:
        """Ends the helpers. Jobs that are not done are forgotten, and their packs removed."""
        left = [*self._waiting, *(job for job, _ in self._answers)]
        self._waiting.clear()
        for helper in self._helpers:
            helper.end()
            left += [helper.left] if helper.left is not None else []
        for job in left:
            job.give_up()

    def _do(self, job: Job) -> None:
        path = self._location.pack
        wanted = [(pack, path(pack), rows) for pack, rows in job.wanted]
        plain = [(pack, path(pack), rows) for pack, rows in job.plain]
        try:
            damaged = copy(wanted, plain, job.size, job.out, self._swaps)
        except BaseException:
            job.give_up()
            raise
        self._note(job, damaged)

    def _take_answers(self) -> None:
        while self._answers:
            job, answer = self._answers[0]
            end, last, count, parts, found = answer
            job.out.take_on(end, last, count)
            for into, part in zip(self._swaps.parts, parts, strict=True):
                into.extend(part)
            self._answers.popleft()
            self._note(job, found)

    def _note(self, job: Job, found: dict[bytes, list[str]]) -> None:
        for pack, damaged in found.items():
            job.damaged += damaged
            if not damaged:
                job.copied.append(pack)
        job.wanted.clear()
        job.plain.clear()
        self._done(job)

    def _begun_anew(self, job: Job) -> Job:
        """A job of which a helper may have done a part."""
        job.give_up()
        return Job(job.wanted, job.plain, job.size, Appender.create(self._location, frames.PACK))


def copy(
    wanted: Iterable[_Pack], plain: Iterable[_Pack], size: int, out: Appender, swaps: Swaps
) -> dict[bytes, list[str]]:
    """Does a job. Returns for each pack what of it is damaged."""
    with Stream(out, size) as stream:
        sources = [Source.open(*each) for each in wanted]
        copying.copy(sources, stream, swaps)
        damaged = {source.file_id: source.damaged for source in sources}
        for pack, path, places in plain:
            damaged[pack] = verbatim.copy(pack, path, places, stream, swaps)
    return damaged


class _Helper:
    """A process that copies, and the thread that gives it one job after the other."""

    def __init__(
        self,
        location: Location,
        waiting: deque[Job],
        answers: deque[tuple[Job, list[Any]]],
    ) -> None:
        self._location = location
        self._waiting = waiting
        self._answers = answers
        self.left: Job | None = None  # that it has not finished
        self.thread = threading.Thread(target=self._work, name="druse-copies", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        with (
            suppress(OSError, ValueError, EOFError, StoreError),  # the job is left, and done again
            _start() as self._process,
        ):
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            while self._waiting:
                with suppress(IndexError):
                    self.left = self._waiting.popleft()
                    send(self._process.stdin, self._told(self.left))
                    answer = receive(self._process.stdout)
                    self._answers.append((self.left, answer))
                    self.left = None

    def _told(self, job: Job) -> list[Any]:
        job.out.write_out()
        wanted, plain = (
            [(pack, str(self._location.pack(pack)), bytes(rows)) for pack, rows in packs]
            for packs in (job.wanted, job.plain)
        )
        return [str(job.out.path), job.out.file_id, job.out.end, job.size, wanted, plain]

    def end(self) -> None:
        """Whatever it does: it is not needed any more."""
        while self.thread.is_alive():
            process = getattr(self, "_process", None)
            if process is not None:
                process.kill()
            self.thread.join(0.05)


def _start() -> subprocess.Popen[bytes]:
    """Starts a helper. It finds its modules where this process does: so it need not look for
    packages, which is what -S leaves out, and takes none from the folder that somebody works in."""
    here = str(Path(druse_store.__file__).parent.parent)
    paths = [here, *(entry for entry in sys.path if entry)]
    return subprocess.Popen(  # a module of this package
        [sys.executable, "-S", "-P", "-m", "druse_store.gc.helper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin"},
    )


def send(pipe: IO[bytes], message: list[Any]) -> None:
    """Sends a message. Raises OSError."""
    data = packing.pack_any(message)
    pipe.write(len(data).to_bytes(_LENGTH, "little"))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> list[Any]:
    """The next message. Raises EOFError where there is none."""
    length = int.from_bytes(pipe.read(_LENGTH), "little")
    data = pipe.read(length)
    if not length or len(data) < length:
        raise EOFError
    message: list[Any] = packing.unpack(data)
    return message
