"""What a cell reads while it runs: the part of its key that its code alone does not say.

A read is a name with its kind as prefix, and the digest of the value that was read:

- `ctx:lr`: a value that the context began with, or the absence of one; `ctx:*`: which keys it had
- `setup:device`: a value that a step's `setup` saw, before any condition; `setup:*`: which keys
- `param:2:C`: what step 2 got for its parameter C, be it given, from the context or its default
- `bound:2:C`: step 2 took C from what an earlier step had written
- `name:2`: the name of step 2; `shared:2`: step 2 gave one result to all replicates
- `up:digits`: an artifact of another experiment; `stored:...`: one of an earlier run
- `file:./x.csv`: a file's content; `dir:./raw`: which names a folder holds
- `glob:./raw//*/n.txt`: which paths a pattern finds below a folder
- `class:models:Model`: the code of a class that was unpickled; `package:torch`: a version

Reads of what the cell itself wrote follow from its other reads, so they are none. Within a
cacheable step they count: there `frame` collects what the step reads, wherever it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from druse.fingerprint.values import value_digest
from druse_store import Digest

if TYPE_CHECKING:
    from druse.conditions import Bare, Initial
    from druse.prepared import ParameterTable

_NOTHING: frozenset[str] = frozenset()
ABSENT = Digest.of(b"druse:absent:1\x00")
OPEN = Digest.of(b"druse:bound:open:1\x00")
SHARED = Digest.of(b"druse:shared:1\x00")
CLOSED = Digest.of(b"druse:bound:closed:1\x00")

# What ends the path of a record that must not be found again: no value of today answers to these.
FAILED = "failed:"
FAILED_VALUE = Digest.of(b"druse:failed:1\x00")
UNSTORABLE = "unstorable:"
OFF_PATH = frozenset({FAILED, UNSTORABLE})

Frame = dict[str, Digest]
WHOLE, INSIDE = "read", "read inside"  # of the cell; of the cacheable step at hand


class Reads:
    """The reads of one cell, in the order in which they came first."""

    __slots__ = (
        *("_frames", "_initial", "_table", "_tell", "_written"),
        *("found", "position", "resources"),
    )

    def __init__(
        self, initial: Initial | Bare, table: ParameterTable, setup: Mapping[str, Any]
    ) -> None:
        self._initial = initial
        self._table = table
        self._written: set[str] | frozenset[str] = set(setup) if setup else _NOTHING
        self._frames: Sequence[Frame] = ()
        self._tell: Callable[[str, str, Digest], None] | None = None
        self.found: Frame = {}
        self.position = -1
        self.resources: dict[int, int] | None = None  # how many a step has used, by its place

    # --- the context ---------------------------------------------------------------------------

    def context(self, key: str, data: Mapping[str, Any]) -> None:
        """`key` was looked up."""
        if key in self._written:
            if self._frames:
                self._note_inside(f"ctx:{key}", self._written_digest(key, data))
            return
        name = f"ctx:{key}"
        if self._frames or name not in self.found:
            self.note(name, self._initial.digest(key))

    def write(self, key: str, value: Any, data: Mapping[str, Any]) -> None:
        """`key` is about to be set: that reads whether it was set before."""
        self.context(key, data)
        if key not in data:
            if isinstance(self._written, frozenset):
                self._written = set()
            self._written.add(key)

    def everything(self, data: Mapping[str, Any]) -> None:
        """All keys and values were looked at."""
        self.note("ctx:*", self._initial.names_digest())
        for key in list(data):
            self.context(key, data)

    def step_name(self, name: Any) -> None:
        self._note_placed("name", "", value_digest(name, "the step's name"))

    # --- parameters ----------------------------------------------------------------------------

    def given(self, name: str) -> None:
        """A parameter was given where the step was made."""
        digest = self._table.same_as_default(self.position, name)
        if digest is not None:
            self._note_placed("param", name, digest)

    def defaulted(self, name: str) -> None:
        """A parameter was its default, for want of anything else."""
        self._note_placed("param", name, self._table.default(self.position, name))

    def injected(self, name: str, data: Mapping[str, Any]) -> None:
        """A parameter came from the context."""
        if name in self._written:
            self.found.setdefault(f"bound:{self.position}:{name}", OPEN)
            if self._frames:
                self._note_inside(f"param:{name}", self._written_digest(name, data))
        elif self._frames:
            self._note_placed("param", name, self._initial.digest(name))
        else:
            placed = f"param:{self.position}:{name}"
            if placed not in self.found:
                self.found[placed] = self._initial.digest(name)

    def parameter(self, name: str, data: Mapping[str, Any]) -> Digest | None:
        """What a parameter of the step at hand is now; None for one that its key holds already."""
        if self._table.is_given(self.position, name):
            return self._table.same_as_default(self.position, name)
        if name in data:
            return self.current(name, data)
        known = self._table.knows(self.position, name)
        return self._table.default(self.position, name) if known else None

    def shared(self, position: int) -> None:
        """The step at a place gives one result to all replicates.

        A result that came so is no answer any more once the step is not shared; one that came
        without is an answer always, since sharing claims that replicates do not differ.
        """
        self.found.setdefault(f"shared:{position}", SHARED)

    # --- in a forked process -------------------------------------------------------------------

    def tell(self, tell: Callable[[str, str, Digest], None]) -> None:
        """From now on each read is told: this is a copy, in a process that the cell has forked."""
        self._tell = tell
        self.found = Told(self.found, lambda name, digest: tell(WHOLE, name, digest))

    def take_over(self, kind: str, name: str, digest: Digest) -> None:
        """What was told so."""
        if kind == WHOLE:
            self.found.setdefault(name, digest)
        else:
            self._note_inside(name, digest)

    # --- within a step -------------------------------------------------------------------------

    def inner(self, key: str, value: Any) -> None:
        """Something that the cell made was read: it counts for a cacheable step only."""
        if self._frames:
            self._note_inside(key, value_digest(value, key))

    @contextmanager
    def recording(self) -> Iterator[Frame]:
        """Collects what is read meanwhile, in a dict of its own as well."""
        frame: Frame = {}
        self._frames = [*self._frames, frame]
        try:
            yield frame
        finally:
            self._frames = [each for each in self._frames if each is not frame]

    def repeats(self, seen: Frame, data: Mapping[str, Any]) -> bool:
        """Whether reading the same again gives the same."""
        return all(
            self.current(name[4:], data) == digest
            for name, digest in seen.items()
            if name.startswith("ctx:")
        )

    def repeat(self, seen: Frame, data: Mapping[str, Any]) -> None:
        """Reads the same again."""
        for name, digest in seen.items():
            if name == "ctx:*":
                self.note(name, digest)
            elif name.startswith("ctx:"):
                self.context(name[4:], data)
            else:
                self._note_inside(name, digest)

    def current(self, key: str, data: Mapping[str, Any]) -> Digest:
        """The digest of what a key holds now."""
        if key in self._written:
            return self._written_digest(key, data)
        return self._initial.names_digest() if key == "*" else self._initial.digest(key)

    def _written_digest(self, key: str, data: Mapping[str, Any]) -> Digest:
        return value_digest(data[key], f"ctx[{key!r}]") if key in data else ABSENT

    # --- noting --------------------------------------------------------------------------------

    def _note_placed(self, kind: str, name: str, digest: Digest) -> None:
        """A read that belongs to a step: its place is part of the name only outside of it."""
        placed = f"{kind}:{self.position}:{name}" if name else f"{kind}:{self.position}"
        self.found.setdefault(placed, digest)
        if self._frames:
            self._note_inside(f"{kind}:{name}", digest)

    def note(self, name: str, digest: Digest) -> None:
        """The first read of a name counts."""
        if name not in self.found:
            self.found[name] = digest
        if self._frames:
            self._note_inside(name, digest)

    def _note_inside(self, name: str, digest: Digest) -> None:
        for frame in self._frames:
            frame.setdefault(name, digest)
        if self._tell is not None and self._frames:
            self._tell(INSIDE, name, digest)


class Told(dict[str, Digest]):
    """Reads of which each new one is told at once."""

    def __init__(self, known: Frame, tell: Callable[[str, Digest], None]) -> None:
        super().__init__(known)
        self._tell = tell

    def __setitem__(self, name: str, digest: Digest) -> None:
        if name not in self:
            super().__setitem__(name, digest)
            self._tell(name, digest)

    def setdefault(self, name: str, digest: Digest) -> Digest:
        self[name] = digest
        return self[name]

    def update(self, other: Mapping[str, Digest]) -> None:  # type: ignore[override]
        for name, digest in other.items():
            self[name] = digest
