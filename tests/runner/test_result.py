"""Results: what they say, as frames, trees, HTML; from fresh cells and from stored ones alike."""

from __future__ import annotations

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from druse import Experiment, Hypothesis, Pipeline, Result, Treatment, data_source, pipeline_step
from druse.context import FrozenContext
from druse.errors import MissingMetricError
from druse.result import ExperimentMetrics, HypothesisResult, TreatmentMetrics
from druse_store import Store


@data_source
def number(ctx: FrozenContext) -> int:
    return ctx["replicate"] + 1  # type: ignore[no-any-return]


@pipeline_step()
def measure(data: int, ctx: FrozenContext, factor: int = 1, fail: bool = False) -> int:
    if fail and data == 2:
        raise ValueError("no second one")
    ctx.add("held", data)
    ctx.metrics.add("value", data * factor)
    ctx.metrics.add("constant", 7)
    return data


def compare(baseline: Any, treatment: Any) -> dict[str, Any]:
    return {"p_value": baseline["value"][0] / treatment["value"][-1]}


def by_name(wanted: str) -> Any:
    def fails(baseline: Any, treatment: Any) -> dict[str, Any]:
        raise ZeroDivisionError(wanted)

    return fails


def make(**more: Any) -> Experiment:
    treatments = [Treatment("triple", {"factor": 3}), Treatment("broken", {"fail": True})]
    values = {"name": "made", "treatments": treatments, "replicates": 3} | more
    return Experiment(number(), Pipeline([measure()]), **values)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    return tmp_path


def test_a_result_knows_the_cells_that_it_rests_on(here: Path) -> None:
    result = make().run()
    assert [(c.condition, c.replicate, c.how) for c in result.cells if c.condition != "triple"] == [
        ("baseline", 0, "run"),
        ("baseline", 1, "run"),
        ("baseline", 2, "run"),
        ("broken", 0, "run"),
        ("broken", 2, "run"),
    ]
    with Store.open(here / ".druse") as store:
        for cell in result.cells:
            record = store.record_by_digest(cell.record)
            assert record is not None
            assert record.metrics == cell.metrics
    triple = result.metrics.treatments["triple"]
    assert triple.metrics["value"] == [c.metrics["value"][0] for c in triple.cells] == [3, 6, 9]
    again = make().run(strategy="resume")
    assert {c.how for c in again.cells} == {"hit"}
    assert {c.record for c in again.cells} == {c.record for c in result.cells}


def test_hypotheses_say_the_same_of_stored_cells_as_of_fresh_ones(here: Path) -> None:
    hypotheses = [Hypothesis(compare, metrics="value", name="h")]
    fresh = make(hypotheses=hypotheses).run().get_hypothesis("h")
    stored = make(hypotheses=hypotheses).run(strategy="resume").get_hypothesis("h")
    assert fresh == stored
    assert fresh is not None
    assert fresh.results == {"triple": {"p_value": 1 / 9}, "broken": {"p_value": 1 / 3}}
    assert fresh.ranking == {"best": "triple", "ranked": [("triple", 1 / 9), ("broken", 1 / 3)]}
    assert fresh.replicates == {"triple": [0, 1, 2], "broken": [0, 2]}


def test_a_verifier_that_fails_costs_nothing_but_its_verdict(here: Path) -> None:
    hypotheses = [
        Hypothesis(compare, metrics="missing", name="lost"),
        Hypothesis(by_name("divided"), metrics="value", name="fails"),
        Hypothesis(compare, metrics="value", ranker=lambda result: result["q"], name="unranked"),
    ]
    result = make(hypotheses=hypotheses).run()
    assert result.metrics.treatments["triple"].metrics["value"] == [3, 6, 9]
    assert isinstance(result.errors["lost: triple"], MissingMetricError)
    assert isinstance(result.errors["fails: broken"], ZeroDivisionError)
    unranked = result.get_hypothesis("unranked")
    assert unranked is not None
    assert unranked.ranking == {"best": None, "ranked": []}
    assert unranked.results["triple"] == {"p_value": 1 / 9}
    assert any("lost: triple failed: MissingMetricError" in text for text in result.warnings)
    assert (here / "data/made/v0/baseline/results.json").exists()


