"""Every byte of a small store's packs and log flipped, one at a time; random bytes of its index;
and every length that its last pack can be cut to. Each is harmless or shows as an error: never a
wrong answer, never a hang, never an exception that is none of the store's."""

import os
import random
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import children
from sample import find_damage, judge, make, writes_still_work


def add_arguments(parser):
    parser.add_argument("--every", type=int, default=1, help="only every Nth byte or length")
    parser.add_argument("--index", type=int, default=2000, help="how many bytes of the index")
    parser.add_argument("--part", default="1/1", help="K/N: only the Kth of N parts of all cases")


def main(options, folder):
    store = folder / "store"
    expected = make(store)  # in this process, which never opens another
    chance = random.Random(options.seed)
    files = sorted((*store.glob("packs/*/*"), *store.glob("log/*")))
    flips = [
        (path, at, 1 << chance.randrange(8))
        for path in files
        for at in range(0, path.stat().st_size, options.every)
    ]
    data = store / "index" / "data.mdb"
    used = _used_bytes(data)
    index_flips = [
        (data, chance.choice(used), 1 << chance.randrange(8)) for _ in range(options.index)
    ]
    last = max(store.glob("packs/*/*"), key=lambda path: path.stat().st_mtime_ns)
    cuts = range(0, last.stat().st_size, options.every)
    part = partial(_part, *map(int, options.part.split("/")))
    problems = []
    problems += _report("flip in packs and log", part(flips), lambda c: _flip(store, expected, *c))
    problems += _report(
        "flip in the index", part(index_flips), lambda c: _flip(store, expected, *c), True
    )
    problems += _report(
        "cut of the last pack", part(cuts), lambda c: _cut(store, expected, last, c)
    )
    return problems


def _part(which, of, cases):
    """The bytes of all N parts together are every byte: the store is the same, but for its ids."""
    return cases[len(cases) * (which - 1) // of : len(cases) * which // of]


def _report(what, cases, function, may_die=False):
    outcomes = Counter()
    problems = []
    for case, outcome in zip(cases, children.each(function, cases), strict=True):
        if "died" in outcome:
            outcomes[f"killed by {outcome['died']}"] += 1
            # A damaged index can end a process that maps it; a hang (SIGALRM) it must not cause.
            bad = not may_die or outcome["died"] != "SIGBUS"
            found = [outcome["died"]] if bad else []
        elif "error" in outcome:
            outcomes["an exception of another kind"] += 1
            found = [outcome["error"]]
        else:
            outcomes[outcome["value"]["how"]] += 1
            found = outcome["value"]["problems"]
        problems += [f"{what} {_name(case)}: {problem}" for problem in found]
    print(f"{what}: {len(cases)} cases: {dict(outcomes.most_common())}", flush=True)
    return problems


def _name(case):
    return f"{case[0].name} byte {case[1]} mask {case[2]}" if isinstance(case, tuple) else case


def _flip(store, expected, path, at, mask):
    # In place, without an `open` of files in index/ while a store is open here: none is.
    original = _write_byte(path, at, None, mask)
    try:
        return _judge(store, expected)
    finally:
        _write_byte(path, at, original, 0)


def _write_byte(path, at, value, mask):
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ mask if value is None else value]))
    return old


def _cut(store, expected, last, length):
    copy = store.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy, copy_function=_copy_sparsely)
    pack = copy / last.relative_to(store)
    with pack.open("r+b") as file:
        file.truncate(length)
    outcome = _judge(copy, expected)
    outcome["problems"] += writes_still_work(copy, expected)
    return outcome


def _used_bytes(path):
    """Where the pages lie that hold anything: most of an index file is room to grow."""
    content = path.read_bytes()
    pages = (at for at in range(0, len(content), 4096) if any(content[at : at + 4096]))
    return [at for page in pages for at in range(page, page + 4096)]


def _copy_sparsely(source, target):
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole follows
                return
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            os.pwrite(new.fileno(), os.pread(old.fileno(), end - at, at), at)
            at = end


def _judge(store, expected):
    seen = judge(store, expected)
    problems = [f"wrong {wrong}" for wrong in seen["wrong"]]
    harmless = seen.get("right") == seen.get("of", -1)
    found = [] if "refused" in seen else find_damage(store)
    if not harmless and "refused" not in seen and not found:
        problems.append(f"verify does not see it: {seen}")
    how = "harmless" if harmless and not found else "found by verify" if harmless else "refused"
    return {"how": how, "problems": problems}
