"""What user code has put into the standard library and packages: any code may meet it there.

A method that is set on a package's class, a function of a module that is replaced, an accessor or
virtual subclass that is registered: none of these is reached by a name that leads to it, since the
object that has it may come from anywhere. So all of them count for all code. They are found by
looking through what is loaded; where nothing was put anywhere, keys are as they would be without.
"""

from __future__ import annotations

import abc
import copyreg
import operator
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, NamedTuple

from druse.fingerprint.packages import is_installed_file
from druse.fingerprint.proxies import is_class, is_module, virtual_subclasses
from druse.fingerprint.users import Users, is_open, module_name

# What reports, and computes nothing.
_INERT: Final = frozenset({"logging", "logging.config", "logging.handlers", "warnings"})
_INERT_NAMES: Final = frozenset(
    {
        *("excepthook", "displayhook", "breakpointhook", "unraisablehook"),
        *("stdout", "stderr", "last_type", "last_value", "last_exc", "last_traceback"),
        *("meta_path", "path_hooks", "callbacks"),  # of sys, and of gc
        "_",  # where an interactive Python keeps its last answer
        "dispatch_table",  # of copyreg, which is looked through by itself
    }
)

_OURS: Final = frozenset({"druse", "druse_store"})
_USERS: Final = "the user's, or a wrapper of it"
_OPEN: Final = "another's class, into which something may have been put"
_CHANGING: Final = "another's object or wrapper, which may come to hold something"
_CLOSED: Final = "none of these"


class Patch(NamedTuple):
    """Something of the user's, and where it was put."""

    name: str
    value: Any


@dataclass(slots=True)
class _Seen:
    """A module or class that nothing was put into, with what it held: as long as it holds that,
    there is nothing to be found in it."""

    owner: Any
    values: tuple[Any, ...]
    classes: list[type]
    changing: list[Any]  # what may come to hold something by itself


class _Registered(NamedTuple):
    token: object
    found: dict[str, Any]


class _Clean(NamedTuple):
    """What is loaded, if nothing was put into any of it."""

    modules: tuple[Any, ...]
    walked: list[tuple[_Seen, Any]]

    def is_still_so(self) -> bool:
        users = Users()
        return (
            _same(self.modules, sys.modules)
            and abc.get_cache_token() == _registered[0].token
            and all(_same(seen.values, held) for seen, held in self.walked)
            and not any(users.owns(each) for seen, _ in self.walked for each in seen.changing)
        )


_seen: dict[int, _Seen] = {}
_clean: list[_Clean] = []
_registered: list[_Registered] = []
_guard: Final = RLock()


def patches() -> list[Patch]:
    """All that user code has put into what is not the user's, by name."""
    with _guard:
        look = _Look()
        if not (_clean and _clean[0].is_still_so()):
            modules = tuple(sys.modules.values())
            for module in modules:
                held = _scanned(module)
                if held is not None:
                    look.into(module, held)
            _clean[:] = [] if look.found else [_Clean(modules, look.walked)]
        look.into_copyreg()
        look.into_abstract_classes()
        return [Patch(name, look.found[name]) for name in sorted(look.found)]


def _scanned(module: Any) -> dict[str, Any] | None:
    """The dictionary of a module that is the standard library's or a package's, and computes."""
    if not is_module(module):
        return None
    held = object.__getattribute__(module, "__dict__")  # one that loads lazily stays unloaded
    name, file = held.get("__name__"), held.get("__file__")
    if type(held) is not dict or not isinstance(name, str) or name in _INERT:
        return None
    if name.partition(".")[0] in _OURS:
        return None
    if isinstance(file, str):
        return held if is_installed_file(file) else None
    return held if name.partition(".")[0] in sys.stdlib_module_names else None


class _Look:
    """One look through what is loaded."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._users = Users()
        self._modules: dict[str, str] = {}
        self._known: dict[int, str] = {}  # what was judged, by identity
        self._kept: list[Any] = []  # so that their identities stay theirs
        self._classes: dict[int, type] = {}  # looked into
        self.walked: list[tuple[_Seen, Any]] = []

    def into(self, owner: Any, held: Any) -> None:
        """A module or class, by its dictionary, and the classes in it."""
        seen = _seen.get(id(owner))
        if seen is None or seen.owner is not owner or not self._is_as_it_was(seen, held):
            seen = self._examined(owner, held)
        self.walked.append((seen, held))
        known = self._classes
        for cls in seen.classes:
            if id(cls) not in known:
                known[id(cls)] = cls
                self.into(cls, vars(cls))

    def _examined(self, owner: Any, held: Any) -> _Seen:
        seen, known = _Seen(owner, tuple(held.values()), [], []), self._known
        put = []
        for value in self._users.among(seen.values):
            verdict = known.get(id(value)) or self._judge(value)
            if verdict is _OPEN:
                seen.classes.append(value)
            elif verdict is _USERS:
                put.append(value)
            elif verdict is _CHANGING:
                seen.changing.append(value)
        if not put or not self._note(owner, dict(held), put):
            _seen[id(owner)] = seen
        return seen

    def _is_as_it_was(self, seen: _Seen, held: Any) -> bool:
        return _same(seen.values, held) and not any(map(self._users.owns, seen.changing))

    def _judge(self, value: Any) -> str:
        users = self._users
        if is_class(value):
            if not is_open(value):
                verdict = _CLOSED
            else:
                name = module_name(value)
                verdict = self._modules.get(name) or self._judge_module(name)
        elif users.owns(value):
            verdict = _USERS
        else:
            verdict = _CHANGING if users.may_change(value) else _CLOSED
        self._kept.append(value)
        self._known[id(value)] = verdict
        return verdict

    def _judge_module(self, name: str) -> str:
        """What the classes of a module are."""
        if self._users.owns_module(name):
            verdict = _USERS
        else:
            verdict = _CLOSED if name.partition(".")[0] in _OURS else _OPEN
        self._modules[name] = verdict
        return verdict

    def _note(self, owner: Any, held: dict[str, Any], put: list[Any]) -> bool:
        """Whether any of what was put into a module or class counts."""
        where = held["__name__"] if is_module(owner) else _full_name(owner)
        ids = set(map(id, put))
        found = {key: v for key, v in held.items() if id(v) in ids and key not in _INERT_NAMES}
        for key, value in found.items():
            for within, piece in self._users.pieces(value):
                name = f"{where}.{key}{within}"
                while name in self.found:
                    name += "'"
                self.found[name] = piece
        return bool(found)

    def into_copyreg(self) -> None:
        for cls, reduce in list(copyreg.dispatch_table.items()):
            if self._users.owns(reduce):
                self.found[f"copyreg of {cls.__qualname__}"] = reduce

    def into_abstract_classes(self) -> None:
        """Virtual subclasses; looked for where any was registered since the last look."""
        token = abc.get_cache_token()
        if not _registered or _registered[0].token != token:
            _registered[:] = [_Registered(token, dict(self._virtual()))]
        self.found.update(_registered[0].found)

    def _virtual(self) -> Iterator[tuple[str, Any]]:
        for cls in self._classes.values():
            if isinstance(cls, abc.ABCMeta):
                for each in virtual_subclasses(cls):
                    if self._users.owns(each):
                        yield f"{_full_name(cls)} of {each.__qualname__}", each


def _full_name(cls: type) -> str:
    return f"{module_name(cls)}.{cls.__qualname__}"


def _same(before: tuple[Any, ...], now: Any) -> bool:
    """Whether a dictionary holds the very same objects as before."""
    return len(before) == len(now) and all(map(operator.is_, before, now.values()))
