"""The names that a pickle may refer to, and what each stands for; source: torch/_weights_only_unpickler.py."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from msst_jax.errors import UserError

from .stand_ins import Entries, Name, Opaque, Storage, StorageType, Tensor
from .texts import shown

REAL_STORAGES: Mapping[str, DTypeLike] = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "BFloat16": jnp.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
OTHER_STORAGES: Mapping[str, Mapping[str, DTypeLike]] = {
    "complex": {"ComplexFloat": np.complex64, "ComplexDouble": np.complex128},
    "quantized": {"QInt8": np.int8, "QUInt8": np.uint8, "QInt32": np.int32, "QUInt4x2": np.uint8, "QUInt2x4": np.uint8},
}
UNTYPED = "UntypedStorage"
# Types without a storage of their own; their tensors lie in untyped ones.
DTYPES: Mapping[str, DTypeLike] = {
    "torch.uint16": np.uint16,
    "torch.uint32": np.uint32,
    "torch.uint64": np.uint64,
    "torch.float8_e4m3fn": jnp.float8_e4m3fn,
    "torch.float8_e4m3fnuz": jnp.float8_e4m3fnuz,
    "torch.float8_e5m2": jnp.float8_e5m2,
    "torch.float8_e5m2fnuz": jnp.float8_e5m2fnuz,
}
# Beside tensors, checkpoints of trainings hold plain values. Nothing is done with those, but they do not make a file
# unreadable.
OPAQUE = (
    *(f"torch.{name}" for name in ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool")),
    *(f"torch.{name}" for name in ("int8", "int16", "int32", "int64", "uint8")),
    *(f"torch.{name}" for name in ("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine")),
    *(f"torch.{name}" for name in ("Size", "device", "Tensor")),
    "torch.serialization._get_layout",
    "_codecs.encode",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "complex", "bytearray")),
)


def find(module: str, name: str) -> object:
    """What a name in a pickle stands for.

    Raises:
      UserError: the name is not one that tensors need.
    """
    full = f"{module}.{name}"
    if full not in ALLOWED:
        raise UserError(
            f"holds {shown(full, 80)}, not only tensors, and code in a file is never run; "
            "save model.state_dict(), or get it from a source you trust"
        )
    return ALLOWED[full]


def _rebuild_tensor(storage: Storage, offset: int, shape: Any, strides: Any) -> Tensor:
    return _tensor(storage, storage.type.dtype, offset, shape, strides)


def _rebuild_tensor_v2(storage: Storage, offset: int, shape: Any, strides: Any, *rest: object) -> Tensor:
    _gradient, _hooks, *metadata = rest
    return _tensor(storage, storage.type.dtype, offset, shape, strides, *metadata)


def _rebuild_tensor_v3(storage: Storage, offset: int, shape: Any, strides: Any, *rest: object) -> Tensor:
    _gradient, _hooks, dtype, *metadata = rest
    if not isinstance(dtype, Name) or dtype.name not in DTYPES:
        raise UserError("holds a tensor of a type that is not known here; save it as plain float32")
    return _tensor(storage, np.dtype(DTYPES[dtype.name]), offset, shape, strides, *metadata)


def _tensor(
    storage: Storage, dtype: np.dtype, offset: int, shape: Any, strides: Any, metadata: object = None
) -> Tensor:
    if storage.type.unsupported or metadata:
        return Tensor(storage.type.unsupported or "negated or conjugated when it is read")
    return Tensor("", storage, dtype, offset, tuple(shape), tuple(strides))


def _same(data: Tensor, *_: object) -> Tensor:
    """A parameter is the tensor in it."""
    return data


def _of_type(function: Name, _type: object, arguments: tuple[object, ...], _state: object) -> Any:
    """A tensor with attributes."""
    return function(*arguments)


def _unsupported(why: str) -> Callable[..., Tensor]:
    return lambda *_: Tensor(why)


_BUILD: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": Entries,
    "collections.Counter": Entries,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch.nn.parameter.Parameter": _same,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_sparse_tensor": _unsupported("sparse or ragged"),
    "torch._utils._rebuild_nested_tensor": _unsupported("sparse or ragged"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unsupported("meta: no data"),
    "torch._utils._rebuild_qtensor": _unsupported("quantized"),
    **dict.fromkeys((*DTYPES, *OPAQUE), Opaque),
}
_STORAGE_TYPES = {
    **{f"{name}Storage": StorageType(np.dtype(dtype)) for name, dtype in REAL_STORAGES.items()},
    **{
        f"{name}Storage": StorageType(np.dtype(dtype), why)
        for why, types in OTHER_STORAGES.items()
        for name, dtype in types.items()
    },
    UNTYPED: StorageType(np.dtype(np.uint8)),
}
ALLOWED: Mapping[str, object] = {
    **{name: Name(name, build) for name, build in _BUILD.items()},
    **{f"{module}.{name}": kind for module in ("torch", "torch.cuda") for name, kind in _STORAGE_TYPES.items()},
    f"torch.storage.{UNTYPED}": _STORAGE_TYPES[UNTYPED],
}
