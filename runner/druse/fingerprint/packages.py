"""Where code comes from: the standard library, an installed package, druse itself, or the user.

Files below a `site-packages` folder belong to the distribution whose list of files names them; an
editable installation lies elsewhere, so it is user code, and so is a file that no list names.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

_SITE: Final = ("site-packages", "dist-packages")
_EXTENSIONS: Final = (".so", ".pyd", ".dylib")
_OURS: Final = frozenset({"druse", "druse_store"})


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed package. `mark` tells builds of one version apart where a version does not."""

    name: str
    version: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    kind: str  # stdlib | package | druse | user
    distribution: Distribution | None = None

    @property
    def is_user(self) -> bool:
        return self.kind == "user"


STDLIB: Final = Origin("stdlib")
DRUSE: Final = Origin("druse")
USER: Final = Origin("user")

_guard: Final = threading.RLock()
_files: dict[str, Origin] = {}
_modules: dict[str, tuple[Any, Origin]] = {}


def origin_of_module(name: str) -> Origin:
    """Where a module comes from, loaded or not; nothing is imported."""
    module = sys.modules.get(name)
    known = _modules.get(name)
    if known is not None and known[0] is module:
        return known[1]
    with _guard:
        origin = _module_origin(name, module)
        _modules[name] = (module, origin)
        return origin


def origin_of_file(file: str) -> Origin:
    """Where the code in a file comes from."""
    origin = _files.get(file)
    if origin is None:
        with _guard:
            origin = _files[file] = _file_origin(file)
    return origin


def module_file(name: str) -> str | None:
    """The file of a module, or of the first module of a package that has one; without importing."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return file
    spec = getattr(module, "__spec__", None) if module is not None else _spec(name)
    if spec is None:
        return None
    if spec.has_location and spec.origin:
        return str(spec.origin)
    for place in spec.submodule_search_locations or ():
        return str(Path(place, "__init__.py"))
    return None


def is_extension(name: str) -> bool:
    """Whether a module is compiled code."""
    return (module_file(name) or "").endswith(_EXTENSIONS)


def _module_origin(name: str, module: Any) -> Origin:
    top = name.partition(".")[0]
    if top in _OURS:
        return DRUSE
    if name in ("__main__", "__mp_main__"):
        return USER
    file = module_file(name)
    if file is not None:
        return origin_of_file(file)
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return STDLIB
    if module is None and top != name:
        return origin_of_module(top)
    return USER


def _spec(name: str) -> Any:
    """The spec of a module that is not loaded; finding a submodule's would import its package."""
    top = name.partition(".")[0]
    try:
        if top == name:
            return importlib.util.find_spec(top)
        parent = sys.modules.get(name.rpartition(".")[0])
        return None if parent is None else importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _file_origin(file: str) -> Origin:
    if file.startswith("<frozen"):
        return STDLIB
    folder, name = os.path.split(file)
    if Path(file).is_symlink():
        folder, name = os.path.split(os.path.realpath(file))
    real, origin = _folder_origin(folder)
    if origin is not None:
        return origin
    place = _site_folder(real)
    path = os.path.relpath(real + name, place).replace(os.sep, "/")
    found = _distribution(str(place), path)
    return USER if found is None else Origin("package", found)


@cache
def _folder_origin(folder: str) -> tuple[str, Origin | None]:
    """Where a folder really is, and where all files in it come from; None where distributions'
    lists of files say that."""
    real = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118  # with a slash at its end
    if real.startswith(_our_folders()):
        return real, DRUSE
    if _site_folder(real) is not None:
        return real, None
    return real, STDLIB if real.startswith(_stdlib_folders()) else USER


@cache
def _our_folders() -> tuple[str, ...]:
    import druse
    import druse_store

    found = (next(iter(package.__path__)) for package in (druse, druse_store))
    return tuple(os.path.realpath(folder) + os.sep for folder in found)


@cache
def paths_of_python() -> dict[str, str]:
    """The folders of this interpreter, by sysconfig's names for them.

    sysconfig itself would load all that the interpreter was built with, to fill in a few names.
    """
    known = {
        "base": sys.prefix,
        "installed_base": sys.base_prefix,
        "platbase": sys.exec_prefix,
        "installed_platbase": sys.base_exec_prefix,
        "platlibdir": sys.platlibdir,
        "abiflags": getattr(sys, "abiflags", ""),
        "py_version_short": "{}.{}".format(*sys.version_info),
    }
    patterns = sysconfig.get_paths(expand=False)
    try:
        return {name: os.path.normpath(path.format_map(known)) for name, path in patterns.items()}
    except (KeyError, ValueError):
        return sysconfig.get_paths()


@cache
def _stdlib_folders() -> tuple[str, ...]:
    paths = paths_of_python()
    folders = {paths["stdlib"], paths["platstdlib"], str(Path(os.__file__).parent)}
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


@cache
def _purelib() -> tuple[str, ...]:
    paths = paths_of_python()
    return tuple({os.path.realpath(paths[name]) for name in ("purelib", "platlib")})


