"""A worker process: takes experiments and tasks from its socket, and says what came of them."""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from druse.executors import messages
from druse.executors.bench import Bench, Setting
from druse.executors.local import OwnLoop
from druse.task import Sighting, Task

# What is sent to a worker, and what it sends: a pair of one of these and its content.
SETTING, EXPERIMENT, TASK, FINISH, QUIT = range(5)
READY, BEGAN, SIGHTED, OUTCOME = range(4)


def main(descriptor: int) -> None:
    """Serves until the socket is closed, or it is told to quit."""
    _seed_anew()
    sys.argv = ["druse worker"]
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    what, content = inbox.get()
    assert what == SETTING
    bench = Bench(_take_over(*content))
    send = _Sender(connection)
    send(READY, None)
    try:
        _serve(send, inbox, bench)
    finally:
        bench.close()


def _read(connection: Connection, inbox: queue.SimpleQueue[tuple[int, Any]]) -> None:
    """In a thread of its own: a run that has ended takes its workers along, busy or not."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(messages.decode(connection.recv_bytes()))
    os._exit(0)


def _take_over(setting: Setting, variables: dict[str, str], path: list[str] | None) -> Setting:
    """Makes the surroundings those of the run, as far as they are here."""
    os.environ.clear()
    os.environ.update(variables)
    with suppress(OSError):  # on another machine there may be no such folder
        os.chdir(setting.folder)
    if path is not None:
        sys.path[:] = path
    return setting


def _seed_anew() -> None:
    """Workers are copies of one process: without this they would all draw the same."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


class _Sender:
    """Sends from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, what: int, content: Any) -> None:
        data = messages.encode((what, content))
        with self._lock:
            try:
                self._connection.send_bytes(data)
            except OSError:
                os._exit(0)  # the run has ended: see `_read`


def _serve(send: _Sender, inbox: queue.SimpleQueue[tuple[int, Any]], bench: Bench) -> None:
    loop = OwnLoop()

    def tell(sighting: Sighting) -> None:
        send(SIGHTED, sighting)

    while True:
        what, content = inbox.get()
        if what == QUIT:
            return
        if what == EXPERIMENT:
            bench.learn(*content)
        elif what == FINISH:
            bench.finish(content)
        elif what == TASK:
            name, packed = content
            task: Task = messages.decode(packed)
            if task.timeout is not None:
                send(BEGAN, task.cell)
            outcome = bench.execute(loop, name, task, tell)
            send(OUTCOME, messages.encode_outcome(outcome))
