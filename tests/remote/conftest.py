from __future__ import annotations

import uuid

import pytest

from support.sharing import Machine
from support.swift import Swift


@pytest.fixture(scope="session")
def swift(tmp_path_factory):
    """A real S3 server, started when the first test asks for it."""
    server = Swift(tmp_path_factory.mktemp("swift")).start()
    yield server
    server.kill()


@pytest.fixture
def bucket(swift, monkeypatch):
    """The address of a fresh bucket there, with its secrets in the environment."""
    for name, value in swift.environment.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    make_bucket(swift, name)
    return f"s3://{name}/team"


def make_bucket(swift, name: str) -> None:
    import boto3

    boto3.client(
        "s3",
        endpoint_url=swift.endpoint,
        aws_access_key_id=swift.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=swift.environment["AWS_SECRET_ACCESS_KEY"],
        region_name=swift.environment["AWS_REGION"],
    ).create_bucket(Bucket=name)


@pytest.fixture
def folder_url(tmp_path):
    """The address of an empty folder."""
    (tmp_path / "remote").mkdir()
    return (tmp_path / "remote").as_uri()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes machines, by name."""
    made = []

    def make(name: str, url: str | None = None) -> Machine:
        machine = Machine(tmp_path / name, monkeypatch)
        made.append(machine)
        if url is not None:
            machine.add_remote(url)
        return machine

    yield make
    for each in made:
        each.store.close()
