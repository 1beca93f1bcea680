"""What a run can be asked to do otherwise about steps."""

from __future__ import annotations

import pytest

from druse import ExperimentGraph
from support import cells
from support.cells import experiment
from support.forked import Forked
from support.oneexp import Exp, chain

STEPS = """
    from druse import pipeline_step

    def tally(name):
        with open(f"{name}.log", "a") as log:
            log.write("x")

    @pipeline_step(cacheable=True)
    def load(data, ctx):
        tally("load")
        return data

    @pipeline_step(cacheable=True)
    def clean(data, ctx):
        tally("clean")
        return data + 1

    @pipeline_step()
    def train(data, ctx, k=0):
        tally("train")
        return data, {"value": data + k}
"""


@pytest.fixture
def steps(exp: Exp) -> Exp:
    exp.steps(STEPS, "[load, clean, train]")
    assert exp.misses()
    return exp


def executed(exp: Exp, *arguments: str) -> tuple[int, ...]:
    for name in ("load", "clean", "train"):
        (exp.root / f"{name}.log").unlink(missing_ok=True)
    exp.run_one(*arguments)
    return tuple(exp.log(name) for name in ("load", "clean", "train"))


def test_a_forced_step_is_executed_and_what_follows_is_cut_off_early(steps: Exp) -> None:
    assert executed(steps) == (0, 0, 0)
    assert executed(steps, "--force", "load") == (1, 0, 1)
    assert executed(steps, "--force", "LoadStep", "--force-downstream") == (1, 1, 1)
    assert executed(steps) == (0, 0, 0)


def test_forcing_a_step_executes_the_next_experiment_only_where_bytes_differ_or_if_asked_to(
    forked: Forked,
) -> None:
    chain(forked)

    def runs(*arguments: str) -> tuple[int, int]:
        found = forked.run("down", *arguments)
        return found["up"]["run"], found["down"]["run"]

    assert runs() == (1, 1)
    assert runs("--force", "make") == (1, 0)
    assert runs("--force", "make", "--force-downstream") == (1, 1)
    assert runs("--force", "use") == (0, 1)


def test_one_map_says_which_steps_are_kept_apart_in_a_run(steps: Exp) -> None:
    rerun = ("--strategy", "rerun")
    assert executed(steps, *rerun) == (0, 0, 1)
    assert executed(steps, *rerun, "--no-cache") == (1, 1, 1)
    assert executed(steps, *rerun, "--no-cache", "clean") == (0, 1, 1)
    assert executed(steps, *rerun, "--cache", "train") == (0, 0, 1)
    assert executed(steps, *rerun, "--cache", "train") == (0, 0, 0)
    assert executed(steps, *rerun, "--no-cache", "--cache", "train") == (1, 1, 0)
    assert executed(steps, *rerun, "--no-cache", "--cache", "load") == (0, 1, 1)
    done = steps.druse("run", "--strategy", "rerun", "--no-cache", "exp")
    assert done.status == 0, done


def test_a_step_that_is_not_there_is_an_error_that_says_which_ones_are(steps: Exp) -> None:
    for option in ("--force", "--cache", "--no-cache"):
        done = steps.druse("run", "exp", option, "trian")
        assert done.status == 2
        assert "there is no step 'trian'" in done.err and "'train'" in done.err


def test_the_same_can_be_asked_for_in_python(steps: Exp) -> None:
    steps["asking.py"] = """
        import druse, logging
        made = druse.Experiment.from_yaml("exp/config.yaml")
        logging.disable()
        made.run(strategy="resume", force=["clean"])
        made.run(strategy="rerun", cache={"*": False})
        graph = druse.ExperimentGraph.from_yaml("exp")
        graph.run(strategy="rerun", cache={"load": False})
    """
    for name in ("load", "clean", "train"):
        steps.log(name, reset=True)
    steps.python("import asking")
    assert [steps.log(name) for name in ("load", "clean", "train")] == [2, 2, 3]


