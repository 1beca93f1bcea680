"""The `.venv` of this checkout: made once, filled from pyproject.toml's extras, found again later.

Beside it `.venv-crystallize` and `.venv-dvc`, which hold systems that druse is compared with.

Runs before anything is installed, so: standard library only, and no syntax that an older Python
cannot parse (it has to be able to say that it is too old).

An install is remembered by a stamp in `.venv` that holds the digest of what decided it; the stamp
goes first and comes back last, so an interrupted install is simply done again.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# Each in an environment of its own: Crystallize wants an older rich than import-linter does.
PEERS = {
    "crystallize": ("crystallize-ml==0.27.0",),
    "dvc": ("dvc[s3]>=3.60", "awscli"),
}
OLDEST = (3, 11)


def ensure(extras):
    """Return the path of `.venv`'s Python, with druse and these extras (a list) installed."""
    use_a_new_enough_python()
    with one_at_a_time():
        if not whole(VENV):
            make_venv(VENV)
        install(extras)
    return VENV / "bin" / "python"


def ensure_peer(name="crystallize"):
    """Return the path of the Python of a peer's own environment, with the peer installed."""
    use_a_new_enough_python()
    venv, what = ROOT / f".venv-{name}", PEERS[name]
    wanted = " ".join(what)
    with one_at_a_time():
        if not whole(venv):
            make_venv(venv)
        stamp = venv / "installed"
        if not is_installed(stamp, wanted):
            print(f"installing {wanted} into {venv.name} ...", flush=True)
            pip_install(venv, what, stamp, wanted)
    return venv / "bin" / "python"


def ensure_azurite():
    """Return the path of an Azure blob server from npm, installed once; None without npm."""
    folder = ROOT / ".azurite"
    program = folder / "node_modules" / ".bin" / "azurite-blob"
    npm = shutil.which("npm")
    with one_at_a_time():
        if not program.exists() and npm:
            print("installing azurite into .azurite ...", flush=True)
            folder.mkdir(exist_ok=True)
            install_it = [npm, "install", "--silent", "--no-audit", "--no-fund", "azurite"]
            run([*install_it, "--prefix", str(folder)], "npm could not install azurite")
    return program if program.exists() else None


def use_a_new_enough_python():
    """Continue in a newer Python of this machine when `python3` is too old, else say so."""
    if sys.version_info >= OLDEST:
        return
    for minor in (14, 13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        if found:
            os.execv(found, [found, *sys.argv])  # the same script, from its start
    version = ".".join(map(str, sys.version_info[:2]))
    stop(
        f"druse needs Python 3.11 or newer; `python3` here is {version} ({sys.executable}).\n"
        "Install a newer one, or put it first on PATH, then call this again."
    )


@contextlib.contextmanager
def one_at_a_time():
    """Two calls in one checkout take turns: pip does not survive a second pip in its folder."""
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def whole(venv):
    """Whether `venv` was finished, here (it holds absolute paths), and its Python still starts."""
    made = venv / "made-for"
    if not made.exists() or made.read_text() != str(ROOT):
        return False
    probe = [str(venv / "bin" / "python"), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, check=False).returncode == 0
    except OSError:
        return False


def make_venv(venv_path):
    try:
        import ensurepip  # noqa: F401 - Debian packs venv and ensurepip apart from python3
        import venv  # noqa: F401
    except ImportError:
        stop(
            f"{sys.executable} has no `venv` module, which is needed to make {venv_path.name}.\n"
            "Install it (Debian and Ubuntu: apt-get install python3-venv), then call this again."
        )
    shutil.rmtree(venv_path, ignore_errors=True)
    failure = f"making {venv_path.name} failed (see above)"
    run([sys.executable, "-m", "venv", str(venv_path)], failure)
    (venv_path / "made-for").write_text(str(ROOT))


def install(extras):
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / ("installed-" + "-".join(extras))
    if is_installed(stamp, wanted):
        return
    chosen = ",".join(extras)
    print(f"installing druse[{chosen}] into .venv ...", flush=True)
    pip_install(VENV, ["--editable", f"{ROOT}[{chosen}]"], stamp, wanted)


def is_installed(stamp, wanted):
    return stamp.exists() and stamp.read_text() == wanted


def pip_install(venv_path, what, stamp, wanted):
    with contextlib.suppress(FileNotFoundError):
        stamp.unlink()
    run(
        [str(venv_path / "bin" / "python"), "-m", "pip", "install", "--quiet", *what],
        "pip could not install it (its words are above); nothing else was changed: call this again",
    )
    fresh = stamp.with_suffix(".new")
    fresh.write_text(wanted)
    fresh.replace(stamp)


def run(command, failure):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, cwd=str(ROOT), check=False)
    if done.returncode:
        stop(failure)


def stop(message):
    print(message, file=sys.stderr)
    sys.exit(2)
