"""What must hit and what must miss, end to end: classes, wrappers, lambdas and the like."""

from __future__ import annotations

import pytest

from support.oneexp import Exp


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ATTRIBUTE = 1", "ATTRIBUTE = 2"),
        ("return 10", "return 20"),  # an inherited method
        ("return 100", "return 200"),  # a sibling method
        ("return 1000", "return 2000"),  # a static method
        ("return 10000", "return 20000"),  # a property
        ("made.extra = 100000", "made.extra = 200000"),  # the metaclass
    ],
)
def test_a_changed_class_misses(exp: Exp, old: str, new: str) -> None:
    exp.steps(CLASSES, names="[of_class]")
    assert exp.value() == 111112
    exp.replace("exp/steps.py", old, new)
    assert exp.misses()
    assert exp.value() > 111112


CLASSES = """
    from druse import PipelineStep

    class Meta(type):
        def __call__(cls, *args):
            made = super().__call__(*args)
            made.extra = 100000
            return made

    class Base:
        def inherited(self):
            return 10

    class Value(Base, metaclass=Meta):
        ATTRIBUTE = 1

        def total(self):
            found = self.inherited() + self.sibling() + self.static() + self.proper
            return found + self.ATTRIBUTE + self.extra + 1

        def sibling(self):
            return 100

        @staticmethod
        def static():
            return 1000

        @property
        def proper(self):
            return 10000

    class OfClass(PipelineStep):
        def __call__(self, data, ctx):
            return data, {"value": Value().total()}

    def of_class():
        return OfClass()
"""


def test_an_instance_attribute_that_the_code_reads_counts(exp: Exp) -> None:
    exp.steps(
        """
        from druse import PipelineStep

        class Adding(PipelineStep):
            def __init__(self, hidden):
                self.hidden = hidden

            def __call__(self, data, ctx):
                return data, {"value": data + self.hidden}

        def adding():
            return Adding(hidden=1)
        """,
        names="[adding]",
    )
    assert exp.value() == 2
    exp.replace("exp/steps.py", "hidden=1", "hidden=2")
    assert exp.value() == 3


DECORATOR = """
def times(n):
    def decorate(fn):
        @functools.wraps(fn)
        def wrapper(x):
            return fn(x) * n + 0
        return wrapper
    return decorate

@times(2)
def helper(x):
    return x + 1
"""


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [("n + 0", "n + 5", 9), ("@times(2)", "@times(3)", 6), ("x + 1", "x + 2", 6)],
)
def test_of_a_decorated_function_the_wrapper_its_arguments_and_the_wrapped_count(
    exp: Exp, old: str, new: str, value: int
) -> None:
    exp.step("return data, {'value': helper(data)}", "import functools\n" + DECORATOR)
    assert exp.value() == 4
    exp.replace("exp/steps.py", old, new)
    assert exp.value() == value


def test_what_a_wrapper_finds_only_as_the_function_that_it_wraps_counts(exp: Exp) -> None:
    before = """
import functools

def plainly(fn):
    def wrapper(x):
        return wrapper.__wrapped__(x)
    return functools.update_wrapper(wrapper, fn)

@plainly
def helper(x):
    return x + 1
"""
    exp.step("return data, {'value': helper(data)}", before)
    assert exp.value() == 2
    exp.replace("exp/steps.py", "x + 1", "x + 2")
    assert exp.value() == 3


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [("a + b", "a - b", -9), ("b=10", "b=20", 21), ("base, 1", "base, 2", 12)],
)
def test_of_a_partial_function_arguments_and_keywords_count(
    exp: Exp, old: str, new: str, value: int
) -> None:
    partial = """
import functools

def base(a, b):
    return a + b

helper = functools.partial(base, 1, b=10)
"""
    exp.step("return data, {'value': helper()}", partial)
    assert exp.value() == 11
    exp.replace("exp/steps.py", old, new)
    assert exp.value() == value


def test_a_lambda_counts_and_one_that_cannot_be_located_runs_uncached(exp: Exp) -> None:
    exp.step("return data, {'value': add(data)}", "add = lambda x: x + 1")
    assert exp.value() == 2
    assert exp.hits()
    exp.replace("exp/steps.py", "x + 1", "x + 2")
    assert exp.value() == 3
    exp.step("return data, {'value': pair[0](data)}", "pair = [eval('lambda x: x + 7')]")
    assert exp.misses()
    done = exp.druse("plan", "exp")
    assert exp.misses()
    assert "source" in done.out


def test_cache_lru_cache_and_singledispatch_are_unwrapped(exp: Exp) -> None:
    exp.steps(
        """
        import functools
        from druse import pipeline_step

        @functools.lru_cache
        def cached(x):
            return x + 1

        @functools.singledispatch
        def dispatched(x):
            return 0

        @dispatched.register
        def _(x: int):
            return x + 10

        @pipeline_step()
        def step(data, ctx):
            return data, {"value": cached(data) + dispatched(data)}
        """
    )
    assert exp.value() == 13
    exp.replace("exp/steps.py", "x + 1\n", "x + 2\n")
    assert exp.value() == 14
    exp.replace("exp/steps.py", "x + 10", "x + 20")
    assert exp.value() == 24
