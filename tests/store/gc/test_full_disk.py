"""Collection is what helps when the disk is full: so it has to work then."""

import os

import pytest

from druse_store import Policy, Store
from druse_store.errors import DiskFull
from support import mounts
from support.runs import add_run, noise, pack_bytes, payloads_of


def fill(path):
    with path.open("wb") as file:
        status = os.statvfs(path.parent)
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - 200_000)


@pytest.mark.parametrize("alone", [True, False])
def test_a_full_store_can_be_emptied(tmp_path, alone):
    with mounts.tmpfs(tmp_path / "disk", "60m") as disk:
        path = disk / "store"
        with Store.open(path) as store:
            for version in range(6):
                add_run(store, "exp", [[noise(70_000, (version, i))] for i in range(40)])
            fill(disk / "ballast")
            with pytest.raises(DiskFull):
                while True:
                    store.put(os.urandom(50_000))
        before = pack_bytes(path)
        with Store.open(path) as store:
            policy = Policy(keep_last=1, keep_metrics=0.0)
            said = store.gc(policy, grace=0, dry_run=True)
            done = store.gc(policy, grace=0, alone=alone)
            assert before - pack_bytes(path) == done.freed == said.freed > 10 << 20
            assert payloads_of(store, "exp") == [noise(70_000, (5, i)) for i in range(40)]
            store.put(os.urandom(1_000_000))  # there is room again
            assert not store.verify().findings
