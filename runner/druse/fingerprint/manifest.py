"""Manifests: what a key was made of, as canonical bytes, and what differs between two of them.

The bytes are JSON lines, sorted; equal manifests are equal blobs. They may come from another
machine, so decoding believes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from druse.errors import DruseError
from druse.fingerprint.closures import Component
from druse_store import Digest, StoreError

_HEAD: Final = b"druse manifest 1\n"
_MAX_BYTES: Final = 64 << 20
_OPENING: Final = {"function": "helper", "class": "class", "package": "", "file": "file"}


class ManifestDamaged(DruseError):
    """Bytes that were to be a manifest are none."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `kind` is changed, added, removed or moved; `sentence` is for people."""

    kind: str
    part: str
    sentence: str
    old: Component | None = None
    new: Component | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Components, each with the part of the experiment that it belongs to (a step, say)."""

    entries: tuple[tuple[str, Component], ...]

    @classmethod
    def of(cls, entries: Iterable[tuple[str, Component]]) -> Manifest:
        return cls(tuple(sorted(set(entries), key=_order)))

    def encode(self) -> bytes:
        lines = [
            json.dumps(
                [part, c.kind, c.name, c.digest.hex(), c.file, c.line, c.detail],
                ensure_ascii=True,
                separators=(",", ":"),
            )
            for part, c in self.entries
        ]
        return _HEAD + "\n".join(lines).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Manifest:
        """Raises ManifestDamaged."""
        if not raw.startswith(_HEAD) or len(raw) > _MAX_BYTES:
            raise ManifestDamaged("these bytes are no manifest of a version that is known here")
        try:
            lines = raw[len(_HEAD) :].decode("ascii").split("\n")
            return cls.of(_entry(json.loads(line)) for line in lines if line)
        except (ValueError, TypeError, RecursionError, StoreError) as error:
            raise ManifestDamaged(f"a manifest cannot be decoded: {error}") from error


def _order(entry: tuple[str, Component]) -> tuple[Any, ...]:
    part, c = entry
    file = (c.file is not None, c.file or "")  # an empty name is not the same as none
    line = (c.line is not None, c.line or 0)
    return part, c.kind, c.name, file, c.digest, line, c.detail


def _entry(fields: Any) -> tuple[str, Component]:
    part, kind, name, digest, file, line, detail = fields
    texts = (part, kind, name, digest, detail)
    if not all(type(t) is str for t in texts) or type(file) not in (str, type(None)):
        raise TypeError("a field is not text")
    if type(line) not in (int, type(None)):
        raise TypeError("a line is not a number")
    return part, Component(name, kind, Digest(bytes.fromhex(digest)), file, line, detail)


# --- what differs ----------------------------------------------------------------------------


def diff(old: Manifest, new: Manifest) -> list[Change]:
    """What is not the same, in the order of the parts' names; what only moved comes last.

    Components are the same by part, kind and name; what has another name or file and the same
    digest has moved, which changes no key.
    """
    before, after = _by_identity(old), _by_identity(new)
    removed: list[tuple[str, Component]] = []
    added: list[tuple[str, Component]] = []
    changes: list[Change] = []
    for identity in sorted(before.keys() | after.keys()):
        part = identity[0]
        gone, come = _without_common(before[identity], after[identity])
        for a, b in zip(gone, come, strict=False):
            changes.append(Change("changed", part, _changed(part, a, b), a, b))
        removed += [(part, c) for c in gone[len(come) :]]
        added += [(part, c) for c in come[len(gone) :]]
    moved = _take_moved(removed, added)
    changes += [
        Change("removed", p, f"{_opened(p)}{_place(c)} removed", c, None) for p, c in removed
    ]
    changes += [Change("added", p, f"{_opened(p)}{_place(c)} added", None, c) for p, c in added]
    return changes + moved


def _by_identity(manifest: Manifest) -> defaultdict[tuple[str, str, str], list[Component]]:
    found: defaultdict[tuple[str, str, str], list[Component]] = defaultdict(list)
    for part, component in manifest.entries:
        found[part, component.kind, component.name].append(component)
    return found


def _without_common(
    old: list[Component], new: list[Component]
) -> tuple[list[Component], list[Component]]:
    """Each side's components whose digest the other lacks, those of one file side by side."""
    shared = {c.digest for c in old} & {c.digest for c in new}
    gone = [c for c in old if c.digest not in shared]
    come = [c for c in new if c.digest not in shared]
    files = {c.file for c in gone} & {c.file for c in come}
    for side in (gone, come):
        side.sort(key=lambda c: (c.file not in files, c.file or "", c.line or 0))
    return gone, come


def _take_moved(
    removed: list[tuple[str, Component]], added: list[tuple[str, Component]]
) -> list[Change]:
    """Pairs of one part, kind and digest; they leave both lists."""
    moved = []
    for part, old in list(removed):
        for other, new in added:
            if (other, new.kind, new.digest) == (part, old.kind, old.digest):
                sentence = f"{_opened(part)}{_place(old)} is now {_place(new)}"
                moved.append(Change("moved", part, sentence, old, new))
                removed.remove((part, old))
                added.remove((other, new))
                break
    return moved


def _opened(part: str) -> str:
    return f"{part}: " if part else ""


def _changed(part: str, old: Component, new: Component) -> str:
    if new.detail and old.detail and new.detail != old.detail:
        return f"{_opened(part)}{_place(new)} {old.detail} -> {new.detail}"
    return f"{_opened(part)}{_place(new)} changed"


def _place(component: Component) -> str:
    """A component as people know it: `helper utils/norm.py:12 scale()`, `global conf.K`."""
    kind = _OPENING.get(component.kind, component.kind)
    name = component.name + ("()" if component.kind == "function" else "")
    place = ""
    if component.file and component.kind in ("function", "class", "module"):
        place = f"{component.file}:{component.line}" if component.line else component.file
    return " ".join(word for word in (kind, place, name) if word)
