"""What this thread, or this coroutine, works for: a cell's context, and what watches over it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Token

    from druse.context import FrozenContext
    from druse.watch import Watch


class UnderWay:
    """As a context: within the block, artifacts that steps keep as attributes are written to `ctx`.

    Who watched before goes on watching.
    """

    watch: Watch | None
    _token: Token[UnderWay | None]

    def __init__(self, ctx: FrozenContext | None) -> None:
        self.ctx = ctx

    def __enter__(self) -> None:
        self.watch = watch()
        self._token = here.set(self)

    def __exit__(self, *_: object) -> None:
        here.reset(self._token)


here: ContextVar[UnderWay | None] = ContextVar("druse.under_way", default=None)


def context() -> FrozenContext | None:
    """The context of the cell that is under way here."""
    found = here.get()
    return None if found is None else found.ctx


def watch() -> Watch | None:
    """The watch over what is done here."""
    found = here.get()
    return None if found is None else found.watch
