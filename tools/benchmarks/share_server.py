"""The S3 server that is shared, and what its log says of requests and bytes."""

import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support.swift import SECRET, USER, Swift  # the tests' own server


class Server:
    """Swift, which tells a socket here of every request of a client."""

    def __init__(self, folder):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._guard = threading.Lock()
        self.clear()
        folder.mkdir(parents=True)
        self._swift = Swift(folder, access_log=self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.buckets = 0

    def __enter__(self):
        self._thread.start()
        self._swift.start()
        return self

    def __exit__(self, *_):
        self._swift.kill()

    @property
    def environment(self):
        return {"PATH": os.environ["PATH"], **self._swift.environment}

    @property
    def endpoint(self):
        return self._swift.endpoint

    def bucket(self):
        """A new bucket's name."""
        import boto3

        self.buckets += 1
        name = f"bucket{self.buckets}"
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=USER,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        ).create_bucket(Bucket=name)
        return name

    def clear(self):
        with self._guard:
            self.requests = self.sent = self.received = 0

    def _listen(self):
        while True:
            line = self._socket.recv(65536).decode("utf-8", "replace").split()
            at = next((n for n, word in enumerate(line) if word.startswith("HTTP/1")), None)
            if at is None or "127.0.0.1" not in line[:at]:
                continue  # what the server asks itself is no client's request
            # ... METHOD path HTTP/1.1 status referer agent token bytes_recvd bytes_sent ...
            numbers = [0 if word == "-" else int(word) for word in line[at + 5 : at + 7]]
            with self._guard:
                self.requests += 1
                self.sent += numbers[0]
                self.received += numbers[1]


def measured(server, action):
    """Seconds, the children's seconds of the processor, requests and bytes of an action."""
    os.sync()
    time.sleep(0.3)
    server.clear()
    cpu, began = _cpu(), time.perf_counter()
    action()
    seconds = time.perf_counter() - began
    used = _cpu() - cpu
    time.sleep(0.3)  # the log comes a moment later
    return {
        "seconds": seconds,
        "cpu": used,
        "requests": server.requests,
        "sent": server.sent,
        "received": server.received,
    }


def _cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
