"""Contract suites for whoever implements, or changes, a part of the store.

    from druse_store.testing import BlobStoreContract

    class TestMine(BlobStoreContract):
        @pytest.fixture
        def blobs(self): ...

`BlobStoreContract` is what anything that keeps blobs does, `IndexContract` what an index does, and
`StoreMachine` a Hypothesis state machine that does everything to a store beside a dict, from
several processes, and crashes them. They need pytest and hypothesis, which the store does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from druse_store.testing.blobs import BlobStoreContract
    from druse_store.testing.index import IndexContract
    from druse_store.testing.machine import StoreMachine

__all__ = ["BlobStoreContract", "IndexContract", "StoreMachine"]

_HOMES = {"BlobStoreContract": "blobs", "IndexContract": "index", "StoreMachine": "machine"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
