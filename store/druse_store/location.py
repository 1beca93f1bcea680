"""Where a store lies, and whether it may be used there as asked.

`<store>/{format, index/, packs/<xx>/<id>.pack, log/<id>.log, holds/, tmp/, quarantine/, reserve}`

`format` is a JSON file: the format version, the store's id, and what was fixed when it was created.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from druse_store import chunker, disk, filesystems
from druse_store.errors import FormatTooNew, NotAStore, ReadOnlyStore, StoreNotFound

FORMAT_VERSION = 1
_FOLDERS = ("index", "packs", "log", "holds", "tmp", "quarantine")


class Location:
    """The folder of a store, with what its `format` file says."""

    def __init__(
        self,
        root: Path,
        store_id: bytes,
        shared: bool,
        read_only_mount: bool,
        frozen: bool = False,
    ) -> None:
        self.root = root
        self.store_id = store_id
        self.shared = shared
        self.read_only_mount = read_only_mount
        self.frozen = frozen
        self.index = root / "index"
        self.packs = root / "packs"
        self.log = root / "log"
        self.holds = root / "holds"
        self.tmp = root / "tmp"
        self.quarantine = root / "quarantine"
        self.reserve = root / "reserve"

    @property
    def file_mode(self) -> int | None:
        """The mode that new files get, or None where the umask decides."""
        return 0o660 if self.shared else None

    def pack(self, pack_id: bytes) -> Path:
        name = pack_id.hex()
        return self.packs / name[:2] / f"{name}.pack"

    def segment(self, segment_id: bytes) -> Path:
        return self.log / f"{segment_id.hex()}.log"


def find(
    path: Path, *, create: bool, any_filesystem: bool = False, shared: bool = False
) -> Location:
    """The store at `path`, made there if it is missing and `create` says so.

    Raises StoreNotFound, NotAStore, FormatTooNew, UnsupportedFilesystem, ReadOnlyStore, DiskFull.
    """
    root = Path(os.path.realpath(path))
    with disk.translated("looking for a store at", root):
        text = _read_format(root)
        if text is None:
            if not create:
                raise StoreNotFound(
                    f"there is no store at {root}. `druse init` or any `druse run` creates one; "
                    "--store and $DRUSE_STORE say where"
                )
            filesystems.check(_existing(root), any_filesystem=any_filesystem)
            text = _create(root, shared)
        mount = filesystems.check(root, any_filesystem=any_filesystem)
    values = parse_format(text, root)
    return Location(
        root,
        bytes.fromhex(values["id"]),
        bool(values.get("shared")),
        mount is not None and mount.read_only,
        mount is not None and mount.frozen,
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _read_format(root: Path) -> str | None:
    """The text of the format file; None where a store may be created. Raises NotAStore."""
    if root.exists() and not root.is_dir():
        raise NotAStore(f"{root} is a file, not a store's folder")
    try:
        return (root / "format").read_text("utf-8", "replace")
    except FileNotFoundError:
        pass
    found = {entry.name for entry in root.iterdir()} if root.is_dir() else set()
    # A killed creation leaves its file aside, whole or (with a second dot) half written.
    known = {name for name in found if name.startswith((".format.", "..format."))}
    if found - known - {*_FOLDERS, "users"}:
        if (root / "format").exists():  # another process has created the store meanwhile
            return _read_format(root)
        raise NotAStore(
            f"{root} is not empty and has no `format` file, so it is not a store; name another "
            "folder, or an empty one"
        )
    return None


def parse_format(text: str, root: Path) -> dict[str, Any]:
    """What a format file says. Raises NotAStore, FormatTooNew."""
    try:
        values = json.loads(text)
        version = values["druse"]
        if type(version) is not int or version < 1:
            raise ValueError("not a version")
        if version <= FORMAT_VERSION and len(bytes.fromhex(values["id"])) != 16:
            raise ValueError("not an id")
    except (ValueError, KeyError, TypeError) as error:
        raise NotAStore(
            f"{root / 'format'} is no format file of a store; if this was one, restore that file "
            "from a copy"
        ) from error
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"the store at {root} has format {version}; this version of druse knows up to "
            f"{FORMAT_VERSION}: upgrade druse. Nothing was touched"
        )
    checked: dict[str, Any] = values
    return checked


def _create(root: Path, shared: bool) -> str:
    """Makes the folders, then the format file, which makes them a store."""
    root.mkdir(parents=True, exist_ok=True)
    for name in _FOLDERS:
        folder = root / name
        folder.mkdir(exist_ok=True)
        if shared:
            folder.chmod(0o2770)
    if shared:
        root.chmod(0o2770)
    values = {
        "druse": FORMAT_VERSION,
        "id": os.urandom(16).hex(),
        "digest": "blake3-256",
        "chunker": {"min": chunker.MIN, "avg": chunker.AVG, "max": chunker.MAX},
        "shared": shared,
    }
    return _publish(root, json.dumps(values, indent=1) + "\n", shared)


def _publish(root: Path, text: str, shared: bool) -> str:
    """Creates the format file, unless another process did meanwhile: then that one counts."""
    aside = root / f".format.{os.getpid()}.{os.urandom(4).hex()}"
    disk.write_file(aside, text.encode(), 0o660 if shared else None)
    try:
        os.link(aside, root / "format")
    except FileExistsError:
        text = (root / "format").read_text("utf-8", "replace")
    finally:
        aside.unlink()
    disk.sync_folder(root)
    disk.sync_folder(root.parent)
    return text


def refuse_writing(location: Location) -> NoReturn:
    """Raises ReadOnlyStore for a write that was asked of a store opened for reading."""
    raise ReadOnlyStore(f"the store at {location.root} was opened for reading only")


def refuse_mount(location: Location, read_only: bool) -> NoReturn:
    """Raises ReadOnlyStore for a filesystem that is mounted read-only.

    Readers cannot say there that they are reading, so that the pages they look at may change.
    """
    if not read_only:
        raise ReadOnlyStore(
            f"the store at {location.root} lies on a filesystem that is mounted read-only, so "
            "nothing can be written to it: name another store (--store or $DRUSE_STORE)"
        )
    raise ReadOnlyStore(
        f"the store at {location.root} lies on a mount that is read-only, and cannot be read "
        "safely while others may write to it through another one; if nobody does (a snapshot, an "
        "archive), open it with immutable=True (`--immutable`), which reads only"
    )
