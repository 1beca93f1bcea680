"""Ctrl-C at any moment of a collection, in a program that goes on with the same open store."""

import shutil

import pytest

from druse_store import Policy, Store, rebuild_index, writer
from druse_store.gc import crew, sweep
from druse_store.gc import plan as planning
from support.interrupts import Interrupt
from support.runs import add_run, noise, payloads_of

POLICY = Policy(keep_last=1, keep_metrics=0)
COUNT, POINTS = 30, 12


def kept():
    """Some of which are packed, one lies in an extent."""
    sizes = [500, 4_000, 70_000] + [3_000] * (COUNT - 3)
    return [[noise(size, i)] for i, size in enumerate(sizes)]


@pytest.fixture
def filled(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "PACK_SIZE", 40_000)
    monkeypatch.setattr(planning, "PACK_SIZE", 40_000)
    monkeypatch.setattr(crew, "WORTH", 1 << 40)
    with Store.open(tmp_path / "filled") as store:
        add_run(store, "exp", [[noise(4_000, ("old", i))] for i in range(COUNT)])
        for i, (payload,) in enumerate(kept()):
            store.put_object(noise(2_000, ("garbage", i)))
            store.put_object(payload)
        add_run(store, "exp", kept())
    return tmp_path / "filled"


def collect(store):
    return store.gc(POLICY, grace=0, alone=True, waste=0.01, details=False)


def calls_of_a_collection(path):
    with Store.open(path) as store, Interrupt(0) as interrupt:
        assert collect(store).problems == []
    return -interrupt.left


@pytest.mark.parametrize("in_one_go", [True, False])
def test_an_interrupted_collection_harms_nothing(tmp_path, filled, monkeypatch, in_one_go):
    if not in_one_go:
        monkeypatch.setattr(sweep, "_ANEW_MOST", 0)
    expected = [cell[0] for cell in kept()]
    total = calls_of_a_collection(shutil.copytree(filled, tmp_path / "whole"))
    interrupted = 0
    for number in range(1, total, total // POINTS):
        path = shutil.copytree(filled, tmp_path / "store")
        with Store.open(path) as store:
            with Interrupt(number) as interrupt:
                collect(store)
            interrupted += interrupt.is_over
            assert payloads_of(store, "exp") == expected, number
            assert collect(store).problems == []
            left = store.plan_gc(POLICY, grace=0, waste=0.01)
            assert (left.freed, left.orphans) == (0, []), number
        assert rebuild_index(path).damage == []
        with Store.open(path) as store:
            assert payloads_of(store, "exp") == expected, number
            assert store.verify().findings == []
        shutil.rmtree(path)
    assert interrupted >= POINTS - 2  # the number of calls is not always quite the same
