"""What lies where on a remote.

    remote.json                                   the format version and the remote's id
    packs/<xx>/<pack>.pack                        chunks, as in a store's own packs
    packindex/<ulid>.idx                          which chunks lie where in some packs
    records/<base>/<seq>-<key>-<kind>-<tail>.seg  signed records of one base signature
    runs/<experiment>/<seq>-<key>-<kind>-<tail>.seg   signed runs of one experiment
    leases/<scope>/<cell>                         who computes what just now
    intents/<ulid>                                a push that is under way
    tombstones/<pack>                             a pack that is going to be deleted
    probe/                                        what a test of the server writes, and removes

`<seq>` are 16 hex digits, `<key>` the first 16 of the signer's key, `<tail>` is random. A topic is
a folder of signed objects: `records/<base>` or `runs/<experiment>`.
"""

from __future__ import annotations

import os
import re
import time
from typing import NamedTuple
from urllib.parse import quote

from druse_store.digest import Digest
from druse_store.errors import RemoteError
from druse_store.trust import PublicKey

MARKER = "remote.json"
PACKS, PACKINDEX, RECORDS, RUNS = "packs/", "packindex/", "records/", "runs/"
LEASES, INTENTS, TOMBSTONES = "leases/", "intents/", "tombstones/"
PROBE = "probe/"
SEGMENT, SNAPSHOT = "s", "a"  # some records of a signer; all of them

_KEY = re.compile(r"[A-Za-z0-9_%~][A-Za-z0-9._%~-]*(/[A-Za-z0-9_%~][A-Za-z0-9._%~-]*)*")
_SIGNED = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([sa])-([0-9a-f]{16})\.seg")
_MAX_NAME = 160


class Name(NamedTuple):
    """The name of a signed object, as claimed; its signature says whether it is true."""

    sequence: int
    signer: str
    kind: str
    key: str


def is_key(key: str) -> bool:
    """Whether this may be an object's key: a plain relative path without dots at its joints."""
    return len(key) < 1000 and _KEY.fullmatch(key) is not None


def ulid() -> str:
    """A name that is unique without asking anybody; later ones sort behind earlier ones."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def new_pack() -> str:
    """A pack's id: never used before, nor again."""
    return os.urandom(16).hex()


def pack_key(pack: str) -> str:
    return f"{PACKS}{pack[:2]}/{pack}.pack"


def index_key(name: str) -> str:
    return f"{PACKINDEX}{name}.idx"


def records_topic(base: Digest) -> str:
    return f"{RECORDS}{base.hex()}"


def runs_topic(experiment: str) -> str:
    return f"{RUNS}{experiment_part(experiment)}"


def experiment_part(experiment: str) -> str:
    """A file name for an experiment's: readable, and different for different experiments."""
    text = quote(experiment, safe="", errors="surrogatepass")
    if text[0] in ".-~":
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if len(text) <= _MAX_NAME:
        return text
    return f"~{Digest.of(experiment.encode('utf-8', 'surrogatepass')).hex()}"


def signed_key(topic: str, sequence: int, signer: PublicKey, kind: str) -> str:
    return f"{topic}/{sequence:016x}-{signer.short}-{kind}-{os.urandom(8).hex()}.seg"


def parse_signed(key: str) -> Name | None:
    """What the name of a signed object claims; None for other objects."""
    found = _SIGNED.fullmatch(key.rpartition("/")[2])
    if found is None:
        return None
    return Name(int(found[1], 16), found[2], found[3], key)


def check_key(key: str) -> str:
    """The key itself. Raises RemoteError for one that could lead elsewhere."""
    if not is_key(key):
        raise RemoteError(f"{key[:120]!r} is not a key that an object of a remote can have")
    return key
