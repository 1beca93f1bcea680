from __future__ import annotations

import grp
import json
import os
import stat

import pytest

from support.project import Project


@pytest.fixture
def home(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state")}


def test_it_makes_a_store_and_making_it_again_changes_nothing(project: Project) -> None:
    first = json.loads(project.druse("init", "--json").out)
    assert first["store"] == str(project.root / ".druse")
    assert json.loads(project.druse("init", "--json").out) == first


def test_a_store_for_a_group_is_the_groups_and_needs_a_new_place(project: Project, home) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    done = project.druse("init", "--group", group, env=home)
    assert done.status == 0, done.err
    store = project.root / ".druse"
    mode = store.stat().st_mode
    assert stat.S_IMODE(mode) == 0o2770
    assert stat.S_IMODE((store / "index" / "data.mdb").stat().st_mode) == 0o660
    again = project.druse("init", "--group", group, env=home)
    assert again.status == 3
    assert "already" in again.err


def test_a_group_that_is_not_there_is_named(project: Project, home) -> None:
    done = project.druse("init", "--group", "no-such-group", env=home)
    assert done.status == 2
    assert "no-such-group" in done.err
    assert not (project.root / ".druse").exists()
