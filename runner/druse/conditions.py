"""Conditions: the context values that a cell begins with, and their digests.

What a condition's mapping sets is the same in all replicates and hashed once. A treatment that is
a callable is applied for each replicate, with the generators seeded, before anything runs.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from druse import seeds
from druse.context import FrozenContext
from druse.errors import ContextMutationError, DruseError
from druse.fingerprint.values import value_digest
from druse.names import BASELINE, CONDITION_KEY, REPLICATE_KEY, SEED_USED_KEY
from druse.plugins import SeedPlugin
from druse.reads import ABSENT
from druse.shown import ABSENT as ABSENT_TEXT
from druse.shown import shown
from druse.task import Given
from druse.treatments import Treatment
from druse_store import Digest

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_PLACE = -3  # of treatments, among the places that seeds are derived for


class TreatmentFailed(DruseError):
    """A callable treatment raised; `traceback_str` says where."""

    def __init__(self, name: str, error: BaseException | str, trace: str | None = None) -> None:
        super().__init__(f"Treatment '{name}' failed: {error}")
        if trace is None and isinstance(error, BaseException):
            self.__cause__ = error
            trace = "".join(traceback.format_exception(error))
        self._of = (name, str(error), trace or "")
        self.traceback_str = trace or ""

    def __reduce__(self) -> tuple[type[TreatmentFailed], tuple[str, str, str]]:
        return type(self), self._of


class Initial:
    """The context of one cell as it begins."""

    __slots__ = ("_condition", "_digests", "_extra", "error", "replicate")

    def __init__(
        self,
        condition: Condition,
        replicate: int,
        extra: Mapping[str, Any],
        error: TreatmentFailed | None = None,
    ) -> None:
        self._condition = condition
        self._extra = extra
        self._digests: dict[str, Digest] | None = None
        self.replicate = replicate
        self.error = error

    @property
    def extra(self) -> Mapping[str, Any]:
        """What a callable treatment added."""
        return self._extra

    def values(self) -> dict[str, Any]:
        """A dict of one's own; the values in it are shared."""
        condition = self._condition
        values = condition.constant.copy()
        values[REPLICATE_KEY] = self.replicate
        if self._extra:
            values.update(self._extra)
        values[SEED_USED_KEY] = condition.seed_used(self.replicate)
        return values

    def digest(self, key: str) -> Digest:
        """The digest of a key's value; ABSENT where the context does not have it."""
        if key not in self._extra:
            return self._condition.digest(key, self.replicate)
        if self._digests is None:
            self._digests = {}
        known = self._digests.get(key)
        if known is None:
            known = self._digests[key] = value_digest(self._extra[key], f"ctx[{key!r}]")
        return known

    def knows(self, key: str) -> bool:
        """Whether a key's digest is known, or of what is plain."""
        if key in self._extra:
            return self._digests is not None and key in self._digests
        return self._condition.knows(key)

    def names_digest(self) -> Digest:
        return value_digest(sorted(self.values()), "the context's keys")

    def shown(self, key: str) -> str:
        """A key's value, for people."""
        if not self.has(key):
            return ABSENT_TEXT
        return shown(self.replicate if self._is_replicate(key) else self.values()[key])

    def _is_replicate(self, key: str) -> bool:
        return key == REPLICATE_KEY and key not in self._extra

    def has(self, key: str) -> bool:
        """Whether the context has this key as the cell begins."""
        own = (REPLICATE_KEY, SEED_USED_KEY)
        return key in self._extra or key in self._condition.constant or key in own


class Bare:
    """The context that `setup` sees: the experiment's own values, before any condition's."""

    def __init__(self, initial_ctx: Mapping[str, Any]) -> None:
        self._values = dict(initial_ctx)

    def values(self) -> dict[str, Any]:
        return dict(self._values)

    def digest(self, key: str) -> Digest:
        return value_digest(self._values[key], f"ctx[{key!r}]") if key in self._values else ABSENT

    def names_digest(self) -> Digest:
        return value_digest(sorted(self._values), "the context's keys")


