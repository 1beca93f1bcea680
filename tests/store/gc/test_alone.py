"""A collection with nobody beside it, which sweeps and moves chunks in one pass over their table.

Threads of the same process may still do what they like between its transactions.
"""

import pytest

from druse_store import Policy, Store, rebuild_index, writer
from druse_store.digest import Digest
from druse_store.errors import DiskFull, IndexDamaged
from druse_store.gc import crew
from druse_store.gc import plan as planning
from druse_store.gc.collector import Collector, settings
from druse_store.index.bulk import Bulk, Scan
from druse_store.index.values import CHUNKS, TOMBSTONED
from support.runs import add_run, noise, pack_bytes, payloads_of

POLICY = Policy(keep_last=1, keep_metrics=0)
PACKS, EACH = 4, 12
MOMENTS = ["remove records", "copy packs"]  # before the pass


def garbage(i):
    return noise(5_000, ("garbage", i))


def kept():
    """In the first packs every other object stays, in the later ones nothing does."""
    return [[noise(5_000, ("kept", i))] for i in range(2 * EACH)]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "PACK_SIZE", 100_000)
    monkeypatch.setattr(planning, "PACK_SIZE", 100_000)
    monkeypatch.setattr(crew, "WORTH", 1 << 40)
    with Store.open(tmp_path / "store") as store:
        add_run(store, "exp", [[noise(100, "old")]])
        for i in range(PACKS * EACH):
            store.put_object(garbage(i))
            if i < 2 * EACH:
                store.put_object(noise(5_000, ("kept", i)))
        add_run(store, "exp", kept())
    return tmp_path / "store"


def collect(store, moment="", act=lambda: None):
    """Collects alone; `act` happens once, behind the step of this name."""
    names = []

    def step(name):
        names.append(name)
        if names.count(moment) == 1 and name == moment:
            act()

    done = Collector(store._session, step=step).collect(
        settings(POLICY, 0, None, 0.01), alone=True, details=False
    )
    assert moment in ("", *names)
    assert "write chunks anew" in names
    assert "sweep chunks" not in names
    return done


def assert_sound(path):
    with Store.open(path) as store:
        assert payloads_of(store, "exp") == [cell[0] for cell in kept()]
        assert store.verify().findings == []
        assert store.plan_gc(POLICY, grace=0).orphans == []


def test_it_does_what_the_plan_says_to_the_byte(path):
    with Store.open(path) as store:
        before = pack_bytes(path)
        said = store.gc(POLICY, grace=0, waste=0.01, dry_run=True)
        done = collect(store)
        assert done.problems == []
        assert (done.freed, done.swept, done.packs_removed, done.packs_written) == (
            *(said.freed, said.swept),
            *(said.packs_removed, said.packs_written),
        )
        assert before - pack_bytes(path) == done.freed
        assert done.swept.chunks == PACKS * EACH + 1
    assert_sound(path)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("i", [3, PACKS * EACH - 1], ids=["in a pack half dead", "in a dead pack"])
def test_what_is_put_again_before_the_pass_stays(path, moment, i):
    with Store.open(path) as store:
        ref = store.put_object(garbage(i))  # only to know how it is named
        store.close()
    with Store.open(path) as store:
        collect(store, moment, lambda: store.put_object(garbage(i)))
        assert store.get_object(ref) == garbage(i)
        assert {d for d in map(Digest.of, map(garbage, range(PACKS * EACH))) if has(store, d)} == {
            ref.root.digest
        }
    assert_sound(path)


def has(store, digest):
    with Scan(store._session.environment) as scan:
        return scan.chunk(digest) is not None


