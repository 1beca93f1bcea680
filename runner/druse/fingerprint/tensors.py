"""torch: tensors by dtype, shape and elements; modules by class, state and train or eval.

Not the device: the same weights on another one are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import arrays
from druse.fingerprint.encoding import integer, length, tag, text

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part

_HOOKS: Final = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
_HELD: Final = ("_parameters", "_buffers", "_modules")


def _tensor(builder: Builder, value: Any, node: Node) -> list[Part]:
    import torch

    plain = value.detach().cpu()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    own = builder.part(type(value), node.path)
    head = tag("tensor") + text(str(value.dtype)) + integer(bool(value.requires_grad))
    shape = b"".join(map(integer, (plain.ndim, *plain.shape)))
    flat = plain.resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.dtype in (torch.float32, torch.float64, torch.float16):
        return [own, head + shape + arrays.memory_digest(flat.numpy())]
    if flat.is_quantized:
        return [
            own,
            head + shape,
            builder.part(flat.int_repr(), node.path),
            text(str(value.qscheme())),
        ]
    return [own, head + shape + arrays.memory_digest(flat.view(torch.uint8).numpy())]


def _module(builder: Builder, value: Any, node: Node) -> list[Part]:
    """Parameters and buffers by name; submodules in their order; and plain attributes."""
    held = vars(value)
    parts: list[Part] = [tag("torch module"), builder.part(type(value), node.path)]
    for group in _HELD:
        entries = held.get(group, {})
        names = list(entries) if group == "_modules" else sorted(entries)
        parts.append(length(len(names)))
        for name in names:
            parts += [text(name), builder.part(entries[name], f"{node.path}.{name}")]
    for name in sorted(held):
        value_of = held[name]
        if name in _HELD or (name.endswith(_HOOKS) and not value_of) or _is_device(value_of):
            continue
        parts += [text(name), builder.part(value_of, f"{node.path}.{name}")]
    return parts


def _is_device(value: Any) -> bool:
    return f"{type(value).__module__}.{type(value).__qualname__}" == "torch.device"


WHOLE: Final = True
TREATMENTS: Final[dict[str, Any]] = {
    "torch.Tensor": _tensor,
    "torch._tensor.Tensor": _tensor,
    "torch.nn.parameter.Parameter": _tensor,
    "torch.nn.modules.module.Module": _module,
    "torch.device": lambda b, v, n: [tag("torch device")],
    "torch.Size": lambda b, v, n: [tag("torch size"), b.part(tuple(v), n.path)],
}
