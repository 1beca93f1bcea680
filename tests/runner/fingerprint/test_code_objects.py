# ruff: noqa: E501 - a case is a program on a line
"""What must hit and what must miss: what function and class objects hold beside their text."""

from __future__ import annotations

import pytest

from support.edited import Failed, Project

MISS = {
    "which of two alike exceptions is caught": (
        "class E1(Exception): pass\nclass E2(Exception): pass\ndef step(x):\n    try: return x()\n    except E{}: return 0"),
    "which of two alike classes is asked for": (
        "class A1: pass\nclass A2: pass\ndef step(x): return isinstance(x, A{})"),
    "which of two sentinels is meant": "S1, S2 = object(), object()\ndef step(x): return x is S{}",
    "which of two empty instances is meant": (
        "class S: pass\nS1, S2 = S(), S()\ndef step(x): return x is S{}"),
    "positional patterns": (
        "class P:\n    __match_args__ = ('a{}',)\ndef step(x):\n    match x:\n        case P(a): return a"),
    "positional patterns of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass P:\n    a1: int\n    a2: int\n    __match_args__ = ('a{}',)\n"
        "def step(x):\n    match x:\n        case P(a): return a"),
    "a virtual subclass": (
        "import abc\nclass B(abc.ABC): pass\nclass C1: pass\nclass C2: pass\nB.register(C{})\ndef step(x): return isinstance(x, B)"),
    "a registered reduction": (
        "import copyreg\nclass C: pass\ndef reduced(c): return int, ({},)\ncopyreg.pickle(C, reduced)\ndef step(x): return C()"),
    "a type that is given to a generic base": (
        "import typing\nT = typing.TypeVar('T')\nclass B(typing.Generic[T]): pass\n"
        "class C(B[typing.Literal[{}]]): pass\ndef step(x): return C"),
    "a default argument": "def step(x, k={}): return k",
    "a keyword-only default": "def step(x, *, k={}): return k",
    "a default of a nested function": "def step(x):\n    def f(k={}): return k\n    return f()",
    "a default that is computed": "def one(): return {}\ndef step(x, k=one()): return k",
    "a closure's cell": "def make(n):\n    def f(x): return n\n    return f\nstep = make({})",
    "a cell two functions out": (
        "def make(n):\n    def g():\n        def f(x): return n\n        return f\n    return g()\nstep = make({})"),
    "a decorator's argument": (
        "def times(n):\n    def d(f):\n        def w(x): return f(x) * n\n        return w\n    return d\n"
        "@times({})\ndef step(x): return x"),
    "a decorator's argument with wraps": (
        "import functools\ndef times(n):\n    def d(f):\n        @functools.wraps(f)\n"
        "        def w(x): return f(x) * n\n        return w\n    return d\n@times({})\ndef step(x): return x"),
    "a decorator's wrapper": (
        "def d(f):\n    def w(x): return f(x) + {}\n    return w\n@d\ndef step(x): return x"),
    "a decorator that is a class": (
        "class D:\n    def __init__(self, f): self.f = f\n    def __call__(self, x): return self.f(x) + {}\n"
        "@D\ndef step(x): return x"),
    "an attribute of the function": "def f(x): return f.n\nf.n = {}\nstep = f",
    "a partial's argument": "import functools\ndef f(x, y): return y\nstep = functools.partial(f, {})",
    "a partial's keyword": "import functools\ndef f(x, y): return y\nstep = functools.partial(f, y={})",
    "a partial's function": "import functools\ndef f(x): return {}\nstep = functools.partial(f)",
    "a lambda": "step = lambda x: x + {}",
    "a lambda among others": "step, other = (lambda x: x + {}), (lambda x: x)",
    "a lambda in a lambda": "step = lambda x: (lambda y: y + {})",
    "a lambda out of a lambda": "step = (lambda n: lambda y: y + n)({})",
    "a lambda's default": "step = lambda x, k={}: k",
    "an operator": "def step(x): return x + 1 if {} else x - 1",
    "a class attribute": "class C:\n    k = {}\n    def __call__(self, x): return self.k\nstep = C()",
    "a class attribute that was set later": (
        "class C:\n    k = 0\n    def __call__(self, x): return self.k\nC.k = {}\nstep = C()"),
    "a class attribute of a base": (
        "class B:\n    k = {}\nclass C(B):\n    def __call__(self, x): return self.k\nstep = C()"),
    "a method that was set later": (
        "class C:\n    pass\ndef call(self, x): return {}\nC.__call__ = call\nstep = C()"),
    "an inherited method": (
        "class B:\n    def m(self): return {}\nclass C(B):\n    def __call__(self, x): return self.m()\nstep = C()"),
    "a method of a base's base": (
        "class A:\n    def m(self): return {}\nclass B(A): pass\nclass C(B):\n"
        "    def __call__(self, x): return super().m()\nstep = C()"),
    "a mixin's method": (
        "class A: pass\nclass B:\n    def m(self): return {}\nclass C(A, B): pass\nstep = C"),
    "a sibling method": (
        "class C:\n    def m(self): return {}\n    def __call__(self, x): return self.m()\nstep = C()"),
    "a static method": "class C:\n    @staticmethod\n    def m(): return {}\nstep = C",
    "a class method": "class C:\n    @classmethod\n    def m(cls): return {}\nstep = C.m",
    "a property": "class C:\n    @property\n    def m(self): return {}\nstep = C",
    "a property's setter": (
        "class C:\n    @property\n    def m(self): return 1\n    @m.setter\n    def m(self, v): self.v = {}\nstep = C"),
    "a metaclass": (
        "class M(type):\n    def m(cls): return {}\nclass C(metaclass=M): pass\nstep = C"),
    "a descriptor": (
        "class D:\n    def __get__(self, *a): return {}\nclass C:\n    d = D()\nstep = C"),
    "slots": "class C:\n    __slots__ = ('a{}',)\nstep = C",
    "a nested class": "class C:\n    class D:\n        k = {}\nstep = C",
    "an instance's attribute": (
        "class C:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return self.k\nstep = C({})"),
    "an instance's attribute in a slot": (
        "class C:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\n"
        "    def __call__(self, x): return self.k\nstep = C({})"),
    "a bound method's object": (
        "class C:\n    def __init__(self, k): self.k = k\n    def m(self, x): return self.k\nstep = C({}).m"),
    "an enum's value": "import enum\nclass E(enum.Enum):\n    A = {}\nstep = lambda x: E.A",
    "a flag's value": "import enum\nclass E(enum.IntFlag):\n    A = {}\nstep = lambda x: E.A | 8",
    "a dataclass's default": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    k: int = {}\nstep = C"),
    "a dataclass's field": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    k{}: int\nstep = C"),
    "whether a dataclass is frozen": (
        "from dataclasses import dataclass\n@dataclass(frozen={} > 1)\nclass C:\n    k: int = 1\nstep = C"),
    "a named tuple's field": "from collections import namedtuple\nC = namedtuple('C', 'a b{}')\nstep = C",
    "a typed named tuple's default": (
        "from typing import NamedTuple\nclass C(NamedTuple):\n    a: int = {}\nstep = C"),
    "a named tuple's own method": (
        "from typing import NamedTuple\nclass C(NamedTuple):\n    a: int\n    def m(self): return {}\nstep = C"),
    "the default of a context variable": (
        "from contextvars import ContextVar\nV = ContextVar('V', default={})\n"
        "def step(x): return V.get()"
    ),
    "which type of Python's is a virtual subclass": (
        "import abc\nclass A(abc.ABC): pass\nA.register((int, str)[{} % 2])\n"
        "def step(x): return isinstance(x, A)"
    ),
    "what was put into a closure's list": (
        "def make():\n    box = []\n    return (lambda: box), box.append\nget, put = make()\nput({})\n"
        "def step(x): return get()"
    ),
    "what a class decorator adds": (
        "def deco(cls):\n    cls.extra = lambda self: {}\n    return cls\n@deco\nclass C: pass\n"
        "def step(x): return C().extra()"
    ),
    "a class that a base's registry holds": (
        "class B:\n    kinds = dict()\n    def __init_subclass__(cls): B.kinds[cls.__name__] = cls\n"
        "class A(B):\n    def m(self): return {}\ndef step(x): return B.kinds['A']().m()"
    ),
    "a keyword of a class": (
        "class B:\n    def __init_subclass__(cls, k=0): cls.k = k\nclass C(B, k={}): pass\n"
        "def step(x): return C.k"
    ),
    "how a metaclass is called": (
        "class M(type):\n    def __call__(cls): return {}\nclass C(metaclass=M): pass\n"
        "def step(x): return C()"
    ),
    "what a class gives for an item": (
        "class C:\n    def __class_getitem__(cls, i): return {}\ndef step(x): return C[1]"
    ),
    "a class that `type` made": (
        "def m(self): return {}\nC = type('C', (), dict(m=m))\ndef step(x): return C().m()"
    ),
    "a dataclass that was made by a call": (
        "import dataclasses\nC = dataclasses.make_dataclass('C', [('a', int, {})])\n"
        "def step(x): return C().a"
    ),
    "an enum that was made by a call": (
        "import enum\nE = enum.Enum('E', dict(a={}))\ndef step(x): return E.a.value"
    ),
    "functions that a loop made": (
        "fs = []\nfor i in range(3):\n    def f(x, i=i): return x + i * {}\n    fs.append(f)\n"
        "def step(x): return fs[1](x)"
    ),
    "defaults that were set later": (
        "def f(x=0): return x\nf.__defaults__ = ({},)\ndef step(x): return f()"
    ),
    "what a comparison is passed on to": (
        "class V:\n    def __eq__(self, o): return {}\nv = V()\ndef step(x): return x == v"
    ),
    "the factory of a dict": (
        "import collections\nD = collections.defaultdict(lambda: {})\ndef step(x): return D[x]"
    ),
    "a range": "R = range({})\ndef step(x): return list(R)",
    "a slice": "S = slice({})\ndef step(x): return x[S]",
    "a decimal context": (
        "import decimal\nC = decimal.Context(prec={})\ndef step(x): return C.divide(x, 3)"
    ),
    "a mapping that is read only": (
        "import types\nD = types.MappingProxyType(dict(a={}))\ndef step(x): return D['a']"
    ),
    "the width in an f-string": "W = {}\ndef step(x): return f'{x:>{W}}'",
    "a typed dict's key": "from typing import TypedDict\nclass C(TypedDict):\n    k{}: int\nstep = C",
    "a protocol's method": (
        "from typing import Protocol\nclass C(Protocol):\n    def m(self): return {}\nstep = C"),
    "an abstract class's method": (
        "from abc import ABC, abstractmethod\nclass C(ABC):\n    @abstractmethod\n    def m(self): ...\n"
        "    def n(self): return {}\nstep = C"),
    "a generic class's method": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass C(Generic[T]):\n"
        "    def m(self): return {}\nstep = C"),
    "a pydantic model's default": "import pydantic\nclass C(pydantic.BaseModel):\n    k: int = {}\nstep = C",
    "a pydantic model's constraint": (
        "import pydantic\nclass C(pydantic.BaseModel):\n    k: int = pydantic.Field(gt={})\nstep = C"),
    "a pydantic model's type": (
        "import pydantic, typing\nclass C(pydantic.BaseModel):\n    k: typing.Literal[{}]\nstep = C"),
    "a pydantic model's inner model": (
        "import pydantic\nclass D(pydantic.BaseModel):\n    k: int = {}\nclass C(pydantic.BaseModel):\n"
        "    d: D\nstep = C"),
    "a pydantic model's validator": (
        "import pydantic\nclass C(pydantic.BaseModel):\n    k: int\n    @pydantic.field_validator('k')\n"
        "    def v(cls, k): return {}\nstep = C"),
    "which field a pydantic validator is for": (
        "import pydantic\nclass C(pydantic.BaseModel):\n    k1: int\n    k2: int\n"
        "    @pydantic.field_validator('k{}')\n    def v(cls, k): return 1\nstep = C"),
    "a pydantic model's configuration": (
        "import pydantic\nclass C(pydantic.BaseModel):\n    model_config = {'frozen': {} > 1}\n    k: int\nstep = C"),
    "an attrs class's default": "import attrs\n@attrs.define\nclass C:\n    k: int = {}\nstep = C",
    "an attrs class's validator": (
        "import attrs\ndef check(*a): return {}\n@attrs.define\nclass C:\n    k: int = attrs.field(validator=check)\nstep = C"),
    "an attrs class's method": "import attrs\n@attrs.define\nclass C:\n    def m(self): return {}\nstep = C",
    "a registered implementation": (
        "from functools import singledispatch\n@singledispatch\ndef step(x): pass\n"
        "@step.register(int)\ndef _(x): return {}"),
    "the type that an implementation is registered for": (
        "from functools import singledispatch\n@singledispatch\ndef step(x): pass\n"
        "@step.register((int, str)[{} - 1])\ndef _(x): return 1"),
    "a regular expression": "import re\nR = re.compile('a{}')\ndef step(x): return R.match(x)",
    "a regular expression's flags": "import re\nR = re.compile('a', {} * 8)\ndef step(x): return R.match(x)",
    "what wrapt decorates": (
        "import wrapt\n@wrapt.decorator\ndef d(f, i, a, k): return f(*a, **k)\n@d\ndef step(x): return x + {}"),
    "a decorator of wrapt": (
        "import wrapt\n@wrapt.decorator\ndef d(f, i, a, k): return f(*a, **k) + {}\n@d\ndef step(x): return x"),
    "what joblib remembers": (
        "from joblib import Memory\nm = Memory(None, verbose=0)\n@m.cache\ndef f(x): return x + {}\ndef step(x): return f(x)"),
    "a command of click": "import click\n@click.command()\n@click.option('--k', default={})\ndef step(k): return k",
    "what is validated by a type adapter": (
        "import pydantic\nclass A(pydantic.BaseModel):\n    k: int = {}\nT = pydantic.TypeAdapter(list[A])\n"
        "def step(x): return T.validate_python(x)"),
    "a constant in an annotation of a model": (
        "import pydantic\nfrom typing import Annotated\nL = {}\nclass C(pydantic.BaseModel):\n"
        "    k: Annotated[int, pydantic.Field(gt=L)]\nstep = C"),
    "what numpy vectorizes": "import numpy as np\n@np.vectorize\ndef f(x): return x + {}\ndef step(x): return f(x)",
    "a function in an estimator": (
        "from sklearn.preprocessing import FunctionTransformer as F\nf = F(lambda x: x + {})\ndef step(x): return f.fit(x)"),
    "a method of total_ordering": (
        "import functools\n@functools.total_ordering\nclass C:\n    def __lt__(self, o): return {}\nstep = C"),
    "a registered implementation of a method": (
        "from functools import singledispatchmethod as s\nclass C:\n    @s\n    def m(self, x): pass\n"
        "    @m.register\n    def _(self, x: int): return {}\nstep = C"),
    "what an enum does with a missing value": (
        "import enum\nclass E(enum.Enum):\n    A = 0\n    @classmethod\n    def _missing_(cls, v): return {}\nstep = E"),
    "an encoder of json": "import json\nclass E(json.JSONEncoder):\n    def default(self, o): return {}\nstep = E",
    "a lookup that is computed": "class A:\n    def __getattr__(self, n): return {}\na = A()\ndef step(x): return a.b",
    "a pattern that is matched": "def step(x):\n    match x:\n        case [{}, *rest]: return rest",
    "what a method caller calls": (
        "import operator\nclass A:\n    def m(self): return {}\na = A()\ncall = operator.methodcaller('m')\n"
        "def step(x): return call(a)"),
    "a nested function": "def step(x):\n    def f(): return {}\n    return f()",
    "a comprehension": "def step(x): return [y + {} for y in x]",
    "a string that is no docstring": "def step(x):\n    y = 'a{}'\n    return y",
    "an f-string": "def step(x): return f'a{{}}{x:>{}}'".replace("{{}}", ""),
    "an annotation": "def step(x: 'C{}'): return x",
    "the kind of a parameter": "def step(x, y=0, *{}): return x".replace("{}", "a{}"),
    "what is assigned to a global": "K = 0\ndef step(x):\n    global K\n    K = {}",
    "which stdlib function": "import math\ndef step(x): return math.log{}(x)".replace("{}", "{}p"),
    "an assertion": "def step(x):\n    assert x > {}\n    return x",
    "an await": "async def step(x):\n    await x({})",
    "a yield": "def step(x):\n    yield {}",
    "a coroutine's inner loop": "async def step(x):\n    return [y async for y in x({})]",
    "an exception's class": "class E{}(Exception): pass\nclass F(Exception): k = {}\ndef step(x): raise F".replace("E{}", "E"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISS)
