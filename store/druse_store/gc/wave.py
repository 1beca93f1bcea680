"""Packs that are copied at once, and those that others are written into: a wave of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from druse_store import frames
from druse_store.appender import Appender
from druse_store.gc.crew import Crew, Job
from druse_store.gc.packs import Group
from druse_store.gc.swaps import Swaps
from druse_store.location import Location

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNKS = 550_000  # whose rows are in memory at once
_PACKS = 200  # that are written at once: each is an open file


class Wave:
    """What is written before entries are pointed at it."""

    def __init__(self, location: Location, step: Callable[[str], None]) -> None:
        self._location = location
        self._step = step
        self.swaps = Swaps()
        self.crew = Crew(location, self.swaps, self._copied)
        self.packs: list[Appender] = []
        self.over: list[bytes] = []  # packs of which all was copied
        self.damaged: list[str] = []

    def add(
        self,
        wanted: list[tuple[bytes, bytearray]],
        plain: list[tuple[bytes, bytearray]],
        size: int,
    ) -> None:
        """Packs, with the keys and rows of their chunks or the rows alone: about so many bytes,
        that become one pack."""
        if plain or any(rows for _, rows in wanted):
            out = Appender.create(self._location, frames.PACK)
            self.crew.add(Job(wanted, plain, size, out))
        else:
            self.over += [pack for pack, _ in wanted]

    def _copied(self, job: Job) -> None:
        self.over += job.copied
        self.damaged += job.damaged
        if not job.out.frames:  # all of it was damaged
            job.give_up()
            return
        self.packs.append(job.out)  # first: whatever happens, it is closed
        job.out.seal()
        job.out.start_sync()
        self._step("copy packs")

    def give_up(self) -> None:
        """Removes the packs that were written, which the index was never told of."""
        for out in self.packs:
            with suppress(OSError):
                out.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as stack:
            for out in self.packs:
                stack.callback(out.close)
            self.crew.close()


def waves(groups: list[Group], chunk: float, room: int) -> Iterator[list[Group]]:
    """Groups, so many at a time that the rows of their chunks fit into memory (a `chunk` takes so
    many bytes), and their bytes into the room that there is: at least one."""
    wave: list[Group] = []
    size = 0
    for group in groups:
        total = size + group.size
        if wave and (total > room or total / chunk > _CHUNKS or len(wave) == _PACKS):
            yield wave
            wave, total = [], group.size
        wave.append(group)
        size = total
    if wave:
        yield wave
