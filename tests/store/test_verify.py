import random
import shutil
import time

import pytest

from druse_store import Store


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def filled(path, make_record):
    with Store.open(path) as store:
        large = store.put(content(3_000_000))
        for number in range(3):
            blob = store.put(content(1000, number))
            writer = store.begin_run("exp")
            writer.add("base", 0, store.put_record(make_record(number, blob=blob)), "run")
            writer.finish(complete=True)
        store.pin("p", large)
    return large


def flip(file, offset):
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte[0] ^ 0x10]))


def test_a_sound_store_verifies_clean_and_says_how_much_it_read(path, filled):
    with Store.open(path) as store:
        seen = []
        report = store.verify(progress=seen.append)
        stats = store.stats()
    assert report.clean, report.findings
    assert (report.packs, report.blobs) == (1, 1)
    assert report.chunks == stats.chunks + stats.blobs
    assert seen[-1].done == seen[-1].total == report.bytes
    assert report.lacking == 0


def test_a_store_opened_to_read_can_be_verified(path, filled):
    with Store.open(path, read_only=True) as store:
        assert store.verify().clean


def test_every_flipped_byte_of_a_pack_is_found(path, filled):
    (pack,) = (path / "packs").rglob("*.pack")
    size = pack.stat().st_size
    for offset in [0, 8, 20, *random.Random(0).sample(range(64, size), 25), size - 1]:
        flip(pack, offset)
        with Store.open(path, read_only=True) as store:
            assert not store.verify().clean, offset
        flip(pack, offset)
    with Store.open(path, read_only=True) as store:
        assert store.verify().clean


def test_every_flipped_byte_of_the_log_is_found(path, filled):
    (segment,) = (path / "log").iterdir()
    for offset in random.Random(0).sample(range(segment.stat().st_size), 40):
        flip(segment, offset)
        with Store.open(path, read_only=True) as store:
            assert not store.verify().clean, offset
        flip(segment, offset)


@pytest.mark.parametrize("quick", [True, False])
def test_a_missing_or_shortened_file_is_found(path, filled, quick):
    (pack,) = (path / "packs").rglob("*.pack")
    (segment,) = (path / "log").iterdir()
    for file in (pack, segment):
        data = file.read_bytes()
        file.write_bytes(data[:-1])
        with Store.open(path, read_only=True) as store:
            assert not store.verify(quick=quick).clean
        file.unlink()
        with Store.open(path, read_only=True) as store:
            assert not store.verify(quick=quick).clean
        file.write_bytes(data)


def test_quick_does_not_read_the_blobs(path, filled):
    (pack,) = (path / "packs").rglob("*.pack")
    flip(pack, pack.stat().st_size // 2)
    with Store.open(path, read_only=True) as store:
        assert store.verify(quick=True).clean
        assert not store.verify().clean


def test_frames_of_another_store_in_place_of_ours_are_found(path, filled, tmp_path):
    (pack,) = (path / "packs").rglob("*.pack")
    with Store.open(tmp_path / "other") as other:
        other.put(content(3_000_001))
    (foreign,) = (tmp_path / "other" / "packs").rglob("*.pack")
    shutil.copyfile(foreign, pack)
    with Store.open(path, read_only=True) as store:
        assert not store.verify().clean


def test_an_interrupted_verify_goes_on_where_it_was(path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.done > 66 << 20:
            raise Stop

    with Store.open(path) as store:
        for seed in range(2):
            store.put(content(65 << 20, seed))  # a sealed pack each
        with pytest.raises(Stop):
            store.verify(progress=stop)
        rest, whole = store.verify(resume=True), store.verify(resume=True)
        assert rest.clean
        assert rest.bytes == whole.bytes
        assert 0 < rest.packs < whole.packs == store.stats().packs


def test_beside_writers_only_what_was_committed_is_looked_at(path, filled):
    with Store.open(path) as store, store.batch():
        store.put(content(5_000, 9))
        with Store.open(path, read_only=True) as reader:
            assert reader.verify().clean


def test_large_blobs_that_were_read_are_not_read_again_after_an_interruption(path):
    class Stop(Exception):
        pass

    with Store.open(path) as store:
        digests = sorted(store.put(content(1_000_000, seed)) for seed in range(4))
        packs = store.stats().pack_bytes

        def stop(progress):
            if progress.done > packs + 2_500_000:
                raise Stop

        with pytest.raises(Stop):
            store.verify(progress=stop)
        rest, whole = store.verify(resume=True), store.verify(resume=True)
        assert (rest.blobs, whole.blobs) == (2, 4)
        assert rest.bytes == whole.bytes == packs + 4_000_000
        assert rest.clean
        flip_in_blob(path, store, digests[0])
        with pytest.raises(Stop):
            store.verify(progress=stop)
        assert not store.verify(resume=True).clean  # what was damaged is looked at again


def flip_in_blob(path, store, digest):
    chunk = store._session.reader.outline(digest).chunks[0][0]
    entry = store._session.reader.chunk(chunk)
    flip(store._session.location.pack(entry.pack), entry.offset + 5)


def test_a_chunk_that_a_pack_holds_twice_is_good_wherever_the_index_has_it(path):
    with Store.open(path) as store:
        store.put(content(1000))
        store.gc(grace=3600, now=time.time() + 7200)  # dead, and to be swept in an hour
        store.put(content(1000))
        store.put(content(1000, 1))
        assert store.verify().clean
        assert store.repair().clean
        assert store.get(store.put(content(1000))) == content(1000)
        assert store.stats().chunks == 2
