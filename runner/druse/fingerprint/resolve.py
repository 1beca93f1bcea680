"""What a name in code means now: a value, something outside of user code, or nothing.

Modules are looked into by their dictionaries. Outside of user code nothing is imported and no
attribute asked for: packages load parts of themselves lazily, and a key must not depend on what
happens to be loaded. User modules that a function imports are imported: their globals count.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from abc import ABCMeta
from types import ModuleType
from typing import Any, Final, NamedTuple

from druse.fingerprint.packages import Origin, origin_of_module
from druse.fingerprint.proxies import is_class, is_function, is_module
from druse.fingerprint.template import IMPORT, Ref

_ABOUT_THE_MODULE: Final = frozenset(
    {
        *("__name__", "__file__", "__package__", "__spec__", "__loader__", "__path__"),
        *("__builtins__", "__cached__", "__dict__"),
    }
)
_ABSENT: Final = object()
_PLAIN_METACLASSES: Final = (type, ABCMeta)


class Found(NamedTuple):
    """A value, and the attributes of it that the code reads then. `owner[key]` is where it was."""

    value: Any
    rest: tuple[str, ...]
    name: str
    owner: Any = None
    key: str = ""


class External(NamedTuple):
    """Something of the standard library or a package, by its dotted name."""

    dotted: str
    origin: Origin


class Nothing(NamedTuple):
    """A builtin, what a module says about itself, or a name that is bound to nothing."""

    kind: str  # builtin | module | missing
    name: str


Meaning = Found | External | Nothing


class Surroundings(NamedTuple):
    """Where code looks its names up."""

    globals: dict[str, Any]
    cells: dict[str, Any]
    label: str  # the qualified name of the code


def resolve(ref: Ref, around: Surroundings) -> Meaning:
    meaning = _resolve(ref, around)
    names = (ref.name, *ref.chain)
    if isinstance(meaning, Nothing) and any(_is_private(name) for name in names):
        for owner in around.label.split("."):  # in a class C, `__x` is `_C__x`
            name, *chain = (_mangled(name, owner) for name in names)
            found = _resolve(ref._replace(name=name, chain=tuple(chain)), around)
            if isinstance(found, Found):
                return found
    return meaning


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def _mangled(name: str, owner: str) -> str:
    return f"_{owner.lstrip('_')}{name}" if _is_private(name) else name


def _resolve(ref: Ref, around: Surroundings) -> Meaning:
    if ref.kind == IMPORT:
        return _imported(ref, around)
    if ref.name in around.cells:
        return _follow(_cell(around, ref.name), ref.chain)
    if ref.name in _ABOUT_THE_MODULE:
        return Nothing("module", ref.name)
    if ref.name in around.globals:
        module = short_name(around.globals)
        name = f"{module}.{ref.name}" if module else ref.name
        value = around.globals[ref.name]
        return _follow(Found(value, (), name, around.globals, ref.name), ref.chain)
    if hasattr(builtins, ref.name):
        names = (ref.name, *ref.chain)
        return _put_there(builtins, names) or Nothing("builtin", ".".join(names))
    return Nothing("missing", ".".join((ref.name, *ref.chain)))


def _cell(around: Surroundings, name: str) -> Meaning:
    try:
        value = around.cells[name].cell_contents
    except ValueError:
        return Nothing("missing", name)
    return Found(value, (), f"{around.label}.{name}", around.cells[name], "")


def _follow(start: Meaning, chain: tuple[str, ...]) -> Meaning:
    """Goes along attributes as long as they say no more than what they hold."""
    if not isinstance(start, Found):
        return start
    here = start
    for place, attribute in enumerate(chain):
        rest = chain[place:]
        if is_module(here.value):
            if attribute == "__dict__" and is_user(here.value):
                return _with_rest(here, rest)  # any of its names may be read
            step = _in_module(here.value, rest)
            if not isinstance(step, Found):
                return step
        else:
            value = _plain_attribute(here.value, attribute)
            if value is _ABSENT:
                return _with_rest(here, rest)
            step = Found(value, (), f"{here.name}.{attribute}", here.value, attribute)
        here = step
    if is_module(here.value) and not is_user(here.value):
        return External(here.value.__name__, origin_of_module(here.value.__name__))
    return here


def _with_rest(found: Found, rest: tuple[str, ...]) -> Found:
    return Found(found.value, rest, found.name, found.owner, found.key)


def is_user(module: ModuleType) -> bool:
    return origin_of_module(module.__name__).is_user


def _in_module(module: ModuleType, chain: tuple[str, ...]) -> Meaning:
    attribute = chain[0]
    name = module.__name__
    origin = origin_of_module(name)
    is_namespace = origin.kind == "package" and origin.distribution is None
    if not origin.is_user and not (is_namespace and attribute in vars(module)):
        return _put_there(module, chain) or External(".".join((name, *chain)), origin)
    if attribute in _ABOUT_THE_MODULE:
        return Nothing("module", attribute)
    value = vars(module).get(attribute, _ABSENT)
    if value is _ABSENT:
        value = sys.modules.get(f"{name}.{attribute}", _ABSENT)
    if value is _ABSENT and "__getattr__" in vars(module):
        try:
            value = getattr(module, attribute)
        except Exception:  # whatever the user's __getattr__ raises: the name means nothing here
            value = _ABSENT
    if value is _ABSENT and type(module) is not ModuleType:
        value = _of_its_class(type(module), attribute)
    if value is _ABSENT:
        return Nothing("missing", ".".join(chain))
    return Found(value, (), f"{short_name(vars(module))}.{attribute}", vars(module), attribute)


def _of_its_class(kind: type, name: str) -> Any:
    """What computes an attribute of a module whose class is the user's own."""
    for wanted in (name, "__getattr__", "__getattribute__"):
        for base in kind.__mro__:
            if wanted in vars(base) and origin_of_module(base.__module__).is_user:
                return vars(base)[wanted]
    return _ABSENT


