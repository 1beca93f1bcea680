"""Objects that are tools of the program, not values of it: their kind is all that counts.

Locks, loggers, caches, pools: what they hold at a moment says nothing about what code computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.encoding import tag

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part


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
_LOCALS: Final = (
    "_thread._local _threading_local.local _contextvars.ContextVar contextvars.ContextVar"
)
_CACHES: Final = (
    "weakref.ReferenceType weakref.ref weakref.WeakKeyDictionary weakref.WeakValueDictionary "
    "weakref.WeakSet _weakrefset.WeakSet weakref.KeyedRef weakref.WeakMethod weakref.ProxyType "
    "weakref.CallableProxyType weakref.finalize"
)
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
    "os._Environ": _inert("environment"),
    "builtins.object": _inert("object"),
}
