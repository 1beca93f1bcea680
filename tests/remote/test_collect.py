"""Removing what nobody needs from a remote, beside those who push, read and collect at once."""

import itertools
import os

import pytest

from druse_store.digest import Digest
from druse_store.remote import collect, layout
from druse_store.remote.collect import RemoteGc
from druse_store.remote.publish import Publisher
from druse_store.remote.published import published
from support.sharing import BASE, signature_of

OTHER = Digest.of(b"the base signature of other code")


@pytest.fixture
def ann(machine, folder_url):
    return machine("ann", folder_url)


@pytest.fixture
def bob(machine, folder_url, ann):
    return machine("bob", folder_url).trusts(ann)


@pytest.fixture
def packs(tmp_path):
    return lambda: {path.stem for path in (tmp_path / "remote" / "packs").rglob("*.pack")}


@pytest.fixture
def pass_time(tmp_path):
    """Makes everything on the remote older."""

    def older(seconds):
        for path in (tmp_path / "remote").rglob("*"):
            at = path.stat().st_mtime - seconds
            os.utime(path, (at, at))

    return older


def two_runs(machine):
    """Two runs, of different code, in packs of their own; returns the ids."""
    for experiment, base, numbers in (("old", OTHER, range(5)), ("new", BASE, range(5, 10))):
        writer = machine.store.begin_run(experiment)
        for number in numbers:
            record = machine.compute(number, os.urandom(3000), base=base)
            writer.add("base", number, record, "run")
        writer.finish(complete=True)
        machine.push(experiment).execute()
    return [run.id for run in published(machine.site(), machine.trust).runs]


def forget(machine, experiment):
    """Its owner takes the runs of an experiment back."""
    site = machine.site()
    ids = [run.id for run in published(site, machine.trust, experiment).runs]
    return Publisher(site, machine.signer).remove_runs(experiment, ids)


def gets_everything(machine, base, numbers):
    with machine.tier() as tier:
        tier.records_for([base])
        found = [machine.store.record(signature_of(number), 0) for number in numbers]
        return all(record is not None and tier.fetch_for(record) for record in found)


def test_what_runs_name_stays_whoever_published_it(ann, bob, packs):
    two_runs(ann)
    before = packs()
    for _ in range(3):
        plan = RemoteGc(bob.site(), grace=0).execute()
        assert not (plan.bury | plan.rewrite | plan.remove_packs | plan.remove_bases)
    assert packs() == before
    assert gets_everything(bob, OTHER, range(5))


def test_what_no_run_names_is_buried_then_removed_after_the_grace(ann, bob, packs, pass_time):
    two_runs(ann)
    before = packs()
    forget(ann, "old")
    site = ann.site()
    assert RemoteGc(site, grace=1000).execute().is_empty()  # all of it is young
    pass_time(2000)
    dry = RemoteGc(site, grace=1000).plan()
    assert len(dry.bury) == 2  # a pack, and the records of a base signature
    assert not list(site.backend.list(layout.TOMBSTONES))
    first = RemoteGc(site, grace=1000).execute()
    assert first.bury == dry.bury
    pass_time(900)
    waiting = RemoteGc(site, grace=1000).execute()
    assert (waiting.remove_packs, waiting.freed) == (set(), 0)
    assert waiting.waiting > 15_000
    assert packs() == before
    pass_time(200)
    assert RemoteGc(site, grace=1000).execute().freed > 15_000
    assert len(packs()) == len(before) - 1
    assert not list(site.backend.list(f"{layout.records_topic(OTHER)}/"))
    assert not list(site.backend.list(layout.TOMBSTONES))
    assert RemoteGc(site, grace=1000).execute().is_empty()
    assert gets_everything(bob, BASE, range(5, 10))


def test_what_was_put_lately_is_left_alone(ann, packs):
    ann.compute(0)
    ann.push(everything=True).execute()  # no run names it
    assert RemoteGc(ann.site(), grace=3600).execute().is_empty()


def test_whoever_pushes_what_is_buried_sends_it_anew(ann, bob, packs):
    two_runs(ann)
    forget(ann, "old")
    RemoteGc(ann.site(), grace=0).execute()
    before = packs()
    pushed = ann.push("old").execute()
    assert (pushed.records, pushed.runs, pushed.chunks) == (5, 1, 5)
    assert len(packs()) == len(before) + 1
    for _ in range(3):
        RemoteGc(bob.site(), grace=0).execute()
    assert gets_everything(bob, OTHER, range(5))


