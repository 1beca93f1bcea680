"""Whom to believe: one's own key, the keys of others by name, the policy of each remote.

Everything lies in the user's configuration folder, `$XDG_CONFIG_HOME/druse`, never in a store or
on a remote: `key` is the private key (only its owner may read it), `trusted.json` the names and
public keys of others and the remotes that everybody is believed on. Signatures are Ed25519; this
is the only importer of cryptography.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from druse_store import disk
from druse_store.errors import InvalidKey, KeyMissing, TrustError

KEY_SIZE = 32
SIGNATURE_SIZE = 64
_SCHEME = "ed25519:"

Policy = Literal["signed", "any"]


class PublicKey(bytes):
    """32 bytes; `str(key)` is what `druse trust show` prints and `druse trust add` takes."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        if len(value) != KEY_SIZE:
            raise InvalidKey(f"a public key has {KEY_SIZE} bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` spells. Raises InvalidKey."""
        scheme, found, rest = text.strip().partition(_SCHEME)
        try:
            if scheme or not found:
                raise ValueError("no scheme")
            return cls(base64.b64decode(rest, validate=True))
        except (ValueError, binascii.Error, InvalidKey) as error:
            raise InvalidKey(
                f"{text[:80]!r} is no public key: give the line that `druse trust show` prints "
                f"where the key was made ({_SCHEME}…)"
            ) from error

    def __str__(self) -> str:
        return _SCHEME + base64.b64encode(self).decode()

    def __repr__(self) -> str:
        return f"PublicKey({self.short})"

    @property
    def short(self) -> str:
        """16 hex digits, as in the names of objects on remotes."""
        return self.hex()[:16]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the owner of this key signed `message`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(bytes(self)).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """This user's private key."""

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = PublicKey(raw)

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only the owner of this key can make."""
        return self._key.sign(message)

    @classmethod
    def create(cls, folder: Path | None = None) -> Self:
        """Makes a key, unless there is one: that one stays. Durable when this returns."""
        path = _folder(folder) / "key"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return cls.load(folder)
        except OSError as error:
            raise disk.os_error(error, "creating the key", path) from error
        with disk.translated("writing the key", path):
            try:
                os.fchmod(fd, 0o600)
                disk.write_all(fd, base64.b64encode(os.urandom(KEY_SIZE)) + b"\n", 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            disk.sync_folder(path.parent)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path | None = None) -> Self:
        """Raises KeyMissing, and TrustError for a key that others may read."""
        path = (folder or default_folder()) / "key"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise KeyMissing(f"there is no key at {path}: `druse trust init` makes one") from error
        except OSError as error:
            raise disk.os_error(error, "reading the key", path) from error
        try:
            mode = os.fstat(fd).st_mode & 0o777
            text = os.read(fd, 200)
        finally:
            os.close(fd)
        if mode & 0o077:
            raise TrustError(
                f"the key {path} may be read by others (mode {mode:o}), so it proves nothing: make "
                "a new one, or `chmod 600` it if nobody else has seen it"
            )
        try:
            return cls(base64.b64decode(text.strip(), validate=True))
        except (ValueError, binascii.Error) as error:
            raise TrustError(f"{path} holds no key; remove it, then `druse trust init`") from error


class Trust:
    """The keys that this user believes, by name, and the policy of each remote."""

    def __init__(
        self, folder: Path | None = None, lent: Mapping[str, PublicKey] | None = None
    ) -> None:
        """`lent`: instead of this user's trust, that of whoever this process works for."""
        self.folder = folder or default_folder()
        self._lent = lent

    @property
    def path(self) -> Path:
        return self.folder / "trusted.json"

    def names(self) -> dict[str, PublicKey]:
        """The trusted keys by name, one's own not among them."""
        return {name: PublicKey.parse(text) for name, text in self._read()["keys"].items()}

    def name_of(self, key: PublicKey) -> str | None:
        """The name under which a key is trusted; "you" for one's own."""
        if key == self.own():
            return "you"
        return next((name for name, known in self.names().items() if known == key), None)

    def own(self) -> PublicKey | None:
        """One's own public key, if there is one."""
        signer = self.signer()
        return None if signer is None else signer.public

    def signer(self) -> Signer | None:
        """One's own key, if there is one; who works for another has none of theirs."""
        try:
            return Signer.load(self.folder) if self._lent is None else None
        except KeyMissing:
            return None

    def believed(self) -> dict[PublicKey, str]:
        """Every key that is believed, with its name."""
        own = self.own()
        keys = {key: name for name, key in self.names().items()}
        return keys if own is None else {**keys, own: "you"}

    def add(self, name: str, key: PublicKey) -> None:
        """Believes a key from now on. A name stands for one key, until it is removed."""
        if not name or name == "you" or not name.isprintable() or len(name) > 200:
            raise TrustError(f"{name!r} cannot name a key: give a word other than 'you'")
        with self._changing() as values:
            known = values["keys"].setdefault(name, str(key))
            if known != str(key):
                raise TrustError(
                    f"{name!r} stands for another key already ({known}): `druse trust rm {name}` "
                    "first, or choose another name"
                )

    def remove(self, name: str) -> PublicKey:
        """Believes a key no longer; returns it. What rests on it: see `revocation`."""
        with self._changing() as values:
            text = values["keys"].pop(name, None)
        if text is None:
            raise TrustError(f"no key is trusted under the name {name!r}; `druse trust ls` lists")
        return PublicKey.parse(text)

    def policy(self, remote_id: str) -> Policy:
        """Whose records count on a remote: those of trusted keys, or any."""
        return "any" if self._read()["policies"].get(remote_id) == "any" else "signed"

    def set_policy(self, remote_id: str, policy: Policy) -> None:
        with self._changing() as values:
            if policy == "signed":
                values["policies"].pop(remote_id, None)
            else:
                values["policies"][remote_id] = policy

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._lent is not None:
            return {"keys": {name: str(key) for name, key in self._lent.items()}, "policies": {}}
        try:
            values = json.loads(self.path.read_text("utf-8"))
            keys, policies = values["keys"], values["policies"]
            if not isinstance(keys, Mapping) or not isinstance(policies, Mapping):
                raise TypeError("not maps")
        except FileNotFoundError:
            return {"keys": {}, "policies": {}}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrustError(
                f"{self.path} cannot be read as a list of trusted keys: {error}"
            ) from (error)
        return {"keys": dict(keys), "policies": dict(policies)}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, dict[str, Any]]]:
        folder = _folder(self.folder)
        with disk.translated("changing", self.path), (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = self._read()
            yield values
            disk.write_file(self.path, (json.dumps(values, indent=1) + "\n").encode(), 0o600)


def default_folder() -> Path:
    """Where this user's keys and trust lie."""
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "druse"


def _folder(folder: Path | None) -> Path:
    path = folder or default_folder()
    with disk.translated("creating", path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
