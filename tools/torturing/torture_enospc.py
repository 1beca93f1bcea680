"""A full disk at every moment: the same work on a small tmpfs, each time with a little more room,
until it all fits. Each failure is a clear error, what was acknowledged before is there, and once
there is room again the store goes on. Needs the right to mount (root)."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import children
from sample import find_damage
from workload import Writer, find_missing, read_acknowledged

from druse_store import Store
from druse_store.errors import DiskFull

MOUNT_MIB = 64
STEPS = 15  # how many things a writer does


def add_arguments(parser):
    parser.add_argument("--step", type=int, default=4, help="KiB of room added from case to case")
    parser.add_argument("--most", type=int, default=4000, help="KiB of room to scan to")


def main(options, folder):
    if not can_mount(folder):
        print("enospc: skipped, since this user may not mount a tmpfs here")
        return []
    problems = []
    outcomes = {"full": 0, "fits": 0}
    for new in (False, True):
        for room in range(0, options.most, options.step):
            outcome = _case(folder / "mount", new, room, options.seed)
            outcomes["full" if outcome["failed"] else "fits"] += 1
            where = f"{room} KiB of room, {'a new' if new else 'an old'} store"
            problems += [f"{where}: {problem}" for problem in outcome["problems"]]
    print(f"enospc: {outcomes['full']} cases ran out of space, {outcomes['fits']} did not")
    if not outcomes["full"]:
        problems.append("the disk was never full")
    return problems


def can_mount(folder):
    try:
        with _mounted(folder / "probe"):
            return True
    except subprocess.CalledProcessError:
        return False


@contextmanager
def _mounted(point):
    point.mkdir(exist_ok=True)
    options = f"size={MOUNT_MIB}m"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)


def _case(mount, new, room, seed):
    acknowledged = mount.with_name("acknowledged")  # not on the full disk
    shutil.rmtree(acknowledged, ignore_errors=True)
    acknowledged.mkdir()
    with _mounted(mount):
        store = mount / "store"
        if not new:
            children.ask(_work, store, "old", acknowledged, seed)
        ballast = mount / "ballast"
        _fill(ballast, room)
        failed, problems = children.ask(_work, store, "new", acknowledged, seed)
        ballast.unlink()
        problems += children.ask(_inspect, store, acknowledged, seed)
    return {"failed": failed, "problems": problems}


def _fill(ballast, room):
    status = os.statvfs(ballast.parent)
    size = max(status.f_bavail * status.f_frsize - room * 1024, 0)
    fd = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    os.posix_fallocate(fd, 0, max(size, 1))
    os.close(fd)


def _work(path, name, acknowledged, seed):
    """Whether the disk was full, and how that showed if not as it should."""
    writer = None
    try:
        writer = Writer(path, name, acknowledged / name, seed)
        for _ in range(STEPS):
            writer.work()
        writer.store.close()
    except DiskFull:
        return True, _close(writer)
    except Exception as error:
        return True, [f"{type(error).__name__}: {error}", *_close(writer)]
    return False, []


def _close(writer):
    if writer is None:
        return []
    try:
        writer.store.get(writer.store.put(b""))  # it may work or not; reading must
    except DiskFull:
        pass
    except Exception as error:
        return [f"afterwards, {type(error).__name__}: {error}"]
    try:
        writer.store.close()
    except DiskFull:
        pass
    except Exception as error:
        return [f"closing, {type(error).__name__}: {error}"]
    return []


def _inspect(path, acknowledged, seed):
    """With room again: all that was acknowledged is there, nothing is damaged, work goes on."""
    problems = find_missing(path, read_acknowledged(acknowledged))
    if hasattr(Store, "verify"):
        problems += find_damage(path)
    failed, more = _work(path, "after", acknowledged, seed)
    problems += more + (["still full"] if failed and not more else [])
    return problems + find_missing(path, read_acknowledged(acknowledged))


if sys.platform != "linux":
    raise SystemExit("torture enospc needs Linux: it mounts a tmpfs")
