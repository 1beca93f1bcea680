"""torch tensors as their bare memory, like arrays; torch itself is never imported to dump."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from druse_store.errors import EngineMissing, ObjectDamaged
from druse_store.loaded import loaded

if TYPE_CHECKING:
    from typing_extensions import Buffer

# A buffer in a pickle can tell its element size, which helps to compress it, only by a format.
_UNSIGNED: Final[dict[int, Literal["H", "I", "Q"]]] = {2: "H", 4: "I", 8: "Q", 16: "Q"}


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a torch tensor or parameter of exactly these types."""
    torch: Any = loaded("torch")
    return torch is not None and type(obj) in (torch.Tensor, torch.nn.Parameter)


def describe(tensor: Any) -> dict[str, Any] | None:
    """What the memory of `tensor` means; None for what is more than numbers in a grid.

    Device and strides are not kept: a tensor comes back on the CPU, contiguous.
    """
    import torch

    plain = (
        tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_quantized
        and tensor.is_leaf
        and not tensor.__dict__
        and not tensor._backward_hooks
        and not (tensor.is_conj() or tensor.is_neg())
    )
    if not plain:
        return None
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "grad": tensor.requires_grad,
        "parameter": type(tensor) is torch.nn.Parameter,
    }


def memory(tensor: Any) -> memoryview:
    """The elements of `tensor` as bytes, in C order; a copy only if it is torn or elsewhere."""
    import torch

    if tensor.numel() == 0:
        return memoryview(b"")
    line = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(line.view(torch.uint8).numpy())


def rebuild(meaning: Mapping[str, Any], data: Buffer) -> Any:
    """The tensor over `data`, or a copy where that is read-only: torch knows no such memory.

    Stored pickles call it by this name: it never moves.

    Raises ObjectDamaged, ValueError or RuntimeError.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineMissing("this object holds torch tensors: install torch to load it") from error
    dtype = getattr(torch, meaning["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ObjectDamaged(f"no tensor is stored with the dtype {meaning['dtype'][:40]!r}")
    shape = meaning["shape"]
    if memoryview(data).nbytes != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
        raise ObjectDamaged(f"a tensor of the shape {str(shape)[:80]} is stored in other bytes")
    if 0 in shape:
        tensor = torch.empty(shape, dtype=dtype)
    else:
        private = bytearray(data) if memoryview(data).readonly else data
        tensor = torch.frombuffer(private, dtype=dtype).reshape(shape)
    if meaning["parameter"]:
        return torch.nn.Parameter(tensor, requires_grad=meaning["grad"])
    return tensor.requires_grad_(meaning["grad"])


def reduce(tensor: Any) -> tuple[Any, ...] | None:
    """How a tensor in a pickle is pickled: its memory out of band; None to leave it to torch."""
    meaning = describe(tensor)
    if meaning is None:
        return None
    elements = memory(tensor).cast(_UNSIGNED.get(tensor.element_size(), "B"))
    return rebuild, (meaning, pickle.PickleBuffer(elements))
