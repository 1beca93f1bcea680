"""Looking things up in the store without holding a transaction while user code runs.

A view that is kept open keeps the index from reusing space, and user code may take hours. So a view
is opened when something is looked up, kept for what is looked up next, and given up (`let_go`)
before anything of the user's is called: treatments, imports, a value's own pickling.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from druse_store import Digest, Record, Store, View


class Glance:
    """`with Glance(store) as glance: glance.record_at(...)`: the lookups of a view."""

    __slots__ = ("_store", "_view")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._view: View | None = None

    def __enter__(self) -> Glance:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go()

    def let_go(self) -> None:
        """What is looked up next is looked up in the store as it is then."""
        if self._view is not None:
            view, self._view = self._view, None
            view.__exit__(None, None, None)

    def _open(self) -> View:
        view = self._view
        if view is None:
            view = self._view = self._store.reading().__enter__()
        return view

    @property
    def commit(self) -> int:
        """The last commit that is seen."""
        return self._open().head().commit

    @property
    def has_offers(self) -> bool:
        return self._open().has_offers

    def record_at(self, signature: Digest, replicate: int) -> Record | None:
        return self._open().record_at(signature, replicate)

    def records_at(self, signature: Digest) -> dict[int, Digest]:
        return self._open().records_at(signature)

    def record_by_digest(self, digest: Digest) -> Record | None:
        return self._open().record_by_digest(digest)

    def next_reads(self, node: Digest) -> tuple[str, ...]:
        return self._open().next_reads(node)

    def failed_under_base(self, base: Digest) -> list[Record]:
        return list(self._open().failed_under_base(base))
