"""Records that no run of druse has made: they are shown as they are, and steer nothing."""

from __future__ import annotations

import json

import pytest

from druse_store import Store
from support.forked import Forked
from support.runs import add_run, make_record

STEERING = "loss\x1b[31m\u202e\x9b"


@pytest.fixture
def foreign(quick: Forked) -> Forked:
    """A run whose metrics are single values, one with a name that would colour a terminal."""
    with Store.open(quick.root / ".druse") as store:
        for name, value in (("one", 0.25), ("two", {"deep": [1, None]}), ("three", "text")):
            record = make_record(store, name, [], metrics={STEERING: value})
            store.put_record(record)
            add_run(store, "exp", [record])
    return quick


def test_a_single_value_counts_as_one(foreign: Forked) -> None:
    for version, value in enumerate((0.25, {"deep": [1, None]}, "text")):
        shown = json.loads(foreign.druse("show", f"exp/v{version}", "--json").out)
        assert list(shown["metrics"].values()) == [{STEERING: [value]}]


def test_names_do_not_steer_the_terminal(foreign: Forked) -> None:
    for arguments in (["show", "exp/v0"], ["diff", "exp/v0", "exp/v1"]):
        done = foreign.druse(*arguments)
        assert done.status == 0, done.err
        assert r"loss\u001b[31m\u202e\u009b" in done.out
        assert not {"\x1b", "\u202e", "\x9b"} & set(done.out)


def test_they_can_be_exported(foreign: Forked) -> None:
    done = foreign.druse("export", "exp/v0", "--to", "out")
    assert done.status == 0, done.err
    [results] = (foreign.root / "out").rglob("results.json")
    assert json.loads(results.read_text())["metrics"] == {STEERING: [0.25]}
