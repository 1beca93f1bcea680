"""Other system users, as forks of this process. Being them needs root: else such tests skip.

A fork has all modules that it needs: other users may not be able to read this checkout.
"""

import json
import os
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

GROUP = 54_321


@contextmanager
def common_folder():
    """A folder that all users can come to, and the group may write to."""
    if os.getuid() != 0:
        pytest.skip("only root can be several users")
    with tempfile.TemporaryDirectory(prefix="druse-users-") as name:
        os.chown(name, -1, GROUP)
        os.chmod(name, 0o2775)
        yield Path(name)


def run_as(uid, function, folder, *arguments, group=GROUP):
    """What `function(folder, *arguments)` returns (JSON-able), run by this user, whose home is
    beside the folder. Raises RuntimeError."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            os.setgroups([group])
            os.setgid(group)
            os.setuid(uid)
            os.umask(0o022)
            os.environ["HOME"] = str(folder.parent / f"home-{uid}")
            os.environ.pop("XDG_CONFIG_HOME", None)
            os.write(write, json.dumps(function(folder, *arguments)).encode())
            status = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError(text)
    return json.loads(text)
