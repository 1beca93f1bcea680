"""Runs in a thread beside an event loop: when the loop's task is cancelled, the run stops too."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from druse.run import GraphRun

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

_PATIENCE = 5.0  # seconds that a run may take to stop: a cell of its own thread goes on to its end
_starting: contextvars.ContextVar[Callable[[GraphRun], None] | None] = contextvars.ContextVar(
    "druse.starting", default=None
)


def on_start() -> Callable[[GraphRun], None] | None:
    """Whom a run that begins in this context is to be handed to."""
    return _starting.get()


async def in_thread(
    call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Calls what begins a run. When it is cancelled, what had finished is committed first."""
    begun: list[GraphRun] = []
    context = contextvars.copy_context()
    context.run(_starting.set, begun.append)
    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(None, lambda: context.run(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        for run in begun:
            run.stop()
        await asyncio.wait([running], timeout=_PATIENCE)
        if running.done():
            running.exception()  # that it was stopped is known
        raise
