"""Objects that are tools of the program, not values of it: their kind is all that counts.

Locks, loggers, caches, pools: what they hold at a moment says nothing about what code computes.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.encoding import tag
from druse.fingerprint.proxies import is_code

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part


def _reference(builder: Builder, value: Any, node: Node) -> list[Part]:
    """Of what is referred to weakly, code counts: nothing else is there for certain."""
    found = value() if callable(value) else None
    found = getattr(found, "__func__", found)
    return [tag("weak"), builder.part(found, node.path)] if is_code(found) else [tag("weak")]


def _variable(builder: Builder, value: Any, node: Node) -> list[Part]:
    """Of a context variable, what it is where nobody set it."""
    try:
        default = contextvars.Context().run(value.get)
    except LookupError:
        return [tag("local")]
    return [tag("local"), builder.part(default, f"{node.path}, its default")]


def _inert(kind: str) -> Any:
    encoded = tag(kind)

    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        return [encoded]

    return expand


_LOCKS: Final = (
    "_thread.lock _thread.RLock threading.Condition threading.Event threading.Semaphore "
    "threading.BoundedSemaphore threading.Barrier threading._RLock asyncio.locks.Lock "
    "asyncio.locks.Event asyncio.locks.Condition asyncio.locks.Semaphore "
    "asyncio.locks.BoundedSemaphore asyncio.locks.Barrier multiprocessing.synchronize.Lock "
    "multiprocessing.synchronize.RLock multiprocessing.synchronize.Semaphore "
    "multiprocessing.synchronize.BoundedSemaphore multiprocessing.synchronize.Condition "
    "multiprocessing.synchronize.Event"
)
_LOGGERS: Final = (
    "logging.Logger logging.RootLogger logging.LoggerAdapter logging.Handler logging.Filter "
    "logging.Formatter logging.Manager"
)
_LOCALS: Final = "_thread._local _threading_local.local"
_CACHES: Final = (
    "weakref.WeakKeyDictionary weakref.WeakValueDictionary "
    "weakref.WeakSet _weakrefset.WeakSet weakref.KeyedRef weakref.ProxyType "
    "weakref.CallableProxyType weakref.finalize"
)
_REFERENCES: Final = "weakref.ReferenceType weakref.ref weakref.WeakMethod"
_VARIABLES: Final = "_contextvars.ContextVar contextvars.ContextVar"
_POOLS: Final = (
    "concurrent.futures.thread.ThreadPoolExecutor concurrent.futures.process.ProcessPoolExecutor "
    "multiprocessing.pool.Pool multiprocessing.pool.ThreadPool queue.Queue queue.LifoQueue "
    "queue.PriorityQueue _queue.SimpleQueue asyncio.queues.Queue threading.Thread threading.Timer"
)

TREATMENTS: Final = {
    **dict.fromkeys(_LOCKS.split(), _inert("lock")),
    **dict.fromkeys(_LOGGERS.split(), _inert("logger")),
    **dict.fromkeys(_LOCALS.split(), _inert("local")),
    **dict.fromkeys(_CACHES.split(), _inert("weak")),
    **dict.fromkeys(_POOLS.split(), _inert("pool")),
    **dict.fromkeys(_REFERENCES.split(), _reference),
    **dict.fromkeys(_VARIABLES.split(), _variable),
    "os._Environ": _inert("environment"),
    "builtins.object": _inert("object"),
}
