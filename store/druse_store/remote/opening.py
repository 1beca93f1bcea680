"""From an address to a backend. Every engine is imported only when its kind of address is used."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from druse_store.errors import InvalidInput
from druse_store.remote.backend import Backend

SCHEMES = ("s3", "gs", "az", "file", "ssh", "https", "http")
REQUEST_TIMEOUT = 60.0  # seconds


def open_backend(url: str, *, timeout: float = REQUEST_TIMEOUT) -> Backend:
    """The backend that serves `url`. Raises InvalidInput. Nothing is asked of the server yet."""
    url = check_url(url)
    scheme = urlsplit(url).scheme
    if scheme == "file":
        from druse_store.remote.directory import Directory

        return Directory(Path(unquote(urlsplit(url).path)))
    if scheme in ("http", "https"):
        from druse_store.remote.web import Web

        return Web(url, timeout=timeout)
    if scheme == "ssh":
        from druse_store.remote.sftp import Sftp

        return Sftp(url, timeout=timeout)
    from druse_store.remote.bucket import Bucket

    return Bucket(url, timeout=timeout)


def check_url(url: str) -> str:
    """The address in the form that is kept. Raises InvalidInput."""
    if url.startswith(("/", "./", "../", "~")):
        return Path(url).expanduser().resolve().as_uri()
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InvalidInput(
            f"{url[:200]!r} is no address of a remote: it begins with one of {known}"
        )
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        raise InvalidInput(
            "an address must not hold a password or key, since it is written down: put them into "
            "the environment, or where the provider's own tools look for them"
        )
    if parts.query or parts.fragment:
        raise InvalidInput(f"an address has no '?' or '#' part: {url[:200]!r}")
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path):
        raise InvalidInput(f"a folder's address is file:///absolute/path, not {url[:200]!r}")
    if parts.scheme != "file" and not parts.netloc:
        raise InvalidInput(f"{url[:200]!r} lacks the name of a bucket or host")
    return url.rstrip("/") if parts.scheme != "file" else f"file://{parts.path.rstrip('/') or '/'}"