def _site_folder(real: str) -> str | None:
    """The folder of installed packages that a folder (with a slash at its end) is or lies in."""
    for folder in _purelib():
        if real.startswith(folder + os.sep):
            return folder
    around = (Path(real), *Path(real).parents)
    return next((str(folder) for folder in around if folder.name in _SITE), None)


@cache
def _installed_folders() -> tuple[str, ...]:
    paths = paths_of_python()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders.append(str(Path(os.__file__).parent))
    return tuple({f + os.sep for folder in folders for f in (folder, os.path.realpath(folder))})


@cache
def is_installed_file(file: str) -> bool:
    """Whether a file lies where the standard library or packages do: told by its place alone."""
    if file.startswith("<frozen"):
        return True
    folder = file.rpartition(os.sep)[0]
    return _is_installed_folder(folder) or (
        Path(file).is_symlink()
        and _is_installed_folder(os.path.realpath(file).rpartition(os.sep)[0])
    )


@cache
def _is_installed_folder(folder: str) -> bool:
    place = folder + os.sep
    return (
        place.startswith(_installed_folders())
        or any(f"{os.sep}{name}{os.sep}" in place for name in _SITE)
        or os.path.join(os.path.realpath(folder), "").startswith(_installed_folders())  # noqa: PTH118
    )


@cache
def is_our_file(file: str) -> bool:
    """Whether a file is druse's."""
    real = os.path.realpath(file) if Path(file).is_symlink() else file
    return _is_our_folder(real.rpartition(os.sep)[0])


@cache
def _is_our_folder(folder: str) -> bool:
    return os.path.join(os.path.realpath(folder), "").startswith(_our_folders())  # noqa: PTH118


# --- distributions ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Installed:
    """The metadata folder of a distribution, with its list of files."""

    folder: Path
    listing: bytes

    def names(self, path: str) -> bool:
        return b"\n" + path.encode() + b"," in self.listing or (
            b"\n" + path.encode() + b"\n" in self.listing
        )


def _distribution(place: str, path: str) -> Distribution | None:
    """The distribution in `place` whose list names the file `path`."""
    top = path.partition("/")[0]
    for name in _alike_first(_metadata(place), top):
        installed = _installed(place, name)
        if installed is not None and installed.names(path):
            return _described(installed)
    return None


@cache
def _metadata(place: str) -> tuple[str, ...]:
    try:
        names = os.listdir(place)  # noqa: PTH208  # there may be very many
    except OSError:
        return ()
    return tuple(sorted(name for name in names if name.endswith((".dist-info", ".egg-info"))))


def _alike_first(names: tuple[str, ...], top: str) -> Iterator[str]:
    """Names of metadata, those first that look as if they were those of a top-level name."""
    opening = _plain(top.partition(".")[0])
    likely = [name for name in names if name[:1].lower() == opening[:1]]
    alike = [name for name in likely if _plain(name.partition("-")[0]) == opening]
    yield from alike
    yield from (name for name in names if name not in alike)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _installed(place: str, name: str) -> _Installed | None:
    folder = Path(place, name)
    for listing in ("RECORD", "installed-files.txt"):
        try:
            raw = (folder / listing).read_bytes()
        except OSError:
            continue
        lines = raw.replace(b"\r", b"").replace(b'"', b"")
        if listing != "RECORD":  # relative to the metadata folder
            lines = lines.replace(b"\n../", b"\n").removeprefix(b"../")
        return _Installed(folder, b"\n" + lines + b"\n")
    return _by_top_level(folder)


def _by_top_level(folder: Path) -> _Installed | None:
    """A distribution of the system's package manager, which lists no files of its own."""
    try:
        tops = (folder / "top_level.txt").read_text("utf-8").split()
    except (OSError, ValueError):
        return None
    place = folder.parent
    files = [
        str(path.relative_to(place)).replace(os.sep, "/")
        for top in tops
        for path in (*place.glob(f"{top}/**/*"), *place.glob(f"{top}.*"))
    ]
    return _Installed(folder, ("\n" + "\n".join(files) + "\n").encode())


@cache
def _described(installed: _Installed) -> Distribution:
    name, version = installed.folder.name, ""
    for file in ("METADATA", "PKG-INFO"):
        try:
            head = (installed.folder / file).read_text("utf-8", "replace").partition("\n\n")[0]
        except OSError:
            continue
        fields = dict(re.findall(r"^(Name|Version): *(.+?) *$", head, re.MULTILINE))
        name, version = fields.get("Name", name), fields.get("Version", version)
        break
    return Distribution(_plain(name), version, _mark(installed))


def _mark(installed: _Installed) -> str:
    """What was built from a folder or a revision keeps its version while its content changes."""
    if not (installed.folder / "direct_url.json").exists():
        return ""
    lines = [
        line
        for line in installed.listing.split(b"\n")
        if b".dist-info/" not in line and line.partition(b",")[0].endswith((b".py", b".so"))
    ]
    return blake3(b"\n".join(sorted(lines))).hexdigest()


def file_digest(file: str) -> bytes:
    """The digest of an extension module's file."""
    stat = Path(file).stat()
    return _file_digest(file, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@cache
def _file_digest(file: str, *_: int) -> bytes:
    return blake3(Path(file).read_bytes(), max_threads=blake3.AUTO).digest()
