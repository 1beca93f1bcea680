"""Seeds: each step of each replicate begins with generators of its own, whatever ran before."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dis import get_instructions
from functools import lru_cache
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from typing import Any, NamedTuple

from druse import numpys
from druse_store import Digest

_DOMAIN = b"druse:seed:1\x00"
SOURCE = -1  # the place of the datasource, before step 0
_REPLICATE = -2  # no place: what steps see as the replicate's seed
BEFORE_REPLICATE = -4  # of hooks; -3 is a treatment


def never() -> bool:
    """What does not happen where nothing is shared."""
    return False


class Seeding(NamedTuple):
    """How the generators are set before a step.

    `has_drawn` says whether something may have been drawn that the seed does not give.
    """

    seed: Callable[[int], None]
    has_drawn: Callable[[], bool] = never

    @property
    def is_shared(self) -> bool:
        """Whether cells run together, and nobody sets the generators."""
        return self.has_drawn is not never


@lru_cache(maxsize=1 << 14)  # the conditions of a replicate share theirs
def derive(root: int, replicate: int, position: int) -> int:
    """A seed of 32 bits for one step of one replicate; position -1 is the datasource."""
    text = f"{root}/{replicate}/{position}".encode()
    return int.from_bytes(Digest.of(_DOMAIN + text)[:4], "big")


def of_setup(position: int) -> int:
    """The place of a step's `setup`."""
    return -5 - 4 * position


def before_step(position: int) -> int:
    """The place of hooks before a step."""
    return -6 - 4 * position


def after_step(position: int) -> int:
    """The place of hooks after a step."""
    return -7 - 4 * position


def of_resource(root: int, name: str) -> int:
    """The seed for making a resource, which all replicates share."""
    return int.from_bytes(Digest.of(_DOMAIN + f"{root}/{name}".encode())[:4], "big")


def after_resource(root: int, replicate: int, position: int, count: int) -> int:
    """The seed for what a step draws after it has used so many resources."""
    text = f"{root}/{replicate}/{position}/{count}".encode()
    return int.from_bytes(Digest.of(_DOMAIN + text)[:4], "big")


def of_replicate(root: int, replicate: int) -> int:
    """What `ctx["seed_used"]` holds."""
    return derive(root, replicate, _REPLICATE)


_shared: Any = getattr(random.seed, "__self__", None)  # the instance behind random's functions
_seed_instance = super(random.Random, random.Random).seed


def _seed_random(seed: int) -> None:
    """`random.seed(seed)` for a whole number, at two thirds of its cost."""
    _seed_instance(_shared, seed)
    _shared.gauss_next = None


# What a function can do that cannot draw: give back what it was given, and what is written there.
_HARMLESS = frozenset(
    {
        *("RESUME", "NOP", "CACHE", "RETURN_VALUE", "RETURN_CONST"),
        *("LOAD_CONST", "LOAD_SMALL_INT", "LOAD_FAST", "LOAD_FAST_BORROW"),
        *("BUILD_LIST", "BUILD_TUPLE", "BUILD_CONST_KEY_MAP"),
    }
)


def cannot_draw(function: Any) -> bool:
    """Whether a function draws nothing for certain: it calls nothing at all.

    So that the generators need not be set before it, which takes longer than it does.
    """
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR):
        return False
    return all(each.opname in _HARMLESS for each in get_instructions(code))


def seed_generators(seed: int) -> None:
    """Sets the global generators of random, numpy and (where it is loaded) torch."""
    _seed_random(seed)
    numpys.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):
        torch.manual_seed(seed)


def state() -> tuple[Any, ...]:
    """The state of all shared generators that there are."""
    torch = sys.modules.get("torch")
    numpy = sys.modules.get("numpy") if torch is None else numpys.load()
    found: list[Any] = [(random.getstate(), numpys.waiting())]
    if numpy is not None and hasattr(numpy, "random"):
        kind, keys, *rest = numpy.random.get_state()
        found.append((kind, keys.tobytes(), *rest))
    if torch is not None and hasattr(torch, "get_rng_state"):
        found.append(torch.get_rng_state().numpy().tobytes())
    return tuple(found)


def restore(found: tuple[Any, ...]) -> None:
    """Sets the generators to what `state` gave."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    of_random, waiting = found[0]
    random.setstate(of_random)
    if waiting is not None and len(found) == 1:
        numpys.seed(waiting)  # which may have been loaded since
    if numpy is not None and len(found) > 1:
        kind, keys, *rest = found[1]
        numpy.random.set_state((kind, numpy.frombuffer(keys, numpy.uint32), *rest))
    if torch is not None and len(found) > 2:
        torch.set_rng_state(torch.frombuffer(bytearray(found[2]), dtype=torch.uint8))


@contextmanager
def apart(seed: Callable[[int], None], value: int) -> Iterator[None]:
    """Within the block the shared generators are set; after it they are what they were before."""
    before = state()
    seed(value)
    try:
        yield
    finally:
        restore(before)
