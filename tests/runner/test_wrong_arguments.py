"""What experiments and their runs are given by mistake: an error that says what is to be given."""

from __future__ import annotations

from typing import Any

import pytest

from druse import ExperimentGraph, Treatment
from druse.errors import DefinitionError, InvalidName
from support import cells
from support.cells import experiment


@pytest.mark.parametrize("replicates", ["3", 2.5, True])
def test_replicates_are_a_whole_number_also_for_one_run(replicates: Any) -> None:
    made = experiment(cells.where())
    for run in (made.run, ExperimentGraph(made).run):
        with pytest.raises(TypeError, match="replicates must be an integer"):
            run(replicates=replicates)


@pytest.mark.parametrize("treatments", ["t", ["t"], {"t": {"k": 1}}, [{"name": "t"}]])
def test_treatments_are_a_list_of_treatments(treatments: Any) -> None:
    with pytest.raises(DefinitionError, match="a list of what Treatment"):
        experiment(cells.where(), treatments=treatments)
    made = experiment(cells.where())
    for run in (made.run, ExperimentGraph(made).run):
        with pytest.raises(DefinitionError, match="a list of what Treatment"):
            run(treatments=treatments)


def test_two_treatments_of_one_name_are_said_to_be_that() -> None:
    twice = [Treatment("t", {"k": 1}), Treatment("t", {"k": 2})]
    with pytest.raises(InvalidName, match="two treatments are called 't': rename one of them"):
        experiment(cells.where(), treatments=twice).validate()
