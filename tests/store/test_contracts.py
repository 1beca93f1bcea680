"""The store passes the contracts that it publishes for others."""

from contextlib import contextmanager

import pytest
from hypothesis import settings

from druse_store import Store
from druse_store.index import environment as environments
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables
from druse_store.testing import BlobStoreContract, IndexContract, StoreMachine
from druse_store.writelock import WriteLock


class TestStore(BlobStoreContract):
    @pytest.fixture(params=["fast", "balanced", "small"])
    def blobs(self, path, request):
        with Store.open(path, level=request.param) as store:
            yield store


class TestStoreInABatch(BlobStoreContract):
    """What waits for its commit is there too."""

    @pytest.fixture
    def blobs(self, path):
        with Store.open(path) as store, store.batch():
            yield store


class TestStoreOpenedAgainForEachRead(BlobStoreContract):
    @pytest.fixture
    def blobs(self, path):
        return OpenedAgain(path)


class OpenedAgain:
    def __init__(self, path):
        self.path = path

    def put(self, data):
        with Store.open(self.path) as store:
            return store.put(data)

    def get(self, digest):
        with Store.open(self.path, read_only=True) as store:
            return store.get(digest)

    @contextmanager
    def _opened(self, digest):
        with Store.open(self.path) as store, store.open_blob(digest) as file:
            yield file

    def open_blob(self, digest):
        if digest not in self:
            with Store.open(self.path) as store:
                store.open_blob(digest)
        return self._opened(digest)

    def __contains__(self, digest):
        with Store.open(self.path) as store:
            return digest in store


class LMDB:
    def __init__(self, folder, lock):
        self.lock = lock
        self.environment = environments.acquire(folder, lock, locking=True, mode=None)

    def read(self):
        return Snapshot(self.environment)

    @contextmanager
    def write(self):
        with self.lock.held(), Tables(self.environment) as tables:
            yield tables


class TestIndex(IndexContract):
    @pytest.fixture
    def index(self, tmp_path):
        (tmp_path / "index").mkdir()
        lock = WriteLock(tmp_path / "lock", None)
        index = LMDB(tmp_path / "index", lock)
        yield index
        environments.release(index.environment)
        lock.close()


TestMachine = StoreMachine.TestCase
TestMachine.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)
