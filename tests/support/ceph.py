"""A Ceph object store for tests: one monitor, one OSD in memory, the RADOS gateway, on loopback.

Debian: radosgw ceph-mon ceph-osd ceph-common. Where these are unpacked in a folder, and not
installed, $DRUSE_TEST_RADOSGW names its usr/bin/radosgw.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

from support.swift import free_ports

USER, SECRET = "AKTEST", "SKTEST"

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms bind before connect = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
osd data = {folder}/osd
mon data = {folder}/mon
log file = {folder}/log/$name.log
mon cluster log file = /dev/null
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
heartbeat file = {folder}/run/$name.hb
crash dir = {folder}/run
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
osd class load list = *
osd class default list = *
osd max object name len = 256
plugin dir = {libraries}/ceph
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/run
"""


class Ceph:
    """One cluster in a folder of its own, with one user."""

    def __init__(self, folder: Path, gateway: str) -> None:
        """`gateway`: the program radosgw; the others lie beside it."""
        self.folder = folder
        prefix = Path(gateway).parents[2]
        for name in ("mon", "osd", "log", "run"):
            (folder / name).mkdir()
        monitor, self.port = free_ports(2)
        self._monitor = f"[v2:127.0.0.1:{monitor}]"
        self._fsid = str(uuid.uuid4())
        usr = prefix / "usr"
        libraries = usr / "lib" / "x86_64-linux-gnu"
        folders = (usr / "bin", usr / "sbin", os.environ["PATH"])
        self._environment = {
            **os.environ,
            "CEPH_CONF": str(folder / "ceph.conf"),
            "CEPH_ARGS": f"--conf {folder / 'ceph.conf'}",
            "PATH": os.pathsep.join(map(str, folders)),
            "PYTHONPATH": str(usr / "lib" / "python3" / "dist-packages"),
        }
        if str(prefix) != "/":
            paths = (libraries, libraries / "ceph", prefix / "lib" / "x86_64-linux-gnu")
            self._environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, paths))
        config = _CONFIG.format(
            fsid=self._fsid, mon=monitor, folder=folder, libraries=libraries, port=self.port
        )
        (folder / "ceph.conf").write_text(config)
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it has in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> Ceph:
        try:
            return self._start()
        except BaseException:
            self.kill()
            raise

    def _start(self) -> Ceph:
        osd, monmap = str(uuid.uuid4()), str(self.folder / "monmap")
        fresh = ("monmaptool", "--create", "--fsid", self._fsid)
        self._run(*fresh, "--addv", "a", self._monitor, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._begin("ceph-mon", "-i", "a", "-f")
        self._run("ceph", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._begin("ceph-osd", "-i", "0", "-f")
        self._wait_for_osd()
        self._begin("radosgw", "-n", "client.rgw", "--no-mon-config", "-f")
        self._wait()
        names = ("--uid=test", "--display-name=test")
        keys = (f"--access-key={USER}", f"--secret={SECRET}")
        self._run("radosgw-admin", "user", "create", *names, *keys)
        return self

    def kill(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _wait_for_osd(self) -> None:
        until = time.monotonic() + 60
        while "1 up" not in self._run("ceph", "osd", "stat"):
            assert time.monotonic() < until
            time.sleep(0.3)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr[-2000:])
        return done.stdout

    def _begin(self, *command: str) -> None:
        with (self.folder / "log" / f"{command[0]}.out").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command, env=self._environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _wait(self) -> None:
        until = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(self.endpoint, timeout=2).read()
                return
            except OSError:
                dead = [each.args for each in self._processes if each.poll() is not None]
                if dead or time.monotonic() > until:
                    logs = [p.read_text()[-2000:] for p in (self.folder / "log").iterdir()]
                    raise RuntimeError(f"Ceph did not start: {dead} {logs}") from None
                time.sleep(0.2)
