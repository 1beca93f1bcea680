from __future__ import annotations

import uuid

import pytest

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
