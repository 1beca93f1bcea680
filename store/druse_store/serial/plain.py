"""bytes, str and JSON-able values: the encodings that any program can read."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from druse_store.records import ObjectRef
from druse_store.serial.access import Get, Put

MAX_DEPTH: Final = 100  # well below the depth at which decoding would meet the recursion limit
_MAX_INT_BITS: Final = (
    2000  # int() refuses to parse longer decimals where a program lowers its limit
)
_ATOMS: Final = frozenset({str, bool, type(None)})


def dump(obj: Any, put: Put) -> ObjectRef | None:
    """None for what is neither bytes, nor str, nor JSON-able without loss."""
    if type(obj) is bytes:
        return ObjectRef("bytes", put(obj, 1))
    if type(obj) is str:
        return ObjectRef("str", put(obj.encode("utf-8", "surrogatepass"), 1))
    text = to_json(obj) if is_json(obj) else None
    return None if text is None else ObjectRef("json", put(text, 1))


def load_bytes(ref: ObjectRef, get: Get, writable: bool) -> bytes:
    return bytes(get(ref.root, False))


def load_str(ref: ObjectRef, get: Get, writable: bool) -> str:
    return bytes(get(ref.root, False)).decode("utf-8", "surrogatepass")


def load_json(ref: ObjectRef, get: Get, writable: bool) -> Any:
    return from_json(bytes(get(ref.root, False)))


def is_atom(value: Any) -> bool:
    """Whether JSON gives exactly this value back, and it holds no others."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is int:
        return bool(value.bit_length() <= _MAX_INT_BITS)
    return kind is float and math.isfinite(value)


def is_json(obj: Any) -> bool:
    """Whether JSON gives exactly this value back: types, order, and what is shared with what.

    A list that occurs twice would come back as two lists, so it is not.
    """
    seen: set[int] = set()
    level = [obj]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if is_atom(value):
                continue
            if type(value) not in (list, dict) or id(value) in seen:
                return False
            seen.add(id(value))
            if type(value) is dict:
                if not all(type(key) is str for key in value):
                    return False
                below.extend(value.values())
            else:
                below.extend(value)
        if not below:
            return True
        level = below
    return False


def to_json(value: Any) -> bytes | None:
    """None where a string holds half a surrogate pair: JSON would join two such into one."""
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
    )
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def from_json(text: bytes) -> Any:
    """The value of `text`. Raises ValueError or RecursionError for what `to_json` did not write."""
    return json.loads(text.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
