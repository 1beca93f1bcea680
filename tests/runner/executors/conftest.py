from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dask import Cluster


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with a store of its own as soon as something runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    logging.getLogger("druse").setLevel("WARNING")
    return tmp_path


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Dask cluster: a scheduler and two workers, each a process of its own."""
    cluster = Cluster(tmp_path_factory.mktemp("dask"), workers=2)
    yield cluster
    cluster.close()