@pytest.mark.parametrize("moment", ["sweep records", "copy packs"])
@pytest.mark.parametrize("i", [3, PACKS * EACH - 1], ids=["in a pack half dead", "in a dead pack"])
def test_what_is_pinned_before_the_pass_stays_although_it_has_a_tombstone(path, moment, i):
    digest = Digest.of(garbage(i))
    with Store.open(path) as store:
        store.gc(POLICY, grace=3600, now=store.run("exp").finished / 1e9 + 8000)
        with Scan(store._session.environment) as scan:
            assert scan.chunk(digest).state == TOMBSTONED
        collect(store, moment, lambda: store.pin("late", digest))
        assert store.get(digest) == garbage(i)
        with Scan(store._session.environment) as scan:
            assert scan.chunk(digest).state != TOMBSTONED
        assert store.gc(POLICY, grace=0, alone=True).swept.chunks == 0
        assert store.get(digest) == garbage(i)
    assert_sound(path)


def damage_row(store, digest, at=20):
    with store._session.write_lock.held(), Bulk(store._session.environment) as tables:
        ((key, value),) = tables.rows(CHUNKS, [digest])
        tables.put_rows(CHUNKS, [(key, value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :])])
        tables.commit()


def test_a_dead_row_that_does_not_check_ends_it_before_anything_is_lost(path):
    """Its key may be that of a chunk which is needed, but for the damage."""
    packs = set(path.glob("packs/*/*.pack"))
    with Store.open(path) as store:
        damage_row(store, Digest.of(garbage(3)))
        with pytest.raises(IndexDamaged):
            collect(store)
        assert packs <= set(path.glob("packs/*/*.pack"))
        assert payloads_of(store, "exp") == [cell[0] for cell in kept()]


@pytest.mark.parametrize("alone", [True, False])
def test_a_pack_does_not_go_since_a_damaged_row_names_another_one(tmp_path, alone):
    """All that lies in it then seems to be nowhere: but a new index finds it there."""
    path = tmp_path / "store"
    with Store.open(path) as store:
        store.pin("needed", store.put(noise(5_000, "needed")))
    with Store.open(path) as store:
        digest = store.pins()["needed"]
        damage_row(store, digest, at=3)
        with pytest.raises(IndexDamaged, match="rebuild-index"):
            store.gc(POLICY, grace=0, alone=alone)
    assert rebuild_index(path).damage == []
    with Store.open(path) as store:
        assert store.get(digest) == noise(5_000, "needed")


def test_the_pack_of_a_row_that_does_not_check_stays_and_all_else_is_moved(path):
    lost = Digest.of(kept()[3][0])
    with Store.open(path) as store:
        with Scan(store._session.environment) as scan:
            pack = store._session.location.pack(scan.chunk(lost).pack)
        damage_row(store, lost)
        done = collect(store)
        assert [text for text in done.problems if lost.hex()[:12] in text]
        assert pack.exists()
        others = [cell[0] for i, cell in enumerate(kept()) if i != 3]
        assert [store.get(Digest.of(each)) for each in others] == others
    assert rebuild_index(path).damage == []
    assert_sound(path)


def test_where_the_copies_do_not_fit_on_the_disk_what_is_dead_goes_all_the_same(path, monkeypatch):
    copy, copied = crew.copy, []

    def full(*arguments):
        copied.append(arguments)
        if len(copied) > 1:
            raise DiskFull("there is no room")
        return copy(*arguments)

    with Store.open(path) as store:
        before = pack_bytes(path)
        dead = sum(store._session.location.pack(p).stat().st_size for p in dead_packs(store))
        with monkeypatch.context() as patch, pytest.raises(DiskFull):
            patch.setattr(crew, "copy", full)
            collect(store)
        assert len(copied) == 2
        assert before - pack_bytes(path) == dead > 0  # no new pack is left, either
        assert payloads_of(store, "exp") == [cell[0] for cell in kept()]
        assert collect_rest(store).problems == []
        assert before - pack_bytes(path) > dead
    assert_sound(path)


def dead_packs(store):
    return store.plan_gc(POLICY, grace=0, waste=0.01).packs.dead


def collect_rest(store):
    return store.gc(POLICY, grace=0, waste=0.01, alone=True)
