"""FrozenContext: reading, adding, metrics with tags, artifacts."""

from crystallize import FrozenContext, standalone_context
from raising import raised


def case_values():
    inner = {"list": [1]}
    ctx = FrozenContext({"a": 1, "b": inner})
    ctx.get("b")["list"].append(2)
    ctx["b"]["list"].append(3)
    inner["list"].append(4)
    default = []
    ctx.get("c", default).append(5)
    ctx.add("d", 6)
    ctx["e"] = 7
    return {
        "unchanged": [ctx["b"], default],
        "got": [ctx.get("a"), ctx.get("x"), ctx.get("x", 9), ctx["d"], ctx.get("e")],
        "dict": dict(ctx.as_dict()),
        "set again": raised(lambda: ctx.add("a", 2), "Cannot mutate existing key: 'a'"),
        "set anew": raised(lambda: ctx.__setitem__("d", 2), "Cannot mutate existing key: 'd'"),
        "missing": raised(lambda: ctx["nothing"], "nothing"),
        "read only": raised(lambda: ctx.as_dict().__setitem__("a", 1)),
    }


def case_metrics():
    ctx = standalone_context({"a": 1})
    ctx.metrics.add("loss", 0.5)
    ctx.metrics.add("loss", 0.25, tags={"epoch": 1})
    ctx.record("loss", 0.125, tags={"epoch": 2})
    ctx.record("other", "text")
    return {
        "values": [ctx.metrics["loss"], ctx.metrics["nothing"]],
        "tags": [ctx.metrics.get_tags("loss"), ctx.metrics.get_tags("other")],
        "names": sorted(k for k, v in ctx.metrics.as_dict().items() if v),
        "as tuples": isinstance(ctx.metrics.as_dict()["loss"], tuple),
    }


def case_artifacts():
    ctx = standalone_context()
    ctx.artifacts.add("a.txt", b"1")
    ctx.artifacts.add("b.txt", b"22")
    again = raised(lambda: ctx.artifacts.add("a.txt", b"3"), "'a.txt' already written")
    items = [[each.name, each.data.decode(), each.step_name] for each in ctx.artifacts]
    count = len(ctx.artifacts)
    ctx.artifacts.clear()
    ctx.artifacts.add("a.txt", b"3")
    return {"again": again, "items": items, "counts": [count, len(ctx.artifacts)]}
