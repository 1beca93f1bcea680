from __future__ import annotations

import random

from druse import FrozenContext, SeedPlugin, Treatment
from druse.conditions import Condition, all_of
from druse.errors import ContextMutationError
from druse.fingerprint.values import value_digest
from druse.reads import ABSENT


def test_the_values_of_a_cell_are_those_of_the_treatment_and_the_replicate() -> None:
    conditions = all_of([Treatment("high", {"lr": 1.0})], {"epochs": 3}, SeedPlugin(seed=1))
    assert list(conditions) == ["baseline", "high"]
    values = conditions["high"].cell(4).values()
    assert values["lr"] == 1.0
    assert values["epochs"] == 3
    assert values["condition"] == "high"
    assert values["replicate"] == 4
    assert values["seed_used"] == conditions["baseline"].cell(4).values()["seed_used"]
    assert "lr" not in conditions["baseline"].cell(4).values()


def test_digests_are_those_of_the_values_and_absence_has_one_of_its_own() -> None:
    condition = Condition("high", Treatment("high", {"lr": 1.0}), {}, SeedPlugin())
    cell = condition.cell(2)
    assert cell.digest("lr") == value_digest(1.0)
    assert cell.digest("replicate") == value_digest(2)
    assert cell.digest("nowhere") == ABSENT
    assert condition.is_same_everywhere("lr")
    assert not condition.is_same_everywhere("replicate")
    assert not condition.is_same_everywhere("seed_used")


def test_a_callable_treatment_is_applied_for_each_replicate_with_seeded_generators() -> None:
    def draw(ctx: FrozenContext) -> None:
        ctx.add("drawn", (ctx["replicate"], random.random()))

    def drawn(replicate: int) -> object:
        condition = Condition("draw", Treatment("draw", draw), {}, SeedPlugin(seed=7))
        return condition.cell(replicate).values()["drawn"]

    assert drawn(0) == drawn(0)
    assert drawn(1) != drawn(0)


def test_a_callable_treatment_that_raises_is_noted_for_its_cells() -> None:
    def broken(ctx: FrozenContext) -> None:
        raise KeyError("nothing here")

    cell = Condition("broken", Treatment("broken", broken), {}, SeedPlugin()).cell(0)
    assert "nothing here" in str(cell.error)
    assert "in broken" in cell.error.traceback_str  # type: ignore[union-attr]


def test_a_treatment_that_sets_what_is_set_fails_its_cells() -> None:
    for values, initial in [({"lr": 1.0}, {"lr": 0.1}), ({"replicate": 1}, {})]:
        condition = Condition("high", Treatment("high", values), initial, SeedPlugin())
        error = condition.cell(0).error
        assert error is not None
        assert isinstance(error.__cause__, ContextMutationError)
        assert f"'{next(iter(values))}'" in str(error)
