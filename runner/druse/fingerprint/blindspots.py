"""What a key cannot see: where code reads what its text, and the files it opens, do not say."""

from __future__ import annotations

import builtins
from types import CodeType
from typing import Any, Final

from druse.fingerprint.template import Template
from druse.fingerprint.units import Unit
from druse.readers import are_seen

_MACHINE: Final = "depends on the machine, the user or the working directory"

# By dotted name, or the beginning of one up to a dot.
_EXTERNAL: Final = {
    "os.environ": "reads the environment: declare it with EnvVar(name)",
    "os.getenv": "reads the environment: declare it with EnvVar(name)",
    "os.getenvb": "reads the environment: declare it with EnvVar(name)",
    "os.environb": "reads the environment: declare it with EnvVar(name)",
    "os.system": "runs another program",
    "os.popen": "runs another program",
    "os.listdir": "reads which files a folder holds",
    "os.scandir": "reads which files a folder holds",
    "os.walk": "reads which files a folder holds",
    "glob": "reads which files a folder holds",
    "subprocess": "runs another program",
    "sys.modules": "looks modules up by names that it computes",
    "sys.argv": "reads the command line",
    "sys.stdin": "reads what a person types",
    **dict.fromkeys(("os.getcwd", "os.getcwdb", "pathlib.Path.cwd"), _MACHINE),
    **dict.fromkeys(("os.path.expanduser", "os.path.expandvars", "pathlib.Path.home"), _MACHINE),
    **dict.fromkeys(("os.uname", "os.getlogin", "os.getuid", "os.cpu_count"), _MACHINE),
    **dict.fromkeys(("getpass", "platform", "socket.gethostname", "socket.getfqdn"), _MACHINE),
    "os.urandom": "draws entropy that no seed sets",
    "secrets": "draws entropy that no seed sets",
    "uuid.uuid1": "draws entropy that no seed sets",
    "uuid.uuid4": "draws entropy that no seed sets",
    "random.SystemRandom": "draws entropy that no seed sets",
    "numpy.random.default_rng": "may draw entropy that no seed sets: give it a seed",
    "time.time": "reads the clock",
    "time.time_ns": "reads the clock",
    "datetime.datetime.now": "reads the clock",
    "datetime.datetime.utcnow": "reads the clock",
    "datetime.datetime.today": "reads the clock",
    "datetime.date.today": "reads the clock",
    "socket": "reads from the network",
    "urllib": "reads from the network",
    "http": "reads from the network",
    "ftplib": "reads from the network",
    "requests": "reads from the network",
    "httpx": "reads from the network",
    "aiohttp": "reads from the network",
    "urllib3": "reads from the network",
    "botocore": "reads from the network",
    "boto3": "reads from the network",
    "openai": "reads from the network",
    "anthropic": "reads from the network",
    "huggingface_hub": "reads from the network",
    "sqlite3": "reads a database",
    "sqlalchemy": "reads a database",
    "psycopg": "reads a database",
    "psycopg2": "reads a database",
    "pymongo": "reads a database",
    "redis": "reads a database",
    "duckdb": "reads a database",
    "pandas.read_sql": "reads a database",
    "pandas.read_parquet": "may open files where Python does not see it: declare InputFile(path)",
    "pandas.read_feather": "may open files where Python does not see it: declare InputFile(path)",
    "pandas.read_orc": "may open files where Python does not see it: declare InputFile(path)",
    "pandas.read_hdf": "may open files where Python does not see it: declare InputFile(path)",
    "pyarrow": "may open files where Python does not see it: declare InputFile(path)",
    "polars": "may open files where Python does not see it: declare InputFile(path)",
    "h5py": "opens files where Python does not see it: declare InputFile(path)",
    "netCDF4": "opens files where Python does not see it: declare InputFile(path)",
    "xarray": "may open files where Python does not see it: declare InputFile(path)",
    "cv2": "opens files where Python does not see it: declare InputFile(path)",
    "soundfile": "opens files where Python does not see it: declare InputFile(path)",
    "rasterio": "opens files where Python does not see it: declare InputFile(path)",
    "numpy.memmap": "maps files, whose pages are read later: declare InputFile(path)",
    "_thread._local": "holds what differs from thread to thread: declare it in depends_on",
    "ctypes": "calls compiled code that Python does not see",
    "importlib.import_module": "imports modules by computed names: declare them in depends_on",
    "importlib.metadata": "looks installed packages up",
    "typing.get_type_hints": "evaluates annotations: declare what they name in depends_on",
    "inspect.get_annotations": "evaluates annotations: declare what they name in depends_on",
    "importlib.reload": "executes modules anew",
    "importlib.util": "imports modules by computed names: declare them in depends_on",
    "importlib.machinery": "imports modules by computed names: declare them in depends_on",
    "runpy": "executes modules by computed names: declare InputFile(path)",
    "inspect.getsource": "reads source text: declare InputFile(path)",
    "inspect.getsourcelines": "reads source text: declare InputFile(path)",
    "pkgutil": "looks modules up by names that it computes",
}
_BUILTIN: Final = {
    "eval": "evaluates code that it is given",
    "exec": "executes code that it is given",
    "compile": "compiles code that it is given",
    "__import__": "imports modules by computed names: declare them in depends_on",
    "getattr": "looks an attribute up by a computed name: declare it in depends_on",
    "globals": "looks globals up by names that it computes",
    "input": "reads what a person types",
}


_FILES: Final = "asks for a file without opening it: declare InputFile(path)"
_ATTRIBUTE: Final = {
    "__subclasses__": "looks subclasses up: declare them in depends_on",
    **dict.fromkeys(("exists", "is_file", "is_dir", "isfile", "isdir", "lexists"), _FILES),
    **dict.fromkeys(("readlink", "is_symlink", "islink", "samefile"), _FILES),
    **dict.fromkeys(("stat", "lstat", "getsize", "getmtime", "getctime"), _FILES),
}

_ATTRIBUTES: Final = frozenset(_ATTRIBUTE)


def note_attributes(unit: Unit, code: CodeType) -> None:
    """By what attributes are called, since what has them may be anything."""
    if not _ATTRIBUTES.isdisjoint(code.co_names):
        for name in filter(_ATTRIBUTES.__contains__, code.co_names):
            _note(unit, f"{name} {_ATTRIBUTE[name]}", code.co_firstlineno)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            note_attributes(unit, inner)


def note_external(unit: Unit, dotted: str, line: int | None) -> None:
    prefix = "" if are_seen(dotted) else dotted
    while prefix:
        if prefix in _EXTERNAL:
            _note(unit, f"{dotted} {_EXTERNAL[prefix]}", line)
            return
        prefix = prefix.rpartition(".")[0]


def note_calls(unit: Unit, template: Template, module_globals: dict[str, Any]) -> None:
    for call in template.calls:
        is_builtin = call.name not in module_globals and hasattr(builtins, call.name)
        if is_builtin and call.computed and call.name in _BUILTIN:
            _note(unit, f"{call.name}() {_BUILTIN[call.name]}", call.line)


def _note(unit: Unit, what: str, line: int | None) -> None:
    place = f"{unit.file or '<cell>'}:{line} {unit.name}: "
    sentence = place + what
    if sentence not in unit.blind_spots:
        unit.blind_spots.append(sentence)
