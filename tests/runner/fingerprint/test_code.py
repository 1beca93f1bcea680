# ruff: noqa: E501 - a case is a program on a line
"""What must hit and what must miss, by code: files are edited between processes."""

from __future__ import annotations

import pytest

from support.edited import Project


def test_comments_whitespace_formatting_and_moved_lines_hit(project: Project) -> None:
    project.write(steps="def step(x):\n    y = [x,1]\n    return {'a': y, \"b\": (y)}\n")
    before = project.key()
    project.write(
        steps="""
        # a comment


        def step(
            x,
        ):
            # another
            y = [
                x,
                1,  # one
            ]

            return {"a": y, "b": y}
        """
    )
    assert project.key().digest == before.digest


def test_docstrings_and_bare_constants_hit(project: Project) -> None:
    project.write(steps="def step(x):\n    return x\nclass A:\n    def m(self): pass\n")
    plain, cls = project.key(), project.key("steps.A")
    project.write(
        steps='''
        def step(x):
            """What it does."""
            ...
            "bare"
            return x
        class A:
            """A class."""
            "bare"
            def m(self):
                """Nothing."""
        '''
    )
    assert project.key().digest == plain.digest
    assert project.key("steps.A").digest == cls.digest


@pytest.mark.parametrize(
    "reads", ["helper.__doc__", "getattr(helper, '__doc__')", "inspect.getdoc(helper)"]
)
def test_a_docstring_misses_where_the_code_reads_it(project: Project, reads: str) -> None:
    text = f"import inspect\ndef helper():\n    '''one'''\ndef step(x):\n    return {reads}\n"
    project.write(steps=text)
    before = project.key()
    project.write(steps=text.replace("one", "two"))
    assert project.key().digest != before.digest


