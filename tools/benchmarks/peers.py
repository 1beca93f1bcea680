"""cp, restic and borg, as a user would call them on folders of files; without encryption where the
tool can do without. Each has the same three verbs."""

import os
import shutil
import subprocess
from functools import lru_cache

from measure import Missing, disk_bytes


class Tool:
    """A repository of one backup tool in a folder."""

    name = ""

    def __init__(self, folder):
        if shutil.which(self.name) is None:
            raise Missing(f"{self.name} is not installed")
        self.repository = folder / self.name
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)

    def run(self, *arguments, cwd=None):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "RESTIC_CACHE_DIR": str(self.home),
            "RESTIC_PASSWORD": "bench",
            "BORG_BASE_DIR": str(self.home),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        done = subprocess.run(
            [self.name, *map(str, arguments)],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} {arguments}: {done.stderr}")

    def size(self):
        return disk_bytes(self.repository)


class Restic(Tool):
    name = "restic"

    def __init__(self, folder):
        super().__init__(folder)
        self.flags = ("-r", self.repository, "--quiet", *_password_flags())
        self.run(*self.flags, "init")

    def backup(self, source):
        self.run(*self.flags, "backup", ".", cwd=source)

    def restore(self, target):
        self.run(*self.flags, "restore", "latest", "--target", target)

    def verify(self):
        self.run(*self.flags, "check", "--read-data")

    def drop_older(self):
        """Removes all snapshots but the last, and what only they needed."""
        self.run(*self.flags, "forget", "--keep-last", "1", "--group-by", "", "--prune")


@lru_cache
def _password_flags():
    """Versions before 0.17 cannot do without a password; it costs them next to nothing."""
    done = subprocess.run(["restic", "help", "backup"], capture_output=True, text=True, check=False)
    return ("--insecure-no-password",) if "--insecure-no-password" in done.stdout else ()


class Borg(Tool):
    name = "borg"

    def __init__(self, folder):
        super().__init__(folder)
        self.run("init", "--encryption", "none", self.repository)
        self.archives = 0

    def backup(self, source):
        self.archives += 1
        archive = f"{self.repository}::a{self.archives}"
        self.run("create", "--compression", "zstd,3", archive, ".", cwd=source)

    def restore(self, target):
        target.mkdir()
        self.run("extract", f"{self.repository}::a{self.archives}", cwd=target)

    def verify(self):
        self.run("check", "--verify-data", self.repository)

    def drop_older(self):
        """Removes the first archive, and what only it needed."""
        self.run("delete", f"{self.repository}::a1")
        self.run("compact", self.repository)


def copy_durably(source, target):
    """What `cp -r` and a sync of each file cost."""
    subprocess.run(["cp", "-r", source, target], check=True)
    for path in [p for p in target.rglob("*") if p.is_file()]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def read_once(source):
    """Has the system keep these files in memory, for everyone alike: borg makes it forget what it
    has read, and whoever came next would read from the disk."""
    for path in source.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
