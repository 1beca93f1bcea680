"""A remote's folder behind a web server: read there what was published elsewhere."""

import functools
import http.server
import shutil
import threading

import pytest

from druse_store.errors import (
    ObjectMissing,
    RemoteDamaged,
    RemoteError,
    RemoteReadOnly,
    RemoteUnavailable,
)
from druse_store.remote import sharing
from druse_store.remote.web import Web
from support.sharing import BASE, signature_of
from support.swift import free_ports
from support.web import nginx


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Lists folders; knows no ranges."""

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def plain_server(tmp_path):
    (tmp_path / "remote").mkdir(exist_ok=True)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/remote"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nginx_server(tmp_path):
    (tmp_path / "remote").mkdir(exist_ok=True)
    with nginx(tmp_path) as address:
        yield f"{address}/remote"


@pytest.fixture(
    params=["plain_server", pytest.param("nginx_server", marks=pytest.mark.needs("nginx"))]
)
def address(request):
    return request.getfixturevalue(request.param)


def test_objects_are_read_whole_and_in_parts_and_listed(address, tmp_path):
    files = {"packs/ab/x.pack": b"0123456789", "runs/a%20b/y.seg": b"y", "remote.json": b"{}"}
    for key, data in files.items():
        path = tmp_path / "remote" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    web = Web(address, timeout=5)
    assert {key: web.load(key) for key in files} == files
    assert web.load("packs/ab/x.pack", 3, 4) == b"3456"
    assert {entry.key for entry in web.list("")} == set(files)
    assert [entry.key for entry in web.list("runs/a%20b/")] == ["runs/a%20b/y.seg"]
    assert list(web.list("nothing/")) == []
    with pytest.raises(ObjectMissing):
        web.load("packs/ab/z.pack")
    with pytest.raises(RemoteDamaged):
        web.load("packs/ab/x.pack", 8, 4)
    with pytest.raises(RemoteError):
        web.load("../secret")


def test_it_can_only_be_read(address):
    web = Web(address, timeout=5)
    with pytest.raises(RemoteReadOnly):
        web.store("x", b"x")
    with pytest.raises(RemoteReadOnly):
        web.delete(["x"])


def test_a_server_that_is_down_is_unavailable():
    web = Web(f"http://127.0.0.1:{free_ports(1)[0]}/x", timeout=2)
    with pytest.raises(RemoteUnavailable):
        web.load("x")


def test_a_mirror_gives_what_was_published_on_the_remote(address, folder_url, machine):
    ann, bob = machine("ann", folder_url), machine("bob")
    ann.run()
    ann.push().execute()
    bob.trusts(ann).add_remote(address)
    with bob.tier() as tier:
        assert tier.records_for([BASE]).records == 3
        assert tier.fetch_for(bob.store.record(signature_of(2), 0))
        assert not tier.publishes
        assert not tier.publish(bob.store.begin_run("exp").finish(complete=True))
    assert bob.warnings == []
    assert [known.id for known in sharing.remotes_of(bob.store).all()] == [ann.site().id]


@pytest.fixture
def folder_url(tmp_path):
    shutil.rmtree(tmp_path / "remote", ignore_errors=True)
    (tmp_path / "remote").mkdir()
    return (tmp_path / "remote").as_uri()
