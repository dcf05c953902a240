"""The globals which mean something to the readers of torch's files: these, and no other. Any other is only a name.

None of them is ever imported or called. Beside them stand only the element types (`torch.float32`), which are the values of
`spec.DTYPES`. Python 2 and a GPU's copy of a storage class have their own modules, which `meant_by` takes for today's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from ckpt_surgeon.formats.pickle_nodes import Call, Global, Node

__all__ = [
    "BYTEARRAY",
    "BYTES",
    "DEFAULT_DICT",
    "ENCODED",
    "FROZENSET",
    "KNOWN",
    "LAYOUT",
    "OLD_OBJECT",
    "ORDERED_DICT",
    "PLAIN_TENSORS",
    "QUANTIZED_STORAGES",
    "SET",
    "SIZE",
    "TENSORS",
    "TYPED_STORAGES",
    "UNTYPED_STORAGES",
    "called_by",
    "meant_by",
]

ORDERED_DICT: Final = "collections.OrderedDict"
DEFAULT_DICT: Final = "collections.defaultdict"
SET: Final = "builtins.set"
FROZENSET: Final = "builtins.frozenset"
BYTES: Final = "builtins.bytes"
BYTEARRAY: Final = "builtins.bytearray"
ENCODED: Final = "_codecs.encode"  # how protocol 2 holds bytes
OLD_OBJECT: Final = "copyreg._reconstructor"  # how protocols 0 and 1 make an object: its class is the first argument
SIZE: Final = "torch.Size"
LAYOUT: Final = "torch.serialization._get_layout"
PLAIN_TENSORS: Final = frozenset({"torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter"})
# The kind of tensor, by the function which would rebuild it.
TENSORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor": "strided",
        "torch._utils._rebuild_tensor_v2": "strided",
        "torch._utils._rebuild_tensor_v3": "strided",
        "torch._utils._rebuild_parameter": "parameter",
        "torch._utils._rebuild_parameter_with_state": "parameter",
        "torch._tensor._rebuild_from_type_v2": "typed",
        "torch._utils._rebuild_meta_tensor_no_storage": "meta",
        "torch._utils._rebuild_sparse_tensor": "sparse",
        "torch._utils._rebuild_qtensor": "quantized",
        "torch._utils._rebuild_nested_tensor": "nested tensor",
        "torch._utils._rebuild_wrapper_subclass": "tensor of a wrapper subclass",
        "torch._utils._rebuild_device_tensor_from_numpy": "tensor stored as a numpy array",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": "tensor of another device",
        "torch._utils._rebuild_xla_tensor": "tensor stored as a numpy array",
    }
)
# The dtype of its elements, by the class of a storage.
TYPED_STORAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "torch.DoubleStorage": "float64",
        "torch.FloatStorage": "float32",
        "torch.HalfStorage": "float16",
        "torch.BFloat16Storage": "bfloat16",
        "torch.LongStorage": "int64",
        "torch.IntStorage": "int32",
        "torch.ShortStorage": "int16",
        "torch.CharStorage": "int8",
        "torch.ByteStorage": "uint8",
        "torch.BoolStorage": "bool",
        "torch.ComplexFloatStorage": "complex64",
        "torch.ComplexDoubleStorage": "complex128",
    }
)
# (bytes of a number, elements in it).
QUANTIZED_STORAGES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "torch.QInt32Storage": (4, 1),
        "torch.QInt8Storage": (1, 1),
        "torch.QUInt8Storage": (1, 1),
        "torch.QUInt4x2Storage": (1, 2),
        "torch.QUInt2x4Storage": (1, 4),
    }
)
UNTYPED_STORAGES: Final = frozenset({"torch.UntypedStorage", "torch.storage.UntypedStorage"})

KNOWN: Final = frozenset(
    {ORDERED_DICT, DEFAULT_DICT, SET, FROZENSET, BYTES, BYTEARRAY, ENCODED, OLD_OBJECT, SIZE, LAYOUT}
    | PLAIN_TENSORS
    | TENSORS.keys()
    | TYPED_STORAGES.keys()
    | QUANTIZED_STORAGES.keys()
    | UNTYPED_STORAGES
)
_TODAYS_MODULES: Final[Mapping[str, str]] = MappingProxyType({"__builtin__": "builtins", "copy_reg": "copyreg", "torch.cuda": "torch"})


def meant_by(node: Node) -> str:
    """The name in KNOWN which a global has, or an empty string."""
    if type(node) is not Global:
        return ""
    return _known_path(node.module, node.name)


@lru_cache(maxsize=256)
def _known_path(module: str, name: str) -> str:
    """The same of its two names, which a file says once for each tensor."""
    path = f"{_TODAYS_MODULES.get(module, module)}.{name}"
    return path if path in KNOWN else ""


def called_by(node: Node) -> str:
    """The name in KNOWN of the class or function which a call would call, or an empty string."""
    if type(node) is not Call:
        return ""
    meant = meant_by(node.function)
    return meant_by(node.arguments[0]) if meant == OLD_OBJECT and node.arguments else meant
