"""Cases of the kinds that the edge cases list, where results could be stale or runs needless."""

from __future__ import annotations

import pytest

from support.oneexp import Exp

# --- the context -----------------------------------------------------------------------------


@pytest.mark.parametrize("copied", ["copy.deepcopy(ctx)", "pickle.loads(pickle.dumps(ctx))"])
def test_a_context_that_is_copied_or_sent_elsewhere_is_read_as_a_whole(
    exp: Exp, copied: str
) -> None:
    body = f"""
    ctx.add("mine", 10)
    ctx.record("earlier", 100)
    other = {copied}
    return data, {{"value": other.get("a", 0) + other["mine"] + other.metrics["earlier"][0]}}
    """
    exp.step(body, "import copy, pickle", treatments="{t: {a: 1}}")
    assert exp.value("t") == 111
    assert exp.hits()
    exp.config(treatments="{t: {a: 2}}")
    assert exp.value("t") == 112


# --- conditions, setup and plugins -----------------------------------------------------------


def test_a_treatment_that_raises_fails_its_cells_though_the_baseline_has_records(exp: Exp) -> None:
    exp["raising.py"] = """
        import druse, logging
        from exp.datasources import source
        logging.disable()

        @druse.pipeline_step()
        def step(data, ctx):
            return data, {"value": 1}

        def apply(ctx):
            raise ValueError("no treatment")

        made = druse.Experiment(
            source(), druse.Pipeline([step()]), name="r", treatments=[druse.Treatment("t", apply)]
        )
        for strategy in ("resume", "resume", "rerun"):
            found = made.run(strategy=strategy)
            print([cell.condition for cell in found.cells], list(found.errors))
    """
    assert exp.python("import raising") == "['baseline'] ['t_rep_0']\n" * 3


def test_what_setup_reads_counts_as_it_was_before_any_treatment(exp: Exp) -> None:
    exp["setup_.py"] = """
        import druse, logging, sys
        from exp.datasources import source
        logging.disable()

        class Step(druse.PipelineStep):
            def setup(self, ctx):
                self.base = ctx.get("base", 0) + ctx.get("replicate", 0)

            def __call__(self, data, ctx):
                return data, {"value": self.base}

        def run(base, k):
            made = druse.Experiment(
                source(), druse.Pipeline([Step()]), name="s", replicates=2,
                initial_ctx={"base": base}, treatments=[druse.Treatment("t", {"k": k})],
            )
            found = made.run(strategy="resume")
            print([cell.how for cell in found.cells], found.metrics.baseline.metrics["value"])
    """
    hit = "['hit', 'hit', 'hit', 'hit']"
    said = exp.python("import setup_; setup_.run(1, 1)")
    assert (said.count("run"), said.count("hit")) == (2, 2)
    assert exp.python("import setup_; setup_.run(1, 2)") == f"{hit} [1, 1]\n"
    assert exp.python("import setup_; setup_.run(2, 2)").endswith("[2, 2]\n")
    assert exp.python("import setup_; setup_.run(1, 1)") == f"{hit} [1, 1]\n"


def test_what_a_plugin_that_only_looks_reads_does_not_count(exp: Exp) -> None:
    exp["looking.py"] = """
        import druse, logging
        from exp.datasources import source
        logging.disable()

        class Looking(druse.BasePlugin):
            observes_only = True
            def before_replicate(self, experiment, ctx):
                print("saw", ctx.get("note"), len(ctx.as_dict()) > 0, open("x.txt").read())

            def after_step(self, experiment, step, data, ctx):
                ctx.get("note")

        @druse.pipeline_step()
        def step(data, ctx):
            return data, {"value": 1}

        def run(note):
            made = druse.Experiment(
                source(), druse.Pipeline([step()]), name="l", plugins=[Looking()],
                initial_ctx={"note": note},
            )
            print([cell.how for cell in made.run(strategy="resume").cells])
    """
    exp["x.txt"] = "1"
    assert exp.python("import looking; looking.run(1)") == "saw 1 True 1\n['run']\n"
    exp["x.txt"] = "2"
    assert exp.python("import looking; looking.run(2)") == "['hit']\n"


def test_a_volatile_step_runs_for_each_cell_and_what_follows_is_cut_off_early(exp: Exp) -> None:
    exp.steps(
        """
        from druse import pipeline_step

        def tally(name):
            with open(f"{name}.log", "a") as log:
                log.write("x")

        @pipeline_step(volatile=True)
        def look(data, ctx):
            tally("look")
            return 7

        @pipeline_step(cacheable=True)
        def learn(data, ctx):
            tally("learn")
            return data, {"value": data}
        """,
        "[look, learn]",
        treatments="{t: {unread: 1}}",
    )
    assert exp.misses()
    assert exp.misses()
    assert (exp.log("look"), exp.log("learn")) == (4, 1)


# --- what overrides code ---------------------------------------------------------------------


def test_a_version_stands_for_the_code_and_belongs_to_one_step(exp: Exp) -> None:
    text = """
        from druse import pipeline_step

        @pipeline_step(version=1)
        def first(data, ctx, k=0):
            return data, {"value": 1}

        @pipeline_step(version=1)
        def second(data, ctx, k=0):
            return data, {"value": 2}
    """
    exp.steps(text, "[first]")
    assert exp.value() == 1
    exp.config(steps="[second]")
    assert exp.value() == 2
    exp.config(steps="[first]")
    exp.replace("exp/steps.py", '"value": 1', '"value": 10')
    assert exp.hits()
    exp.config(steps="[{first: {k: 1}}]")
    assert exp.value() == 10
    exp.config(steps="[first]")
    exp.replace("exp/steps.py", "(version=1)", "(version=2)")
    assert exp.value() == 10


def test_an_overridden_step_hash_stands_for_the_code(exp: Exp) -> None:
    exp.steps(
        """
        from druse import PipelineStep

        class Own(PipelineStep):
            @property
            def step_hash(self):
                return "one"

            def __call__(self, data, ctx):
                return data, {"value": 1}

        def own():
            return Own()
        """,
        "[own]",
    )
    assert exp.value() == 1
    exp.replace("exp/steps.py", '"value": 1', '"value": 2')
    assert exp.hits()
    exp.replace("exp/steps.py", '"one"', '"two"')
    assert exp.value() == 2