def test_a_wish_that_is_misspelt_is_an_error_and_not_passed_over() -> None:
    made = experiment(cells.where(), replicates=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'replicate'"):
        made.run(replicate=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'no_cache'"):
        ExperimentGraph(made).run(no_cache=True)  # type: ignore[call-arg]


def test_a_result_that_was_shared_is_no_answer_once_the_step_is_not(exp: Exp) -> None:
    drawing = """
        import random
        from druse import pipeline_step

        @pipeline_step()
        def draw(data, ctx):
            return random.random()

        @pipeline_step()
        def score(data, ctx):
            return data, {"value": data}
    """
    shared = drawing.replace("pipeline_step()", "pipeline_step(shared=True)", 1)
    exp.steps(shared, "[draw, score]", replicates="3")
    assert len(set(exp.run_one()["metrics"]["baseline"]["value"])) == 1
    exp.steps(drawing, "[draw, score]", replicates="3")
    assert len(set(exp.run_one()["metrics"]["baseline"]["value"])) == 3
    exp.steps(shared, "[draw, score]", replicates="3")
    assert exp.hits()


@pytest.mark.parametrize("how", ["given", "default", "of a datasource", "from the context"])
def test_a_parameter_that_a_step_changes_in_place_is_as_it_was_for_the_next_cell(
    exp: Exp, how: str
) -> None:
    exp.step(
        "names.append('x')\nreturn data, {'value': len(names) + len(data)}",
        takes="names=['a', 'b']",
        names="[{step: {names: [a, b]}}]" if how == "given" else "[step]",
        treatments="{t: {names: [a, b], k: 1}}" if how == "from the context" else "{t: {k: 1}}",
        replicates="3",
    )
    changing = "rows.append(2)\n    return rows" if how == "of a datasource" else "return rows"
    exp["exp/datasources.py"] = f"""
from druse import data_source

@data_source
def source(ctx, rows=[1]):
    {changing}
"""
    expected = [5 if how == "of a datasource" else 4] * 3
    for arguments in ((), ("--strategy", "rerun", "--check"), ("--strategy", "rerun", "-j", "2")):
        found = exp.run_one(*arguments)["metrics"]
        assert found["baseline"]["value"] == found["t"]["value"] == expected


def test_checking_finds_a_parameter_that_is_shared_and_that_a_step_changes_in_place(
    exp: Exp,
) -> None:
    exp.steps(
        """
        from druse import PipelineStep

        class Naming(PipelineStep):
            def __init__(self):
                self.names = ["a"]

            @property
            def params(self):
                return {"names": self.names}

            def __call__(self, data, ctx):
                self.names.append("x")
                return data, {"value": len(self.names)}

        def naming():
            return Naming()
        """,
        "[naming]",
    )
    assert exp.misses()
    done = exp.druse("run", "exp", "--strategy", "rerun", "--check")
    assert done.status == 1
    assert "Naming changed its parameter 'names' in place" in done.err


def test_a_chain_reading_nothing_of_the_treatment_is_executed_once_for_all_where_shared(
    exp: Exp,
) -> None:
    text = """
        import random
        from druse import pipeline_step

        def tally(name):
            with open(f"{name}.log", "a") as log:
                log.write("x")

        @pipeline_step(FLAGS)
        def load(data, ctx):
            tally("load")
            return [data, data]

        @pipeline_step(FLAGS)
        def clean(data, ctx):
            tally("clean")
            return [x + 1 for x in data]

        @pipeline_step(FLAGS)
        def features(data, ctx):
            tally("features")
            ctx.record("rows", len(data))
            return {"rows": data}

        @pipeline_step()
        def train(data, ctx, k=0):
            tally("train")
            return data, {"score": sum(data["rows"]) + k + random.random()}
    """
    names = "[load, clean, features, train]"
    treatments = "{a: {k: 1}, b: {k: 2}, c: {k: 3}, d: {k: 4}}"
    found = {}
    for flags, times in (("", 100), ("cacheable=True", 20), ("cacheable=True, shared=True", 1)):
        exp.steps(text.replace("FLAGS", flags), names, treatments=treatments, replicates="20")
        run = exp.run_one("--strategy", "rerun")
        assert run["run"] == 100
        found[flags] = run["metrics"]
        logs = [exp.log(name, reset=True) for name in ("load", "clean", "features", "train")]
        assert logs == [times, times, times, 100], flags
    assert found[""] == found["cacheable=True"] == found["cacheable=True, shared=True"]