def test_identical_replicates_are_warned_of_also_when_they_are_resumed(here: Path) -> None:
    first = make().run()
    assert [text for text in first.warnings if "have the same constant" in text] == [
        "all 3 replicates of baseline have the same constant: nothing in them depends on the "
        "replicate",
        "all 3 replicates of triple have the same constant: nothing in them depends on the "
        "replicate",
    ]
    assert make(replicates=2).run().warnings == []
    make(treatments=[]).run()
    resumed = make(treatments=[]).run(strategy="resume").warnings
    assert len(resumed) == 1
    assert "replicates of baseline" in resumed[0]


def test_a_frame_has_a_row_for_each_cell(here: Path) -> None:
    frame = make().run().to_dataframe()
    assert list(frame.columns) == ["condition", "replicate", "constant", "value"]
    assert frame.groupby("condition")["value"].sum().to_dict() == {
        "baseline": 6,
        "triple": 18,
        "broken": 4,
    }
    assert frame[frame.condition == "broken"].replicate.tolist() == [0, 2]


def test_a_frame_has_a_row_for_each_value_where_a_cell_has_several(here: Path) -> None:
    @pipeline_step()
    def train(data: int, ctx: FrozenContext) -> int:
        for epoch in range(data):
            ctx.record("loss", 1 / (epoch + 1), tags={"epoch": epoch})
        ctx.record("accuracy", data / 10)
        return data

    result = Experiment(number(), Pipeline([train()]), replicates=2).run()
    rows = result.to_dataframe().astype(object).where(lambda f: f.notna(), None)
    assert rows.to_dict("records") == [
        {"condition": "baseline", "replicate": 0, "index": 0, "accuracy": 0.1, "loss": 1.0},
        {"condition": "baseline", "replicate": 1, "index": 0, "accuracy": 0.2, "loss": 1.0},
        {"condition": "baseline", "replicate": 1, "index": 1, "accuracy": None, "loss": 0.5},
    ]


def test_frames_are_of_polars_where_that_is_asked_for_or_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars

    result = make(hypotheses=[Hypothesis(compare, metrics="value")]).run()
    assert isinstance(result.to_dataframe("polars"), polars.DataFrame)
    _hide(monkeypatch, "pandas")
    frame = result.to_dataframe()
    assert isinstance(frame, polars.DataFrame)
    assert frame.filter(polars.col("condition") == "triple")["value"].to_list() == [3, 6, 9]
    assert result.metrics.to_df()["condition"].to_list() == ["triple", "broken"]
    result.to_parquet(here / "result.parquet")
    assert polars.read_parquet(here / "result.parquet").height == 6


def test_without_pandas_and_polars_an_error_says_what_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = make().run()
    _hide(monkeypatch, "pandas", "polars")
    with pytest.raises(ImportError, match=r"pandas or polars is required for to_dataframe\(\)"):
        result.to_dataframe()
    with pytest.raises(ImportError, match=r"pandas is required"):
        result.to_dataframe("pandas")
    with pytest.raises(ImportError, match="to_parquet"):
        result.to_parquet("x.parquet")
    with pytest.raises(ValueError, match="'arrow'"):
        result.to_dataframe("arrow")


def _hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    import importlib

    known = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] in names:
            raise ImportError(name)
        return known(name, package)

    monkeypatch.setattr(importlib, "import_module", without)


def test_a_table_with_a_row_for_each_metric_can_be_written(here: Path) -> None:
    import pandas

    make().run().to_parquet(here / "result.parquet")
    frame = pandas.read_parquet(here / "result.parquet")
    assert set(frame.columns) == {"condition", "metric", "values", "mean"}
    row = frame[(frame.condition == "triple") & (frame.metric == "value")].iloc[0]
    assert list(row["values"]) == [3, 6, 9]
    assert row["mean"] == 6.0


