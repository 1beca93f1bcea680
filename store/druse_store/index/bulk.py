"""The index by the hundred thousand: scans without an object per entry, and changes in key order.

Rows are handed out as they are stored, unchecked: whoever acts on one checks it (`values.body`).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from operator import itemgetter

from druse_store.digest import SIZE
from druse_store.errors import IndexDamaged
from druse_store.index import values
from druse_store.index.environment import Error, translate
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables

Row = tuple[bytes, bytes]

# Where state and since stand in a row, from its end: they are the last of each body, but for
# records, which end with the same two fields.
_TAIL = struct.Struct("<BQ4x")
_STATE = struct.Struct("<BQ")
_STATE_OF = itemgetter(slice(values.STATE_AT, -4))
_HEADS = 256
_BEHIND = b"\xff" * 128  # no key is as long
_SLICE = 10_000  # rows that are looked at at once
_ANEW_MOST = 64 << 20  # bytes that stay: they are in memory until they are committed
ANEW_SHARE = 0.2  # of rows that change, from which on writing all of them is faster


def state_of(value: bytes) -> tuple[int, int]:
    """State and since of a row of chunks, blobs or records."""
    state, since = _TAIL.unpack_from(value, len(value) - _TAIL.size)
    return state, since


def states_of(rows: Iterable[bytes]) -> list[tuple[int, int]]:
    """The states and sinces that rows of chunks, blobs or records have: a few, of however many."""
    return [_STATE.unpack(found) for found in set(map(_STATE_OF, rows))]


def with_state(table: str, key: bytes, value: bytes, state: int, since: int) -> bytes:
    """The row with another state. Raises IndexDamaged where it does not check."""
    values.body(table, key, value)
    fields = _TAIL.pack(state, since)[:-4]
    return values.seal(table, key, value[: -_TAIL.size] + fields)


class Scan(Snapshot):
    """A read transaction that hands out bytes."""

    __slots__ = ()

    def __enter__(self) -> Scan:
        try:
            self._txn = self._environment.env.begin(buffers=False)
        except Error as error:
            raise translate(error, self._environment.folder) from error
        return self

    def rows(self, table: str, keys: Sequence[bytes]) -> list[Row]:
        """The rows of these keys that are there, in their order."""
        found: list[Row] = self._txn.cursor(db=self._dbs[table]).getmulti(keys)
        return found

    def slices(self, table: str) -> Iterator[tuple[int, list[Row]]]:
        """All rows of a table whose keys are digests: for each first byte, those that begin so.

        Raises IndexDamaged at the end if that were not all that the table says it has.
        """
        cursor = self._txn.cursor(db=self._dbs[table])
        seen = 0
        for head in range(_HEADS):
            rows: list[Row] = []
            if cursor.set_range(bytes((head,))):
                # Compares whole rows, which their keys decide, without a call back into Python.
                stop = (bytes((head,)) + b"\xff" * SIZE,)
                rows += takewhile(stop.__gt__, cursor.iternext())
            seen += len(rows)
            yield head, rows
        if seen != self.count(table):
            raise IndexDamaged(
                f"not all rows of the index's table {table!r} are to be found; `druse repair "
                "--rebuild-index` makes a new index from the packs"
            )


class Bulk(Tables):
    """A write transaction for many entries at once."""

    __slots__ = ()

    def __enter__(self) -> Bulk:
        self._txn = self._environment.env.begin(write=True, buffers=False)
        return self

    def rows(self, table: str, keys: Sequence[bytes]) -> list[Row]:
        """The rows of these keys that are there, in their order."""
        found: list[Row] = self._txn.cursor(db=self._dbs[table]).getmulti(keys)
        return found

    def take_rows(self, table: str, keys: Sequence[bytes]) -> list[Row]:
        """The rows of these keys that were there, in their order: they are dropped."""
        pop = self._txn.cursor(db=self._dbs[table]).pop
        return [(key, value) for key in keys if (value := pop(key)) is not None]

    def put_rows(self, table: str, rows: Sequence[Row]) -> None:
        """Puts whole rows, which are in the order of their keys."""
        if rows:
            self._txn.cursor(db=self._dbs[table]).putmulti(rows)

    def without_current(self, signatures: Iterable[bytes]) -> list[bytes]:
        """Those of these signatures of which no replicate has a record."""
        cursor = self._txn.cursor(db=self._dbs[values.CURRENT])
        seek, key = cursor.set_range, cursor.key
        return [each for each in signatures if not (seek(each) and key().startswith(each))]

    def move_chunks(self, swaps: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Gives chunks other places: of each, in order, the key, the row that it had, and the new
        one. What is not there, or elsewhere, stays as it is. Raises IndexDamaged."""
        get, db, place = self._txn.get, self._dbs[values.CHUNKS], values.PLACE
        moved: list[Row] = []
        for key, old, new in swaps:
            value = get(key, None, db)
            if value == old:
                moved.append((key, new))
            elif value is not None and value[:place] == old[:place]:  # its state is another
                moved.append((key, values.moved_chunk(key, value, new[:place])))
        self.put_rows(values.CHUNKS, moved)

    def write_anew(self, table: str, change: Callable[[int, dict[bytes, bytes]], object]) -> None:
        """Puts in place of a table what `change` makes of its rows, of one first byte at a time,
        whose order it keeps. The table has to be as it was when the transaction began, and what
        stays of it has to fit into memory.

        To append a row takes a tenth of what it takes to find and change one, and each page is
        written once, and full. Until the commit the table is for all others what it was.
        """
        with Scan(self._environment) as before:
            db = self._dbs[table]
            self._txn.drop(db, delete=False)
            cursor = self._txn.cursor(db=db)
            for head, rows in before.slices(table):
                kept = dict(rows)
                change(head, kept)
                if cursor.putmulti(kept.items(), append=True)[1] != len(kept):
                    raise values.damaged(table, next(iter(kept)))

    def may_write_anew(self, table: str, going: int) -> bool:
        """Whether that is quicker where so many rows go, and what stays is not too much for it."""
        rows = self.count(table)
        found = self._txn.stat(self._dbs[table])
        pages = found["leaf_pages"] + found["overflow_pages"]
        kept = pages * found["psize"] * (1 - going / rows) if rows else 0
        return going >= ANEW_SHARE * rows and kept <= _ANEW_MOST

    def drop_chosen(
        self,
        table: str,
        keys: Sequence[bytes],
        choose: Callable[[list[Row]], Iterable[bytes]],
    ) -> None:
        """Drops what `choose` returns of the rows of these keys, which are in order. The table has
        to be as it was when the transaction began."""
        if not self.may_write_anew(table, len(keys)):
            for start in range(0, len(keys), _SLICE):
                found = self.rows(table, keys[start : start + _SLICE])
                self.drop_rows(table, choose(found) if found else ())
            return

        def change(head: int, rows: dict[bytes, bytes]) -> None:
            place = bytes((head,))
            part = keys[bisect_left(keys, place) : bisect_right(keys, place + _BEHIND)]
            found = [(key, rows[key]) for key in part if key in rows]
            for key in choose(found) if found else ():
                del rows[key]

        self.write_anew(table, change)

    def drop_many(self, table: str, keys: Iterable[bytes]) -> None:
        """Drops rows of a table that is as it was when the transaction began."""
        ordered = sorted(keys)
        if self.may_write_anew(table, len(ordered)):
            self.drop_chosen(table, ordered, lambda rows: [key for key, _ in rows])
        else:
            self.drop_rows(table, ordered)

    def drop_rows(self, table: str, keys: Iterable[bytes]) -> None:
        delete, db = self._txn.delete, self._dbs[table]
        for key in keys:
            delete(key, db=db)