def test_a_change_misses(project: Project, what: str) -> None:
    text = MISS[what]
    project.write(steps=text.replace("{}", "1"))
    before = project.key()
    assert before.uncacheable is None
    assert before.warnings == () or "global" in what
    project.write(steps=text.replace("{}", "2"))
    after = project.key()
    assert after.digest != before.digest
    assert set(after.components) != set(before.components), "nothing says what changed"


def test_a_class_private_name_in_a_global_is_found(project: Project) -> None:
    text = "_C__k = {}\nclass C:\n    def m(self): return __k\nstep = C\n"
    project.write(steps=text.format(1))
    before = project.key()
    project.write(steps=text.format(2))
    assert project.key().digest != before.digest


def test_two_lambdas_on_one_line_are_told_apart(project: Project) -> None:
    project.write(steps="fs = [lambda x: x + 1, lambda x: x + 2]\nstep = fs[0]\n")
    first, second = project.key("steps.fs[0]"), project.key("steps.fs[1]")
    assert first.uncacheable is None and second.uncacheable is None
    assert first.digest != second.digest
    project.write(steps="step = lambda x: x + 2\n")
    assert project.key().digest == second.digest


def test_functions_that_cannot_be_told_apart_run_uncached_with_the_reason(project: Project) -> None:
    project.write(
        steps="import types\nfs = [lambda x: x + 1, lambda x: x + 2]\n"
        "def bare(f): return f.__code__.replace(co_linetable=b'')\n"
    )
    key = project.key(
        "[types.FunctionType(steps.bare(f), {}) for f in steps.fs][0]", "import steps, types"
    )
    assert key.uncacheable is not None and "<lambda>" in key.uncacheable


