import http.server
import threading

import pytest

from druse_store.errors import ObjectMissing, RemoteDenied, RemoteFull, RemoteUnavailable
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


class Answers(http.server.BaseHTTPRequestHandler):
    status, body = 503, b""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_PUT = do_GET

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def answering(monkeypatch):
    """A bucket on a server that always gives the same answer."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    # 507 in the address has to mislead nobody
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}/507/403")

    def answer(status, body=b""):
        monkeypatch.setattr(Answers, "status", status)
        monkeypatch.setattr(Answers, "body", body)
        return Bucket("s3://bucket507/403", timeout=3)

    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", RemoteDenied),
        (401, b"", RemoteDenied),
        (403, b"<Error><Code>QuotaExceeded</Code></Error>", RemoteFull),
        (507, b"", RemoteFull),
        (503, b"", RemoteUnavailable),
        (400, b"", RemoteUnavailable),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", RemoteUnavailable),
        (404, b"<Error><Code>NoSuchKey</Code></Error>", ObjectMissing),
    ],
)
def test_each_answer_of_a_server_is_the_error_that_it_means(answering, status, body, error):
    bucket = answering(status, body)
    with pytest.raises(error):
        bucket.load("k")
    if error is not ObjectMissing:
        with pytest.raises(error):
            bucket.store("k", b"x")
