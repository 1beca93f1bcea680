"""Running experiments from Python: opens the store, chooses the executor, hands the results out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from druse import location
from druse.errors import DefinitionError
from druse.experiment import STRATEGIES
from druse.listener import Listener
from druse.plan import Options
from druse.run import GraphRun
from druse.session import Session, Wanted
from druse_store import Store

if TYPE_CHECKING:
    from druse.exchange import Exchange
    from druse.executors import Executor
    from druse.result import Result
    from druse.runtime import Workplace


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
    force: Iterable[str] = (),
    no_cache: Iterable[str] = (),
    views: str = "full",
    make_executor: Callable[[Workplace], Executor] | None = None,
    listener: Listener | None = None,
    exchange: Exchange | None = None,
) -> dict[str, Result]:
    """Runs experiments that are in an order in which they can run; results by name.

    `store` is the nearest one unless it is given. Raises StoreError, DefinitionError, Unhashable.
    """
    options = Options(check_strategy(strategy), frozenset(force), frozenset(no_cache))
    if store is None:
        with location.open_store() as opened:
            return _run(opened, wanted, options, views, make_executor, listener, exchange)
    return _run(store, wanted, options, views, make_executor, listener, exchange)


def _run(
    store: Store,
    wanted: list[Wanted],
    options: Options,
    views: str,
    make_executor: Callable[[Workplace], Executor] | None,
    listener: Listener | None,
    exchange: Exchange | None,
) -> dict[str, Result]:
    from druse.executors.choose import choose

    session = Session(store, wanted, options, views=views)
    chosen = make_executor or choose([each.experiment for each in wanted])
    return GraphRun(session, chosen, listener or Listener(), exchange).run()
