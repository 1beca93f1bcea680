"""What is damaged counts as known no more once a read has met it: computing it again heals it."""

import random
from pathlib import Path

import pytest

from druse_store import Store
from druse_store.errors import BlobVanished, Damaged
from druse_store.frames import ChunkList
from druse_store.index.tables import Tables


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


def damage(path, data):
    """Change these bytes in the pack that holds them, as they are (or a piece of them)."""
    for pack in (path / "packs").rglob("*.pack"):
        stored = bytearray(pack.read_bytes())
        at = stored.find(data)
        if at >= 0:
            stored[at] ^= 1
            pack.chmod(0o600)
            with pack.open("r+b") as file:  # in place: it may be open
                file.write(stored)
            return
    raise AssertionError("no pack has these bytes")


SMALL, LARGE = content(1_000), content(2_000_000, 1)
READS = {
    "get": lambda store, digest: store.get(digest),
    "open_blob": lambda store, digest: store.open_blob(digest).read(),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_is_damaged_is_stored_anew_by_the_next_put(path, data, read):
    with Store.open(path) as store:
        digest = store.put(data)
        damage(path, data[-500:])
        assert digest in store  # nobody has looked yet
        with pytest.raises(Damaged):
            READS[read](store, digest)
        assert digest not in store
        assert store.put(data) == digest
        assert store.get(digest) == data
    with Store.open(path) as store:
        assert store.get(digest) == data


def test_every_process_knows_what_one_has_found(path):
    with Store.open(path) as store:
        digest = store.put(SMALL)
    damage(path, SMALL)
    with Store.open(path) as store, pytest.raises(Damaged):
        store.get(digest)
    with Store.open(path) as store:
        assert digest not in store
        with pytest.raises(Damaged):  # not "not found": it says what is the matter
            store.get(digest)
        store.put(SMALL)
        assert store.get(digest) == SMALL


def test_a_damaged_chunk_list_is_stored_anew(path):
    with Store.open(path) as store:
        digest = store.put(LARGE)
        ref = store._session.reader.blob(digest)
        stored = store._session.reader.chunk(ref.chunks)
        pack = store._session.location.pack(stored.pack).read_bytes()
        damage(path, pack[stored.offset : stored.offset + stored.stored])
        with pytest.raises(Damaged):
            store.get(digest)
        store.put(LARGE)
        assert store.get(digest) == LARGE


def test_a_record_cannot_rest_on_what_is_damaged(path, make_record):
    with Store.open(path) as store:
        digest = store.put(SMALL)
        damage(path, SMALL)
        with pytest.raises(Damaged):
            store.get(digest)
        with pytest.raises(BlobVanished):
            store.put_record(make_record(blob=digest))


@pytest.mark.parametrize("place", ["blob", "manifest", "needs"])
def test_a_commit_leaves_out_the_records_of_what_others_found_damaged(path, make_record, place):
    with Store.open(path) as store, Store.open(path) as other:
        bad, good = store.put(SMALL), store.put(LARGE[:1_000])
        given = {"blob": lambda d: d, "manifest": lambda d: d, "needs": lambda d: (d,)}[place]
        lost = make_record(1, **{place: given(bad)})
        kept = make_record(2, **{place: given(good)})
        with pytest.raises(BlobVanished), store.batch():
            store.put_record(lost)
            store.put_record(kept)
            damage(path, SMALL)
            with pytest.raises(Damaged):
                other.get(bad)
        assert store.record(lost.signature, 0) is None
        assert store.record(kept.signature, 0) == kept


def test_a_read_only_store_notes_nothing(path):
    with Store.open(path) as store:
        digest = store.put(SMALL)
    damage(path, SMALL)
    with Store.open(path, read_only=True) as store, pytest.raises(Damaged):
        store.get(digest)
    with Store.open(path) as store:
        assert digest in store


def test_a_verify_notes_nothing(path):
    with Store.open(path) as store:
        digest = store.put(LARGE)
        damage(path, LARGE[-500:])
        assert not store.verify().clean
        assert digest in store


def test_what_was_read_badly_once_and_is_good_is_served(path):
    with Store.open(path) as store:
        digest = store.put(SMALL)
        damage(path, SMALL)
        with pytest.raises(Damaged):
            store.get(digest)
        damage(path, bytes([SMALL[0] ^ 1]) + SMALL[1:])  # back to what it was
        assert store.get(digest) == SMALL


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_sector_that_cannot_be_read_counts_as_damage(path):
    with Store.open(path) as store:
        digest = store.put(SMALL)
    (pack,) = (path / "packs").rglob("*.pack")
    pack.unlink()
    pack.symlink_to("/proc/self/mem")  # its first pages give the error that a bad disk does
    with Store.open(path) as store, pytest.raises(Damaged, match="cannot be read"):
        store.get(digest)


# --- what the index says can be old, or wrong --------------------------------------------------


def test_a_pack_that_was_rewritten_behind_a_lookup_is_looked_up_again(path, monkeypatch):
    with Store.open(path) as store:
        digests = [store.put(SMALL), store.put(b"lost")]
        reader = store._session.reader
        stale = reader.chunk(digests[0])
        damage(path, b"lost")
        store.repair()  # moves what is good into another pack
        assert reader.chunk(digests[0])[:2] != stale[:2]
        answers = [stale]
        lookup = reader.chunk
        monkeypatch.setattr(reader, "chunk", lambda d: answers.pop() if answers else lookup(d))
        assert reader.read_chunk(digests[0]) == SMALL
        assert digests[0] in store


def test_a_blob_that_leads_to_other_valid_chunks_is_never_handed_out(path, tmp_path):
    """Every chunk checks, the whole does not."""
    other = content(2_000_000, 7)
    with Store.open(path) as store:
        digest, wrong = store.put(LARGE), store.put(other)
        session = store._session
        entry = session.reader.blob(wrong)
        forged = ChunkList(digest, len(other), session.reader.outline(wrong).chunks)
        name = store.put(forged.encode())
        with session.write_lock.held(), Tables(session.environment) as tables:
            tables.put_blob(digest, entry._replace(chunks=name))
            tables.commit()
        for read in (store.get, store.open_blob, lambda d: store.get_to(d, tmp_path / "out")):
            with pytest.raises(Damaged, match="whole"):
                read(digest)
        assert list(tmp_path.iterdir()) == [path]
        assert store.get(store.put(LARGE)) == LARGE
