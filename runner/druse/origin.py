"""Who does something, and where: for what is noted in records and runs."""

from __future__ import annotations

import getpass
import os
import socket


def user() -> str:
    """The name of the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def host() -> str:
    """The name of the machine."""
    return socket.gethostname()
