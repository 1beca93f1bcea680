"""verify, repair and stats, as people meet them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from druse.cli import run_command
from druse_store import Store
from support.project import Project


def the_pack(project: Project) -> Path:
    (pack,) = project.root.glob(".druse/packs/*/*.pack")
    return pack


def flip(path: Path, text: bytes) -> None:
    """Damages the last place where the file holds this text."""
    data = bytearray(path.read_bytes())
    place = data.rindex(text)
    data[place] ^= 1
    path.write_bytes(data)


def test_a_whole_store_is_clean(chained: Project) -> None:
    chained.run("total")
    done = chained.druse("verify")
    assert done.status == 0, done
    assert done.out.startswith("clean: 1 packs")
    assert json.loads(chained.druse("verify", "--quick", "--json").out)["clean"] is True
    assert "no data was read" in chained.druse("verify", "--quick").out
    assert chained.druse("verify", "--quiet").out == ""
    assert "nothing to repair" in chained.druse("repair").out


def test_damage_is_found_mended_and_what_is_lost_is_computed_again(chained: Project) -> None:
    first = chained.run("draw")
    flip(the_pack(chained), chained["data/draw/v0/replicate_2/shifted/KeepStep/kept.json"].encode())
    found = chained.druse("verify")
    assert found.status == 1, found
    assert "chunk" in found.out
    assert "druse repair" in found.err
    mended = chained.druse("repair")
    assert mended.status == 1, mended
    assert "lost: 1 blobs; 1 records rest on them" in mended.out
    assert chained.druse("verify").status == 0
    assert chained.executed("draw")["draw"] == [("shifted", 2)]
    assert chained.run("draw")["draw"]["metrics"] == first["draw"]["metrics"]


def test_the_index_can_be_made_anew_from_the_packs(chained: Project) -> None:
    chained.run("total")
    before = json.loads(chained.druse("show", "total", "--json").out)
    shutil.rmtree(chained.root / ".druse/index")
    made = chained.druse("repair", "--rebuild-index")
    assert made.status == 0, made
    assert "a new index" in made.out
    assert json.loads(chained.druse("show", "total", "--json").out) == before
    assert chained.executed("total") == {"draw": [], "total": []}


def test_stats_count_what_there_is(chained: Project) -> None:
    chained.run("draw")
    counted = json.loads(chained.druse("stats", "--json").out)
    assert counted["records"] == 6
    assert counted["runs"] == 1
    assert "records" in chained.druse("stats").out


@pytest.mark.parametrize(
    ("command", "method", "said"),
    [
        ("verify", "verify", "`druse verify --resume` goes on"),
        ("gc", "gc", "what had finished is kept"),
        ("stats", "stats", "what had finished is kept"),
    ],
)
def test_who_interrupts_a_command_is_told_what_becomes_of_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    method: str,
    said: str,
) -> None:
    Store.open(tmp_path / "store").close()

    def interrupted(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, method, interrupted)
    assert run_command([command, "--store", str(tmp_path / "store")]) == 130
    assert said in capsys.readouterr().err
