"""Buckets as remotes, `s3:// gs:// az://`: the only importer of obstore.

Credentials come from the environment and the provider's own files. obstore's own retries are
short; `patience` is for those who can wait (see `patient`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from druse_store.errors import (
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
from druse_store.remote import credentials, layout
from druse_store.remote.backend import MAX_OBJECT, Entry

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from typing_extensions import Buffer

_PART = 8 << 20  # bytes; larger objects go up in parts
_PAGE = 1000
_STATUS = re.compile(r"status code: (\d{3})")
_FULL = frozenset((413, 507))
_FULL_CODES = ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge")
_DENIED = frozenset((401, 403))


class Bucket:
    """A bucket, or a folder in one. Used by the process that opened it, and by no forked child."""

    read_only = False

    def __init__(self, url: str, *, timeout: float) -> None:
        import obstore
        from obstore import exceptions, store

        self.url = url
        self._pid = os.getpid()
        self._obstore = obstore
        self._errors = exceptions
        client: ClientConfig = {"timeout": timedelta(seconds=timeout), "connect_timeout": "5s"}
        config = credentials.config_for(url)
        if config.get("endpoint", "").startswith("http://"):
            client["allow_http"] = True
        retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=timeout)}
        try:
            make: Any = (
                store.from_url
            )  # one function for all providers: its overloads tell them apart
            self._store: Any = make(url, config=config, client_options=client, retry_config=retry)
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise InvalidInput(f"{url} cannot be used as a bucket's address: {error}") from error

    # --- the contract --------------------------------------------------------------------------

    def load(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        with self._translated("reading", layout.check_key(key)):
            if size is None:
                found = self._obstore.get(self._store, key)
                self._check_size(key, int(found.meta["size"]))
                return bytes(found.bytes())[start:]
            self._check_size(key, size)
            if size == 0:
                return b""
            data = bytes(self._obstore.get_range(self._store, key, start=start, length=size))
        if len(data) != size:
            raise RemoteDamaged(f"{self.url}/{key} ends before byte {start + size}")
        return data

    def store(self, key: str, data: Buffer, *, create: bool = False) -> None:
        view = memoryview(data).cast("B")
        with self._translated("writing", layout.check_key(key)):
            if create:
                self._obstore.put(self._store, key, view, mode="create")
            else:
                parts = view.nbytes > 4 * _PART
                self._obstore.put(self._store, key, view, use_multipart=parts, chunk_size=_PART)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._translated("listing", prefix):
            for page in self._obstore.list(self._store, prefix or None, chunk_size=_PAGE):
                for meta in page:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())

    def delete(self, keys: Iterable[str]) -> None:
        found = [*keys]
        for at in range(0, len(found), _PAGE):
            page = found[at : at + _PAGE]
            with self._translated("removing", page[0]):
                try:
                    self._obstore.delete(self._store, page)
                except (FileNotFoundError, self._errors.NotFoundError):
                    self._delete_singly(page)

    def _delete_singly(self, keys: Sequence[str]) -> None:
        """For servers that object to keys which are not there: the others are still to go."""
        for key in keys:
            try:
                self._obstore.delete(self._store, key)
            except (FileNotFoundError, self._errors.NotFoundError):
                continue

    def close(self) -> None:
        """obstore closes its connections by itself."""

    # --- errors --------------------------------------------------------------------------------

    def _check_size(self, key: str, size: int) -> None:
        if size > MAX_OBJECT:
            raise RemoteDamaged(f"{self.url}/{key} has {size} bytes: more than any object of ours")

    @contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        if self._pid != os.getpid():
            raise ForkedStore(
                f"the remote {self.url} was opened before a fork, and would hang in the child: "
                "open it again there"
            )
        try:
            yield
        except (RemoteError, ForkedStore):
            raise
        except (self._errors.BaseError, OSError, ValueError) as error:
            raise self._error(error, f"{doing} {self.url}/{key}") from error

    def _error(self, error: Exception, what: str) -> RemoteError:
        text = str(error)
        line = next((line.strip() for line in text.splitlines() if line.strip()), "")
        said = line.rpartition(" - ")[2][:300]  # what stands before it names the request again
        found = _STATUS.search(line)
        status = int(found[1]) if found else 0
        if isinstance(error, FileNotFoundError | self._errors.NotFoundError):
            if "NoSuchBucket" in text or "ContainerNotFound" in text:
                return RemoteUnavailable(f"{what}: there is no such bucket; create it first")
            return ObjectMissing(f"{what}: it is not there")
        exists = (FileExistsError, self._errors.AlreadyExistsError, self._errors.PreconditionError)
        if isinstance(error, exists):
            return ObjectExists(f"{what}: it is there already")
        if status in _FULL or any(f"<Code>{code}" in text for code in _FULL_CODES):
            return RemoteFull(f"{what}: no space or quota is left there ({said})")
        denied = (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError)
        if isinstance(error, denied) or status in _DENIED:
            return RemoteDenied(f"{what}: refused. Check the credentials in your environment")
        return RemoteUnavailable(f"{what}: {said}")
