"""What differs between a record and what would be computed today, in sentences. Reads nothing.

A key is made of the parts of the base signature, which the manifests list, of the seed, and of what
was read; each of these gives differences of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from druse.fingerprint.manifest import Change, Manifest, diff
from druse.reads import ABSENT, OFF_PATH

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse_store import Digest, Record


class Difference(NamedTuple):
    """One difference. `part` is the step that it belongs to, or empty."""

    kind: str
    part: str
    sentence: str


class Today(NamedTuple):
    """A read as it is today: its digest (None where nothing answers), and as text."""

    digest: Digest | None
    text: str | None
    pending: bool = False


@dataclass(frozen=True)
class Past:
    """A record, and what is known of the run that it came with."""

    record: Record
    condition: str
    run: str | None = None
    steps: tuple[str, ...] = ()

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.record.provenance


# --- the base signature ----------------------------------------------------------------------


def of_code(
    past: Past, old: Manifest | None, prepared: Prepared, algorithm: str
) -> list[Difference]:
    """What differs between the base signatures; nothing where they are the same."""
    if past.record.base == prepared.base:
        return []
    if "imported" in past.provenance:
        folder = past.provenance["imported"]
        told = f"it was imported from {folder}: nothing says which code and values it came from"
        return [Difference("imported", "", told)]
    found = [_algorithm(past, algorithm)] if past.provenance.get("algorithm") != algorithm else []
    if old is None:
        return found or [Difference("code", "", "what its key was made of is not known any more")]
    new = Manifest.of(c for part in prepared.parts for c in part.components)
    names = {part.label: prepared.part_name(part.label) for part in prepared.parts}
    found += _steps(past.steps, prepared)
    changes = diff(_aligned(old, past.steps, prepared), new)
    found += [_change(c, names) for c in changes if c.kind != "moved"]
    return list(dict.fromkeys(found)) or [
        Difference("code", "", "the order of its parts, or what they are called, changed")
    ]


def _algorithm(past: Past, algorithm: str) -> Difference:
    old = past.provenance.get("algorithm", "an earlier one")
    return Difference(
        "algorithm",
        "",
        f"keys are made by algorithm {algorithm} now, and were by {old} then: that, and not the "
        "code, is why none is the same; `druse accept` takes the results over",
    )


def _steps(old: tuple[str, ...], prepared: Prepared) -> list[Difference]:
    new = tuple(prepared.step_names)
    if not old or len(old) == len(new):
        return []
    gone, come = _without(old, new), _without(new, old)
    words = [f"{name} was added" for name in come] + [f"{name} was removed" for name in gone]
    return [Difference("steps", "", "the pipeline has other steps: " + ", ".join(words))]


def _without(some: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    left = list(others)
    found = []
    for name in some:
        if name in left:
            left.remove(name)
        else:
            found.append(name)
    return found


def _aligned(old: Manifest, steps: tuple[str, ...], prepared: Prepared) -> Manifest:
    """With the places that steps have today: one that was put in between moves all the others."""
    new = tuple(prepared.step_names)
    if not steps or len(steps) == len(new):
        return old
    places: dict[str, str] = {}
    for block in difflib.SequenceMatcher(None, steps, new, autojunk=False).get_matching_blocks():
        for n in range(block.size):
            places[f"step {block.a + n}"] = f"step {block.b + n}"
    kept = ((places.get(p, ""), c) for p, c in old.entries if p in places or not _is_step(p))
    return Manifest.of((p, c) for p, c in kept)


def _is_step(part: str) -> bool:
    return part.startswith("step ")


def _change(change: Change, names: Mapping[str, str]) -> Difference:
    part = names.get(change.part, change.part)
    sentence = change.sentence.removeprefix(f"{change.part}: ").replace(" -> ", " → ")
    component = change.new or change.old
    assert component is not None
    if component.kind == "package":
        return Difference("package", "", sentence)
    if component.kind == "function" and component.name == part and change.kind == "changed":
        place = f" ({component.file}:{component.line})" if component.file else ""
        sentence = f"its code changed{place}"
    return Difference(_KINDS.get(component.kind, "code"), part, f"{part}: {sentence}")


_KINDS = {
    "parameter": "parameter",
    "artifact": "artifact",
    "version": "version",
    "file": "file",
    "environment": "environment",
}


# --- reads -----------------------------------------------------------------------------------


def of_seed(past: Past, seed: object) -> list[Difference]:
    old = past.provenance.get("seed")
    if old is None or old == seed:
        return []
    return [Difference("seed", "", f"the seed {old} → {seed}")]


def of_reads(
    past: Past, prepared: Prepared, today: Callable[[str], Today], latest_run: Callable[[str], str]
) -> list[Difference]:
    """The reads of a record whose value is another one today, in the order in which they came."""
    readers = _readers(past, prepared)
    found = []
    for read in past.record.reads:
        if read.key in OFF_PATH:
            continue
        now = today(read.key)
        if now.pending or now.digest == read.value:
            continue
        told = _Told(past, prepared, read.key, read.value, now, latest_run)
        sentence = told.sentence()
        by = readers.get(read.key)
        if by and told.kind in ("ctx", "param"):
            sentence += f" (read by {by})"
        found.append(Difference(told.name_of_kind, by or "", sentence))
    return list(dict.fromkeys(found))


def _readers(past: Past, prepared: Prepared) -> dict[str, str]:
    """By which step each read came first."""
    trace = past.provenance.get("trace", [])
    names = past.steps or tuple(prepared.step_names)
    found: dict[str, str] = {}
    for place, step in enumerate(trace if isinstance(trace, list) else []):
        for name in step.get("reads", ()):
            found.setdefault(name, names[place] if place < len(names) else f"step {place}")
    return found


_NAMES_OF_KINDS = {
    "ctx": "context",
    "param": "context",
    "bound": "parameter",
    "setup": "context",
    "up": "upstream",
    "stored": "upstream",
    "package": "package",
    "name": "name",
}


class _Told:
    """One read that gives something else today, told."""

    def __init__(
        self,
        past: Past,
        prepared: Prepared,
        key: str,
        old: Digest,
        now: Today,
        latest_run: Callable[[str], str],
    ) -> None:
        self.kind, _, self._rest = key.partition(":")
        self._old = old
        self._now = now
        self._prepared = prepared
        self._latest_run = latest_run
        shown = past.provenance.get("shown", {})
        self._text = shown.get(key) if isinstance(shown, dict) else None
        self.name_of_kind = _NAMES_OF_KINDS.get(self.kind, self.kind)

    def sentence(self) -> str:
        tell = getattr(self, f"_{self.kind}", None)
        return tell() if tell is not None else f"{self.kind} {self._rest} changed"

    def _arrow(self) -> str:
        old = "another value" if self._text is None else self._text
        now = "another value" if self._now.text is None else self._now.text
        return f"{old} → {now}" if old != now else f"{now}, of which more than is shown changed"

    def _ctx(self) -> str:
        if self._rest == "*":
            return f"the context has other keys: {self._arrow()}"
        return f"ctx {self._rest} {self._arrow()}"

    def _param(self) -> str:
        return f"ctx {self._rest.partition(':')[2]} {self._arrow()}"

    def _setup(self) -> str:
        return f"ctx {self._rest} {self._arrow()} (read by setup)"

    def _bound(self) -> str:
        place, _, name = self._rest.partition(":")
        step = self._prepared.part_name(f"step {place}")
        return f"{step}: parameter {name} does not come from an earlier step any more"

    def _name(self) -> str:
        return f"step {self._rest} has another name, and something reads it"

    def _shared(self) -> str:
        return f"{self._prepared.part_name(f'step {self._rest}')} is not shared any more"

    def _up(self) -> str:
        for source in self._prepared.inputs:
            if source.alias == self._rest and source.stored is None:
                if self._now.digest == ABSENT:
                    return f"{source.producer}#{source.artifact.name} is missing"
                run = self._latest_run(source.producer)
                ending = f" (run {run})" if run else ""
                return f"{source.producer}#{source.artifact.name} has new content{ending}"
        return f"there is no input {self._rest!r} any more"

    def _stored(self) -> str:
        experiment, _, rest = self._rest.partition("/")
        run = self._latest_run(experiment)
        return f"{experiment}: {rest} has new content" + (f" (run {run})" if run else "")

    def _file(self) -> str:
        return self._of_file("file", "changed")

    def _dir(self) -> str:
        return self._of_file("folder", "holds other names")

    def _of_file(self, what: str, changed: str) -> str:
        path = self._rest.removeprefix("@/").removeprefix("./")
        if self._now.digest == ABSENT:
            return f"{what} {path} is gone"
        return f"{what} {path} {'is there now' if self._old == ABSENT else changed}"

    def _class(self) -> str:
        module, _, name = self._rest.partition(":")
        return f"class {module}.{name}, of which an instance was unpickled, changed"

    def _package(self) -> str:
        return f"{self._rest} {self._arrow()}"
