"""What is damaged here and whole on a remote comes back from there."""

import pytest

from druse_store.errors import Damaged
from druse_store.remote.healing import lost_chunks
from support.damage import content, damage
from support.sharing import BASE, signature_of

SMALL, LARGE = content(3_000, 1), content(3_000_000, 2)


@pytest.fixture
def ann(machine, folder_url):
    """A machine that pushed two results, and then its disk lost some bytes of both."""
    ann = machine("ann", folder_url)
    writer = ann.store.begin_run("exp")
    with ann.store.batch():
        for number, value in enumerate((SMALL, LARGE)):
            writer.add("base", number, ann.compute(number, value), "run")
    writer.finish(complete=True)
    ann.push().execute()
    path = ann.store.path
    ann.store.close()
    damage(path, SMALL[:500])
    damage(path, LARGE[1_500_000:1_500_500])
    ann.store = type(ann.store).open(path)
    return ann


def refs(machine):
    return [machine.store.record(signature_of(n), 0).artifacts[0].ref for n in range(2)]


def test_repair_fetches_what_is_damaged(ann):
    failures = []
    done = ann.store.repair(fetch=lost_chunks([ann.site()], failures.append))
    assert (done.fetched, done.lost, done.retired, failures) == (2, [], [], [])
    assert [ann.store.get_object(ref) for ref in refs(ann)] == [SMALL, LARGE]
    assert ann.store.verify().clean


def test_a_remote_that_cannot_be_reached_is_named_and_the_rest_is_repaired(ann, tmp_path):
    (tmp_path / "remote").rename(tmp_path / "away")
    failures = []
    done = ann.store.repair(fetch=lost_chunks([ann.site()], failures.append))
    assert done.fetched == 0
    assert len(done.retired) == 2
    assert "mounted" in str(failures[0])
    assert ann.store.verify().clean


def test_a_read_that_meets_damage_gets_the_bytes_from_the_remote(ann):
    with ann.tier() as tier:
        for number, (ref, value) in enumerate(zip(refs(ann), (SMALL, LARGE), strict=True)):
            with pytest.raises(Damaged):
                ann.store.get_object(ref)
            record = ann.store.record(signature_of(number), 0)
            assert tier.fetch_for(record)
            assert ann.store.get_object(ref) == value
    assert ann.warnings == []


def test_what_is_damaged_is_not_pushed(machine, folder_url):
    ann = machine("ann", folder_url)
    ann.compute(0, SMALL)
    ann.compute(1, LARGE)
    path = ann.store.path
    ann.store.close()
    damage(path, SMALL[:500])
    ann.store = type(ann.store).open(path)
    pushed = ann.push(everything=True).execute()
    assert (pushed.records, len(pushed.damaged)) == (1, 1)
    bob = machine("bob", folder_url).trusts(ann)
    with bob.tier() as tier:
        assert tier.records_for([BASE]).records == 1
        assert not bob.has(0)
        assert tier.fetch_for(bob.store.record(signature_of(1), 0))
