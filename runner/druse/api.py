"""Running experiments from Python: opens the store, chooses the executor, hands the results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Unpack

from druse import background, location
from druse.control import Control, Wishes
from druse.display import Display
from druse.errors import DefinitionError
from druse.executors.choose import choose
from druse.experiment import STRATEGIES
from druse.listener import Listener, Listeners
from druse.plan import Options
from druse.run import GraphRun
from druse.session import Session, Wanted, shown_as_due
from druse_store import Store

if TYPE_CHECKING:
    from druse.exchange import Exchange
    from druse.executors.spec import Spec
    from druse.result import Result


def check_strategy(strategy: str) -> str:
    """Raises DefinitionError."""
    if strategy not in STRATEGIES:
        raise DefinitionError(
            f"there is no strategy {strategy!r}: choose 'resume' (take what is in the store) or "
            "'rerun' (execute everything)"
        )
    return strategy


def run(
    wanted: list[Wanted],
    *,
    strategy: str = "rerun",
    store: Store | None = None,
    views: str | None = None,
    executor: Spec | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    listener: Listener | None = None,
    exchange: Exchange | None = None,
    on_start: Callable[[GraphRun], None] | None = None,
    **wishes: Unpack[Wishes],
) -> dict[str, Result]:
    """Runs experiments that are in an order in which they can run; results by name.

    `store` is the nearest one unless it is given. `executor`, `timeout` and `retries` override what
    the experiments' plugins say, `wishes` (see `Control`) what steps say. Raises StoreError,
    DefinitionError, Unhashable; KeyboardInterrupt after a Ctrl-C, or after `stop` was called on
    what `on_start` got: what had finished is kept. `views` is what druse.yaml says, or "full".
    """
    options = Options(check_strategy(strategy), Control.of(wishes))
    choices = choose([each.experiment for each in wanted], executor, timeout, retries)
    watching = listener or Listener()
    with (
        nullcontext(store) if store is not None else location.open_store() as opened,
        _progress(wanted, watching) as watched,
    ):
        session = Session(opened, wanted, options, views=views)
        run = GraphRun(session, choices, watched, exchange)
        tell = on_start or background.on_start()
        if tell is not None:
            tell(run)
        with shown_as_due(wanted):
            return run.run()


@contextmanager
def _progress(wanted: list[Wanted], listener: Listener) -> Iterator[Listener]:
    """The listener, and a display if an experiment's plugin asks for one."""
    from druse import execution

    plugins = [execution.of(each.experiment) for each in wanted]
    asked = any(getattr(plugin, "progress", False) for plugin in plugins)
    if listener.shows_progress or not asked:
        yield listener
        return
    display = Display()
    try:
        yield Listeners(listener, display)
    finally:
        display.clear()


@contextmanager
def planning(
    store: Store, wanted: list[Wanted], *, strategy: str = "resume", **wishes: Unpack[Wishes]
) -> Iterator[Session]:
    """Within the block, a session whose plan is made: what a run would do now, and nothing done.

    Raises StoreError, DefinitionError, Unhashable.
    """
    session = Session(store, wanted, Options(check_strategy(strategy), Control.of(wishes)))
    with session.keys.fingerprinter, shown_as_due(wanted):
        session.decide_all()
        yield session
