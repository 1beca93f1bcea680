# ruff: noqa: E501, DTZ001 - tables of values
"""What must hit and what must miss, by value."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import math
import operator
import pathlib
import re
import struct
import threading
import types
import typing
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from druse.errors import DruseError, Unhashable
from druse.fingerprint import value_digest
from druse.fingerprint.builder import Builder
from druse.fingerprint.encoding import finish
from druse.fingerprint.graph import settle, standing
from druse.fingerprint.state import State


def same(a: Any, b: Any) -> bool:
    return value_digest(a) == value_digest(b)


def test_the_order_of_a_dict_does_not_count() -> None:
    assert same({"a": 1, "b": {"c": 2, 3: 4}}, {"b": {3: 4, "c": 2}, "a": 1})


def test_the_order_of_a_set_does_not_count_with_mixed_types() -> None:
    items: list[Any] = [1, "1", None, (1, "a"), b"1", 2.5, frozenset({1, "x"})]
    shuffled = items[::-1]
    assert same(set(items), set(shuffled))
    assert same(frozenset(items), frozenset(shuffled))
    assert not same(set(items), frozenset(items))


def test_an_ordered_dict_that_tells_orders_apart_does_so_here() -> None:
    a, b = collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)
    assert not same(a, b) and same(a, copy.deepcopy(a))


def test_one_true_and_one_point_zero_are_three_values() -> None:
    for wrap in (lambda x: x, lambda x: [x], lambda x: {x: 0}, lambda x: {0: x}, lambda x: {x}):
        assert len({value_digest(wrap(x)) for x in (1, True, 1.0, 1 + 0j, "1", b"1")}) == 6


def test_minus_zero_is_not_zero_and_every_nan_is_one_nan() -> None:
    odd = struct.unpack("<d", b"\1\2\3\0\0\0\xf8\xff")[0]
    assert not same(-0.0, 0.0)
    assert same(math.nan, -math.nan) and same(math.nan, odd) and same([math.nan], [odd])
    assert same(complex(0, math.nan), complex(0, odd)) and not same(complex(0, -0.0), 0j)
    assert same(np.array([1, odd]), np.array([1, math.nan]))
    assert not same(np.array([-0.0]), np.array([0.0]))


def test_equal_values_that_share_identity_or_do_not_are_the_same() -> None:
    x = [1, {"a": (2, 3)}]
    assert same([x, x], [x, copy.deepcopy(x)])
    point = Point(1, 2)
    assert same([point, point], [point, copy.deepcopy(point)])
    deep: Any = ["leaf"]
    for _ in range(64):  # two to the power of 64 leaves
        deep = [deep, deep]
    assert value_digest(deep)


def test_neighbours_that_join_to_the_same_text_differ() -> None:
    values = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        "abc",
        ("ab", "c", ""),
        (("ab",), "c"),
        [["ab"], "c"],
    ]
    empty = [
        [],
        (),
        {},
        None,
        "",
        b"",
        set(),
        frozenset(),
        0,
        False,
        0.0,
        bytearray(),
        ...,
        range(0),
    ]
    assert len({value_digest(v) for v in values + empty}) == len(values + empty)


def test_a_value_that_holds_itself_has_a_digest_whatever_it_shares() -> None:
    a: list[Any] = [1]
    a.append(a)
    b: list[Any] = [1]
    b.append([1, b])
    c: list[Any] = [2]
    c.append(c)
    assert same(a, b) and not same(a, c) and not same(a, [1, [1, []]])


def test_objects_that_point_to_each_other_are_told_apart_by_what_they_hold() -> None:
    def ring(*values: int) -> Any:
        nodes = [types.SimpleNamespace(value=v) for v in values]
        for here, there in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            here.next = there
        return nodes[0]

    assert same(ring(1, 2, 3), ring(1, 2, 3)) and same(ring(1, 2), ring(1, 2, 1, 2))
    rings = [ring(1, 2, 3), ring(2, 3, 1), ring(3, 2, 1), ring(1, 2, 3, 3), ring(1), ring(1, 2)]
    assert len({value_digest(r) for r in rings}) == len(rings)


def test_a_set_of_objects_that_point_to_each_other_has_no_order() -> None:
    def family(order: list[int]) -> Any:
        parent = Node("parent")
        for n in order:
            child = Node(f"child {n}")
            child.friends.add(parent)
            parent.friends.add(child)
        return parent

    assert same(family([1, 2, 3, 4]), family([4, 2, 3, 1]))
    assert not same(family([1, 2, 3, 4]), family([1, 2, 3, 5]))


def test_a_value_may_be_as_deep_as_memory_allows() -> None:
    def deep(leaf: int) -> Any:
        value: Any = leaf
        for _ in range(5_000):
            value = [value]
        return value

    assert same(deep(1), deep(1)) and not same(deep(1), deep(2))


@dataclasses.dataclass
class Point:
    x: Any
    y: Any
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: Any
    seen: list[Any] = dataclasses.field(default_factory=list, compare=False, hash=False)


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.friends: set[Any] = set()


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    ROUGE = 1  # noqa: PIE796


class Number(enum.IntEnum):
    ONE = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Named(typing.NamedTuple):
    a: int
    b: int = 2


class Slots:
    __slots__ = ("a", "b")


class Text(str):
    __slots__ = ("extra",)


class Listed(list[Any]):
    pass


class WithState:
    def __init__(self, kept: int, dropped: Any) -> None:
        self.kept, self.dropped = kept, dropped

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": self.kept}


def test_dataclasses_count_by_class_and_fields_but_for_those_that_do_not_compare() -> None:
    assert same(Point(1, 2, "a"), Point(1, 2, "b"))
    assert same(Slotted(1, [1]), Slotted(1, [2])) and not same(Slotted(1), Slotted(2))
    twin = dataclasses.make_dataclass("Twin", ["x", "y"])
    assert (
        len({value_digest(v) for v in (Point(1, 2), Point(2, 1), Point(1, 2.0), twin(1, 2))}) == 4
    )
    hidden = Point(1, 2)
    hidden.extra = 5  # type: ignore[attr-defined]
    assert not same(Point(1, 2), hidden)


def test_pydantic_models_count_by_class_and_fields() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        a: int = 1
        b: list[int] = []  # noqa: RUF012

    class Other(pydantic.BaseModel):
        a: int = 1
        b: list[int] = []  # noqa: RUF012
        c: int = 2

    assert same(Model(a=1), Model()) and not same(Model(a=2), Model(a=1))
    assert not same(Model(), Other())


def test_enumerations_count_by_member() -> None:
    members = [Colour.RED, Colour.GREEN, Number.ONE, 1, Flags.A, Flags.A | Flags.B, Flags(0)]
    assert len({value_digest(m) for m in members}) == len(members)
    assert same(Colour.RED, Colour.ROUGE)


def test_instances_count_by_class_and_state() -> None:
    a, b = Slots(), Slots()
    a.a = b.a = 1
    assert same(a, b)
    b.b = 2
    assert not same(a, b)
    text, plain = Text("x"), Text("x")
    text.extra = 1
    assert not same(text, plain) and not same(plain, "x") and same(plain, Text("x"))
    listed = Listed([1])
    assert not same(listed, [1]) and same(listed, Listed([1]))
    listed.extra = 1  # type: ignore[attr-defined]
    assert not same(listed, Listed([1]))
    assert same(WithState(1, threading.Lock()), WithState(1, 5)) and not same(
        WithState(1, 0), WithState(2, 0)
    )


def test_a_named_tuple_is_not_a_tuple() -> None:
    assert (
        not same(Named(1), (1, 2)) and same(Named(1), Named(1, 2)) and not same(Named(1), Named(2))
    )
    other = collections.namedtuple("Named", "a c")
    assert not same(other(1, 2), Named(1, 2))


STANDARD = [
    decimal.Decimal("1.0"), decimal.Decimal("1.00"), fractions.Fraction(1, 3), datetime.date(2020, 1, 1),
    datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, fold=1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Oslo")), datetime.time(1), datetime.time(1, 0, 1),
    datetime.timedelta(1), datetime.timedelta(0, 1), datetime.timezone(datetime.timedelta(hours=1)),
    uuid.UUID(int=1), uuid.UUID(int=2), pathlib.Path("a/b"), pathlib.PurePosixPath("a/b"), "a/b",
    pathlib.PureWindowsPath("a/b"), re.compile("a"), re.compile("a", re.I), re.compile(b"a"), range(3), range(0, 4, 2),
    slice(1), slice(1, 2), bytearray(b"a"), b"a", memoryview(b"a"), array.array("i", [1]), array.array("l", [1]),
    collections.deque([1]), collections.deque([1], 5), collections.Counter("a"), collections.defaultdict(int, a=1),
    collections.defaultdict(list, a=1), {"a": 1}, types.MappingProxyType({"a": 1}), types.SimpleNamespace(a=1),
    collections.ChainMap({"a": 1}), collections.UserDict({"a": 1}), io.StringIO("a"), io.BytesIO(b"a"),
    int, str, list[int], list[str], int | None, typing.Optional[str], typing.Any, typing.Callable[[int], str],  # noqa: UP045
    typing.Literal["a"], typing.Literal["b"], len, math.sqrt, math.log, "a".join, "b".join, [].append, str.join,
    operator.itemgetter(1), operator.itemgetter(2), operator.attrgetter("a"), functools.partial(int, base=2),
    functools.partial(int, base=3), functools.partial(int), ValueError("a"), ValueError("b"), KeyError("a"),
    NotImplemented, Colour, Number, Point, np.float64, np.float32, np.dtype("f8"), np.dtype("f4"), np.add, np.mean,
    np.random.default_rng(1), np.random.default_rng(2), np.random.RandomState(1), __import__("random").Random(1),
    object, object(), print, type, re, math,
]  # fmt: skip


def test_values_of_the_standard_library_are_told_apart_and_equal_ones_are_the_same() -> None:
    digests = [value_digest(v) for v in STANDARD]
    for n, digest in enumerate(digests):
        assert digest not in digests[:n], (STANDARD[n], STANDARD[digests.index(digest)])
    for value in STANDARD:
        if isinstance(value, np.random.Generator | decimal.Decimal | re.Pattern | pathlib.PurePath):
            assert same(value, copy.deepcopy(value))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ((i for i in "a"), "generator"),
        (open(__file__), "open file"),  # noqa: SIM115
        (iter([1]), "iterator"),
        (map(len, []), "iterator"),
        (zip(), "iterator"),
        (threading.Thread, None),
        (__import__("mmap").mmap(-1, 1), "memory map"),
        (__import__("select").epoll(), "select.epoll"),
        (__import__("_thread")._ExceptHookArgs, None),
        (compile("1", "x", "eval"), "code object"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_path(value: Any, kind: str | None) -> None:
    if kind is None:
        assert value_digest(value)
        return
    with pytest.raises(Unhashable) as raised:
        value_digest({"outer": [Point(1, {"handle": value})]}, 'WStep.params["a"]')
    assert isinstance(raised.value, DruseError)
    assert raised.value.path == 'WStep.params["a"]["outer"][0].y["handle"]'
    assert raised.value.kind == kind


def test_a_value_in_a_key_or_a_set_is_refused_with_where_it_is() -> None:
    with pytest.raises(Unhashable, match="a key"):
        value_digest({(i for i in "a"): 1})
    with pytest.raises(Unhashable, match="an item"):
        value_digest({(i for i in "a")})


def test_a_lock_in_a_value_does_not_count() -> None:
    assert same(Point(1, threading.Lock()), Point(1, threading.Lock()))


def test_the_bytes_of_a_path_are_not_read() -> None:
    assert same("/no/such/file", "/no/such/file") and not same("/no/such", "/no/such/")


UNHURRIED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans(), inner)
        | st.frozensets(st.text() | st.integers())
    ),
    max_leaves=20,
)


def by_graph(value: Any) -> Any:
    """The digest by the way that any value can go."""

    class NotPlain(Builder):
        def plain(self, value: Any) -> bytes | None:
            return (
                None if type(value) in (list, tuple, dict, frozenset, set) else super().plain(value)
            )

    node = NotPlain("used", State(frozenset())).node(value, "value")
    settle(node)
    return finish(standing(node))


@settings(max_examples=150, **UNHURRIED)
@given(plain)
@example([[], {}, (), [[[]]], {"a": [1] * 50}])
def test_plain_data_has_the_same_digest_by_either_way(value: Any) -> None:
    assert by_graph(value) == value_digest(value)


@settings(max_examples=150, **UNHURRIED)
@given(plain, plain)
def test_plain_data_differs_where_its_exact_text_does(a: Any, b: Any) -> None:
    def exact(value: Any) -> Any:
        """Equal where, and only where, the digest should be."""
        if isinstance(value, dict):
            return "d", frozenset((exact(k), exact(v)) for k, v in value.items())
        if isinstance(value, frozenset):
            return "z", frozenset(exact(v) for v in value)
        if isinstance(value, list | tuple):
            return type(value).__name__, tuple(exact(v) for v in value)
        if isinstance(value, complex):
            return "c", exact(value.real), exact(value.imag)
        return type(value).__name__, "nan" if value != value else repr(value)

    assert (value_digest(a) == value_digest(b)) == (exact(a) == exact(b))


@settings(max_examples=100, **UNHURRIED)
@given(plain)
def test_a_copy_has_the_same_digest(value: Any) -> None:
    assert value_digest(copy.deepcopy(value)) == value_digest(value)


def test_a_digest_is_asked_for_by_many_threads_at_once() -> None:
    values = [Point(n, [Point(n, n)]) for n in range(50)]
    expected = [value_digest(v) for v in values]
    found: dict[int, list[Any]] = {}

    def work(n: int) -> None:
        found[n] = [value_digest(v) for v in values]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(digests == expected for digests in found.values())