@pytest.mark.parametrize(
    "made",
    ["exec('def f(x): return x', space := {}); step = space['f']", "step = eval('lambda x: x')"],
)
def test_code_without_source_runs_uncached_with_the_reason(project: Project, made: str) -> None:
    project.write(steps=made.replace("; ", "\n"))
    key = project.key()
    assert key.uncacheable is not None and "source" in key.uncacheable


def test_a_reached_function_without_source_makes_its_callers_uncached(project: Project) -> None:
    project.write(steps="f = eval('lambda x: x')\ndef step(x): return f(x)\n")
    assert project.key().uncacheable is not None


def test_what_was_imported_before_its_file_was_edited_runs_uncached(project: Project) -> None:
    project.write(steps="def step(x):\n    return 1\n")
    edit = "import steps, pathlib\npathlib.Path('steps.py').write_text('def step(x):\\n    return 2\\n')"
    key = project.key(first=edit)
    assert key.uncacheable is not None and "changed since it was imported" in key.uncacheable
    touch = "import steps, pathlib\npathlib.Path('steps.py').touch()"
    assert project.key(first=touch).uncacheable is None


def test_what_was_looked_at_before_its_file_was_edited_keeps_its_key(project: Project) -> None:
    project.write(steps="def step(x):\n    return 1\n")
    before = project.key()
    edit = (
        "import steps, pathlib\nFingerprinter().closure(steps.step)\n"
        "pathlib.Path('steps.py').write_text('# one more line\\ndef step(x):\\n    return 2\\n')"
    )
    key = project.key(first=edit)
    assert (key.digest, key.uncacheable) == (before.digest, None)


