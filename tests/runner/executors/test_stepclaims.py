"""Cacheable steps that cells come to at once: who executes, who waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from druse import ParallelExecution, Treatment
from druse.stepclaims import StepClaims
from druse.task import CellName
from druse_store import Digest
from support import cells
from support.cells import experiment, levels, metrics

ONE, OTHER = (CellName("e", name, 0) for name in ("one", "other"))
STEP, EARLIER = Digest.of(b"step"), Digest.of(b"earlier")


@pytest.fixture
def claims(tmp_path: Path) -> StepClaims:
    return StepClaims(tmp_path)


def test_a_step_is_one_cells_until_that_gives_it_back(claims: StepClaims) -> None:
    assert claims.take(ONE, STEP)
    assert not claims.take(OTHER, STEP)
    claims.give_back(ONE)
    assert claims.take(OTHER, STEP)


def test_what_a_step_seemed_to_be_before_more_was_known_is_claimed_with_others(
    claims: StepClaims,
) -> None:
    """Else a cell that knows more executes what one that knew less is executing."""
    assert claims.take(ONE, EARLIER)
    assert not claims.take(OTHER, STEP, [EARLIER])
    claims.give_back(ONE)
    assert claims.take(OTHER, STEP, [EARLIER])
    assert claims.take(ONE, Digest.of(b"another"), [EARLIER])
    claims.give_back(ONE)
    assert not claims.take(ONE, EARLIER)


def test_a_claim_that_fails_keeps_nothing(claims: StepClaims) -> None:
    assert claims.take(ONE, EARLIER)
    before = len(os.listdir("/proc/self/fd"))
    assert not claims.take(OTHER, STEP, [EARLIER])
    assert len(os.listdir("/proc/self/fd")) == before
    assert claims.take(CellName("e", "third", 0), STEP)


def test_a_step_and_what_it_seemed_to_be_may_be_of_one_file(claims: StepClaims) -> None:
    assert claims.take(ONE, STEP, [STEP, EARLIER])


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_quick_step_is_executed_once_for_what_it_reads_by_cells_side_by_side(
    kind: str, tmp_path: Path
) -> None:
    steps = [cells.quick_note(folder=str(tmp_path)), cells.where()]
    treatments = [*levels(3), Treatment("other", {"grade": 5})]
    plugin = ParallelExecution(6, kind)
    found = experiment(*steps, treatments=treatments, replicates=40, plugin=plugin).run()
    assert [values["value"] for values in metrics(found).values()] == [
        [value] * 40 for value in (1, 2, 3, 4, 6)
    ]
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("ran-")]) == 80