def test_notebooks_show_a_table_in_which_nothing_is_markup() -> None:
    metrics = ExperimentMetrics(
        TreatmentMetrics({"<b>loss": [1.0, 2.0, 3.0]}),
        {"<script>": TreatmentMetrics({"<b>loss": [4.0], "text": ["x"]})},
        [HypothesisResult("h", {"<script>": {"p_value": 0.25, "ok": True}}, {"best": "<script>"})],
    )
    errors = {f"cell_{n}": ValueError("<i>") for n in range(30)}
    html = Result(metrics, errors=errors, run="made/v3", warnings=["careful"])._repr_html_()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "<td>2 ± 1</td>" in html
    assert "made/v3" in html
    assert "p_value = 0.25, ok = True" in html
    assert "cell_19" in html
    assert "cell_25" not in html
    assert "30 errors in all" in html
    assert "careful" in html


def test_trees_of_a_run_show_what_was_read_and_written(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @pipeline_step()
    def looks(data: int, ctx: FrozenContext) -> int:
        return data + ctx.get("held") + ctx["shift"]  # type: ignore[no-any-return]

    made = Experiment(
        number(), Pipeline([measure(), looks()]), initial_ctx={"shift": 4}, name="tree"
    )
    made.run()
    capsys.readouterr()
    made.run(strategy="resume").print_tree("step > action")
    lines = [line.strip(" │├└─") for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "Experiment Summary",
        "Step LooksStep",
        "Reads",
        "shift=4",
        "Step MeasureStep",
        "Writes",
        "held: None -> 1",
        "Write Metrics",
        "constant: () -> (7,)",
        "value: () -> (1,)",
    ]


def test_trees_do_not_take_values_for_markup_and_refuse_levels_that_are_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = {"step": "A", "ctx_changes": {"reads": {"[bold]": "[/x]"}}}
    metrics = ExperimentMetrics(TreatmentMetrics({}), {})
    result = Result(metrics, provenance={"ctx_changes": {"baseline": {0: [step]}}})
    result.print_tree()
    assert "[bold]=[/x]" in capsys.readouterr().out
    imported = builtins.__import__

    def without_rich(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("rich"):
            raise ImportError(name)
        return imported(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    result.print_tree("treatment")
    assert "Experiment Summary\n  Treatment 'baseline'\n" in capsys.readouterr().out
    for fmt in ("treatment > nothing", "step > step", "action > step"):
        with pytest.raises(ValueError, match="format"):
            result.print_tree(fmt)


def test_a_result_survives_pickling_and_becomes_plain_data(here: Path) -> None:
    result = make(hypotheses=[Hypothesis(compare, metrics="value")]).run()
    clone = pickle.loads(pickle.dumps(result))
    assert clone.metrics == result.metrics
    assert clone.cells == result.cells
    assert str(clone.errors["broken_rep_1"]) == str(result.errors["broken_rep_1"])
    plain = json.loads(result.to_json() or "")
    assert plain["run"] == "made/v0"
    assert plain["errors"] == {"broken_rep_1": "Step 'MeasureStep' failed: no second one"}
    assert plain["hypotheses"][0]["results"]["triple"] == {"p_value": 1 / 9}


@pipeline_step()
def vary(data: int, ctx: FrozenContext, place: int = 0) -> int:
    for count in range(data % 3):
        ctx.metrics.add("value", count)
    if data % 2:
        assert ctx["condition"]
    if data == 5:
        ctx.add(f"held{place}", data)
    return data


def test_a_result_says_what_the_steps_of_each_cell_did(here: Path) -> None:
    made = Experiment(number(), Pipeline([vary(), vary(place=1)]), name="various", replicates=12)
    found = made.run().provenance["ctx_changes"]["baseline"]
    for replicate in range(12):
        data = replicate + 1
        once = tuple(range(data % 3))
        for place, step in enumerate(found[replicate]):
            did = step["ctx_changes"]
            before = once * place
            value = {"value": {"before": before, "after": before + once}}
            assert did["metrics"] == (value if once else {})
            assert list(did["reads"]) == ["condition"] * (data % 2 == 1 and place == 0)
            assert list(did["wrote"]) == [f"held{place}"] * (data == 5)
