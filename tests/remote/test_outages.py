"""A real server, killed and started again in the middle of things."""

import os
import threading
import time

import pytest

from druse_store.errors import RemoteUnavailable
from druse_store.remote import fetch, sharing, upload
from druse_store.remote.sharing import Timeouts
from support.sharing import BASE, signature_of

CELLS = 40


@pytest.fixture
def small_pieces(monkeypatch):
    """So that a transfer is many requests: an outage falls into its middle."""
    monkeypatch.setattr(upload, "PACK_SIZE", 64 << 10)
    monkeypatch.setattr(fetch, "_RANGE", 64 << 10)


class Outage:
    """Kills a server once so many requests were made, and starts it again a moment later."""

    def __init__(self, swift, site, after: int, *servers: str) -> None:
        self._swift, self._servers = swift, servers
        self._site, self._at = site, site.backend.requests + after
        self.failed = 0
        self.happened = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        until = time.monotonic() + 60
        while self._site.backend.requests < self._at and time.monotonic() < until:
            time.sleep(0.001)
        self._swift.kill(*self._servers)
        self.happened.set()
        time.sleep(0.3)
        self._swift.start()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        assert self.happened.is_set()


def open_site(machine):
    machine.enter()
    return sharing.open_site(machine.store, None, Timeouts(request=10, patience=60))


def test_push_and_pull_and_a_run_survive_a_restart_of_the_server(
    swift, bucket, machine, small_pieces
):
    ann, bob, eve = machine("ann", bucket), machine("bob", bucket), machine("eve", bucket)
    values = [os.urandom(50_000) for _ in range(CELLS)]
    writer = ann.store.begin_run("exp")
    with ann.store.batch():
        for number, value in enumerate(values):
            writer.add("base", number, ann.compute(number, value), "run")
    run = writer.finish(complete=True)

    site = open_site(ann)
    with Outage(swift, site, 12):
        pushed = sharing.prepare_push(ann.store, site, ann.signer, [run]).execute()
    assert (pushed.records, pushed.damaged) == (CELLS, ())

    site = open_site(bob.trusts(ann))
    with Outage(swift, site, 10, "proxy"):
        _, fetched = sharing.pull(bob.store, site, bob.trust, ["exp"], blobs=True)
    assert fetched.missing == set()
    for number, value in enumerate(values):
        ref = bob.store.record(signature_of(number), 0).artifacts[0].ref
        assert bob.store.get_object(ref) == value

    with eve.trusts(ann).tier() as tier:
        tier.site.backend.patience = 60
        tier.records_for([BASE])
        records = [eve.store.record(signature_of(number), 0) for number in range(CELLS)]
        with Outage(swift, tier.site, 10, "proxy"):
            assert [record for record in records if not tier.fetch_for(record)] == []
    assert eve.warnings == []


def test_an_interrupted_push_goes_on_where_it_was(swift, bucket, machine, small_pieces):
    ann = machine("ann", bucket)
    with ann.store.batch():
        for number in range(CELLS):
            ann.compute(number, os.urandom(50_000))
    site = open_site(ann)
    site.backend.patience = 0.0
    push = sharing.prepare_push(ann.store, site, ann.signer, [], everything=True)
    lacking = push.plan().chunks

    def kill():
        while site.backend.requests < 30:
            time.sleep(0.001)
        swift.kill("proxy")

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(RemoteUnavailable):
            push.execute()
    finally:
        killer.join()
        swift.start()
    again = sharing.prepare_push(ann.store, open_site(ann), ann.signer, [], everything=True)
    assert 0 < again.plan().chunks < lacking
    assert again.execute().records == CELLS
