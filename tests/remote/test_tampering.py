"""What somebody who can write to the remote, but has no trusted key, can do: cause misses."""

import os
import random
import shutil

import numpy as np
import pytest

from druse_store import frames
from druse_store.digest import Digest
from druse_store.errors import BlobNotFound, PickleRefused
from druse_store.frames import ChunkList
from druse_store.remote import layout, packindex
from druse_store.remote.packindex import PackIndex, PackOutline
from druse_store.remote.publish import Publisher
from support.sharing import BASE, make_record, signature_of

OTHER_BASE = Digest.of(b"another base")


@pytest.fixture
def pair(machine, folder_url):
    ann, bob = machine("ann", folder_url), machine("bob", folder_url)
    return ann, bob.trusts(ann)


@pytest.fixture
def remote(tmp_path):
    return tmp_path / "remote"


def only(folder, pattern="*"):
    (found,) = [path for path in folder.rglob(pattern) if path.is_file()]
    return found


def ask(machine, *bases):
    """What a machine gets: the number of records, and why there are not more."""
    machine.warnings.clear()
    with machine.tier() as tier:
        brought = tier.records_for(bases or [BASE])
    return brought.records, brought.reasons()


def test_a_segment_that_was_moved_to_another_base_is_refused(pair, remote):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    segment = only(remote / "records")
    moved = remote / layout.records_topic(OTHER_BASE) / segment.name
    moved.parent.mkdir()
    segment.rename(moved)
    records, (reason,) = ask(bob, OTHER_BASE)
    assert records == 0
    assert "another place" in reason
    assert "another place" in bob.warnings[0]


def test_a_segment_of_another_remote_is_refused(pair, remote, tmp_path, machine):
    ann, bob = pair
    (tmp_path / "second").mkdir()
    other = machine("other")
    shutil.rmtree(other.config)
    shutil.copytree(ann.config, other.config)  # ann, elsewhere
    other.signer, other.trust = ann.signer, ann.trust
    other.add_remote((tmp_path / "second").as_uri())
    other.run()
    other.push().execute()
    shutil.copytree(tmp_path / "second" / "records", remote / "records", dirs_exist_ok=True)
    records, (reason,) = ask(bob)
    assert records == 0
    assert "another remote" in reason


@pytest.mark.parametrize("seed", range(6))
def test_a_segment_with_a_flipped_bit_or_cut_short_is_refused(pair, remote, seed):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    segment = only(remote / "records")
    data = bytearray(segment.read_bytes())
    at = random.Random(seed).randrange(len(data))
    if seed % 2:
        data[at] ^= 1 << seed
    else:
        del data[at:]
    segment.write_bytes(data)
    records, reasons = ask(bob)
    assert records == 0
    assert len(reasons) == 1
    assert not bob.has(0)


def test_a_segment_that_was_taken_back_does_not_come_back(pair, remote):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    (segment,) = (remote / "records").rglob("*.seg")
    old = segment.read_bytes()
    assert ask(bob)[0] == 3
    record = bob.store.record(signature_of(1), 0)
    Publisher(ann.site(), ann.signer).retract(BASE, [record.digest])
    assert ask(bob)[0] == 2
    assert not bob.has(1)  # out of use where it had come to
    assert bob.has(0)
    for path in (remote / "records").rglob("*.seg"):
        path.unlink()
    segment.write_bytes(old)
    assert ask(bob)[0] == 2
    assert not bob.has(1)


def test_an_old_segment_that_is_new_here_is_refused_as_put_back(pair, remote):
    ann, bob = pair
    with ann.tier() as tier:
        tier.add(ann.compute(0))
        tier.flush()
        (first,) = (remote / "records").rglob("*.seg")
        hidden = first.read_bytes()
        first.unlink()
        ann.site().claims.remove(first.name)
        tier.add(ann.compute(1))
        tier.flush()
    assert ask(bob)[0] == 1
    first.write_bytes(hidden)
    _, (reason,) = ask(bob)
    assert not bob.has(0)
    assert bob.has(1)
    assert "put it back" in reason


