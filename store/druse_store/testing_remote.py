"""The contract of a remote's backend, as tests for whoever writes one.

    class TestMine(RemoteContract):
        @pytest.fixture
        def backend(self): ...

`backend` is empty at the beginning of each test. A fixture `inspect`, optional, gives a second,
independent way to look: a callable from a key to the stored bytes, or None.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from druse_store.errors import ObjectExists, ObjectMissing, RemoteDamaged, RemoteError
from druse_store.remote.backend import Backend
from druse_store.remote.probe import probe


class RemoteContract:
    """What every backend that can be written to does."""

    honours_create = True  # on a server that overwrites what was to be created: False

    @pytest.fixture
    def inspect(self, backend: Backend) -> Any:
        return backend.load

    def test_an_object_comes_back_whole_and_in_parts(self, backend: Backend, inspect: Any) -> None:
        data = bytes(range(256)) * 5
        backend.store("packs/ab/x.pack", data)
        assert inspect("packs/ab/x.pack") == data
        assert backend.load("packs/ab/x.pack") == data
        assert backend.load("packs/ab/x.pack", 250, 20) == data[250:270]
        assert backend.load("packs/ab/x.pack", 0, len(data)) == data

    def test_an_empty_object_and_a_large_one_come_back(self, backend: Backend) -> None:
        large = bytes(range(251)) * 180_000  # 45 MB: goes up in parts where there are parts
        for key, data in (("e", b""), ("l", large)):
            backend.store(key, data)
            assert backend.load(key) == data

    def test_any_buffer_is_stored(self, backend: Backend) -> None:
        backend.store("b", memoryview(bytearray(b"0123456789"))[2:5])
        assert backend.load("b") == b"234"

    def test_what_is_missing_is_reported_as_missing(self, backend: Backend) -> None:
        with pytest.raises(ObjectMissing):
            backend.load("no/such")
        with pytest.raises(ObjectMissing):
            backend.load("no/such", 1, 2)

    def test_a_part_beyond_the_end_is_an_error_and_never_short(self, backend: Backend) -> None:
        backend.store("short", b"0123")
        with pytest.raises(RemoteError):
            backend.load("short", 2, 10)

    def test_storing_again_replaces(self, backend: Backend) -> None:
        backend.store("k", b"first, and longer")
        backend.store("k", b"second")
        assert backend.load("k") == b"second"

    def test_creating_refuses_what_is_there_and_leaves_it(self, backend: Backend) -> None:
        backend.store("c", b"first", create=True)
        if self.honours_create:
            with pytest.raises(ObjectExists):
                backend.store("c", b"second", create=True)
            assert backend.load("c") == b"first"

    def test_a_listing_names_what_lies_under_a_folder(self, backend: Backend) -> None:
        for key in ("l/a", "l/b/c", "l/b/d", "lx/e", "m"):
            backend.store(key, key.encode())
        found = {entry.key: entry.size for entry in backend.list("l/")}
        assert found == {"l/a": 3, "l/b/c": 5, "l/b/d": 5}
        assert {entry.key for entry in backend.list("")} == {"l/a", "l/b/c", "l/b/d", "lx/e", "m"}
        assert list(backend.list("nothing/")) == []

    def test_a_listing_is_complete_beyond_a_page(self, backend: Backend) -> None:
        for number in range(60):
            backend.store(f"many/{number:04d}", b"x")
        assert len(list(backend.list("many/"))) == 60

    def test_times_of_a_listing_are_the_servers_and_do_not_run_backwards(
        self, backend: Backend
    ) -> None:
        backend.store("t/1", b"x")
        backend.store("t/2", b"x")
        times = {entry.key: entry.modified for entry in backend.list("t/")}
        assert times["t/1"] <= times["t/2"] + 1
        assert times["t/1"] > 1e9

    def test_deleting_removes_and_passes_over_what_is_missing(self, backend: Backend) -> None:
        for number in range(5):
            backend.store(f"d/{number}", b"x")
        backend.delete(["d/0", "d/never", "d/3"])
        assert {entry.key for entry in backend.list("d/")} == {"d/1", "d/2", "d/4"}
        backend.delete([])
        with pytest.raises(ObjectMissing):
            backend.load("d/0")

    def test_a_reader_beside_a_writer_sees_old_bytes_or_new_ones(self, backend: Backend) -> None:
        versions = [bytes([n]) * 200_000 for n in range(8)]
        backend.store("w", versions[0])
        done = threading.Event()

        def write() -> None:
            for data in versions[1:]:
                backend.store("w", data)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        seen = [backend.load("w")]
        while not done.is_set():
            seen.append(backend.load("w"))
        writer.join()
        assert set(seen) <= set(versions)
        assert backend.load("w") == versions[-1]

    def test_a_key_that_leads_elsewhere_is_refused(self, backend: Backend) -> None:
        for key in ("../x", "/etc/passwd", "a//b", "a/../b", ".hidden", "a\0b", ""):
            with pytest.raises(RemoteError):
                backend.store(key, b"x")
            with pytest.raises(RemoteError):
                backend.load(key)

    def test_what_is_too_large_is_not_read(self, backend: Backend) -> None:
        backend.store("s", b"x")
        with pytest.raises(RemoteDamaged):
            backend.load("s", 0, 1 << 40)

    def test_the_probe_finds_it_usable_and_leaves_nothing(self, backend: Backend) -> None:
        found = probe(backend)
        assert found.usable, [check for check in found.checks if not check.passed]
        assert found.capabilities.writes
        assert found.capabilities.create == self.honours_create
        assert list(backend.list("")) == []
