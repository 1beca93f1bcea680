"""An experiment's `config.yaml`: what its values may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from druse import Experiment, LoggingPlugin, Pipeline, data_source, pipeline_step
from druse.errors import ConfigError


@data_source
def nothing(ctx):
    return 0


@pipeline_step()
def same(data, ctx):
    return data


def configured(folder: Path, replicates: str) -> Experiment:
    (folder / "datasources.py").write_text(
        "from druse import data_source\n\n@data_source\ndef n(ctx):\n    return 1\n"
    )
    (folder / "steps.py").write_text(
        "from druse import pipeline_step\n\n@pipeline_step()\ndef add(data, ctx):\n    return 1\n"
    )
    config = folder / "config.yaml"
    config.write_text(f"datasource: {{n: n}}\nsteps: [add]\nreplicates: {replicates}\n")
    return Experiment.from_yaml(config)


@pytest.mark.parametrize("text", ["3", '"3"', "' 3 '"])
def test_a_number_of_replicates_may_be_written_as_text(tmp_path: Path, text: str) -> None:
    assert configured(tmp_path, text).replicates == 3


@pytest.mark.parametrize("text", ["0", '"0"', "-1", "2.5", '"two"', "true"])
def test_what_is_no_number_of_replicates_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="replicates has to be a whole number from 1"):
        configured(tmp_path, text)


def test_one_replicate_tried_alone_is_not_counted_beyond_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Experiment(nothing(), Pipeline([same()]), name="tried", plugins=[LoggingPlugin(True)])
    with caplog.at_level("INFO", "druse"):
        made.debug(replicate=1, verbose=True)
    said = [r.getMessage() for r in caplog.records if "finished step" in r.getMessage()]
    assert said
    assert all(text.startswith("Rep 2/2 baseline") for text in said)
