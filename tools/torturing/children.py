"""Forked children: they start in milliseconds, since all is imported already.

The parent never opens a store, so nothing of one is inherited.
"""

import json
import os
import select
import signal
import sys
import traceback

# Seconds after which a case counts as hanging: its child gets SIGALRM. They are counted one by one,
# as children and their parent may be stopped together, and a machine may stand still.
HANG = 90


def spawn(function, *arguments):
    """The process id of a child that runs `function` and ends."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        function(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait(pid):
    """The exit status; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ask(function, *arguments):
    """What `function` returns (JSON-able) when it runs in a child. Raises RuntimeError."""
    (outcome,) = each(lambda _: function(*arguments), [None])
    if outcome.get("died") or outcome.get("error"):
        raise RuntimeError(f"{function.__name__}: {outcome}")
    return outcome["value"]


def each(function, cases):
    """Run `function(case)` for each case in children, and yield its outcome: a dict with `value`,
    `error` (what it raised) or `died` (a signal's name). A case that kills its child costs only
    itself: the next one starts in a new child.
    """
    cases = list(cases)
    begin = 0
    while begin < len(cases):
        read, write = os.pipe()
        pid = spawn(_run_cases, function, cases[begin:], read, write)
        os.close(write)
        for line in _answers(read, pid):
            begin += 1
            yield json.loads(line)
        status = wait(pid)
        if status < 0:
            begin += 1
            yield {"died": signal.Signals(-status).name}
        elif begin < len(cases):
            raise RuntimeError(f"a child ended with status {status} before its cases did")


def _answers(read, pid):
    """Whole lines from a child, which is ended if there comes none for too long."""
    waiting, waited = b"", 0
    with os.fdopen(read, "rb", 0) as answers:
        while True:
            if not select.select([answers], [], [], 1)[0]:
                waited += 1
                if waited >= HANG:
                    os.kill(pid, signal.SIGALRM)
                    waited = 0
                continue
            data = answers.read(1 << 16)
            if not data:
                return
            *lines, waiting = (waiting + data).split(b"\n")
            yield from lines
            waited = 0


def _run_cases(function, cases, read, write):
    os.close(read)
    for case in cases:
        try:
            answer = {"value": function(case)}
        except Exception as error:
            answer = {"error": "".join(traceback.format_exception(error)[-3:])}
        os.write(write, json.dumps(answer).encode() + b"\n")