class Condition:
    """One condition of an experiment: the baseline or a treatment."""

    def __init__(
        self,
        name: str,
        treatment: Treatment | None,
        initial_ctx: Mapping[str, Any],
        seed: SeedPlugin,
    ) -> None:
        self.name = name
        self.treatment = treatment
        self._seed = seed
        self.root = seed.root
        self.constant: dict[str, Any] = {**initial_ctx, CONDITION_KEY: name}
        self._is_constant = treatment is None or treatment.is_constant
        self._error: TreatmentFailed | None = None
        if treatment is not None and treatment.is_constant:
            self._set(treatment.apply_map)
        self._digests: dict[str, Digest] = {}
        self._cells: dict[int, Initial] = {}

    def _set(self, values: Mapping[str, Any]) -> None:
        """Adds what a mapping sets; a key that is set already makes the condition's cells fail."""
        for key, value in values.items():
            if key in self.constant or key in (REPLICATE_KEY, SEED_USED_KEY):
                self._error = TreatmentFailed(
                    self.name,
                    ContextMutationError(
                        f"Cannot mutate existing key: '{key}' (the context has it already)"
                    ),
                )
                return
            self.constant[key] = value

    def cell(self, replicate: int) -> Initial:
        """How the cell of a replicate begins."""
        if self._is_constant:
            return Initial(self, replicate, _NOTHING, self._error)
        known = self._cells.get(replicate)
        if known is None:
            known = self._cells[replicate] = self._apply(replicate)
        return known

    @property
    def is_constant(self) -> bool:
        """Whether it sets the same in every replicate."""
        return self._is_constant

    def apply(self, replicates: int) -> None:
        """Applies a treatment that is a callable, which runs user code, for all replicates."""
        if not self._is_constant:
            for replicate in range(replicates):
                self.cell(replicate)

    def apply_one(self, replicate: int) -> None:
        """As `apply`, for one replicate."""
        if not self._is_constant:
            self.cell(replicate)

    def fails(self, replicate: int) -> bool:
        """Whether the treatment raised."""
        return not self._is_constant and self.cell(replicate).error is not None

    def given(self, replicate: int) -> Given | None:
        """What a worker has to be told of the cell of a replicate; None where it knows all."""
        if self._is_constant:
            return None
        initial = self.cell(replicate)
        return Given(initial.extra, initial.error)

    def hand(self, replicate: int, given: Given) -> None:
        """In a worker: how the cell of a replicate begins."""
        if replicate not in self._cells:
            error = given.error if isinstance(given.error, TreatmentFailed) else None
            self._cells[replicate] = Initial(self, replicate, given.extra, error)

    def lean(self) -> Condition:
        """As it is sent to workers: without its treatment, and what that gave for each cell."""
        lean = copy.copy(self)
        lean.treatment, lean._cells = None, {}
        return lean

    def is_same_everywhere(self, key: str) -> bool:
        """Whether a key has the same value in every replicate."""
        return self._is_constant and key not in (REPLICATE_KEY, SEED_USED_KEY)

    def knows(self, key: str) -> bool:
        """Whether a key's digest is known, or of what is plain."""
        return key in self._digests or key not in self.constant

    def digest(self, key: str, replicate: int) -> Digest:
        if key == REPLICATE_KEY:
            return _of_number(replicate)
        if key == SEED_USED_KEY:
            return value_digest(self.seed_used(replicate), key)
        known = self._digests.get(key)
        if known is None:
            known = ABSENT
            if key in self.constant:
                known = value_digest(self.constant[key], f"ctx[{key!r}]")
            self._digests[key] = known
        return known

    def seed_used(self, replicate: int) -> int:
        return seeds.of_replicate(self.root, replicate if self._seed.auto_seed else 0)

    def _apply(self, replicate: int) -> Initial:
        assert self.treatment is not None
        before = {**self.constant, REPLICATE_KEY: replicate}
        ctx = FrozenContext(before)
        place = replicate if self._seed.auto_seed else 0
        (self._seed.seed_fn or seeds.seed_generators)(seeds.derive(self.root, place, _PLACE))
        try:
            self.treatment.apply(ctx)
        except Exception as error:
            return Initial(self, replicate, {}, TreatmentFailed(self.name, error))
        extra = {key: value for key, value in ctx._data.items() if key not in before}
        return Initial(self, replicate, extra)


def all_of(
    treatments: list[Treatment], initial_ctx: Mapping[str, Any], seed: SeedPlugin
) -> dict[str, Condition]:
    """The baseline first, then the treatments; one called `baseline` applies to the baseline."""
    by_name: dict[str, Treatment | None] = {BASELINE: None}
    by_name.update({t.name: t for t in treatments})
    return {
        name: Condition(name, treatment, initial_ctx, seed) for name, treatment in by_name.items()
    }


@lru_cache(1 << 16)
def _of_number(number: int) -> Digest:
    return value_digest(number, REPLICATE_KEY)
