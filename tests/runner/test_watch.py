"""Whose reads count for a cell: those of its own thread and of the threads that it starts."""

from __future__ import annotations

from support.oneexp import Exp

READS = """
import threading

def read(name, thread):
    found = []
    worker = threading.Thread(target=lambda: found.append(open(name).read()), name=thread)
    worker.start()
    worker.join()
    return found[0]
"""
OF_OURS = """
import threading, time

class Busy(threading.Thread):
    def __init__(self):
        super().__init__(name="druse-write-back", daemon=True)
    def run(self):
        while True:
            open("state.txt").read()
            time.sleep(0.001)

busy = Busy()
busy.start()
"""


def test_a_file_that_a_thread_of_the_step_reads_counts(exp: Exp) -> None:
    exp["data.txt"] = "1"
    exp.step("return data, {'value': int(read('data.txt', 'mine'))}", READS)
    assert exp.value() == 1
    exp["data.txt"] = "2"
    assert exp.value() == 2


def test_what_a_thread_of_ours_reads_meanwhile_does_not(exp: Exp) -> None:
    """A run that publishes as it goes writes and reads files while cells are executed."""
    exp["state.txt"] = "1"
    exp["sitecustomize_busy.py"] = OF_OURS
    exp.step("import time; time.sleep(0.1); return data, {'value': 1}", "import sitecustomize_busy")
    assert exp.value() == 1
    exp["state.txt"] = "2"
    assert exp.hits()