def test_what_is_needed_again_after_it_was_buried_is_raised(ann, bob, packs):
    two_runs(ann)
    run = ann.store.run("old")
    forget(ann, "old")
    RemoteGc(ann.site(), grace=0).execute()
    from druse_store.remote.push import run_body

    site = ann.site()
    Publisher(site, ann.signer).runs("old", [run_body(ann.store._session, run)])
    plan = RemoteGc(site, grace=0).execute()
    assert len(plan.raise_up) == 2
    assert gets_everything(bob, OTHER, range(5))


def test_a_push_from_before_the_tombstone_keeps_it_from_being_removed(ann, packs, pass_time):
    two_runs(ann)
    site = ann.site()
    before = packs()
    forget(ann, "old")
    pass_time(1900)
    site.backend.store(f"{layout.INTENTS}{layout.ulid()}", b"{}")
    RemoteGc(site, grace=1000).execute()
    pass_time(1100)
    RemoteGc(site, grace=1000).execute()
    assert packs() == before
    pass_time(1000)  # nobody pushes for longer than twice the grace
    RemoteGc(site, grace=1000).execute()
    assert len(packs()) == len(before) - 1


def test_a_pack_of_which_little_is_needed_is_written_anew(ann, bob, packs):
    writer = ann.store.begin_run("exp")
    writer.add("base", 0, ann.compute(0, os.urandom(2000)), "run")
    run = writer.finish(complete=True)
    ann.compute(1, os.urandom(90_000), base=OTHER)
    ann.compute(2, os.urandom(90_000), base=OTHER)
    ann.push(everything=True).execute()
    assert run.complete
    (before,) = packs()
    for _ in range(3):
        RemoteGc(ann.site(), grace=0).execute()
    (after,) = packs()
    assert after != before
    assert gets_everything(bob, BASE, range(1))
    assert bob.warnings == []


def test_two_at_once_do_no_harm_wherever_they_interleave(ann, bob, packs, monkeypatch):
    """Both plan, then both execute; and what both copied is kept once."""
    two_runs(ann)
    ann.compute(20, os.urandom(90_000), base=OTHER)
    ann.push(everything=True).execute()
    forget(ann, "old")
    for _ in range(4):
        plans = []
        collectors = [RemoteGc(ann.site(), grace=0), RemoteGc(bob.site(), grace=0)]
        for gc in collectors:
            inventory = collect.Inventory.take(gc._site)
            now = max(entry.modified for entry in inventory.entries.values())
            plans.append(gc._plan(inventory, now))
        for gc, plan in zip(collectors, plans, strict=True):
            gc._execute(plan)
    assert gets_everything(bob, BASE, range(5, 10))
    assert RemoteGc(ann.site(), grace=0).execute().is_empty()


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", range(1, 14, 2))
def test_killed_at_any_point_it_is_continued(ann, bob, after):
    two_runs(ann)
    writer = ann.store.begin_run("mixed")
    writer.add("base", 0, ann.compute(11, os.urandom(2000), base=BASE), "run")
    writer.finish(complete=True)
    ann.compute(12, os.urandom(90_000), base=OTHER)
    ann.push(everything=True).execute()
    forget(ann, "old")
    counter = itertools.count(1)
    for _ in range(3):
        site = ann.site()
        backend = site.backend.backend
        for name in ("store", "delete"):
            change = getattr(backend, name)

            def dying(*args, change=change, **kwargs):
                if next(counter) == after:
                    raise Killed
                return change(*args, **kwargs)

            setattr(backend, name, dying)
        try:
            RemoteGc(site, grace=0).execute()
        except Killed:
            continue
    for _ in range(3):
        RemoteGc(ann.site(), grace=0).execute()
    assert gets_everything(bob, BASE, [*range(5, 10), 11])
    assert not list(ann.site().backend.list(layout.TOMBSTONES))


def test_old_leases_and_intents_are_cleared_away(ann, tmp_path):
    site = ann.site()
    for key in (f"{layout.LEASES}{BASE.hex()}/x-0", f"{layout.INTENTS}{layout.ulid()}"):
        site.backend.store(key, b"{}")
        os.utime(tmp_path / "remote" / key, (1000, 1000))
    RemoteGc(site, grace=3600).execute()
    assert {entry.key for entry in site.backend.list("")} == {layout.MARKER}
