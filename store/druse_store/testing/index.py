"""The contract of an index: what the store reads from it, and writes to it in a transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

from druse_store.digest import Digest
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables
from druse_store.index.values import BlobEntry, ChunkEntry, FileEntry, Head

ONE, TWO, THREE = (Digest.of(name) for name in (b"1", b"2", b"3"))
PACK = b"pack-one"


class Index(Protocol):
    """An open index: `write` gives a transaction, which `commit` makes durable and visible."""

    def read(self) -> AbstractContextManager[Snapshot]: ...
    def write(self) -> AbstractContextManager[Tables]: ...


def _chunk(offset: int = 64, **fields: Any) -> ChunkEntry:
    return ChunkEntry(PACK, offset, 10, 20, 1)._replace(**fields)


def _written(index: Index, act: Callable[[Tables], Any]) -> None:
    with index.write() as tables:
        act(tables)
        tables.commit()


class IndexContract:
    """Inherit from it in a test class that has a fixture `index`: an empty Index."""

    def test_an_empty_index_has_nothing(self, index: Index) -> None:
        with index.read() as read:
            assert read.chunk(ONE) is None
            assert read.blob(ONE) is None
            assert read.record(ONE) is None
            assert read.current(values.record_key(ONE, 0)) is None
            assert read.edges(ONE) == ()
            assert read.next_version("exp") == 0
            assert read.head() == Head()
            assert (read.pins(), read.run_keys(), list(read.files())) == ([], [], [])

    def test_what_was_not_committed_is_not_there(self, index: Index) -> None:
        with index.write() as tables:
            tables.put_chunk(ONE, _chunk())
        with pytest.raises(KeyError), index.write() as tables:
            tables.put_chunk(TWO, _chunk())
            raise KeyError
        with index.read() as read:
            assert read.chunk(ONE) is None
            assert read.chunk(TWO) is None

    def test_a_snapshot_stays_as_it_was(self, index: Index) -> None:
        _written(index, lambda tables: tables.put_chunk(ONE, _chunk()))
        with index.read() as before:
            assert before.chunk(ONE) == _chunk()
            _written(index, lambda tables: tables.drop(values.CHUNKS, ONE))
            assert before.chunk(ONE) == _chunk()
        with index.read() as after:
            assert after.chunk(ONE) is None

    def test_a_chunk_that_is_there_stays_where_it_is(self, index: Index) -> None:
        _written(index, lambda tables: tables.add_chunks({ONE: _chunk(64)}, 1))
        _written(index, lambda tables: tables.add_chunks({ONE: _chunk(99), TWO: _chunk(200)}, 2))
        with index.read() as read:
            assert read.chunk(ONE) == _chunk(64, since=2)
            assert read.chunk(TWO) == _chunk(200, since=2)

    def test_a_tombstone_is_cleared_by_whoever_relies_on_the_chunk(self, index: Index) -> None:
        tombstoned = _chunk(64, state=values.TOMBSTONED, since=1)
        for revive in (
            lambda tables: tables.freshen_chunk(ONE, 7),
            lambda tables: tables.add_chunks({ONE: _chunk(99)}, 7),
        ):
            _written(index, lambda tables: tables.put_chunk(ONE, tombstoned))
            with index.read() as read:
                assert not read.is_known(ONE)
            _written(index, revive)
            with index.read() as read:
                assert read.is_known(ONE)
                assert read.chunk(ONE) == _chunk(64, since=7)

    def test_a_chunk_that_did_not_check_is_replaced_and_not_relied_upon(self, index: Index) -> None:
        _written(index, lambda tables: tables.put_chunk(ONE, _chunk(64)))
        _written(index, lambda tables: tables.suspect(ONE, (PACK, 65)))  # it moved meanwhile
        with index.read() as read:
            assert read.is_known(ONE)
        _written(index, lambda tables: tables.suspect(ONE, (PACK, 64)))
        with index.write() as tables:
            assert not tables.is_known(ONE)
            assert not tables.freshen_chunk(ONE, 7)
            tables.add_chunks({ONE: _chunk(99)}, 7)
            tables.commit()
        with index.read() as read:
            assert read.chunk(ONE) == _chunk(99, since=7)

    def test_a_blob_that_did_not_check_is_not_known(self, index: Index) -> None:
        entry = BlobEntry(TWO, 100, 3, since=4)
        _written(index, lambda tables: tables.put_blob(ONE, entry))
        with index.read() as read:
            assert read.blob(ONE) == entry
            assert read.is_known(ONE)
        _written(index, lambda tables: tables.suspect(ONE, None))
        with index.read() as read:
            assert not read.is_known(ONE)

    def test_digests_come_in_order_and_within_bounds(self, index: Index) -> None:
        digests = sorted(Digest.of(b"%d" % i) for i in range(500))
        _written(index, lambda tables: tables.add_chunks(dict.fromkeys(digests, _chunk()), 1))
        with index.read() as read:
            assert list(read.digests(values.CHUNKS, bytes(32), b"\xff" * 32)) == digests
            assert list(read.digests(values.CHUNKS, digests[7], digests[9])) == digests[7:10]
            assert read.count(values.CHUNKS) == 500

    def test_rows_come_in_slices_that_miss_none(self, index: Index) -> None:
        digests = sorted(Digest.of(b"%d" % i) for i in range(100))
        _written(index, lambda tables: tables.add_chunks(dict.fromkeys(digests, _chunk()), 1))
        found: list[bytes] = []
        with index.read() as read:
            while rows := read.rows_after(values.CHUNKS, found[-1] if found else None, 7):
                found += [key for key, _ in rows]
        assert found == digests

    def test_the_replicates_of_a_signature_come_in_order(self, index: Index) -> None:
        pointers = {values.record_key(ONE, n): Digest.of(b"%d" % n) for n in (300, 2, 70_000, 0)}
        pointers[values.record_key(TWO, 1)] = THREE
        _written(index, lambda tables: tables.move_pointers(pointers))
        with index.read() as read:
            assert [number for number, _ in read.currents(ONE)] == [0, 2, 300, 70_000]
            assert read.current(values.record_key(ONE, 300)) == Digest.of(b"300")

    def test_cells_are_found_under_their_base(self, index: Index) -> None:
        keys = [values.record_key(TWO, 1), values.record_key(THREE, 0)]
        _written(index, lambda tables: tables.add_bases([ONE + key for key in keys]))
        with index.read() as read:
            assert read.under_base(ONE) == sorted(keys)
            assert read.under_base(TWO) == []

    def test_reads_are_added_to_a_node_and_never_twice(self, index: Index) -> None:
        for keys in (("ctx:a",), ("ctx:b", "ctx:a"), ("",), ("ctx:ü",)):
            with index.write() as tables:
                tables.add_edges({ONE: dict.fromkeys(keys)})
                tables.commit()
        with index.read() as read:
            assert read.edges(ONE) == ("ctx:a", "ctx:b", "", "ctx:ü")

    def test_reading_may_end_where_it_has_gone_on_and_the_other_way_round(
        self, index: Index
    ) -> None:
        with index.write() as tables:
            tables.add_edges({ONE: {"ctx:a": None}})
            tables.add_ends([TWO, ONE])
            tables.commit()
        with index.write() as tables:
            tables.add_ends([THREE, TWO, ONE])
            tables.add_edges({TWO: {"ctx:b": None}})
            tables.commit()
        with index.read() as read:
            found = [read.edges(node) for node in (ONE, TWO, THREE)]
        assert found == [("ctx:a", ""), ("", "ctx:b"), ("",)]

    def test_runs_are_ordered_by_version_as_numbers(self, index: Index) -> None:
        def write(tables: Tables) -> None:
            for experiment, version in (("a", 300), ("a", 2), ("ab", 1), ("a", 10)):
                tables.put_run(values.run_key(experiment, version), [{}, version])
            tables.put_next_version("a", 301)

        _written(index, write)
        with index.read() as read:
            assert read.run_keys("a") == [("a", 2), ("a", 10), ("a", 300)]
            assert read.last_version("a") == 300
            assert read.next_version("a") == 301
            assert read.run(values.run_key("ab", 1)) == [{}, 1]

    def test_what_is_under_a_prefix_is_dropped_and_nothing_else(self, index: Index) -> None:
        keys = [values.run_key("a", version) for version in (1, 2)]

        def write(tables: Tables) -> None:
            for key in keys:
                for piece in range(3):
                    tables.put_cells(key + piece.to_bytes(4, "big"), [[piece]])

        _written(index, write)
        _written(index, lambda tables: tables.drop_under(values.CELLS, keys[0]))
        with index.read() as read:
            assert read.cells(keys[0]) == []
            assert read.cells(keys[1]) == [[[0]], [[1]], [[2]]]

    def test_files_that_are_not_sealed_are_known(self, index: Index) -> None:
        entry = FileEntry(1, values.OPEN, 100, 64, 1000)
        _written(index, lambda tables: tables.put_file(PACK, entry))
        with index.read() as read:
            assert read.open_files(1) == [PACK]
            assert read.open_files(2) == []
            assert list(read.files()) == [(PACK, entry)]
        _written(index, lambda tables: tables.put_file(PACK, entry._replace(state=values.SEALED)))
        with index.read() as read:
            assert read.open_files(1) == []
        _written(index, lambda tables: tables.drop_file(PACK, entry))
        with index.read() as read:
            assert read.file(PACK) is None

    def test_pins_and_the_head_are_kept(self, index: Index) -> None:
        def write(tables: Tables) -> None:
            tables.put_pin("paper", ["digest", ONE])
            tables.put_head(Head(7, PACK, 640))

        _written(index, write)
        with index.read() as read:
            assert read.pins() == [("paper", ["digest", ONE])]
            assert read.pin("paper") == ["digest", ONE]
            assert read.head() == Head(7, PACK, 640)
