import pytest

from druse_store.errors import RemoteDenied, RemoteUnavailable
from druse_store.remote.bucket import Bucket
from druse_store.testing_remote import RemoteContract
from support.swift import free_ports


@pytest.fixture
def backend(bucket):
    return Bucket(bucket, timeout=20)


class TestContract(RemoteContract):
    """Against OpenStack Swift."""


def test_a_wrong_secret_is_denied(bucket, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RemoteDenied, match="credentials"):
        Bucket(bucket, timeout=20).load("x")


def test_a_bucket_that_is_not_there_is_unavailable(bucket):
    with pytest.raises(RemoteUnavailable, match="no such bucket"):
        Bucket(bucket.replace("s3://b", "s3://c"), timeout=20).load("x")


def test_a_server_that_is_down_is_unavailable(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(RemoteUnavailable):
        Bucket(bucket, timeout=3).load("x")
