"""Servers that are tried when they are asked for: Ceph's gateway, Azurite, OpenSSH's sshd.

tools/test --with ceph --with azurite --with sshd
"""

import uuid

import boto3
import pytest

from conftest import program
from druse_store.errors import RemoteDenied, RemoteUnavailable
from druse_store.remote.bucket import Bucket
from druse_store.remote.sftp import Sftp
from druse_store.testing_remote import RemoteContract
from support.azurite import Azurite
from support.ceph import Ceph
from support.sharing import BASE, signature_of
from support.sshd import Sshd


def share(machine, url):
    """What ann computed is here for bob, who trusts her; a second push sends nothing."""
    ann, bob = machine("ann", url), machine("bob", url)
    ann.run()
    assert ann.push().execute().records == 3
    assert ann.push().execute().chunks == 0
    with bob.trusts(ann).tier() as tier:
        assert tier.records_for([BASE]).records == 3
        assert tier.fetch_for(bob.store.record(signature_of(2), 0))
    assert bob.warnings == []


@pytest.fixture(scope="session")
def ceph(tmp_path_factory):
    path = program("radosgw")
    assert path is not None
    server = Ceph(tmp_path_factory.mktemp("ceph"), path).start()
    yield server
    server.kill()


@pytest.mark.asked("ceph")
@pytest.mark.needs("radosgw")
class TestCeph(RemoteContract):
    @pytest.fixture
    def url(self, ceph, monkeypatch):
        for name, value in ceph.environment.items():
            monkeypatch.setenv(name, value)
        name = f"b{uuid.uuid4().hex}"
        boto3.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}/team"

    @pytest.fixture
    def backend(self, url):
        return Bucket(url, timeout=20)

    def test_two_machines_share_through_it(self, machine, url):
        share(machine, url)

    def test_a_wrong_secret_is_denied(self, url, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(RemoteDenied):
            Bucket(url, timeout=20).load("x")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    path = program("azurite-blob")
    assert path is not None
    server = Azurite(tmp_path_factory.mktemp("azurite"), path).wait()
    yield server
    server.kill()


@pytest.mark.asked("azurite")
@pytest.mark.needs("azurite-blob")
class TestAzurite(RemoteContract):
    @pytest.fixture
    def url(self, azurite, monkeypatch):
        for name, value in azurite.environment.items():
            monkeypatch.setenv(name, value)
        name = f"b{uuid.uuid4().hex}"
        azurite.make_container(name)
        return f"az://{name}/team"

    @pytest.fixture
    def backend(self, url):
        return Bucket(url, timeout=20)

    def test_two_machines_share_through_it(self, machine, url):
        share(machine, url)

    def test_a_container_that_is_not_there_is_unavailable(self, url):
        with pytest.raises(RemoteUnavailable, match="no such bucket"):
            Bucket(url.replace("az://b", "az://c"), timeout=20).load("x")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory):
    path = program("sshd")
    assert path is not None
    server = Sshd(tmp_path_factory.mktemp("sshd"), path).start()
    yield server
    server.kill()


@pytest.mark.asked("sshd")
@pytest.mark.needs("sshd")
class TestSshd(RemoteContract):
    @pytest.fixture
    def url(self, sshd, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(sshd.home))
        (tmp_path / "remote").mkdir()
        return sshd.url(tmp_path / "remote")

    @pytest.fixture
    def backend(self, url):
        backend = Sftp(url, timeout=10)
        yield backend
        backend.close()

    @pytest.fixture
    def inspect(self, tmp_path):
        return lambda key: (tmp_path / "remote" / key).read_bytes()

    def test_two_machines_share_through_it(self, machine, url):
        share(machine, url)
