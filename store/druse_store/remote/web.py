"""A remote behind a web server, `https://`: a mirror to read from. The only importer of urllib3.

Any server does that serves a remote's folder and lists folders as pages of links (nginx's and
Caddy's autoindex, Apache's, Python's own). Listings have no sizes or times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from druse_store.errors import (
    ObjectMissing,
    RemoteDamaged,
    RemoteDenied,
    RemoteError,
    RemoteReadOnly,
    RemoteUnavailable,
)
from druse_store.remote import layout
from druse_store.remote.backend import MAX_OBJECT, Entry

if TYPE_CHECKING:
    from typing_extensions import Buffer
    from urllib3 import BaseHTTPResponse

_MAX_PAGE = 64 << 20
_DEEPEST = 4
_WAYS = 16


class Web:
    """A folder on a web server."""

    read_only = True

    def __init__(self, url: str, *, timeout: float) -> None:
        import urllib3

        self.url = url.rstrip("/")
        self._errors = urllib3.exceptions
        self._pool = urllib3.PoolManager(
            maxsize=_WAYS,
            timeout=urllib3.Timeout(connect=min(timeout, 5.0), read=timeout),
            retries=urllib3.Retry(total=2, redirect=3, backoff_factor=0.1),
        )

    def load(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        path = quote(layout.check_key(key))
        if size == 0:
            return b""
        if size is not None and size > MAX_OBJECT:
            raise RemoteDamaged(f"{self.url}/{key}: {size} bytes are more than any object has")
        headers = {} if size is None else {"Range": f"bytes={start}-{start + size - 1}"}
        status, data = self._get(path, MAX_OBJECT, headers)
        if status == 200:  # the server knows no ranges, or was asked for everything
            data = data[start:] if size is None else data[start : start + size]
        if size is not None and len(data) != size:
            raise RemoteDamaged(f"{self.url}/{key} ends before byte {start + size}")
        return data

    def store(self, key: str, data: Buffer, *, create: bool = False) -> None:
        raise RemoteReadOnly(f"{self.url} can only be read; push to the remote that it mirrors")

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._walk(prefix.rstrip("/"), 0)

    def delete(self, keys: Iterable[str]) -> None:
        raise RemoteReadOnly(f"{self.url} can only be read")

    def close(self) -> None:
        self._pool.clear()

    def _walk(self, folder: str, depth: int) -> Iterator[Entry]:
        path = quote(f"{folder}/") if folder else ""
        try:
            _, page = self._get(path, _MAX_PAGE, {})
        except ObjectMissing:
            return
        for name in _links(page.decode("utf-8", "replace"), urlsplit(f"{self.url}/{path}").path):
            key = f"{folder}/{name}" if folder else name
            if name.endswith("/") and depth < _DEEPEST and layout.is_key(key[:-1]):
                yield from self._walk(key[:-1], depth + 1)
            elif layout.is_key(key):
                yield Entry(key, 0, 0.0)

    def _get(self, path: str, limit: int, headers: dict[str, str]) -> tuple[int, bytes]:
        url = f"{self.url}/{path}"
        with self._translated(url):
            response = self._pool.request("GET", url, headers=headers, preload_content=False)
            try:
                self._check(response, url)
                data = response.read(limit + 1, decode_content=True)
            finally:
                response.drain_conn() if response.status != 200 else response.close()
                response.release_conn()
        if len(data) > limit:
            raise RemoteDamaged(f"{url} has more than {limit} bytes")
        return response.status, data

    def _check(self, response: BaseHTTPResponse, url: str) -> None:
        status = response.status
        if status in (200, 206):
            return
        if status in (404, 410):
            raise ObjectMissing(f"{url} is not there")
        if status == 416:
            raise RemoteDamaged(f"{url} ends before what was to be read")
        if status in (401, 403):
            folder = " (a folder: the server has to list folders)" if url.endswith("/") else ""
            raise RemoteDenied(f"{url}: refused{folder}")
        raise RemoteUnavailable(f"{url}: the server answered {status}")

    @contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        try:
            yield
        except RemoteError:
            raise
        except (self._errors.HTTPError, OSError, ValueError) as error:
            raise RemoteUnavailable(f"reading {url}: {error}") from error


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found |= {value: None for name, value in attrs if name == "href" and value}


def _links(page: str, path: str) -> list[str]:
    """The names that a listing of the folder at `path` links to, folders with a slash."""
    parser = _Links()
    parser.feed(page)
    names = []
    for href in parser.found:
        target = urlsplit(href).path if "://" in href else href.partition("?")[0].partition("#")[0]
        name = unquote(target.removeprefix(path).removeprefix("./"))
        if name and not name.startswith(("/", ".")) and "/" not in name[:-1]:
            names.append(name)
    return names
