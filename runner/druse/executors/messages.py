"""Messages between a run's own process and the workers that it started, or was told to use.

They are pickles: whoever can reach a worker's socket could make it execute anything all the same.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

from druse.task import Outcome, Task


class RemoteError(Exception):
    """Stands for an exception of a worker that cannot be had here."""


def encode(message: Any) -> bytes:
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def decode(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: TID251, S301 - from a process of this run


def encode_task(task: Task) -> bytes:
    """What a treatment gave may be objects of classes that only this process has."""
    if task.given is None:
        return encode(task)
    import cloudpickle

    packed: bytes = cloudpickle.dumps(task)
    return packed


def encode_outcome(outcome: Outcome) -> bytes:
    """With its exception apart, so that one which cannot be read does not take the rest along."""
    error, outcome.error = outcome.error, None
    return encode((outcome, _encode_error(error)))


def _encode_error(error: BaseException | None) -> bytes | None:
    if error is None:
        return None
    try:
        copy.copy(error)
        return encode(error)
    except Exception:  # whatever its class does
        return None


def decode_outcome(data: bytes) -> Outcome:
    outcome: Outcome
    outcome, error = decode(data)
    if outcome.failure is not None:
        outcome.error = _decode_error(error) or RemoteError(outcome.failure.message)
    return outcome


def _decode_error(data: bytes | None) -> BaseException | None:
    if data is None:
        return None
    try:
        error = decode(data)
    except Exception:  # whatever its class does
        return None
    return error if isinstance(error, BaseException) else None
