"""Damage to a store's files, as a bad disk or a careless user does it."""

import random


def content(size, seed=0):
    """Bytes that do not compress, so that they lie in the pack as they are."""
    return random.Random(seed).randbytes(size)


def packs(path):
    return sorted((path / "packs").rglob("*.pack"))


def flip(file, offset, mask=0x10):
    """Change a byte in place: somebody may have the file open."""
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte[0] ^ mask]))


def find(path, data):
    """The pack that holds these bytes, and where (the last such place)."""
    for pack in packs(path):
        at = pack.read_bytes().rfind(data)
        if at >= 0:
            return pack, at
    raise AssertionError("no pack has these bytes")


def damage(path, data):
    """Change the first of these bytes where they lie in a pack; returns how to undo it."""
    pack, at = find(path, data)
    flip(pack, at)
    return lambda: flip(pack, at)
