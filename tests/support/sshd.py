"""OpenSSH's own server with its SFTP, for this user and one key, on loopback.

$DRUSE_TEST_SSHD names the program, if it is not on PATH. It needs an account `sshd` where it is
started by root.
"""

from __future__ import annotations

import getpass
import signal
import socket
import subprocess
import time
from pathlib import Path

from support.swift import free_ports

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/pid
UsePAM no
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


class Sshd:
    """A server; `home/.ssh` is what its client has."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self._program = str(Path(program).resolve())
        (self.port,) = free_ports(1)
        ssh = folder / "home" / ".ssh"
        ssh.mkdir(parents=True)
        for path in (folder / "host_key", ssh / "id_ed25519"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
            subprocess.run(make, check=True)
        (folder / "authorized_keys").write_text((ssh / "id_ed25519.pub").read_text())
        host = (folder / "host_key.pub").read_text()
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host}")
        (folder / "config").write_text(_CONFIG.format(port=self.port, folder=folder))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def url(self, folder: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{folder}"

    def start(self) -> Sshd:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", "-e", "-f", str(self.folder / "config")], stderr=log
            )
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 2).close()
                return self
            except OSError:
                log_text = (self.folder / "log").read_text()
                assert self._process.poll() is None and time.monotonic() < until, log_text
                time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
