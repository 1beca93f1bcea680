"""Files in and out of the store, in constant memory."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from druse_store import disk, whole
from druse_store.digest import Digest
from druse_store.disk import OpenFile
from druse_store.early import EarlySync
from druse_store.frames import ChunkList
from druse_store.records import BlobRef

if TYPE_CHECKING:
    from druse_store.session import Session


def put_path(session: Session, path: Path) -> BlobRef:
    """Stores a file's content. Raises AccessDenied, StorageFailed for what cannot be read."""
    with session.writing() as writing, disk.translated("reading", path), path.open("rb", 0) as file:
        return writing.ingest.put_stream(file)


def get_to(session: Session, digest: Digest, path: Path) -> None:
    """Writes a blob beside `path`, verified, and renames it there. Durable when it returns."""
    outline = session.outline(digest)
    aside = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.tmp")
    with disk.translated("writing", aside):
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with closing(OpenFile(fd)) as file:
                _write(session, outline, file)
            aside.replace(path)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise
        disk.sync_folder(path.parent)


def _write(session: Session, outline: ChunkList, file: OpenFile) -> None:
    early = EarlySync(file.fd)
    try:
        if not whole.to_file(session.reader, outline, file, early):
            offset = 0
            for piece in session.reader.pieces(outline):
                offset = file.write(piece, offset)
    finally:
        early.wait()
    early.check()
    os.fsync(file.fd)