def _put_there(module: ModuleType, chain: tuple[str, ...]) -> Found | None:
    """A function or class of the user's own that was put into a module or class of a package."""
    held: Any = module
    for place, attribute in enumerate(chain):
        owner, held = held, vars(held).get(attribute)
        if is_function(held) or is_class(held):
            home = getattr(held, "__globals__", {}).get("__name__", held.__module__)
            if isinstance(home, str) and origin_of_module(home).is_user:
                name = f"{module.__name__}.{'.'.join(chain[: place + 1])}"
                return Found(held, chain[place + 1 :], name, owner, attribute)
        if not is_module(held) and not is_class(held):
            return None
    return None


def _plain_attribute(value: Any, name: str) -> Any:
    """An attribute that is read without any code running; _ABSENT for any other."""
    if name.startswith("__") and name.endswith("__"):
        return _ABSENT
    if is_class(value):
        return _class_attribute(value, name)
    kind = type(value)
    if not is_function(value) and _looks_up_itself(kind):
        return _ABSENT
    held = getattr(value, "__dict__", None)
    if type(held) is not dict or name not in held:
        return _ABSENT
    computed = any(hasattr(type(vars(base).get(name)), "__get__") for base in kind.__mro__)
    return _ABSENT if computed else held[name]


def is_set_plainly(value: Any, name: str) -> bool:
    """Whether assigning to an attribute runs no code of the user's."""
    if is_module(value) or is_function(value):
        return True
    if is_class(value):
        return type(value).__setattr__ is type.__setattr__
    kind: Any = type(value)
    if kind.__setattr__ is not object.__setattr__:
        return False
    return not any(hasattr(type(vars(base).get(name)), "__set__") for base in kind.__mro__)


def _looks_up_itself(kind: Any) -> bool:
    return kind.__getattribute__ is not object.__getattribute__


def _class_attribute(cls: type, name: str) -> Any:
    if type(cls) not in _PLAIN_METACLASSES or not origin_of_module(cls.__module__).is_user:
        return _ABSENT
    for base in cls.__mro__:
        if name not in vars(base):
            continue
        value = vars(base)[name]
        if isinstance(value, staticmethod):
            return value.__func__
        is_plain = is_function(value) or is_class(value) or not hasattr(type(value), "__get__")
        return value if is_plain else _ABSENT
    return _ABSENT


# --- imports within functions ----------------------------------------------------------------


def _imported(ref: Ref, around: Surroundings) -> Meaning:
    if ref.top:
        top = ref.module.partition(".")[0]
        if not origin_of_module(top).is_user:
            return External(".".join((top, *ref.chain)), origin_of_module(top))
        for dotted in ref.module.split(","):
            load(dotted)
        return _from_module(top, ref.chain)
    name = _absolute(ref, around)
    if name is None:
        return Nothing("missing", ref.module or ref.name)
    member = () if ref.member is None else (ref.member,)
    return _from_module(name, (*member, *ref.chain))


def _absolute(ref: Ref, around: Surroundings) -> str | None:
    if not ref.level:
        return ref.module
    package = around.globals.get("__package__")
    if package is None:
        name = around.globals.get("__name__", "")
        package = name if "__path__" in around.globals else name.rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * ref.level + ref.module, package)
    except (ImportError, ValueError):
        return None


def _from_module(name: str, chain: tuple[str, ...]) -> Meaning:
    origin = origin_of_module(name)
    if not origin.is_user:
        return External(".".join((name, *chain)), origin)
    module = load(name)
    if module is None:
        return Nothing("missing", ".".join((name, *chain)))
    if chain and chain[0] not in vars(module):
        load(f"{name}.{chain[0]}")
    return _follow(Found(module, (), name), chain)


def load(name: str) -> ModuleType | None:
    """A user module, imported if it has not been; None where that fails."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # whatever the module raises: the code would meet it, too
        return None


def short_name(module_globals: dict[str, Any]) -> str:
    """What a person calls a module: a script by its file's name."""
    name = str(module_globals.get("__name__", ""))
    if name not in ("__main__", "__mp_main__"):
        return name
    file = module_globals.get("__file__")
    return str(file).replace("\\", "/").rpartition("/")[2].removesuffix(".py") if file else ""
