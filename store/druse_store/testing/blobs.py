"""The contract of anything that keeps blobs."""

from __future__ import annotations

import io
import random
from typing import BinaryIO, Protocol

import pytest

from druse_store.digest import Digest
from druse_store.errors import BlobNotFound, InvalidInput

SIZES = (0, 1, 65_536, 65_537, 3_000_000)


class BlobStore(Protocol):
    """What is needed of one."""

    def put(self, data: bytes | memoryview | BinaryIO, /) -> Digest: ...
    def get(self, digest: Digest, /) -> bytes: ...
    def open_blob(self, blob: Digest, /) -> BinaryIO: ...
    def __contains__(self, digest: object, /) -> bool: ...


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)  # noqa: S311  # data, no secret


def kinds_of_content() -> dict[str, bytes]:
    """What codecs, cut points and layouts treat differently, each larger than a chunk."""
    numbers = b"".join(i.to_bytes(8, "little") for i in range(100_000, 200_000))
    return {
        "noise": content(1_500_000),
        "zeros": bytes(1_500_000),
        "text": b"All work and no play. " * 60_000,
        "numbers": numbers,
        "half noise, half text": content(700_000, 1) + b"text " * 100_000,
        "the same piece, often": content(100_000, 2) * 12,
    }


class _Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a socket may."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), len(self._rest), 40_000)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class BlobStoreContract:
    """Inherit from it in a test class that has a fixture `blobs`: an empty BlobStore."""

    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_put_is_got_back(self, blobs: BlobStore, size: int) -> None:
        data = content(size)
        digest = blobs.put(data)
        assert digest == Digest.of(data)
        assert blobs.get(digest) == data
        assert digest in blobs

    @pytest.mark.parametrize("kind", kinds_of_content())
    def test_every_kind_of_content_comes_back(self, blobs: BlobStore, kind: str) -> None:
        data = kinds_of_content()[kind]
        assert blobs.get(blobs.put(data)) == data

    @pytest.mark.parametrize("size", SIZES)
    def test_a_stream_is_the_same_blob_as_its_bytes(self, blobs: BlobStore, size: int) -> None:
        data = content(size)
        for stream in (io.BytesIO(data), _Trickle(data)):
            assert blobs.put(stream) == Digest.of(data)  # type: ignore[arg-type]
        assert blobs.get(Digest.of(data)) == data

    def test_what_is_changed_after_a_put_stays_as_it_was_put(self, blobs: BlobStore) -> None:
        data = bytearray(content(200_000))
        before = bytes(data)
        digest = blobs.put(memoryview(data))
        data[:] = bytes(len(data))
        assert blobs.get(digest) == before

    def test_putting_again_changes_nothing(self, blobs: BlobStore) -> None:
        data = content(300_000)
        assert blobs.put(data) == blobs.put(data)
        assert blobs.get(Digest.of(data)) == data

    def test_blobs_that_share_most_of_their_bytes_are_kept_apart(self, blobs: BlobStore) -> None:
        base = content(2_000_000)
        versions = [base[:cut] + b"edit %d" % cut + base[cut:] for cut in range(0, 10**6, 99_999)]
        digests = [blobs.put(version) for version in versions]
        assert len(set(digests)) == len(versions)
        for digest, version in zip(digests, versions, strict=True):
            assert blobs.get(digest) == version

    def test_a_blob_is_a_seekable_file(self, blobs: BlobStore) -> None:
        data = content(2_500_000)
        chance = random.Random(1)  # noqa: S311
        with blobs.open_blob(blobs.put(data)) as file:
            assert file.seek(0, io.SEEK_END) == len(data)
            assert file.read(1) == b""
            for _ in range(50):
                at, size = chance.randrange(len(data)), chance.randrange(300_000)
                assert file.seek(at) == at
                assert file.read(size) == data[at : at + size]

    def test_what_is_not_there_is_not_found(self, blobs: BlobStore) -> None:
        missing = Digest.of(b"never put")
        assert missing not in blobs
        assert "text" not in blobs
        for read in (blobs.get, blobs.open_blob):
            with pytest.raises(BlobNotFound):
                read(missing)

    def test_what_is_no_bytes_is_refused(self, blobs: BlobStore) -> None:
        for thing in ("text", 3, None, memoryview(b"abcd")[::2]):
            with pytest.raises(InvalidInput):
                blobs.put(thing)  # type: ignore[arg-type]
