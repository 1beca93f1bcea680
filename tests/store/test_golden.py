"""A store of format version 1, as it was made then: every later version has to open it."""

import importlib.util
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from druse_store import Digest, RunName, Store, rebuild_index
from druse_store.records import unpack_object

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
EXPECTED = json.loads((GOLDEN / "v1.json").read_text())


@pytest.fixture
def golden(tmp_path):
    with tarfile.open(GOLDEN / "v1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store"


def of_json(value):
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return [of_json(item) for item in value] if isinstance(value, list) else value


def check(store):
    """All that was put into it is there."""
    for name, data in make.contents().items():
        assert store.get(Digest.from_hex(EXPECTED["blobs"][name])) == data
    for name, obj in make.objects().items():
        found = store.get_object(unpack_object(of_json(EXPECTED["objects"][name])))
        np.testing.assert_equal(found, obj)
    records = [Digest.from_hex(text) for text in EXPECTED["records"]]
    assert [run.name for run in store.runs()] == ["exp/v0", "exp/v1"]
    for run in store.runs():
        assert [cell.record for cell in run.cells] == records
        assert run.complete
        assert run.info == {"note": run.version, "seconds": 1.5}
    assert [run.level for run in store.runs()] == ["light", "full"]
    for number, digest in enumerate(records):
        made = store.record_by_digest(digest)
        assert made.metrics == {"n": number, "big": 2**100, "nested": {"x": [1.5, None]}}
        assert all(blob in store for blob in made.blobs())
    assert str(store.record(made.signature, 0).digest) == EXPECTED["records"][-1]
    first = store.record_by_digest(records[0])
    assert str(store.record(first.signature, 0).digest) == EXPECTED["current"]
    failed = store.record_by_digest(Digest.from_hex(EXPECTED["failed"]))
    assert (failed.status, failed.kind) == ("failed", "step")
    assert store.record_by_digest(Digest.from_hex(EXPECTED["gone"])) is None
    assert store.pins() == {"run": RunName("exp", 1), "blob": Digest.of(b"pinned")}
    assert store.next_reads(make.START) == ("ctx:n",)


def test_a_store_of_version_1_is_read(golden):
    with Store.open(golden, immutable=True) as store:
        check(store)
    with Store.open(golden, read_only=True) as store:
        check(store)
        assert store.verify().clean


def test_a_store_of_version_1_is_written_to(golden):
    with Store.open(golden) as store:
        before = store.stats().chunks
        for data in make.contents().values():
            store.put(data)
        assert store.stats().chunks == before  # cut, hashed and named as they were then
        assert store.begin_run("other").version == 1
        store.put(b"more")
        store.begin_run("exp").abandon()
        check_runs = [run.name for run in store.runs("other")]
        assert check_runs == ["other/v1"]
        assert store.verify().clean


def test_the_index_of_a_store_of_version_1_is_made_anew(golden):
    shutil.rmtree(golden / "index")
    assert rebuild_index(golden).damage == []
    with Store.open(golden) as store:
        check(store)
        assert store.verify().clean


def test_records_are_named_as_they_were_in_version_1():
    for number, text in enumerate(EXPECTED["records"]):
        name = list(make.objects())[number]
        ref = unpack_object(of_json(EXPECTED["objects"][name]))
        made = make.record(number, (make.ArtifactRef(name, number, ref),))
        assert str(made.digest) == text


def test_objects_are_encoded_as_they_were_in_version_1(store):
    for name, obj in make.objects().items():
        if name != "pickle":  # a pickle is Python's: another version may write it otherwise
            assert make.json_of(store.put_object(obj)) == EXPECTED["objects"][name]