def test_a_module_that_is_loaded_anew_gets_the_key_of_its_new_text(project: Project) -> None:
    project.write(steps="def step(x):\n    return 2\n")
    new = project.key()
    project.write(steps="def step(x):\n    return 1\n")
    first = (
        "import steps, pathlib, importlib\nFingerprinter().closure(steps.step)\n"
        "pathlib.Path('steps.py').write_text('def step(x):\\n    return 2\\n')\nimportlib.reload(steps)"
    )
    assert project.key(first=first).digest == new.digest


def test_recursion_and_mutual_imports_get_one_digest_for_the_group(project: Project) -> None:
    a = "def even(n):\n    from b import odd\n    return n == 0 or odd(n - 1)\n"
    b = "import a\nK = {}\ndef odd(n): return n != K and a.even(n - 1)\ndef step(n): return step(n - 1)\n"
    project.write(a=a, b=b.format(0))
    even, odd = project.key("a.even", "import a"), project.key("b.odd", "import b")
    assert even.digest != odd.digest
    project.write(b=b.format(1))
    assert project.key("a.even", "import a").digest != even.digest
    assert project.key("b.odd", "import b").digest != odd.digest


def test_functions_that_call_each_other_are_told_apart(project: Project) -> None:
    text = "def a(n): return b(n) + 1\ndef b(n): return c(n) + {}\ndef c(n): return a(n) + 1\nstep = {}\n"
    project.write(steps=text.format(1, "a"))
    keys = {project.key(f"steps.{name}").digest for name in "abc"}
    assert len(keys) == 2 or len(keys) == 1  # a and b and c look alike as far as one can see
    project.write(steps=text.format(2, "a"))
    keys = {project.key(f"steps.{name}").digest for name in "abc"}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("(i for i in [])", "generator"),
        ("open('/dev/null')", "open file"),
        ("__import__('socket').socket()", "socket"),
        ("iter([1])", "iterator"),
        ("__import__('sqlite3').connect(':memory:')", "database connection"),
    ],
)
def test_a_global_that_cannot_be_hashed_is_an_error_that_names_it(
    project: Project, value: str, kind: str
) -> None:
    project.write(
        steps=f"class N: pass\nN.handle = {{'a': [{value}]}}\ndef step(x): return N.handle\n"
    )
    with pytest.raises(Failed) as failed:
        project.key()
    assert failed.value.kind == "Unhashable"
    assert 'steps.N.handle["a"][0]' in failed.value.message and kind in failed.value.message
    assert "step" in failed.value.message


