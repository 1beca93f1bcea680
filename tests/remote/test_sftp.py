import pytest

from druse_store.errors import RemoteDenied, RemoteUnavailable
from druse_store.remote.sftp import Sftp
from druse_store.testing_remote import RemoteContract
from support.sharing import BASE, signature_of
from support.ssh import SshServer
from support.swift import free_ports


@pytest.fixture
def server(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    server = SshServer(home).start()
    yield server
    server.end()


@pytest.fixture
def url(server, tmp_path):
    (tmp_path / "remote").mkdir()
    return server.url(tmp_path / "remote")


@pytest.fixture
def backend(url):
    backend = Sftp(url, timeout=10)
    yield backend
    backend.close()


class TestContract(RemoteContract):
    @pytest.fixture
    def inspect(self, tmp_path):
        return lambda key: (tmp_path / "remote" / key).read_bytes()


def test_two_machines_share_through_it(url, machine):
    ann, bob = machine("ann", url), machine("bob", url)
    ann.run()
    ann.push().execute()
    with bob.trusts(ann).tier() as tier:
        assert tier.records_for([BASE]).records == 3
        assert tier.fetch_for(bob.store.record(signature_of(2), 0))
    assert bob.warnings == []


def test_a_host_that_is_not_known_is_refused(server, url):
    (server.home / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(RemoteUnavailable, match="not found in known_hosts"):
        Sftp(url, timeout=5).load("x")


def test_a_key_that_is_not_authorised_is_denied(server, url):
    other = SshServer(server.home / "other")
    other_key = server.home / "other" / ".ssh" / "id_ed25519"
    (server.home / ".ssh" / "id_ed25519").write_bytes(other_key.read_bytes())
    assert other.port == 0
    with pytest.raises(RemoteDenied, match="ssh 127"):
        Sftp(url, timeout=5).load("x")


def test_a_server_that_is_down_is_unavailable_and_comes_back(server, backend):
    backend.store("a", b"x")
    server.stop()
    with pytest.raises(RemoteUnavailable):
        backend.load("a")
    server.start()
    assert backend.load("a") == b"x"


def test_nobody_listens():
    with pytest.raises(RemoteUnavailable):
        Sftp(f"ssh://x@127.0.0.1:{free_ports(1)[0]}/tmp", timeout=2).load("x")


def test_a_folder_that_is_not_there_is_unavailable_and_not_made(server, tmp_path):
    backend = Sftp(server.url(tmp_path / "gone"), timeout=5)
    with pytest.raises(RemoteUnavailable, match="no folder"):
        backend.load("x")
    assert not (tmp_path / "gone").exists()
