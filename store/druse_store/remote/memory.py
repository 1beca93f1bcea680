"""What this user has seen of each signer on a remote, so that nothing old is shown again as new.

`$XDG_STATE_HOME/druse/<remote id>/<topic's digest>.json` holds, per signer, the highest sequence
number, the names that were seen, and the records that were taken back. It belongs to the user and
not to a store: in a store that is shared, others could change it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from druse_store import disk
from druse_store.digest import Digest
from druse_store.remote.layout import Name

_KEPT = 2000  # names per signer: older ones are long covered by a snapshot


@dataclass(slots=True)
class Seen:
    """What was seen of one signer in one topic."""

    highest: int = 0
    last: str = ""
    names: dict[str, None] = field(default_factory=dict)
    retracted: set[str] = field(default_factory=set)

    def is_replay(self, name: Name) -> bool:
        """Whether this is older than what was seen, and yet new: then it was put back."""
        return name.sequence < self.highest and tail(name) not in self.names

    def note(self, name: Name, digest: Digest) -> None:
        """Remembers a claim that was verified."""
        self.names[tail(name)] = None
        while len(self.names) > _KEPT:
            self.names.pop(next(iter(self.names)))
        if name.sequence >= self.highest:
            self.highest, self.last = name.sequence, digest.hex()


def tail(name: Name) -> str:
    """The part of a name that tells it from all others of its topic."""
    return name.key.rpartition("/")[2]


class Memory:
    """The memory of one remote."""

    def __init__(self, remote_id: bytes, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()) / remote_id.hex()

    def read(self, topic: str) -> dict[str, Seen]:
        """By the first 16 hex digits of the signer's key, as names have them."""
        return _parse(self._path(topic))

    @contextmanager
    def changing(self, topic: str) -> Iterator[dict[str, Seen]]:
        """What was seen, to be added to; one process at a time."""
        path = self._path(topic)
        with disk.translated("remembering what was seen in", path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                seen = _parse(path)
                yield seen
                text = json.dumps({signer: _plain(one) for signer, one in seen.items()})
                disk.write_file(path, text.encode(), 0o600)

    def retracted(self, topic: str, signers: Iterable[str]) -> set[str]:
        """The records that these signers have taken back."""
        seen = self.read(topic)
        return set().union(*(seen[signer].retracted for signer in signers if signer in seen))

    def _path(self, topic: str) -> Path:
        return self.folder / f"{Digest.of(topic.encode()).hex()[:32]}.json"


def _plain(seen: Seen) -> dict[str, Any]:
    return {
        "highest": seen.highest,
        "last": seen.last,
        "names": list(seen.names),
        "retracted": sorted(seen.retracted),
    }


def _parse(path: Path) -> dict[str, Seen]:
    try:
        values = json.loads(path.read_text("utf-8"))
        return {
            signer: Seen(
                int(one["highest"]),
                str(one["last"]),
                dict.fromkeys(one["names"]),
                set(one["retracted"]),
            )
            for signer, one in values.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # a torn file: what is seen now counts as seen first


def default_folder() -> Path:
    """Where this user's programs keep their state."""
    base = os.environ.get("XDG_STATE_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "druse"
