"""Members of enumerations, and pydantic's models."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.encoding import tag, text

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part

_BUILT: Final = frozenset(
    {"model_fields", "model_computed_fields", "__signature__", "__class_vars__", "__slots__"}
)


def _member(builder: Builder, value: Any, node: Node) -> list[Part]:
    """A member: its class, and which it is; the class's members carry their values."""
    cls = builder.part(type(value), node.path)
    name = value._name_
    if name is None or name not in type(value).__members__:  # a combination of flags
        return [tag("flags"), cls, builder.part(value._value_, node.path)]
    return [tag("member"), cls, text(name)]


def _model(builder: Builder, value: Any, node: Node) -> list[Part]:
    parts: list[Part] = [tag("model"), builder.part(type(value), node.path)]
    held = (value.__dict__, value.__pydantic_extra__, value.__pydantic_private__)
    return parts + [builder.part(each, node.path) for each in held]


def _adapter(builder: Builder, value: Any, node: Node) -> list[Part]:
    """By the type that it is for: what it made of it holds addresses."""
    said = (getattr(value, "_type", None), getattr(value, "_config", None))
    return [tag("adapter"), *(builder.part(each, node.path) for each in said)]


def made_by_pydantic(builder: Builder, cls: type, held: dict[str, Any], node: Node) -> list[Part]:
    """The fields and what validates them, in place of the machinery made from them."""
    fields = held.get("__pydantic_fields__")
    if fields is None:
        return []
    decorators = held.get("__pydantic_decorators__")
    config = held.get("model_config", {})
    for name in list(held):
        if name.startswith("__pydantic") or name in _BUILT:
            del held[name]
    held.pop("model_config", None)
    held.pop("__private_attributes__", None)
    parts: list[Part] = [tag("pydantic"), builder.part(dict(config), f"{node.path}.model_config")]
    for name, field in fields.items():
        path = f"{node.path}.{name}"
        parts += [text(name), *(builder.part(getattr(field, a, None), path) for a in _FIELD)]
    if decorators is not None and dataclasses.is_dataclass(decorators):
        parts += _decorators(builder, decorators, node)
    return parts


_FIELD: Final = (
    *("annotation", "default", "default_factory", "metadata", "alias", "validation_alias"),
    *("discriminator", "frozen", "validate_default", "init", "init_var", "kw_only", "exclude"),
)


def _decorators(builder: Builder, decorators: Any, node: Node) -> list[Part]:
    """Validators and serializers by what was said of them; the functions are the class's own."""
    parts: list[Part] = []
    for kind in dataclasses.fields(decorators):
        found = getattr(decorators, kind.name)
        if not isinstance(found, dict):
            continue
        for name, decorator in found.items():
            said = {
                f.name: getattr(decorator.info, f.name) for f in dataclasses.fields(decorator.info)
            }
            plain = {k: v for k, v in said.items() if isinstance(v, str | int | tuple | None)}
            parts += [text(kind.name), text(name), builder.part(plain, f"{node.path}.{name}")]
    return parts


WHOLE: Final = True
TREATMENTS: Final[dict[str, Any]] = {
    "enum.Enum": _member,
    "pydantic.main.BaseModel": _model,
    "pydantic.type_adapter.TypeAdapter": _adapter,
}
