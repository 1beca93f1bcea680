"""A real object server for tests: OpenStack Swift, one node, with its S3 interface and secrets.

Four processes on loopback, from the package index. Killing it and starting it again keeps what was
stored, as a server's restart does.
"""

from __future__ import annotations

import configparser
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

USER, SECRET = "test:tester", "testing"
REGION = "us-east-1"
SERVERS = ("account", "container", "object", "proxy")

_PROXY = (
    "catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth slo dlo proxy-server"
)
_FILTERS = {
    "tempauth": {"use": "egg:swift#tempauth", "user_test_tester": f"{SECRET} .admin"},
    "s3api": {
        "use": "egg:swift#s3api",
        "location": REGION,
        "s3_acl": "false",
        "check_bucket_owner": "false",
        "allow_multipart_uploads": "true",
        "min_segment_size": "1048576",
    },
    "slo": {"use": "egg:swift#slo", "minimum_segment_size": "1"},
} | {
    name: {"use": f"egg:swift#{name}"}
    for name in ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "dlo")
}


class Swift:
    """One server in a folder of its own."""

    def __init__(self, folder: Path, access_log: int | None = None) -> None:
        """`access_log`: a UDP port that is told of every request."""
        self.folder = folder
        self._access_log = access_log
        self.bin = Path(sys.executable).parent
        self.ports = dict(
            zip(("proxy", "object", "container", "account"), free_ports(4), strict=True)
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._configure()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it has in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
        }

    def start(self) -> Swift:
        """Starts what does not run."""
        for server in SERVERS:
            if server in self.processes:
                continue
            with (self.folder / f"{server}.log").open("ab") as log:
                program = [sys.executable, str(self.bin / f"swift-{server}-server")]
                self.processes[server] = subprocess.Popen(
                    [*program, str(self.folder / f"{server}-server.conf"), "-v"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        self._wait()
        return self

    def kill(self, *servers: str) -> None:
        """Ends it, or the named part of it, at once, whatever it is doing."""
        gone = [self.processes.pop(name) for name in servers or SERVERS if name in self.processes]
        for process in gone:
            process.send_signal(signal.SIGKILL)
        for process in gone:
            process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}/healthcheck", timeout=2).read()
                for name in ("object", "container", "account"):
                    socket.create_connection(("127.0.0.1", self.ports[name]), 2).close()
                return
            except OSError:
                dead = [n for n, p in self.processes.items() if p.poll() is not None]
                if dead or time.monotonic() > until:
                    self.kill()
                    logs = [p.read_text()[-2000:] for p in self.folder.glob("*.log")]
                    raise RuntimeError(f"Swift did not start: {dead}\n" + "\n".join(logs)) from None
                time.sleep(0.1)

    # --- its configuration ---------------------------------------------------------------------

    def _configure(self) -> None:
        (self.folder / "srv" / "d1").mkdir(parents=True)
        write_config(
            self.folder / "swift.conf",
            {
                "swift-hash": {"swift_hash_path_suffix": "test"},
                "storage-policy:0": {
                    "name": "gold",
                    "default": "yes",
                    "policy_type": "replication",
                },
            },
        )
        for server in ("account", "container", "object"):
            self._ring(server)
            write_config(self._conf(server), self._storage(server))
        filters = {f"filter:{name}": values for name, values in _FILTERS.items()}
        pipeline = _PROXY
        if self._access_log is not None:
            pipeline = f"proxy-logging {_PROXY}"
            filters["filter:proxy-logging"] = {
                "use": "egg:swift#proxy_logging",
                "access_log_level": "INFO",
                "access_log_udp_host": "127.0.0.1",
                "access_log_udp_port": str(self._access_log),
            }
        write_config(
            self._conf("proxy"),
            {
                "DEFAULT": self._common("proxy"),
                "pipeline:main": {"pipeline": pipeline},
                "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"},
                **filters,
            },
        )

    def _conf(self, server: str) -> Path:
        return self.folder / f"{server}-server.conf"

    def _common(self, server: str) -> dict[str, str]:
        return {
            "bind_ip": "127.0.0.1",
            "bind_port": str(self.ports[server]),
            "workers": "0",
            "user": os.environ.get("USER")
            or subprocess.check_output(["id", "-un"], text=True).strip(),
            "swift_dir": str(self.folder),
            "log_address": str(self.folder / "nolog"),
            "log_level": "WARNING",
        }

    def _storage(self, server: str) -> dict[str, dict[str, str]]:
        return {
            "DEFAULT": self._common(server)
            | {
                "devices": str(self.folder / "srv"),
                "mount_check": "false",
                "disable_fallocate": "true",
                "fallocate_reserve": "0",
            },
            "pipeline:main": {"pipeline": f"{server}-server"},
            f"app:{server}-server": {
                "use": f"egg:swift#{server}",
                "recon_cache_path": str(self.folder),
            },
        }

    def _ring(self, server: str) -> None:
        builder = [sys.executable, str(self.bin / "swift-ring-builder"), f"{server}.builder"]
        device = f"r1z1-127.0.0.1:{self.ports[server]}/d1"
        for step in (["create", "4", "1", "0"], ["add", device, "1"], ["rebalance"]):
            subprocess.run(
                [*builder, *step], cwd=self.folder, check=False, stdout=subprocess.DEVNULL
            )
        assert (self.folder / f"{server}.ring.gz").exists()


def write_config(path: Path, sections: dict[str, dict[str, str]]) -> None:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    default = sections.pop("DEFAULT", {})
    parser.read_dict({"DEFAULT": default, **sections})
    with path.open("w") as file:
        parser.write(file)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now; none that the system gives to clients, since a server
    that is started again has to find its own one free."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports
