"""The rows that copied chunks get: one by one, or with the whole table written anew."""

import random

import pytest

from druse_store import Digest, Store
from druse_store.errors import IndexDamaged
from druse_store.gc.swaps import Swaps
from druse_store.index import values
from druse_store.index.bulk import Bulk, Scan
from druse_store.index.values import CHUNKS, TOMBSTONED, ChunkEntry

COUNT = 400
OLD, NEW, OTHER = b"old pack", b"new pack", b"elsewher"


def key(i):
    return Digest.of(b"%d" % i)


def entry(i, pack=OLD):
    return ChunkEntry(pack, 64 + i * 100, 36, 36, 0, since=i)


def swaps_of(numbers):
    made = Swaps()
    for i in numbers:
        made.add(key(i), values.pack_chunk(key(i), entry(i)), NEW, 5_000 + i)
    return made


def one_by_one(tables, swaps):
    for part in swaps.slices(17):
        tables.move_chunks(part)


def anew(tables, swaps):
    tables.write_anew(CHUNKS, swaps.apply)


@pytest.fixture
def store(path):
    with Store.open(path) as opened:
        yield opened


def change(store, work):
    with store._session.write_lock.held(), Bulk(store._session.environment) as tables:
        work(tables)
        tables.commit()


def rows(store):
    with Scan(store._session.environment) as scan:
        return {k: values.unpack_chunk(k, v) for _, part in scan.slices(CHUNKS) for k, v in part}


@pytest.mark.parametrize("way", [one_by_one, anew])
def test_entries_get_their_places_if_they_still_are_where_they_were(store, way):
    expected = {key(i): entry(i) for i in range(COUNT)}
    moved = random.Random(1).sample(range(COUNT), 300)
    for i in moved:
        expected[key(i)] = entry(i)._replace(pack=NEW, offset=5_000 + i)
    gone, elsewhere, dead = moved[:5], moved[5:10], moved[10:15]

    def fill(tables):
        for i in range(COUNT):
            tables.put_chunk(key(i), entry(i))
        for i in gone:
            tables.drop(CHUNKS, key(i))
            del expected[key(i)]
        for i in elsewhere:
            expected[key(i)] = entry(i, OTHER)
            tables.put_chunk(key(i), expected[key(i)])
        for i in dead:
            tables.put_chunk(key(i), entry(i)._replace(state=TOMBSTONED, since=9_999))
            expected[key(i)] = expected[key(i)]._replace(state=TOMBSTONED, since=9_999)

    change(store, fill)
    change(store, lambda tables: way(tables, swaps_of(moved)))
    assert rows(store) == expected


def test_whoever_reads_while_a_table_is_written_anew_sees_what_was(store):
    change(store, lambda tables: [tables.put_chunk(key(i), entry(i)) for i in range(COUNT)])
    with Scan(store._session.environment) as before:
        change(store, lambda tables: tables.write_anew(CHUNKS, lambda _, table: table.clear()))
        assert sum(len(part) for _, part in before.slices(CHUNKS)) == COUNT
    assert rows(store) == {}


def test_a_table_that_fails_to_be_written_anew_stays(store):
    change(store, lambda tables: [tables.put_chunk(key(i), entry(i)) for i in range(COUNT)])

    def fail(head, rows):
        if head == 99:
            raise KeyboardInterrupt
        rows.clear()

    with pytest.raises(KeyboardInterrupt):
        change(store, lambda tables: tables.write_anew(CHUNKS, fail))
    assert len(rows(store)) == COUNT


def test_a_row_that_does_not_check_is_never_moved():
    row = bytearray(values.pack_chunk(key(1), entry(1)))
    row[30] ^= 1
    with pytest.raises(IndexDamaged):
        Swaps().add(key(1), bytes(row), NEW, 64)
