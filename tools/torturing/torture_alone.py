"""Collections that have the store to themselves (grace 0), large enough that helpers copy, killed
or interrupted at random moments between rounds of writing. What retention keeps restores byte for
byte after each of them, also from an index that was made anew; at the end the garbage is gone."""

import json
import os
import random
import signal
import time
from collections import Counter

import children
from sample import find_damage
from torture_collect import POLICY, Log, content, find_garbage, is_newest, look_at, put_cell

from druse_store import RunName, Store, rebuild_index, writer
from druse_store.gc import crew, plan, sweep
from druse_store.index import bulk

PACK = 200_000  # bytes: so there are many packs in a store of a few MB
EXPERIMENTS = ("one", "two", "three")
ENDED, INTERRUPTED = 0, 7  # statuses of a collector
ENDINGS = {ENDED: "whole", INTERRUPTED: "interrupted", -signal.SIGKILL: "killed"}


def add_arguments(parser):
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--runs", type=int, default=40, help="how many are written in a round")


def main(options, folder):
    writer.PACK_SIZE = plan.PACK_SIZE = PACK
    chance = random.Random(options.seed)
    store, log = folder / "store", folder / "log"
    counts, problems, rounds = Counter(), [], 0
    took = 0.3  # seconds that a collection takes here, about
    end = time.monotonic() + options.seconds
    while time.monotonic() < end and not problems:
        rounds += 1
        children.ask(write, store, log, options.runs, f"{options.seed} {rounds}")
        for turn in range(chance.randrange(1, 5)):
            seed = f"{options.seed} {rounds} {turn}"
            ended, seconds = _collect(store, seed, took, chance)
            counts[ended] += 1
            took = max(0.05, 0.7 * took + 0.3 * seconds) if ended == "whole" else took
            problems += (
                [] if ended in ENDINGS.values() else [f"a collector ended so: {ended}, seed {seed}"]
            )
            problems += children.ask(judge, store, _lines(log), seed)
            if problems:
                break
    print(f"alone: {rounds} rounds, {dict(counts)}")
    return problems or children.ask(find_damage, store) + children.ask(find_garbage, store)


def _lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


# --- writing -----------------------------------------------------------------------------------


def write(path, log, runs, seed):
    chance, log = random.Random(seed), Log(log)
    with Store.open(path) as store:
        for number in range(runs):
            run = _add_run(store, chance, f"{seed} {number}", log)
            if chance.random() < 0.1:
                store.pin(f"pin {chance.randrange(3)}", run)
        for i in range(chance.randrange(200)):
            store.put(content(f"small garbage {seed} {i}"))
        if chance.random() < 0.3:  # some of it gets tombstones, and comes back to life
            store.gc(POLICY, grace=3600, now=time.time() + 8000)
        if chance.random() < 0.3:
            store.undo()
        if chance.random() < 0.3:
            _remove_one(store, chance)


def _remove_one(store, chance):
    """Removes a run that nobody needs."""
    run = chance.choice(list(store.runs()))
    if not is_newest(store, run) and RunName(run.experiment, run.version) not in _pinned(store):
        store.remove_run(run.experiment, run.version)


def _add_run(store, chance, seed, log):
    experiment = chance.choice(EXPERIMENTS)
    run = store.begin_run(experiment)
    records = []
    with store.batch():
        for replicate in range(chance.randrange(1, 60)):
            kinds = (f"large {chance.randrange(40)}", f"common {chance.randrange(400)}")
            seeds = [
                chance.choices((*kinds, f"small {seed} {replicate} {i}"), (1, 3, 6))[0]
                for i in range(chance.randrange(1, 4))
            ]
            records.append(put_cell(store, replicate, seeds, seed, chance, slow=0))
            run.add("base", replicate, records[-1], "run")
    done = run.finish(complete=True)
    log("run", experiment, done.version, [str(record) for record in records])
    return done


def _pinned(store):
    return [run for run in store.pins().values() if isinstance(run, RunName)]


# --- collecting --------------------------------------------------------------------------------


def _collect(path, seed, took, chance):
    """One collection in a process of its own; how it ended, and after how many seconds."""
    pid = children.spawn(collect, path, seed)
    began = time.monotonic()
    how = chance.choices((None, signal.SIGKILL, signal.SIGINT), (1, 6, 3))[0]
    if how is not None:
        time.sleep(chance.uniform(0, took))
        os.kill(pid, how)
    status = children.wait(pid)
    return ENDINGS.get(status, status), time.monotonic() - began


def collect(path, seed):
    """Collects in one of the ways that there are, and once more where it is interrupted."""
    chance = random.Random(seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    crew.WORTH = chance.choice((0, 0, crew.WORTH))  # whether helpers copy packs, however small
    sweep._ANEW_MOST = chance.choice((0, sweep._ANEW_MOST))  # whether in one go, or in slices
    bulk._ANEW_MOST = chance.choice((0, bulk._ANEW_MOST))
    sweep._ALONE = chance.choice((300, sweep._ALONE))
    waste = chance.choice((0.01, 0.2))
    interrupted = False
    try:
        with Store.open(path) as store:
            try:
                store.gc(POLICY, grace=0, waste=waste, alone=True, details=False)
            except KeyboardInterrupt:
                interrupted = True
                store.put(content(f"small garbage {seed}"))
                done = store.gc(POLICY, grace=0, waste=waste, alone=True, details=False)
                if done.problems:
                    raise RuntimeError(done.problems) from None
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # while it was opened, or closed
    if interrupted:
        os._exit(INTERRUPTED)


# --- judging -----------------------------------------------------------------------------------


def judge(path, lines, seed):
    """What is wrong now, by what was acknowledged; sometimes, also with a new index."""
    chance = random.Random(f"judge {seed}")
    problems, before = _look(path, lines)
    if not problems and chance.random() < 0.3:
        if chance.random() < 0.5:
            with Store.open(path) as store:
                store.undo()
            before = _look(path, lines)[1]
        problems += [f"a rebuild: {what}" for what in rebuild_index(path).damage]
        wrong, after = _look(path, lines)
        problems += [f"with a new index: {what}" for what in wrong]
        lost = set(before) - set(after)
        problems += [f"{len(lost)} records that runs name are gone in a new index"] if lost else []
    return [f"{what} (seed {seed})" for what in problems]


def _look(path, lines):
    """What is wrong, and the records that runs name and that are there."""
    newest = {experiment: version for _, experiment, version, _ in lines}
    expected = {(experiment, version): records for _, experiment, version, records in lines}
    problems = []
    with Store.open(path) as store:
        for name in newest.items():
            run = store.run(*name)
            if run is None or [str(cell.record) for cell in run.cells] != expected[name]:
                problems.append(f"{name} is not there")
        runs = list(store.runs())
        kept = [run for run in runs if is_newest(store, run)]
        kept += [store.run(*name) for name in _pinned(store)]
        for run in kept:
            problems += look_at(store, run)
        problems += [f"verify: {finding}" for finding in store.verify().findings]
        named = {cell.record for run in runs for cell in run.cells}
        there = [str(record) for record in named if store.record_by_digest(record) is not None]
    return problems, there
