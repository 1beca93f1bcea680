"""What people get wrong: a clear message on standard error, the right exit status, nothing lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.project import Done, Project


def refused(done: Done, status: int, *words: str) -> None:
    assert done.status == status, done
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


def test_a_configuration_that_is_not_there(project: Project) -> None:
    refused(project.druse("run", "missing.yaml"), 2, "missing.yaml does not exist")
    project["experiments/fit/config.yaml"] = "name: fit\n"
    refused(project.druse("run", "fit"), 2, "did you mean experiments/fit?")


def test_a_folder_without_a_configuration(project: Project) -> None:
    (project.root / "empty").mkdir()
    refused(project.druse("run", "empty"), 2, "holds no config.yaml")


def test_a_file_that_is_no_yaml(project: Project) -> None:
    project["bad/config.yaml"] = "name: [unclosed"
    refused(project.druse("run", "bad"), 2, "no valid YAML", "config.yaml")


def test_a_typo_in_a_steps_name(chained: Project) -> None:
    chained.replace("draw/config.yaml", "- keep", "- kep")
    refused(chained.druse("run", "draw"), 2, "'kep'", "did you mean 'keep'?")


def test_a_typo_in_a_key(chained: Project) -> None:
    chained.replace("draw/config.yaml", "replicates: 3", "replicate: 3")
    refused(chained.druse("run", "draw"), 2, "'replicate'", "did you mean 'replicates'?")


def test_an_unknown_parameter_of_a_step(chained: Project) -> None:
    chained.replace("draw/config.yaml", "factor: 2", "faktor: 2")
    refused(chained.druse("run", "draw"), 2, "Unknown parameters: faktor", "it takes: factor")


def test_a_reference_to_an_experiment_that_is_not_there(chained: Project) -> None:
    chained.replace("total/config.yaml", "draw#kept", "drew#kept")
    refused(chained.druse("run", "total"), 2, "'drew' not found", "did you mean 'draw'?")


def test_a_reference_to_an_output_that_is_not_there(chained: Project) -> None:
    chained.replace("total/config.yaml", "draw#kept", "draw#left")
    refused(chained.druse("run", "total"), 2, "draw#left", "it has: kept")


def test_a_cycle(chained: Project) -> None:
    chained["draw/config.yaml"] = """
        name: draw
        datasource: {value: "total#sum"}
        steps: [keep]
        outputs: {kept: {file_name: kept.json, writer: to_json, loader: from_json}}
    """
    chained["total/config.yaml"] = """
        datasource: {value: "draw#kept"}
        steps: [double]
        outputs: {sum: {}}
    """
    chained["total/steps.py"] = """
        from druse import Artifact, pipeline_step

        @pipeline_step()
        def double(data, ctx, sum: Artifact):
            sum.write("x")
    """
    refused(chained.druse("run", "total"), 2, "contains cycles", "draw", "total")


def test_an_output_that_no_step_uses(chained: Project) -> None:
    chained.replace("draw/config.yaml", "outputs:", "outputs:\n  unused: {}")
    done = chained.druse("run", "draw")
    refused(done, 2, "Outputs not used in any step: unused")


def test_names_that_cannot_be_folders(chained: Project) -> None:
    chained.replace("draw/config.yaml", "large:", "replicate_3:")
    refused(chained.druse("run", "draw"), 2, "'replicate_3' cannot be the name of a treatment")
    chained.replace("draw/config.yaml", "replicate_3:", "../up:")
    refused(chained.druse("run", "draw"), 2, "'../up' cannot be the name of a treatment")
    chained.replace("draw/config.yaml", "../up:", "Shifted:")
    refused(chained.druse("run", "draw"), 2, "'Shifted'", "'shifted'")


def test_a_step_that_raises_fails_its_cell_and_shows_its_whole_traceback(chained: Project) -> None:
    chained.replace("draw/steps.py", "return data * factor", "return data / (ctx['replicate'] - 1)")
    done = chained.druse("run", "total")
    assert done.status == 1
    assert "3 failed" in done.out, done
    assert "in scale" in done.err
    assert "druse/cell.py" not in done.err
    assert "ZeroDivisionError" in done.err
    assert "blocked" in done.out
    shown = chained.druse("show", "draw")
    assert "ZeroDivisionError" in shown.out
    assert not (chained.root / "data/draw/v0/.crystallize_complete").exists()


def test_an_error_while_a_module_is_imported_shows_where(chained: Project) -> None:
    chained["draw/steps.py"] = "import nowhere_to_be_found\n"
    done = chained.druse("run", "draw")
    assert done.status == 2, done
    assert "nowhere_to_be_found" in done.err
    assert "steps.py" in done.err
    chained["draw/steps.py"] = "def broken(:\n"
    done = chained.druse("run", "draw")
    assert done.status == 2, done
    assert "SyntaxError" in done.err


def test_unknown_commands_options_and_runs(chained: Project) -> None:
    refused(chained.druse("rnu", "draw"), 2, "Did you mean 'run'?")
    refused(chained.druse("run", "draw", "--strategy", "again"), 2, "'again'")
    refused(chained.druse("run", "draw", "--replicates", "0"), 2, "0")
    refused(chained.druse("run"), 2, "CONFIG")
    chained.run("draw")
    refused(chained.druse("show", "drew"), 2, "did you mean 'draw'?")
    refused(chained.druse("show", "draw/v7"), 2, "it has: v0")
    refused(chained.druse("show", "draw/x"), 2, "EXPERIMENT/vN")


def test_a_store_that_is_not_there_or_is_none(chained: Project) -> None:
    refused(chained.druse("ls"), 3, "there is no store at")
    (chained.root / "file").write_text("no store")
    refused(chained.druse("--store", "file", "run", "draw"), 3, "is a file, not a store's folder")
    (chained.root / "folder").mkdir()
    (chained.root / "folder" / "thing").write_text("precious")
    refused(chained.druse("run", "draw", "--store", "folder"), 3, "so it is not a store")
    assert (chained.root / "folder" / "thing").read_text() == "precious"


def test_a_store_of_a_later_format(chained: Project) -> None:
    chained.run("draw")
    path = chained.root / ".druse/format"
    path.write_text(path.read_text().replace('"druse": 1', '"druse": 99'))
    refused(chained.druse("run", "draw"), 3, "has format 99", "upgrade druse")


@pytest.mark.needs("mount")
def test_a_store_on_a_filesystem_that_is_read_only(chained: Project, tmp_path: Path) -> None:
    chained.run("draw")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(
            ["mount", "--bind", str(chained.root), str(mounted)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(mounted)], check=True)
        elsewhere = Project(mounted)
        # Somebody could write to it through the other mount, so looking has to be asked for.
        refused(elsewhere.druse("ls"), 3, "--immutable")
        assert "draw" in elsewhere.druse("ls", "--immutable").out
        assert "value" in elsewhere.druse("show", "draw", "--immutable").out
        refused(elsewhere.druse("run", "draw"), 3, "mounted read-only", "--store")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.needs("mount")
def test_a_frozen_filesystem_can_be_looked_into_without_asking(
    chained: Project, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "none", str(mounted)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        elsewhere = Project(mounted)
        for name in ("draw/config.yaml", "draw/steps.py", "draw/datasources.py", "draw/outputs.py"):
            elsewhere[name] = chained[name]
        elsewhere.run("draw")
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        assert "draw" in elsewhere.druse("ls").out
        refused(elsewhere.druse("run", "draw"), 3, "mounted read-only")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
