import os
from urllib.parse import unquote, urlsplit

import pytest

from druse_store.errors import RemoteDamaged, RemoteError, RemoteUnavailable
from druse_store.remote.directory import Directory
from druse_store.testing_remote import RemoteContract


@pytest.fixture
def backend(tmp_path):
    root = tmp_path / "remote"
    root.mkdir()
    return Directory(root)


class TestContract(RemoteContract):
    @pytest.fixture
    def inspect(self, backend):
        return lambda key: (backend.root / key).read_bytes()


def test_the_address_says_where_it_is(backend):
    assert unquote(urlsplit(backend.url).path) == str(backend.root)


def test_no_link_leads_out_of_the_folder(backend, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(b"secret")
    (backend.root / "packs").symlink_to(tmp_path / "secret")
    (backend.root / "linked").symlink_to(tmp_path / "secret" / "file")
    for ask in (
        lambda: backend.load("packs/file"),
        lambda: backend.load("linked"),
        lambda: backend.store("packs/new", b"x"),
    ):
        with pytest.raises(RemoteError):
            ask()
    backend.delete(["packs/file"])
    assert os.listdir(tmp_path / "secret") == ["file"]
    assert list(backend.list("")) == []
    backend.store("linked", b"mine")
    assert (tmp_path / "secret" / "file").read_bytes() == b"secret"


def test_a_folder_that_is_not_mounted_is_unavailable_and_not_made(tmp_path):
    backend = Directory(tmp_path / "gone")
    with pytest.raises(RemoteUnavailable, match="mounted"):
        backend.load("x")
    with pytest.raises(RemoteUnavailable):
        backend.store("x", b"x")
    assert not (tmp_path / "gone").exists()


def test_what_killed_writers_left_is_swept_after_a_day_and_never_listed(backend):
    backend.store("a", b"x")
    aside = backend.root / ".tmp"
    old, new = aside / "old", aside / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert [entry.key for entry in backend.list("")] == ["a"]
    Directory(backend.root).store("b", b"x")
    assert os.listdir(aside) == ["new"]


def test_in_a_folder_of_a_group_the_group_may_write(backend):
    backend.root.chmod(0o2775)
    before = os.umask(0o077)
    try:
        backend.store("packs/ab/x", b"x")
    finally:
        os.umask(before)
    modes = [
        (backend.root / p).stat().st_mode & 0o7777 for p in ("packs", "packs/ab", "packs/ab/x")
    ]
    assert modes == [0o2775, 0o2775, 0o664]


def test_an_object_that_was_cut_is_damaged(backend):
    backend.store("a", b"0123456789")
    os.truncate(backend.root / "a", 4)
    with pytest.raises(RemoteDamaged):
        backend.load("a", 2, 8)
