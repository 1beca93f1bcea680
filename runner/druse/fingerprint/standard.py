"""Values of the standard library's types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import functions
from druse.fingerprint.builder import Refused
from druse.fingerprint.encoding import atom, integer, length, raw_bytes, tag, text
from druse.fingerprint.graph import Bag
from druse.fingerprint.resolve import Found

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part


def _sequence(builder: Builder, value: Any, path: str) -> list[Part]:
    parts: list[Part] = [length(len(value))]
    parts += [builder.part(item, f"{path}[{n}]") for n, item in enumerate(value)]
    return parts


def _list(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [b"L", *_sequence(builder, list(value), node.path)]


def _tuple(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [b"U", *_sequence(builder, tuple(value), node.path)]


def pairs(builder: Builder, value: Any, path: str) -> Bag:
    """The items of a mapping, whose order does not count."""
    return Bag(
        [
            [builder.part(key, f"{path}, a key"), builder.part(item, f"{path}[{shown(key)}]")]
            for key, item in value.items()
        ]
    )


def shown(key: Any) -> str:
    if type(key) is str:
        return f'"{key[:60]}"'
    return repr(key)[:60] if atom(key) is not None else f"<{type(key).__name__}>"


def _dict(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [b"D", pairs(builder, dict(value), node.path)]


def _set(mark: bytes) -> Any:
    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        return [mark, Bag([[builder.part(item, f"{node.path}, an item")] for item in set(value)])]

    return expand


def _ordered(builder: Builder, value: Any, node: Node) -> list[Part]:
    """An OrderedDict tells orders apart when it compares, so its order counts."""
    return [tag("ordered"), *_sequence(builder, list(value.items()), node.path)]


def _defaultdict(builder: Builder, value: Any, node: Node) -> list[Part]:
    factory = builder.part(value.default_factory, f"{node.path}.default_factory")
    return [tag("defaultdict"), factory, pairs(builder, dict(value), node.path)]


def _deque(builder: Builder, value: Any, node: Node) -> list[Part]:
    limit = builder.part(value.maxlen, node.path)
    return [tag("deque"), limit, *_sequence(builder, list(value), node.path)]


def _mapping(kind: str) -> Any:
    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        return [tag(kind), pairs(builder, dict(value), node.path)]

    return expand


def _namespace(builder: Builder, value: Any, node: Node) -> list[Part]:
    held = vars(value)
    parts: list[Part] = [tag("namespace")]
    for key in sorted(held):
        path = f"{node.path}.{key}"
        state = builder.state.part(builder, Found(held[key], (), path, value, key), node)
        parts += [text(key), builder.part(held[key], path) if state is None else state]
    return [*parts, b"}"]


def by(kind: str, *attributes: str) -> Any:
    """A value that these attributes of it tell completely."""

    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        parts: list[Part] = [tag(kind)]
        parts += [builder.part(getattr(value, name), f"{node.path}.{name}") for name in attributes]
        return parts

    return expand


def by_text(kind: str) -> Any:
    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        return [tag(kind) + text(str(value))]

    return expand


def _memory(kind: str) -> Any:
    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        return [tag(kind) + raw_bytes(bytes(value))]

    return expand


def _array(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("array.array") + text(value.typecode) + raw_bytes(value.tobytes())]


def _exception(builder: Builder, value: BaseException, node: Node) -> list[Part]:
    return [tag("exception"), builder.part(value.args, f"{node.path}.args")]


def _weak_method(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [
        tag("method"),
        builder.part(value.__func__, f"{node.path}.__func__"),
        builder.part(value.__self__, f"{node.path}.__self__"),
    ]


def _partial(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [
        tag("partial"),
        builder.part(value.func, f"{node.path}.func"),
        builder.part(value.args, f"{node.path}.args"),
        builder.part(value.keywords, f"{node.path}.keywords"),
    ]


def _lru_cache(builder: Builder, value: Any, node: Node) -> list[Part]:
    """A cache changes when a function runs, not what it gives."""
    return [tag("cached"), builder.part(value.__wrapped__, node.path)]


def _cached_property(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("cached_property"), builder.part(value.func, node.path)]


def _alias(builder: Builder, value: Any, node: Node) -> list[Part]:
    """`list[int]`, `Optional[Model]`, `int | None`."""
    origin = builder.part(getattr(value, "__origin__", type(value)), node.path)
    return [tag("alias"), origin, builder.part(tuple(value.__args__), node.path)]


def _typing_name(builder: Builder, value: Any, node: Node) -> list[Part]:
    name = getattr(value, "__name__", None) or getattr(value, "_name", None) or repr(value)
    return [tag("typing") + text(str(name))]


def _range(builder: Builder, value: range, node: Node) -> list[Part]:
    return [tag("range") + b"".join(map(integer, (value.start, value.stop, value.step)))]


def _datetime(builder: Builder, value: Any, node: Node) -> list[Part]:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    zone = builder.part(value.tzinfo, f"{node.path}.tzinfo")
    return [tag(type(value).__name__) + text(naive) + integer(value.fold), zone]


def _zone(builder: Builder, value: Any, node: Node) -> list[Part]:
    if value.key is None:
        raise Refused("a time zone that was read from a file")
    return [tag("zone") + text(value.key)]


def _path(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("path") + text(type(value).__name__) + text(str(value))]


_REFUSED: Final = {
    "generator": "builtins.generator",
    "coroutine": "builtins.coroutine",
    "async generator": "builtins.async_generator",
    "open file": "_io.TextIOWrapper _io.BufferedReader _io.BufferedWriter _io.BufferedRandom "
    "_io.FileIO _io.BufferedRWPair tempfile._TemporaryFileWrapper",
    "socket": "socket.socket _socket.socket ssl.SSLSocket",
    "iterator": "builtins.list_iterator builtins.tuple_iterator builtins.dict_keyiterator "
    "builtins.dict_valueiterator builtins.dict_itemiterator builtins.set_iterator "
    "builtins.str_iterator builtins.str_ascii_iterator builtins.bytes_iterator "
    "builtins.range_iterator builtins.longrange_iterator builtins.map builtins.filter "
    "builtins.zip builtins.enumerate builtins.reversed builtins.list_reverseiterator "
    "builtins.callable_iterator builtins.iterator itertools.chain itertools.islice "
    "itertools.tee itertools._tee itertools.groupby itertools.starmap itertools.product",
    "frame": "builtins.frame",
    "traceback": "builtins.traceback",
    "code object": "builtins.code",
    "task or future": "_asyncio.Task _asyncio.Future asyncio.tasks.Task asyncio.futures.Future "
    "concurrent.futures._base.Future",
    "running program": "subprocess.Popen multiprocessing.context.Process",
    "database connection": "sqlite3.Connection sqlite3.Cursor",
    "memory map": "mmap.mmap",
}

_TYPING: Final = (
    *("TypeVar", "ParamSpec", "TypeVarTuple", "_SpecialForm", "_SpecialGenericAlias"),
    *("_CallableType", "_TupleType", "_AnyMeta", "ParamSpecArgs", "ParamSpecKwargs"),
)

TREATMENTS: Final[dict[str, Any]] = {
    "builtins.list": _list,
    "builtins.tuple": _tuple,
    "builtins.dict": _dict,
    "builtins.set": _set(b"S"),
    "builtins.frozenset": _set(b"Z"),
    "builtins.bytearray": _memory("bytearray"),
    "builtins.memoryview": _memory("memoryview"),
    "builtins.range": _range,
    "builtins.slice": by("slice", "start", "stop", "step"),
    "builtins.mappingproxy": _mapping("mappingproxy"),
    "builtins.dict_keys": lambda b, v, n: [tag("keys"), *_sequence(b, list(v), n.path)],
    "builtins.dict_values": lambda b, v, n: [tag("values"), *_sequence(b, list(v), n.path)],
    "builtins.dict_items": lambda b, v, n: [tag("items"), *_sequence(b, list(v), n.path)],
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _defaultdict,
    "collections.Counter": _mapping("counter"),
    "collections.deque": _deque,
    "types.SimpleNamespace": _namespace,
    "argparse.Namespace": _namespace,
    "array.array": _array,
    "decimal.Decimal": by_text("decimal"),
    "fractions.Fraction": by("fraction", "numerator", "denominator"),
    "datetime.date": by_text("date"),
    "datetime.datetime": _datetime,
    "datetime.time": _datetime,
    "datetime.timedelta": by("timedelta", "days", "seconds", "microseconds"),
    "datetime.timezone": lambda b, v, n: [tag("timezone"), b.part(v.utcoffset(None), n.path)],
    "zoneinfo.ZoneInfo": _zone,
    "uuid.UUID": by("uuid", "int"),
    "re.Pattern": by("pattern", "pattern", "flags"),
    "io.StringIO": lambda b, v, n: [tag("io"), b.part((v.getvalue(), v.tell()), n.path)],
    "_io.StringIO": lambda b, v, n: [tag("io"), b.part((v.getvalue(), v.tell()), n.path)],
    "_io.BytesIO": lambda b, v, n: [tag("io"), b.part((v.getvalue(), v.tell()), n.path)],
    **dict.fromkeys(
        [
            f"pathlib{home}.{name}Path"
            for home in ("", "._local")
            for name in ("Pure", "PurePosix", "PureWindows", "", "Posix", "Windows")
        ],
        _path,
    ),
    "builtins.BaseException": _exception,
    "builtins.method": _weak_method,
    "builtins.property": by("property", "fget", "fset", "fdel"),
    "builtins.staticmethod": by("staticmethod", "__func__"),
    "builtins.classmethod": by("classmethod", "__func__"),
    "functools.partial": _partial,
    "functools._lru_cache_wrapper": _lru_cache,
    "functools.cached_property": _cached_property,
    **dict.fromkeys(
        (
            "builtins.builtin_function_or_method",
            "builtins.method_descriptor",
            "builtins.classmethod_descriptor",
            "builtins.wrapper_descriptor",
            "builtins.method-wrapper",
            "builtins.getset_descriptor",
            "builtins.member_descriptor",
        ),
        functions.expand_builtin,
    ),
    "types.GenericAlias": _alias,
    "types.UnionType": _alias,
    "typing._GenericAlias": _alias,
    "typing._UnionGenericAlias": _alias,
    "typing._CallableGenericAlias": _alias,
    "typing._LiteralGenericAlias": _alias,
    "typing._AnnotatedAlias": lambda b, v, n: [*_alias(b, v, n), b.part(v.__metadata__, n.path)],
    "typing.Union": _alias,
    "typing.NewType": by("newtype", "__supertype__"),
    "typing.ForwardRef": by("forward", "__forward_arg__"),
    "annotationlib.ForwardRef": by("forward", "__forward_arg__"),
    "typing.TypeAliasType": by("typealias", "__value__"),
    **dict.fromkeys(
        [f"typing.{name}" for name in _TYPING],
        _typing_name,
    ),
    **{name: functions.refuse(kind) for kind, names in _REFUSED.items() for name in names.split()},
}
