"""Every public name behaves as in Crystallize: one set of programs, run on both, compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support.peer import run_druse, run_peer, with_import_changed

PROGRAMS = Path(__file__).parent / "programs"
CASES = [
    f"{path.stem}:{name}"
    for path in sorted(PROGRAMS.glob("*_cases.py"))
    for name in re.findall(r"^def case_(\w+)", path.read_text("utf-8"), re.MULTILINE)
]

Facts = dict[str, Any]


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Facts]:
    """What the programs gave on Crystallize, and on druse."""
    folder = tmp_path_factory.mktemp("programs")
    theirs = run_peer(PROGRAMS / "run_all.py", cwd=folder)
    copy = with_import_changed(PROGRAMS, folder / "ours")
    return theirs, run_druse(copy / "run_all.py", cwd=folder)


@pytest.mark.needs("crystallize")
@pytest.mark.parametrize("case", CASES)
def test_a_name_behaves_the_same(case: str, both: tuple[Facts, Facts]) -> None:
    theirs, ours = both
    assert ours[case] == theirs[case]