REACHED = {
    "called": ("from helpers import f", "return f(x)"),
    "imported in the function": ("", "from helpers import f\n    return f(x)"),
    "imported in the function as a module": ("", "import helpers\n    return helpers.f(x)"),
    "imported in the function by another name": ("", "import helpers as h\n    return h.f(x)"),
    "through a module": ("import helpers", "return helpers.f(x)"),
    "through a package": ("import pkg.mod", "return pkg.mod.f(x)"),
    "through a package in the function": ("", "import pkg.mod\n    return pkg.mod.f(x)"),
    "two modules of a package in the function": ("", "import pkg.mod, pkg.other\n    return pkg.mod.f(x)"),
    "from a package": ("from pkg import mod", "return mod.f(x)"),
    "from a package in the function": ("", "from pkg import mod\n    return mod.f(x)"),
    "in a comprehension": ("from helpers import f", "return [f(y) for y in x]"),
    "in a comprehension's iterable": ("from helpers import f", "return [y for y in f(x)]"),
    "in a nested function": ("from helpers import f", "def g(y):\n        return f(y)\n    return g(x)"),
    "in a lambda": ("from helpers import f", "return map(lambda y: f(y), x)"),
    "in a class in the function": ("from helpers import f", "class C:\n        z = f(1)\n    return C"),
    "in a method in the function": (
        "from helpers import f", "class C:\n        def m(self):\n            return f(1)\n    return C"),
    "in an f-string": ("from helpers import f", "return f'{f(x)!r:>{f(1)}}'"),
    "as a default of a nested function": ("from helpers import f", "def g(y=f(1)): pass\n    return g"),
    "as a decorator of a nested function": ("from helpers import f", "@f\n    def g(y): pass\n    return g"),
    "passed on": ("from helpers import f", "return list(map(f, x))"),
    "by from module import *": ("from helpers import *", "return f(x)"),
    "by another name": ("from helpers import f as h", "return h(x)"),
    "in a dict of functions": ("from helpers import f\nD = {'f': f}", "return D['f'](x)"),
    "in a list of lists of functions": ("from helpers import f\nD = [[f]]", "return D[0][0](x)"),
    "as a default": ("from helpers import f", "return g(x)\ndef g(x, f=f): return f(x)"),
    "by a partial": ("from helpers import f\nfrom functools import partial\np = partial(f, 1)", "return p()"),
    "in the branch of a match": ("from helpers import f", "match x:\n        case 1: return f(x)"),
    "in an except clause": ("from helpers import f", "try: pass\n    except KeyError: return f(x)"),
    "in a with": ("from helpers import f", "with f(x): pass"),
    "as an async function": ("from helpers import f", "return g(x)\nasync def g(x): return await f(x)"),
    "by a generator": ("from helpers import f", "return g(x)\ndef g(x): yield from f(x)"),
    "with starred arguments": ("from helpers import f", "return f(*x, **{})"),
    "by a walrus": ("from helpers import f", "return (y := f(x))"),
    "as an attribute of an instance": (
        "from helpers import f\nclass C: pass\nc = C()\nc.f = f", "return c.f(x)"),
    "as an attribute of a class": ("from helpers import f\nclass C:\n    g = f", "return C.g(x)"),
    "as a static method": ("from helpers import f\nclass C:\n    g = staticmethod(f)", "return C.g(x)"),
    "by a class that is called": (
        "from helpers import f\nclass C:\n    def m(self): return f(1)", "return C().m()"),
    "by an instance": (
        "from helpers import f\nclass C:\n    def m(self): return f(1)\nc = C()", "return c.m()"),
    "by a bound method": (
        "from helpers import f\nclass C:\n    def m(self): return f(1)\nm = C().m", "return m()"),
    "by a base class": (
        "from helpers import f\nclass B:\n    def m(self): return f(1)\nclass C(B): pass", "return C().m()"),
    "by a decorator's wrapper": (
        "from helpers import f\nimport functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a):\n"
        "        return f(g(*a))\n    return w\n@d\ndef h(x): return x", "return h(x)"),
    "by what a decorator wraps": (
        "from helpers import f\ndef d(g):\n    def w(*a):\n        return g(*a)\n    return w\n@d\n"
        "def h(x): return f(x)", "return h(x)"),
    "by a context manager": (
        "from helpers import f\nfrom contextlib import contextmanager\n@contextmanager\ndef c():\n"
        "    yield f(1)", "with c() as y: return y"),
    "by lru_cache": ("from helpers import f\nfrom functools import lru_cache\ng = lru_cache(f)", "return g(x)"),
    "by cache": ("from helpers import f\nimport functools\ng = functools.cache(f)", "return g(x)"),
    "by singledispatch": (
        "from helpers import f\nfrom functools import singledispatch\n@singledispatch\ndef g(x): pass\n"
        "@g.register\ndef _(x: int): return f(x)", "return g(x)"),
    "by a property": (
        "from helpers import f\nclass C:\n    @property\n    def p(self): return f(1)", "return C().p"),
    "by a cached property": (
        "from helpers import f\nfrom functools import cached_property\nclass C:\n    @cached_property\n"
        "    def p(self): return f(1)", "return C().p"),
    "by a metaclass": (
        "from helpers import f\nclass M(type):\n    def __call__(cls): return f(1)\nclass C(metaclass=M): pass",
        "return C()"),
    "by the default factory of a dataclass": (
        "from helpers import f\nfrom dataclasses import dataclass, field\n@dataclass\nclass C:\n"
        "    a: list = field(default_factory=f)", "return C()"),
    "by a partial method": (
        "from helpers import f\nfrom functools import partialmethod\nclass C:\n    m = partialmethod(f)",
        "return C().m()"),
    "by an enum's method": (
        "from helpers import f\nfrom enum import Enum\nclass E(Enum):\n    A = 1\n"
        "    def m(self): return f(1)", "return E.A.m()"),
    "by a weak reference": (
        "from helpers import f\nimport weakref\nr = weakref.ref(f)",
        "return r()(x)",
    ),
    "by the class of a module": ("import computed", "return computed.f"),
    "through getattr with a constant": ("import helpers", "return getattr(helpers, 'f')(x)"),
    "relative to a package": ("from pkg.user import h", "return h(x)"),
    "relative to a package in the function": ("from pkg.user import k", "return k(x)"),
    "by a module's __getattr__": ("import lazy", "return lazy.f(x)"),
}  # fmt: skip


