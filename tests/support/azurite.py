"""Azurite, an Azure blob server: `npm install azurite`, or $DRUSE_TEST_AZURITE_BLOB names it."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from support.swift import free_ports

ACCOUNT = "devstoreaccount1"
# The key that every Azurite has, from its manual.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite:
    """One server in a folder of its own."""

    def __init__(self, folder: Path, program: str) -> None:
        (self.port,) = free_ports(1)
        options = ("--silent", "--skipApiVersionCheck", "--disableTelemetry")
        command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-l", str(folder), *options], stdout=log, stderr=log
            )

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it has in its environment."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def wait(self) -> Azurite:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 2).close()
                return self
            except OSError:
                assert self._process.poll() is None and time.monotonic() < until
                time.sleep(0.1)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def make_container(self, name: str) -> None:
        heads = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        lines = "".join(f"{key}:{value}\n" for key, value in heads.items())
        said = "PUT" + "\n" * 12 + f"{lines}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        code = hmac.new(base64.b64decode(KEY), said.encode(), hashlib.sha256).digest()
        heads["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(code).decode()}"
        address = f"{self.endpoint}/{name}?restype=container"
        request = urllib.request.Request(address, method="PUT", headers=heads)
        urllib.request.urlopen(request, timeout=10).read()