@pytest.mark.parametrize("cut", [False, True])
def test_bytes_of_a_damaged_pack_are_never_handed_out(pair, remote, cut):
    ann, bob = pair
    array = np.random.default_rng(0).standard_normal(300_000)
    ann.run(numbers=range(1))
    record = ann.compute(1, array)
    with ann.tier() as tier:
        tier.add(record)
        tier.flush()
    for pack in (remote / "packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        if cut:
            del data[len(data) // 2 :]
        else:
            data[len(data) // 2] ^= 4
        pack.write_bytes(data)
    with bob.tier() as tier:
        tier.records_for([BASE])
        found = bob.store.record(signature_of(1), 0)
        assert not tier.fetch_for(found)
    with pytest.raises(BlobNotFound):
        bob.store.get_object(found.artifacts[0].ref)
    assert "damaged on team" in bob.warnings[0]
    assert bob.store.verify().findings == []


def test_an_index_that_leads_to_other_bytes_leads_to_a_miss(pair, remote):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    path = only(remote / "packindex")
    index = PackIndex(path.read_bytes())
    ((pack, size, _, _),) = index.packs
    chunks = index.chunks(pack)
    digests, places = list(chunks), list(chunks.values())
    turned = dict(zip(digests, places[1:] + places[:1], strict=True))
    path.write_bytes(packindex.encode([PackOutline(pack, size, turned)], {}))
    with bob.tier() as tier:
        tier.records_for([BASE])
        assert not tier.fetch_for(bob.store.record(signature_of(0), 0))
    assert len(bob.warnings) == 1


def test_a_forged_chunk_list_does_not_make_later_writes_believe_they_are_stored(pair, remote):
    """The list says that blob X is made of other, valid chunks. X is not a claim of ann's."""
    ann, bob = pair
    wanted = os.urandom(200_000)
    others = [os.urandom(50_000) for _ in range(4)]
    forged = ChunkList(
        Digest.of(wanted), 200_000, tuple((Digest.of(part), 50_000) for part in others)
    ).encode()
    pack, data, places = layout.new_pack(), bytearray(64), {}
    for part, kind in [*((part, frames.CHUNK) for part in others), (forged, frames.LIST)]:
        data += frames.header(kind, 0, Digest.of(part), len(part), len(part))
        place = packindex.Place(pack, len(data), len(part), len(part), 0, kind)
        places[Digest.of(part)] = place
        data += part
    site = ann.site()
    site.backend.store(layout.pack_key(pack), data)
    lists = {Digest.of(wanted): (Digest.of(forged), 200_000)}
    index = packindex.encode([PackOutline(pack, len(data), places)], lists)
    site.backend.store(layout.index_key("f"), index)
    with bob.tier() as tier:
        assert tier.fetch_blobs([Digest.of(wanted)]) == {Digest.of(wanted)}
    assert Digest.of(wanted) not in bob.store
    assert bob.store.get(bob.store.put(wanted)) == wanted


class Evil:
    ran = False

    def __reduce__(self):
        return (exec, ("import tests.remote.test_tampering as t; t.Evil.ran = True",))


def test_a_value_of_a_stranger_is_never_loaded_whatever_the_policy(pair):
    """Nor one that is plain bytes here: the user's loader may be pickle.load."""
    eve, bob = pair
    bob.trust.remove("ann")
    eve.compute(0, Evil())
    eve.compute(1, b"plain bytes")
    eve.store.put_record(make_record(2, None))
    eve.push(everything=True).execute()
    assert ask(bob)[0] == 0
    bob.trust.set_policy(bob.site().id.hex(), "any")
    records, (reason,) = ask(bob)
    assert records == 1
    assert "only from trusted keys" in reason
    assert [bob.has(number) for number in range(3)] == [False, False, True]
    evil = eve.store.record(signature_of(0), 0)
    with bob.tier() as tier:
        assert tier.fetch_for(evil)  # bytes are only bytes
        with pytest.raises(PickleRefused):
            bob.store.get_object(evil.artifacts[0].ref, allow_pickle=False)
    assert not Evil.ran


def test_a_record_under_a_signature_that_its_reads_do_not_lead_to_is_refused(pair):
    """Even a trusted key may be wrong: its record would be a hit for something else."""
    ann, bob = pair
    wrong = make_record(0, None, signature=signature_of(5))
    Publisher(ann.site(), ann.signer).records(BASE, [wrong.encode()], [], fold=False)
    records, (reason,) = ask(bob)
    assert records == 0
    assert "another signature" in reason
    assert not bob.has(5)


def test_junk_beside_the_segments_is_passed_over(pair, remote):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    topic = remote / layout.records_topic(BASE)
    (topic / "notes.txt").write_text("hello")
    high = f"{'f' * 16}-{ann.signer.public.short}-a-{'0' * 16}.seg"
    (topic / high).write_bytes(b"no claim at all")
    records, (reason,) = ask(bob)
    assert records == 3  # a false snapshot of a high number does not cover the true ones
    assert high in reason
