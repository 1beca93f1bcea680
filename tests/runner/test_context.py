from __future__ import annotations

import pytest

from druse import FrozenContext, standalone_context
from druse.errors import ContextMutationError


def test_a_key_can_be_set_once_only() -> None:
    ctx = FrozenContext({"lr": 0.1})
    ctx.add("epochs", 3)
    assert ctx["epochs"] == 3
    with pytest.raises(ContextMutationError, match="Cannot mutate existing key: 'lr'"):
        ctx["lr"] = 0.2
    assert ctx.get("lr") == 0.1


def test_what_is_read_can_be_changed_without_changing_the_context() -> None:
    given = {"sizes": [1, 2]}
    ctx = FrozenContext(given)
    given["sizes"].append(3)
    ctx["sizes"].append(4)
    ctx.get("sizes").append(5)
    ctx.as_dict()["sizes"].append(6)
    assert ctx["sizes"] == [1, 2]


def test_a_missing_key_gives_the_default_or_a_key_error() -> None:
    ctx = standalone_context()
    assert ctx.get("lr") is None
    assert ctx.get("lr", 0.5) == 0.5
    assert "lr" not in ctx
    with pytest.raises(KeyError):
        ctx["lr"]


def test_metrics_collect_values_with_tags() -> None:
    ctx = standalone_context()
    ctx.record("loss", 0.5)
    ctx.metrics.add("loss", 0.4, tags={"epoch": 1})
    ctx.record("accuracy", 0.9)
    assert ctx.metrics["loss"] == (0.5, 0.4)
    assert ctx.metrics["unknown"] == ()
    assert ctx.metrics.get_tags("loss") == ({}, {"epoch": 1})
    assert dict(ctx.metrics.as_dict()) == {"loss": (0.5, 0.4), "accuracy": (0.9,)}


def test_an_artifact_can_be_written_once_and_has_to_be_bytes() -> None:
    ctx = standalone_context()
    ctx.artifacts.add("model.bin", b"x")
    with pytest.raises(ContextMutationError, match=r"'model\.bin' already written"):
        ctx.artifacts.add("model.bin", b"y")
    with pytest.raises(TypeError, match="has to be bytes"):
        ctx.artifacts.add("text", "text")  # type: ignore[arg-type]
    assert [(a.name, a.data) for a in ctx.artifacts] == [("model.bin", b"x")]
