"""What leads to records: the entries of their cells, by signature, by base, and by what is read.

These lie in orders of their own, so that those of many records are dropped at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from druse_store.changes import RecordRows
from druse_store.digest import SIZE
from druse_store.index import values
from druse_store.index.bulk import Bulk, Row
from druse_store.index.snapshot import pack_edges
from druse_store.index.values import BASES, CURRENT, EDGES, RECORDS
from druse_store.records import Record, cells_of

_LAST = pack_edges(("",))  # nothing more is read: of a signature


def bases_of(rows: Sequence[Row]) -> dict[bytes, bytes]:
    """The bases of records by their cells, of which several may have the same."""
    values.check(RECORDS, rows)
    record_key = values.record_key
    cells = cells_of([value for _, value in rows])
    return {record_key(signature, replicate): base for replicate, signature, base in cells}


def drop(tables: Bulk, gone: set[bytes], bases: dict[bytes, bytes]) -> set[bytes]:
    """Drops what leads to records alone that are, or will be, gone. Returns those of them that
    were the current ones of their cells."""
    led: dict[bytes, bytes] = {}  # by cell

    def that_are_gone(rows: list[Row]) -> list[bytes]:
        values.check(CURRENT, rows)
        found = [(cell, value[:SIZE]) for cell, value in rows if value[:SIZE] in gone]
        led.update(found)
        return [cell for cell, _ in found]

    def that_lead_nowhere(rows: list[Row]) -> list[bytes]:
        values.check(EDGES, rows)
        return tables.without_current([key for key, value in rows if value[:-4] == _LAST])

    tables.drop_chosen(CURRENT, sorted(bases), that_are_gone)
    tables.drop_many(BASES, [bases[cell] + cell for cell in led])
    tables.drop_chosen(EDGES, sorted({cell[:SIZE] for cell in led}), that_lead_nowhere)
    return set(led.values())


def restore(tables: Bulk, records: Iterable[bytes]) -> None:
    """Has cells lead to these records again, unless they have another one by now."""
    rows = RecordRows()
    for digest in records:
        packed = tables.record(digest)
        if packed is not None:
            record = Record.decode(packed)
            if tables.current(values.record_key(record.signature, record.replicate)) is None:
                rows.add(record, record.nodes())
    rows.write_leads(tables)