@pytest.mark.parametrize("how", REACHED)
def test_a_helper_two_calls_down_misses_however_it_is_reached(project: Project, how: str) -> None:
    head, body = REACHED[how]
    helpers = "def f(x=None, *a, **k):\n    return deep(x)\ndef deep(x):\n    return {}\n"
    user = "from .mod import f\ndef h(x): return f(x)\ndef k(x):\n    from . import mod\n    return mod.f(x)\n"
    lazy = "def __getattr__(name):\n    import helpers\n    return getattr(helpers, name)\n"
    computed = (
        "import sys, types, helpers\nclass M(types.ModuleType):\n    @property\n"
        "    def f(self): return helpers.f(1)\nsys.modules[__name__].__class__ = M\n"
    )
    project.write(
        steps=f"{head}\ndef step(x):\n    {body}\n", helpers=helpers.format(1), lazy=lazy,
        computed=computed,
        pkg____init__="", pkg__mod=helpers.format(1), pkg__other="", pkg__user=user,
    )  # fmt: skip
    before = project.key()
    assert before.uncacheable is None
    project.write(helpers=helpers.format(2), pkg__mod=helpers.format(2))
    after = project.key()
    assert after.digest != before.digest
    changed = set(after.components) - set(before.components)
    assert {c[1] for c in changed} == {"deep"}, changed
    project.write(helpers=helpers.format(1), pkg__mod=helpers.format(1))
    assert project.key().digest == before.digest  # put back as it was


def test_what_is_read_from_the_dictionary_of_a_module_misses(project: Project) -> None:
    project.write(steps="import conf\ndef step(x): return conf.__dict__['K']", conf="K = 1")
    before = project.key()
    project.write(conf="K = 2")
    assert project.key().digest != before.digest


def test_an_unreferenced_function_or_global_of_the_same_module_hits(project: Project) -> None:
    text = "K = 1\n{}\ndef step(x):\n    import conf\n    return K + conf.K\n"
    project.write(steps=text.format(""), conf="K = 1\nL = 2")
    before = project.key()
    project.write(
        steps=text.format(
            "J = 7\ndef other(): return J\nclass C: pass\nHANDLE = open('/dev/null')"
        ),
        conf="K = 1\nL = 3\ndef unused(): return 5\n",
    )
    assert project.key().digest == before.digest


GLOBALS = {
    "K": ("K = {}", "K"),
    "conf.K": ("import conf", "conf.K"),
    "from conf import K": ("from conf import K", "K"),
    "from conf import K in the function": ("", "(lambda: None) or K"),
    "an attribute of a namespace": (
        "from types import SimpleNamespace\nN = SimpleNamespace(a={})",
        "N.a",
    ),
    "an attribute of a class": ("class N:\n    a = {}", "N.a"),
    "an attribute of an instance": (
        "class N:\n    def __init__(self): self.a = {}\nn = N()",
        "n.a",
    ),
    "an item": ("D = dict(a={})", "D['a']"),
    "computed": ("def f(x): return x + 1\nK = f({})", "K"),
}


@pytest.mark.parametrize("how", GLOBALS)
def test_a_global_that_is_read_misses_on_its_value(project: Project, how: str) -> None:
    head, reads = GLOBALS[how]
    if "in the function" in how:
        text = f"def step(x):\n    from conf import K\n    return {reads}\n"
    else:
        text = head + f"\ndef step(x):\n    return {reads}\n"
    project.write(steps=text.replace("{}", "1"), conf="K = 1")
    before = project.key()
    project.write(steps=text.replace("{}", "2"), conf="K = 2")
    assert project.key().digest != before.digest
    project.write(steps=text.replace("{}", "1") + "\nOTHER = 1\n", conf="OTHER = 1\nK = 1")
    assert project.key().digest == before.digest


def test_another_attribute_of_a_namespace_that_is_read_by_attribute_hits(project: Project) -> None:
    text = "class N:\n    a = 1\n    b = {}\n    def m(self): pass\ndef step(x): return N.a\n"
    project.write(steps=text.format(1))
    before = project.key()
    project.write(steps=text.format(2))
    assert project.key().digest == before.digest


@pytest.mark.parametrize(
    ("patch", "step"),
    [
        (
            "import json\njson.dumps = lambda x: {}",
            "import json\ndef step(x): return json.dumps(x)",
        ),
        (
            "import os\nos.path.extra = lambda x: {}",
            "import os\ndef step(x): return os.path.extra(x)",
        ),
        ("import builtins\nbuiltins.extra = lambda x: {}", "def step(x): return extra(x)"),
    ],
)
def test_what_was_put_into_a_module_of_another_misses(
    project: Project, patch: str, step: str
) -> None:
    keys = []
    for value in ("1", "2", "1"):
        project.write(patch=patch.format(value), steps=f"import patch\n{step}\n")
        keys.append(project.key().digest)
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]
