import json
import os
import stat

import pytest

from druse_store import Store
from druse_store.errors import FormatTooNew, NotAStore


def everything(path):
    return {
        str(p.relative_to(path)): (p.lstat().st_mtime_ns, p.lstat().st_size)
        for p in path.rglob("*")
    }


def edit_format(path, **fields):
    values = json.loads((path / "format").read_text())
    (path / "format").write_text(json.dumps(values | fields))


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"immutable": True}])
def test_a_store_of_a_newer_format_is_refused_and_not_touched(path, options):
    Store.open(path).close()
    edit_format(path, druse=2, whatever={"new": [1]}, id="of another form")
    before = everything(path)
    with pytest.raises(FormatTooNew, match=r"format 2.*upgrade druse"):
        Store.open(path, **options)
    assert everything(path) == before


@pytest.mark.parametrize(
    "fields", [{"druse": 0}, {"druse": "1"}, {"druse": True}, {"id": "12"}, {"id": None}]
)
def test_a_format_file_that_is_none_is_refused(path, fields):
    Store.open(path).close()
    edit_format(path, **fields)
    with pytest.raises(NotAStore, match="format"):
        Store.open(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff", "null"])
def test_a_damaged_format_file_is_refused(path, text):
    Store.open(path).close()
    (path / "format").write_text(text)
    with pytest.raises(NotAStore, match="restore that file"):
        Store.open(path)


def test_a_folder_with_something_else_in_it_is_not_made_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(NotAStore, match="not empty"):
        Store.open(tmp_path)
    with pytest.raises(NotAStore, match="is a file"):
        Store.open(tmp_path / "thesis.tex")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_store_is_the_same_by_every_path_to_it(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    with Store.open(path) as one, Store.open(tmp_path / "link") as two:
        assert one.id == two.id
        assert one.path == two.path
        assert two.get(one.put(b"x")) == b"x"


def test_what_was_fixed_when_the_store_was_made_stands_in_its_format_file(path):
    Store.open(path).close()
    values = json.loads((path / "format").read_text())
    assert values["druse"] == 1
    assert values["digest"] == "blake3-256"
    assert values["chunker"] == {"min": 262144, "avg": 524288, "max": 1048576}


# --- groups ------------------------------------------------------------------------------------


@pytest.fixture(params=[0o022, 0o077], ids=["022", "077"])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_shared_store_is_writable_by_the_group_whatever_the_umask(path, umask, make_record):
    with Store.open(path, shared=True) as store:
        digest = store.put(os.urandom(70_000_000))  # a sealed pack, and an open one
        store.pin("p", digest)
        store.begin_run("exp")
        for entry in [path, *path.rglob("*")]:
            mode = entry.stat().st_mode
            if entry.is_dir():
                assert stat.S_IMODE(mode) == 0o2770, entry
            else:
                sealed = entry.suffix == ".pack" and not mode & stat.S_IWUSR
                assert stat.S_IMODE(mode) == (0o440 if sealed else 0o660), entry


def test_a_store_of_ones_own_follows_the_umask(path, umask):
    with Store.open(path) as store:
        store.put(b"x")
    for entry in [path, *path.rglob("*")]:
        assert not stat.S_IMODE(entry.stat().st_mode) & umask, entry
