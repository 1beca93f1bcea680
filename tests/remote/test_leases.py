"""Several processes that run the same divide the work; one that dies changes nothing but time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import druse_store
from druse_store.remote.flight import Flight
from druse_store.remote.lease import LeaseKey, Leases
from druse_store.trust import Signer, Trust
from support.sharing import BASE, signature_of

TESTS = Path(__file__).parents[1]

WORKER = """
import json, os, sys, time
from pathlib import Path
from druse_store import Store
from druse_store.remote.flight import Flight
from druse_store.remote.lease import LeaseKey
from druse_store.remote.sharing import Timeouts, add_remote
from druse_store.remote.tier import Tier
from druse_store.trust import Trust
from support.sharing import BASE, make_record, signature_of

folder, url, cells, seconds, expiry = sys.argv[1:]
folder = Path(folder)
with Store.open(folder / "store") as store:
    add_remote(store, "team", url)
    tier = Tier.open(store, warn=lambda text: print(text, file=sys.stderr))
    flight = Flight(tier, float(expiry))
    due = {LeaseKey(BASE, signature_of(n)): n for n in range(int(cells))}
    print("ready", flush=True)
    sys.stdin.readline()
    computed = []
    while due:
        turn = flight.turn(list(due), 2, lambda due, _: {c for c in due if store.record(c.cell, 0)})
        for cell in turn.done:
            due.pop(cell, None)
        for cell in turn.mine:
            number = due.pop(cell)
            time.sleep(float(seconds))
            ref = store.put_object(b"result %d" % number)
            record = store.put_record(make_record(number, ref, provenance={"pid": os.getpid()}))
            flight.done(cell, record)
            computed.append(number)
            print(f"did {number}", flush=True)
    tier.flush()
    flight.close()
    tier.close()
    metrics = [store.record(signature_of(n), 0).metrics for n in range(int(cells))]
print(json.dumps([computed, metrics]), flush=True)
"""


class Crowd:
    """Processes with a store and a key each, which trust each other, that begin together."""

    def __init__(self, folder, url, count, cells, seconds, expiry) -> None:
        paths = [str(Path(druse_store.__file__).parents[1]), str(TESTS)]
        self.processes = []
        places = [folder / f"worker{number}" for number in range(count)]
        keys = [Signer.create(here / "druse").public for here in places]
        for here in places:
            for number, key in enumerate(keys):
                Trust(here / "druse").add(f"worker{number}", key)
            arguments = [str(here), url, str(cells), str(seconds), str(expiry)]
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, *arguments],
                    env={
                        **os.environ,
                        "PYTHONPATH": os.pathsep.join(paths),
                        "XDG_CONFIG_HOME": str(here),
                        "XDG_STATE_HOME": str(here / "state"),
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def begin(self) -> float:
        for process in self.processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        return time.monotonic()

    def results(self):
        found = []
        for process in self.processes:
            out, err = process.communicate(timeout=90)
            if process.returncode == 0:
                assert err == ""
                found.append(json.loads(out.splitlines()[-1]))
        return found


@pytest.fixture
def ann(machine, folder_url):
    return machine("ann", folder_url)


def test_processes_divide_the_cells_and_each_ends_with_all_results(folder_url, tmp_path):
    crowd = Crowd(tmp_path, folder_url, 3, 30, 0.05, 30)
    crowd.begin()
    results = crowd.results()
    assert len(results) == 3
    computed = [number for mine, _ in results for number in mine]
    assert sorted(computed) == list(range(30))  # each exactly once: folders honour create
    assert all(mine for mine, _ in results)
    assert all(metrics == [{"n": n} for n in range(30)] for _, metrics in results)


def test_one_that_is_killed_in_the_middle_changes_nothing_but_time(folder_url, tmp_path):
    crowd = Crowd(tmp_path, folder_url, 2, 12, 0.1, 1.5)
    crowd.begin()
    assert crowd.processes[0].stdout.readline().startswith("did")
    crowd.processes[0].send_signal(signal.SIGKILL)
    ((_, metrics),) = crowd.results()
    assert metrics == [{"n": n} for n in range(12)]


def cells(count):
    return [LeaseKey(BASE, signature_of(number)) for number in range(count)]


def test_what_one_holds_another_does_not_take_until_it_is_given_back(ann):
    first, second = Leases(ann.site()), Leases(ann.site())
    taken = first.take(cells(30), 2)
    assert len(taken) == 2
    rest = [cell for cell in cells(30) if cell not in taken]
    mine = []
    while more := second.take(cells(30), 5):
        assert len(more) <= max(1, (len(rest) - len(mine)) // 2)  # others shall get some, too
        mine += more
    assert sorted(mine) == sorted(rest)
    first.release(taken[:1])
    assert second.take(cells(30), 3) == taken[:1]
    first.close()
    assert second.take(cells(30), 3) == taken[1:]
    second.close()
    assert list(ann.site().backend.list("leases/")) == []


def test_a_holder_that_fell_silent_is_passed_over_and_one_that_lives_is_not(ann):
    silent, living, other = Leases(ann.site(), 60), Leases(ann.site(), 0.6), Leases(ann.site(), 0.6)
    quiet, alive = cells(2)
    assert silent.take([quiet], 1)
    assert living.take([alive], 1)
    assert other.take(cells(2), 2) == []
    until = time.monotonic() + 10
    while not (taken := other.take(cells(2), 2)):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert taken == [quiet]
    assert other.take(cells(2), 2) == []
    for leases in (silent, living, other):
        leases.close()


def test_without_the_remote_everything_is_computed_here(ann, tmp_path):
    tier = ann.tier()
    flight = Flight(tier)
    (tmp_path / "remote").rename(tmp_path / "away")
    turn = flight.turn(cells(3), 2, ann.done)
    assert turn.mine == cells(3)[:2]
    assert turn.done == []
    flight.close()
    tier.close()
    assert len(ann.warnings) == 1


def test_what_others_published_is_done_and_its_lease_not_taken(machine, folder_url):
    ann, bob = machine("ann", folder_url), machine("bob", folder_url)
    bob.trusts(ann)
    ann.compute(0)
    ann.push(everything=True).execute()
    with bob.tier() as tier:
        flight = Flight(tier)
        turn = flight.turn(cells(2), 2, bob.done)
        assert turn.done == [cells(2)[0]]
        assert cells(2)[0] not in turn.mine
        for cell in turn.mine:
            flight.failed(cell)
        flight.close()
        assert list(tier.site.backend.list("leases/")) == []


def test_a_lease_is_given_back_only_once_its_record_is_published(ann):
    with ann.tier() as tier:
        flight = Flight(tier)
        (cell,) = flight.turn(cells(1), 1, ann.done).mine
        assert [entry.key for entry in tier.site.backend.list("leases/")] == [cell.lease]
        flight.done(cell, ann.compute(0))
        assert tier.flush()
        assert list(tier.site.backend.list("leases/")) == []
        assert len(list(tier.site.backend.list("records/"))) == 1
        flight.close()
