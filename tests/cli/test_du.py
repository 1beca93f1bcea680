"""du, as people meet it: what takes the space, however closely one looks."""

from __future__ import annotations

import json
import re

import pytest

from support.forked import Forked, Server
from support.project import Project

SAME, NOISE = 200_000, 50_000  # bytes


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Project:
    """Two versions: one artifact is the same in all cells, the other is in none."""
    project = Forked(tmp_path_factory.mktemp("project"), server)
    project["pyproject.toml"] = ""
    project["exp/steps.py"] = f"""
        import random

        from druse import pipeline_step

        @pipeline_step()
        def first(data, ctx):
            ctx.artifacts.add("same.bin", bytes({SAME}))
            return data

        @pipeline_step()
        def second(data, ctx, number=0):
            ctx.artifacts.add("noise.bin", random.Random(number).randbytes({NOISE}))
            return data, {{"number": number}}
    """
    project["exp/datasources.py"] = """
        from druse import data_source

        @data_source
        def source(ctx):
            return 1
    """
    for number in (1, 2):
        project["exp/config.yaml"] = f"""
            name: exp
            datasource: {{data: source}}
            steps: [first, {{second: {{number: {number}}}}}]
            treatments: {{other: {{unread: 1}}, more: {{number: 3}}}}
        """
        project.run("exp")
    return project


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table, by its first column."""
    lines = [re.sub(r" (B|[KM]iB)\b", r"\1", line).split() for line in text.splitlines()]
    return {line[0]: line for line in lines}


def test_sizes_are_told_raw_once_and_stored_with_their_ratio(used: Project) -> None:
    found = rows(used.druse("du").out)
    assert found["experiment"][2:] == ["raw", "unique", "stored", "ratio", "alone"]
    total = json.loads(used.druse("du", "--json").out)["total"]
    assert total["raw"] > 6 * SAME > total["unique"] > total["stored"]
    assert found["all"][5] == f"{total['raw'] / total['stored']:.2f}"


def test_a_version_is_told_by_step_and_artifact(used: Project) -> None:
    found = rows(used.druse("du", "exp/v1").out)
    assert found["FirstStep"][1:3] == ["same.bin", f"{3 * SAME / 1024:.1f}KiB"]
    assert found["FirstStep"][3] == f"{SAME / 1024:.1f}KiB"
    assert found["SecondStep"][1] == "noise.bin"
    first = rows(used.druse("du", "exp/v0").out)
    assert first["FirstStep"][6] == "0B"  # both versions hold it: neither alone
    assert first["SecondStep"][6] != "0B"


def test_what_is_not_asked_for_is_left_out(used: Project) -> None:
    one = json.loads(used.druse("du", "exp/v1", "--json").out)
    assert [v["version"] for each in one["experiments"] for v in each["versions"]] == [1]
    assert list(rows(used.druse("du", "exp").out)) == ["version", "v0", "v1"]
    shares = used.druse("du", "exp/v1", "--reclaimable", "--keep-last", "1", "--json")
    assert {share["version"] for share in json.loads(shares.out)} <= {1}


def test_what_does_not_exist_is_said(used: Project) -> None:
    for arguments in (["nope"], ["exp/v9"], ["nope", "--reclaimable"]):
        asked = used.druse("du", *arguments)
        assert asked.status == 2, asked
        assert "no experiment" in asked.err or "has no run v9" in asked.err


def test_what_a_collection_would_free_is_told_by_run(used: Project) -> None:
    shares = used.druse("du", "--reclaimable", "--keep-last", "1", "--json")
    freed = {share["version"]: share["freed"] for share in json.loads(shares.out)}
    assert NOISE * 0.99 < freed[0] < NOISE * 1.01
    assert "exp/v0" in used.druse("du", "--reclaimable", "--keep-last", "1").out


def test_what_is_gone_is_told_apart(used: Project) -> None:
    used.druse("gc", "--now", "--keep-last", "1", "--artifact-retention", "1")
    found = rows(used.druse("du", "exp").out)
    assert found["version"][-1] == "gone"
    assert found["v0"][-1] == f"{3 * NOISE / 1024:.1f}KiB"  # the other version holds the rest
