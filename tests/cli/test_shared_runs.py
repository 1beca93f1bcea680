"""A run that writes back to a remote, and one on another machine that reads from there."""

from __future__ import annotations

from pathlib import Path

from support.project import Project


def test_what_is_sent_meanwhile_is_no_input_of_the_cells(chained: Project, tmp_path: Path) -> None:
    chained.replace(
        "draw/steps.py",
        "return data * factor",
        "import time; time.sleep(0.4); return data * factor",
    )
    env = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(chained.root / "state"),
    }
    (chained.root / "remote").mkdir()
    assert chained.druse("trust", "init", env=env).status == 0
    assert (
        chained.druse("remote", "add", "team", f"file://{chained.root / 'remote'}", env=env).status
        == 0
    )
    done = chained.druse("run", "total", env=env)
    assert done.status == 0, done
    assert "was not kept" not in done.err
    again = chained.druse("run", "total", env=env)
    assert "draw: 9 hit, 0 run" in again.out, again
