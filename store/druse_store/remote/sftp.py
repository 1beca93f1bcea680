"""A folder on a machine to log in to, `ssh://[user@]host[:port]/path`, over SFTP.

The only importer of paramiko. Hosts, users, keys and jumps come from `~/.ssh/config`, the agent and
the usual key files; a host whose key is not in `known_hosts` is refused. Objects are written aside,
made durable where the server can do that, and renamed; the folder itself cannot be synced this way.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from druse_store.errors import (
    EngineMissing,
    ForkedStore,
    InvalidInput,
    ObjectExists,
    ObjectMissing,
    RemoteDamaged,
    RemoteDenied,
    RemoteError,
    RemoteFull,
    RemoteUnavailable,
)
from druse_store.remote import layout
from druse_store.remote.backend import MAX_OBJECT, Entry

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TMP = ".tmp"
_SESSIONS = 4  # channels over one connection: each carries one request at a time
_PIECE = 1 << 20
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


class Sftp:
    """A folder over SFTP. One connection, a few channels; opened when first used."""

    read_only = False

    def __init__(self, url: str, *, timeout: float) -> None:
        parts = urlsplit(url)
        if not parts.hostname or not parts.path:
            raise InvalidInput(f"an ssh address is ssh://[user@]host[:port]/path, not {url!r}")
        self.url = url.rstrip("/")
        self.root = unquote(parts.path).rstrip("/") or "/"
        self._host, self._user, self._port = parts.hostname, parts.username, parts.port
        self._timeout = timeout
        self._pid = os.getpid()
        self._client: Any = None
        self._free: list[Any] = []
        self._folders: set[str] = set()
        self._guard = threading.Lock()
        self._sessions = threading.BoundedSemaphore(_SESSIONS)
        try:
            import paramiko
        except ImportError as error:
            raise EngineMissing("ssh:// needs a package: pip install 'druse[ssh]'") from error
        self._paramiko = paramiko

    # --- the contract --------------------------------------------------------------------------

    def load(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        path = self._path(key)
        with self._session(f"reading {self.url}/{key}") as sftp, sftp.open(path, "rb") as file:
            length = file.stat().st_size
            wanted = length - start if size is None else size
            if not 0 <= wanted <= MAX_OBJECT or start + wanted > length:
                raise RemoteDamaged(f"{self.url}/{key} has {length} bytes, {wanted} were asked for")
            # Many small reads are under way at once; `read` would search among them all each time.
            ends = range(start, start + wanted, _PIECE)
            pieces = [(at, min(_PIECE, start + wanted - at)) for at in ends]
            data = b"".join(file.readv(pieces))
        if len(data) != wanted:
            raise RemoteDamaged(f"{self.url}/{key} ended while it was read")
        return data

    def store(self, key: str, data: Buffer, *, create: bool = False) -> None:
        path = self._path(key)
        aside = f"{self.root}/{_TMP}/{os.getpid()}-{layout.ulid()}"
        with self._session(f"writing {self.url}/{key}") as sftp:
            self._make_folder(sftp, f"{self.root}/{_TMP}")
            self._make_folder(sftp, path.rpartition("/")[0])
            try:
                self._write(sftp, aside, data)
                if create:
                    self._publish_new(sftp, aside, path)
                else:
                    sftp.posix_rename(aside, path)
            finally:
                with suppress(OSError):
                    sftp.remove(aside)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._session(f"listing {self.url}/{prefix}") as sftp:
            sftp.stat(self.root)  # what is not mounted is not empty
            found = [*self._walk(sftp, prefix.rstrip("/"))]
        return iter(found)

    def delete(self, keys: Iterable[str]) -> None:
        with self._session(f"removing from {self.url}") as sftp:
            for key in keys:
                with suppress(FileNotFoundError):
                    sftp.remove(self._path(key))

    def close(self) -> None:
        with self._guard:
            client, self._client, self._free = self._client, None, []
        if client is not None:
            client.close()

    # --- files ---------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self.root}/{layout.check_key(key)}"

    def _write(self, sftp: Any, path: str, data: Buffer) -> None:
        with sftp.open(path, "wbx") as file:
            file.set_pipelined(True)
            file.write(bytes(data))
            file.flush()
            file.set_pipelined(False)
            _sync(file)

    def _publish_new(self, sftp: Any, aside: str, path: str) -> None:
        """SFTP's own rename refuses what is there already."""
        try:
            sftp.rename(aside, path)
        except OSError as error:
            try:
                sftp.lstat(path)
            except FileNotFoundError:
                raise error from None
            raise ObjectExists(f"{self.url}: {path} is there already") from error

    def _make_folder(self, sftp: Any, path: str) -> None:
        if path in self._folders or path == self.root:
            return
        self._make_folder(sftp, path.rpartition("/")[0])
        try:
            found = sftp.lstat(path)
        except FileNotFoundError:
            with suppress(OSError):  # somebody else may have been faster
                sftp.mkdir(path)
            found = sftp.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise RemoteDamaged(f"{self.url}: {path} is no folder, or a link to one")
        self._folders.add(path)

    def _walk(self, sftp: Any, folder: str) -> Iterator[Entry]:
        try:
            entries = sftp.listdir_attr(f"{self.root}/{folder}" if folder else self.root)
        except FileNotFoundError:
            return
        for entry in entries:
            key = f"{folder}/{entry.filename}" if folder else entry.filename
            if not layout.is_key(key):
                continue
            if stat.S_ISDIR(entry.st_mode):
                yield from self._walk(sftp, key)
            elif stat.S_ISREG(entry.st_mode):
                yield Entry(key, entry.st_size, float(entry.st_mtime))

    # --- the connection ------------------------------------------------------------------------

    @contextmanager
    def _session(self, doing: str) -> Iterator[Any]:
        """A channel of its own for the block; one that failed is not used again."""
        if self._pid != os.getpid():
            raise ForkedStore(f"the remote {self.url} was opened before a fork: open it again")
        ssh = self._paramiko
        with self._sessions:
            try:
                sftp = self._take()
                yield sftp
            except (RemoteError, ForkedStore):
                self._give_back(sftp)
                raise
            except FileNotFoundError as error:
                self._give_back(sftp)
                raise self._missing(error, doing) from error
            except PermissionError as error:
                self._give_back(sftp)
                raise RemoteDenied(f"{doing}: refused. Who owns that folder?") from error
            except (ssh.AuthenticationException, ssh.BadHostKeyException) as error:
                raise RemoteDenied(f"{doing}: {error}. Does `ssh {self._host}` work?") from error
            except (ssh.SSHException, OSError, EOFError) as error:
                self._drop()
                number = getattr(error, "errno", None)
                kind = RemoteFull if number in _FULL else RemoteUnavailable
                raise kind(f"{doing}: {error}") from error
            else:
                self._give_back(sftp)

    def _missing(self, error: OSError, doing: str) -> RemoteError:
        sftp = self._take()
        try:
            sftp.stat(self.root)
        except FileNotFoundError:
            return RemoteUnavailable(f"{doing}: there is no folder {self.root} there; create it")
        except (self._paramiko.SSHException, OSError, EOFError):
            return RemoteUnavailable(f"{doing}: {error}")
        finally:
            self._give_back(sftp)
        return ObjectMissing(f"{doing}: it is not there")

    def _take(self) -> Any:
        with self._guard:
            if self._free:
                return self._free.pop()
            if self._client is None:
                self._client = self._connect()
            sftp = self._client.open_sftp()
        sftp.get_channel().settimeout(self._timeout)
        return sftp

    def _give_back(self, sftp: Any) -> None:
        with self._guard:
            if self._client is not None:
                self._free.append(sftp)

    def _drop(self) -> None:
        """The connection is broken: the next request opens another."""
        with self._guard:
            client, self._client, self._free = self._client, None, []
        if client is not None:
            client.close()

    def _connect(self) -> Any:
        ssh = self._paramiko
        config = ssh.SSHConfig()
        path = Path.home() / ".ssh" / "config"
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                config.parse(file)
        found = config.lookup(self._host)
        client = ssh.SSHClient()
        client.load_system_host_keys()
        client.set_missing_host_key_policy(ssh.RejectPolicy())
        jump = found.get("proxycommand")
        client.connect(
            found.get("hostname", self._host),
            port=self._port or int(found.get("port", 22)),
            username=self._user or found.get("user"),
            key_filename=found.get("identityfile"),
            timeout=min(self._timeout, 10.0),
            banner_timeout=self._timeout,
            auth_timeout=self._timeout,
            sock=ssh.ProxyCommand(jump) if jump else None,
        )
        return client


def _sync(file: Any) -> None:
    """fsync, by OpenSSH's extension; other servers do not know it."""
    from paramiko.sftp import CMD_EXTENDED

    with suppress(OSError):
        file.sftp._request(CMD_EXTENDED, "fsync@openssh.com", file.handle)
