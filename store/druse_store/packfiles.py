"""Reading packs and log segments: a few open files, positioned reads, maps."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections import OrderedDict

from druse_store import disk
from druse_store.disk import OpenFile
from druse_store.errors import FrameDamaged
from druse_store.location import Location

_MAX_OPEN = 128
_LOOK_EVERY = 10.0  # seconds: whether files that are open here are gone


class PackFiles:
    """The files of a store that are being read. Thread-safe."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._open: OrderedDict[bytes, OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._looked = 0.0

    def read(self, pack: bytes, offset: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises FrameDamaged where the file is shorter or gone."""
        file = self._open.get(pack) or self._get(pack)
        try:
            data = os.pread(file.fd, size, offset)
            while len(data) < size:
                more = os.pread(file.fd, size - len(data), offset + len(data))
                if not more:
                    path = self._location.pack(pack)
                    raise FrameDamaged(f"{path} ends before byte {offset + size}")
                data += more
        except OSError as error:
            path = self._location.pack(pack)
            if error.errno == errno.EIO:  # a sector that went bad: those bytes are lost
                raise FrameDamaged(f"{path} cannot be read at byte {offset}") from error
            raise disk.os_error(error, "reading", path) from error
        return data

    def read_into(self, pack: bytes, offset: int, room: memoryview) -> None:
        """Fills `room`. Raises FrameDamaged where the file is shorter or gone."""
        file = self._open.get(pack) or self._get(pack)
        if os.preadv(file.fd, [room], offset) != len(room):
            room[:] = self.read(pack, offset, len(room))

    def map(self, pack: bytes, offset: int, size: int) -> memoryview:
        """A read-only map of `size` bytes, which lives as long as the view does."""
        file = self._get(pack)
        path = self._location.pack(pack)
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        try:
            if os.fstat(file.fd).st_size < offset + size:
                raise FrameDamaged(f"{path} ends before byte {offset + size}")
            mapped = mmap.mmap(
                file.fd, offset + size - start, access=mmap.ACCESS_READ, offset=start
            )
        except OSError as error:
            raise disk.os_error(error, "mapping", path) from error
        return memoryview(mapped)[offset - start :]

    def is_private(self, pack: bytes) -> bool:
        """Whether nobody but this user could have written to it."""
        status = os.fstat(self._get(pack).fd)
        return status.st_uid == os.getuid() and not status.st_mode & 0o022

    def forget(self, pack: bytes) -> None:
        """Opens the file anew at the next read."""
        with self._lock:
            self._open.pop(pack, None)

    def let_go(self) -> None:
        """Closes files that were unlinked meanwhile: until then their space is not free."""
        with self._lock:
            self._looked = time.monotonic()
            for pack, file in list(self._open.items()):
                if os.fstat(file.fd).st_nlink == 0:
                    del self._open[pack]

    def close(self) -> None:
        with self._lock:
            self._open.clear()

    def _get(self, pack: bytes) -> OpenFile:
        with self._lock:
            file = self._open.get(pack)
            if file is not None:
                self._open.move_to_end(pack)
                return file
        if time.monotonic() - self._looked > _LOOK_EVERY:
            self.let_go()
        path = self._location.pack(pack)
        try:
            made = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise FrameDamaged(f"{path} is not there") from error
        except OSError as error:
            raise disk.os_error(error, "opening", path) from error
        with self._lock:
            self._open[pack] = made
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        return made