def test_module_level_tools_do_not_count_and_can_be_read(project: Project) -> None:
    text = """
        import asyncio, contextvars, logging, queue, threading, weakref
        from concurrent.futures import ThreadPoolExecutor
        logger = logging.getLogger(__name__)
        lock, rlock, event = threading.Lock(), threading.RLock(), threading.Event()
        local = threading.local()
        variable = contextvars.ContextVar("v", default=1)
        cache = weakref.WeakValueDictionary()
        pool = ThreadPoolExecutor(2)
        jobs = queue.Queue()
        semaphore = asyncio.Semaphore(3)
        sentinel = object()
        def step(x):
            with lock, rlock:
                logger.info("x")
            return event, local, variable, cache, pool, jobs, semaphore, sentinel
        """
    project.write(steps=text)
    before = project.key()
    assert before.uncacheable is None
    project.write(
        steps=text
        + "logger.setLevel(10)\nlocal.x = 1\nevent.set()\njobs.put(1)\n".replace("\n", "\n        ")
    )
    assert project.key().digest == before.digest


def test_a_name_that_is_bound_later_than_the_definition_counts(project: Project) -> None:
    project.write(steps="def step(x): return later(x)\ndef later(x): return 1\n")
    before = project.key()
    project.write(steps="def step(x): return later(x)\ndef later(x): return 2\n")
    assert project.key().digest != before.digest


def test_a_name_that_is_missing_counts_as_missing(project: Project) -> None:
    project.write(steps="def step(x): return missing(x)\n")
    before = project.key()
    assert any("missing is not defined" in warning for warning in before.warnings)
    project.write(steps="def step(x): return missing(x)\ndef missing(x): return 1\n")
    assert project.key().digest != before.digest


def test_a_builtin_that_the_module_redefines_counts(project: Project) -> None:
    project.write(steps="def step(x): return len(x)\n")
    before = project.key()
    project.write(steps="def step(x): return len(x)\ndef len(x): return 1\n")
    assert project.key().digest != before.digest
