"""A local Dask cluster in processes of their own, which end when standard input is closed."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def main(workers: int) -> None:
    from distributed import LocalCluster

    cluster: Any = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs="ERROR",
    )
    sys.stdout.write(cluster.scheduler_address + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)  # nothing in it is worth waiting for


if __name__ == "__main__":
    main(int(sys.argv[1]))
