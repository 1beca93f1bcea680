"""Short versions of tools/torture: the same code, for seconds instead of minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[2] / "tools" / "torture"


def torture(*arguments):
    done = subprocess.run(
        [sys.executable, str(TORTURE), "--here", *arguments, "--seed", "11"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{arguments[0]}: 0 problems, seed 11" in done.stdout
    return done.stdout


def test_what_was_acknowledged_survives_kills_at_any_moment():
    assert "kill: 15 rounds of 3 writers" in torture("kill", "--rounds", "15")


def test_a_flipped_byte_or_a_cut_pack_never_gives_a_wrong_answer():
    said = torture("flip", "--every", "211", "--index", "20")
    assert "flip in the index: 20 cases" in said
    assert said.count("'refused'") >= 2  # damage is met, and shows


def test_a_full_disk_at_any_moment_is_a_clear_error_and_loses_nothing():
    said = torture("enospc", "--step", "60", "--most", "540")
    if "skipped" in said:
        pytest.skip("this user may not mount a tmpfs")


def test_a_crowd_of_processes_loses_nothing():
    said = torture("soak", "--processes", "4", "--seconds", "2")
    assert "p99" in said


def test_collections_beside_killed_and_stopped_writers_lose_nothing():
    said = torture("collect", "--seconds", "5")
    assert "'gc'" in said
    assert "'run'" in said


def test_collections_alone_that_are_killed_and_interrupted_lose_nothing():
    said = torture("alone", "--seconds", "4", "--runs", "15")
    assert "killed" in said or "interrupted" in said
    assert "packs are left" in said
