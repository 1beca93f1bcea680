"""Several small writes in one go: what each of them would look up by itself is looked up once."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from druse_store.records import ObjectRef, Record

if TYPE_CHECKING:
    from druse_store.session import Session

_new = tuple.__new__  # a named tuple's own way takes three times as long


class Writes:
    """`with store.writes() as writes:`, as `put_object` and so on one after another. Whatever is
    written is durable at the end of the block, or of the batch around it."""

    __slots__ = ("_block", "_is_known", "_put", "_writer")

    def __init__(self, session: Session) -> None:
        self._block = session.writing()
        self._is_known = session.reader.is_known

    def put_bytes(self, data: bytes) -> ObjectRef:
        """Stores bytes, as `put_object` does."""
        return _new(ObjectRef, ("bytes", self._put(data), (), ""))

    def put_record(self, record: Record) -> None:
        """Stores a record, and points its cell at it. Raises BlobVanished, InvalidRecord."""
        self._writer.add_record(record, self._is_known)

    def add_cell(self, experiment: str, version: int, cell: tuple[Any, ...]) -> None:
        """Adds a cell to a run: see `RunWriter.add_to`."""
        self._writer.add_cell(experiment, version, cell)

    def __enter__(self) -> Writes:
        writing = self._block.__enter__()
        self._put, self._writer = writing.ingest.put, writing.writer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._block.__exit__(kind, error, trace)
