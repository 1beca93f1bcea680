"""What it costs to know what others published of one experiment."""

import os
import time

from druse_store import (
    ArtifactRef,
    Digest,
    Read,
    Record,
    Signer,
    Store,
    Trust,
    add_remote,
    extend,
    open_site,
    prepare_push,
)
from druse_store.remote.pull import offer_records

BASE = START = Digest.of(b"bench")


def know(folder, server, signatures, replicates):
    """Two signers publish half of the replicates each; a third one asks."""
    for name, value in server.environment.items():
        os.environ[name] = value
    url = f"s3://{server.bucket()}/druse"
    keys = []
    for half in range(2):
        _become(folder / f"signer{half}")
        keys.append(Signer.create().public)
        with Store.open(folder / f"store{half}") as store:
            _fill(store, signatures, range(half, replicates, 2))
            add_remote(store, "team", url)
            prepare_push(store, open_site(store), Signer.load(), [], everything=True).execute()
    _become(folder / "reader")
    trust = Trust()
    for number, key in enumerate(keys):
        trust.add(f"signer{number}", key)
    with Store.open(folder / "store") as store:
        add_remote(store, "team", url)
        site = open_site(store)
        server.clear()
        before, began = time.process_time(), time.perf_counter()
        brought = offer_records(store._session, site, trust, [BASE])
        seconds, used = time.perf_counter() - began, time.process_time() - before
        time.sleep(0.3)
        assert brought.records == signatures * replicates, brought.records
        last = extend(START, "ctx:n", Digest.of(b"%d" % (signatures - 1)))
        assert store.record(last, replicates - 1) is not None
    return {
        "seconds": seconds,
        "cpu": used,
        "requests": server.requests,
        "sent": server.sent,
        "received": server.received,
        "signers": len(keys),
    }


def _become(home):
    os.environ["XDG_CONFIG_HOME"] = str(home / "config")
    os.environ["XDG_STATE_HOME"] = str(home / "state")


def _fill(store, signatures, replicates):
    provenance = {
        "at": time.time(),
        "seconds": 0.1,
        "step_seconds": [0.1],
        "trace": [],
        "shown": [],
    }
    with store.batch():
        ref = store.put_object(b"a result")
        for number in range(signatures):
            read = Read("ctx:n", Digest.of(b"%d" % number))
            signature = extend(START, read.key, read.value)
            for replicate in replicates:
                metrics = {"value": [number + replicate / 7]}
                artifacts = (ArtifactRef("a", 0, ref),)
                fields = ((read,), metrics, artifacts, None, provenance, None)
                store.put_record(Record(signature, replicate, "ok", BASE, START, *fields))
