# ruff: noqa: E501 - tables of values
"""Digests as they are: whoever changes one of these changes every key, and says so in ALGORITHM."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest

from druse.fingerprint import value_digest
from druse.fingerprint.encoding import ALGORITHM
from support.edited import Project


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.1
    layers: tuple[int, ...] = (64, 32)


class Mode(enum.Enum):
    FAST = "fast"


VALUES = {
    "none": (None, "f1267daa9117c48f"),
    "true": (True, "84cd7b4e9ce1e1c1"),
    "integer": (-(10**30), "448c142bea5067ee"),
    "float": (0.1, "7c742b9233fd4d9b"),
    "nan": (float("nan"), "d3ac8837990bcea9"),
    "text": ("größer 🙂", "3893eeb1ffa77fad"),
    "bytes": (b"\0\1", "3b28454c4fba75ee"),
    "list": ([1, [2, [3]], "x" * 100], "adc54732603823f2"),
    "dict": ({"b": 1, "a": {2: None}}, "921e7e7569c861dd"),
    "set": ({1, "1", (1,)}, "bce75f69d17cce98"),
    "date": (datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), "c8668b3e2c7de7f6"),
    "path": (PurePosixPath("a/b"), "9125294a380bff0f"),
    "array": (np.arange(6, dtype="<f4").reshape(2, 3), "519680490a6e799b"),
    "frame": (pd.DataFrame({"a": [1, 2], "b": [0.5, None]}), "67a7cc659b3a4721"),
    "instance": (Config(), "373ef3e0c6920695"),
    "member": (Mode.FAST, "600c611a83425851"),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_digest_of_a_value_is_as_it_was(name: str) -> None:
    value, expected = VALUES[name]
    assert value_digest(value).hex()[:16] == expected


STEPS = """
import functools, math, re
from dataclasses import dataclass
import helpers

RATE = 0.5
WORD = re.compile("[a-z]+")

@dataclass
class Config:
    depth: int = 3
    names: tuple = ("a", "b")

class Base:
    limit = 10
    def run(self, x, *rest, k=1, **more): return min(x, self.limit) * k

class Model(Base):
    def run(self, x, *rest, k=2, **more):
        total = 0
        for n, y in enumerate(x):
            if y is None or not WORD.match(str(y)): continue
            elif n > 3 and (z := y % 2): total += z
            else: total -= super().run(y)
        try:
            return {key: [f"{key!r:>{k}}", *rest] for key in more if key not in ("a", b"b", 1.5, ...)}
        except (KeyError, ValueError) as error:
            raise RuntimeError from error
        finally:
            del total

@functools.lru_cache
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)

async def gather(xs):
    async with helpers.lock() as lock:
        return [await x async for x in xs if lock]

def step(data, config=Config(), *, scale=lambda x: x * RATE):
    "Not counted."
    match data:
        case {"a": [first, *_], **rest} if even(first): yield first, rest
        case Config(depth=3) | None: yield from gather(data)
        case _: yield scale(math.sqrt(helpers.norm(data))), Model().run(data)
"""
HELPERS = "import contextlib\nSHIFT = 2\ndef norm(x): return sum(x) - SHIFT\nlock = contextlib.nullcontext\n"


def test_the_digest_of_code_is_as_it_was(project: Project) -> None:
    project.write(steps=STEPS, helpers=HELPERS)
    key = project.key()
    assert key.uncacheable is None
    assert (ALGORITHM, key.digest[:16]) == (1, "29445703403dfa6e")
