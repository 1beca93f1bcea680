"""kill -9 of three writers at random moments, round after round: every acknowledged put, record,
run and pin is there, the store verifies clean, and no lock is left."""

import fcntl
import os
import random
import shutil
import signal
import time

import children
from workload import Writer, find_missing, read_acknowledged

from druse_store import Store

WRITERS = 3
LONGEST = 0.15  # seconds from the start of a round to its last kill
ROUNDS_PER_STORE = 25  # then a new one, so that the first moments of a store are hit too
PATIENCE = 10.0  # seconds for a put after a kill: a lock that was left would take longer


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=500)


def main(options, folder):
    chance = random.Random(options.seed)
    problems = []
    total = 0
    for number in range(options.rounds):
        store = folder / f"store{number // ROUNDS_PER_STORE}"
        acknowledged = folder / "acknowledged"
        if number % ROUNDS_PER_STORE == 0:
            shutil.rmtree(folder / f"store{number // ROUNDS_PER_STORE - 1}", ignore_errors=True)
            shutil.rmtree(acknowledged, ignore_errors=True)
            acknowledged.mkdir()
        _run_and_kill(store, acknowledged, number, options.seed, chance)
        total += 1
        found = children.ask(_inspect, store, acknowledged)
        problems += [f"round {number}: {problem}" for problem in found]
        if problems:
            break
    print(f"kill: {total} rounds of {WRITERS} writers")
    return problems


def _run_and_kill(store, acknowledged, number, seed, chance):
    pids = []
    for writer in range(WRITERS):
        name = f"r{number}w{writer}"
        pids.append(children.spawn(_write_for_ever, store, name, acknowledged / name, seed))
    begin = time.monotonic()
    for moment, pid in sorted((chance.uniform(0, LONGEST), pid) for pid in pids):
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        status = children.wait(pid)
        if status != -signal.SIGKILL:
            raise RuntimeError(f"a writer ended by itself, with status {status}")


def _write_for_ever(store, name, acknowledged, seed):
    writer = Writer(store, name, acknowledged, seed)
    while True:
        writer.work()


def _inspect(path, acknowledged):
    begin = time.monotonic()
    with Store.open(path) as store:
        store.put(b"after the kill")
    problems = []
    if time.monotonic() - begin > PATIENCE:
        problems.append("a put after the kill had to wait: a lock was left")
    problems += find_missing(path, read_acknowledged(acknowledged))
    problems += find_damage(path)
    problems += _locked(path / "holds")
    return problems


def find_damage(path):
    with Store.open(path) as store:
        if not hasattr(store, "verify"):
            return []
        return [str(finding) for finding in store.verify().findings]


def _locked(holds):
    problems = []
    for path in holds.iterdir():
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                problems.append(f"{path} is still locked")
    return problems
