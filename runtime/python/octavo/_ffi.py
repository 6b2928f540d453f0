"""octavo.h through ctypes: the library, its structs and functions, statuses as exceptions.

The C interface is the stable one, so a single wheel serves every version of Python. A call releases the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
from collections.abc import Callable, Iterable
from ctypes import POINTER, Structure, c_char_p, c_float, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

from .errors import BY_STATUS, NotFoundError, OctavoError, PathNotFoundError

ABI_VERSION = 1
F16, BF16, F32 = 5, 6, 9
CPU, CUDA = 0, 1

# Numbers of octavo::DType and the names that files use.
DTYPE_NAMES = ("BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "I64", "U64", "F64", "F8_E4M3", "F8_E5M2")

# Names of the choices as files have them -> octavo.h's numbers; 0 is "as the file says".
SCOPES = {"batch": 1, "token": 2}
ROW_RULES = {"inlier_columns": 1, "below_threshold": 2}
ACTIVATIONS = {"asymmetric": 1, "symmetric": 2}
METHODS = {"vector-wise": 0, "tensor-wise": 1, "row-wise": 2, "zeropoint-tensor": 3, "zeropoint-vector": 4}
CONVENTIONS = {"absmax": 0, "step": 1}


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_int32), ("device_type", c_int32), ("device_index", c_int32), ("reserved", c_int32),
                ("rows", c_int64), ("columns", c_int64), ("row_stride", c_int64)]


class _Options(Structure):
    """A struct that begins with its size."""

    def __init__(self, **values: Any):
        super().__init__(**values)
        self.struct_size = ctypes.sizeof(self)


class OpenOptions(_Options):
    _fields_ = [("struct_size", c_size_t), ("verify", c_int32), ("num_threads", c_int32)]


class PrepareOptions(_Options):
    _fields_ = [("struct_size", c_size_t), ("device_type", c_int32), ("device_index", c_int32), ("cpu", c_char_p),
                ("check_digests", c_int32), ("reserved", c_int32), ("slice_axis", c_int32), ("slice_rank", c_int32),
                ("slice_world", c_int32), ("reserved2", c_int32)]


class ForwardOptions(_Options):
    _fields_ = [("struct_size", c_size_t), ("override_threshold", c_int32), ("threshold", c_float), ("scope", c_int32),
                ("row_rule", c_int32), ("activations", c_int32), ("num_threads", c_int32), ("parallel_for", c_void_p),
                ("parallel_context", c_void_p), ("workspace", c_void_p), ("workspace_bytes", c_size_t), ("stream", c_void_p)]


class LinearOperands(_Options):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("in_features", c_int64), ("out_features", c_int64),
                ("codes", c_void_p), ("scales", c_void_p), ("code_sum", c_void_p), ("zero_point", c_void_p), ("num_kept", c_int64),
                ("kept_index", c_void_p), ("kept_weight", c_void_p), ("bias", c_void_p), ("kept_dtype", c_int32),
                ("bias_dtype", c_int32), ("convention", c_int32), ("full_range", c_int32), ("method", c_int32), ("threshold", c_float),
                ("scope", c_int32), ("row_rule", c_int32), ("activations", c_int32), ("activations_via_fp16", c_int32)]


_FUNCTIONS = {
    "octavo_model_open": (c_char_p, POINTER(OpenOptions), POINTER(c_void_p)),
    "octavo_model_manifest": (c_void_p, POINTER(c_void_p), POINTER(c_size_t)),
    "octavo_model_tensor": (c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_size_t), c_void_p, c_void_p, c_void_p),
    "octavo_model_read_tensor": (c_void_p, c_char_p, c_void_p, POINTER(c_size_t)),
    "octavo_model_asset": (c_void_p, c_char_p, c_void_p, POINTER(c_size_t)),
    "octavo_linear_prepare": (c_void_p, c_char_p, c_int64, POINTER(PrepareOptions), POINTER(c_void_p)),
    "octavo_linear_from_memory": (POINTER(LinearOperands), POINTER(PrepareOptions), POINTER(c_void_p)),
    "octavo_linear_features": (c_void_p, POINTER(c_int64), POINTER(c_int64)),
    "octavo_forward_workspace": (c_void_p, c_int64, c_void_p, POINTER(c_size_t)),
    "octavo_quantize_workspace": (c_void_p, c_int64, c_void_p, POINTER(c_size_t)),
    "octavo_multiply_workspace": (c_void_p, c_int64, c_void_p, POINTER(c_size_t)),
    "octavo_forward": (c_void_p, POINTER(Tensor), POINTER(Tensor), c_void_p),
    "octavo_quantize": (c_void_p, POINTER(Tensor), c_void_p, POINTER(c_void_p)),
    "octavo_multiply": (c_void_p, c_void_p, POINTER(Tensor), c_void_p),
    "octavo_outlier_columns": (c_void_p, POINTER(c_int64), c_int64, POINTER(c_int64)),
    "octavo_backend_count": (POINTER(c_int64),),
    "octavo_backend": (c_int64, POINTER(c_char_p), POINTER(c_int32), POINTER(c_int32), POINTER(c_char_p)),
}
_RELEASES = ("octavo_model_release", "octavo_linear_release", "octavo_quantized_release")


def library_path(name: str, variable: str) -> str:
    """The library beside this package; `variable` of the environment names another one."""
    named = os.environ.get(variable)
    if named:
        return named
    return str(pathlib.Path(__file__).parent / name)


def open_library(name: str, variable: str) -> ctypes.CDLL:
    path = library_path(name, variable)
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"cannot load {path}: {error}; install the package (pip install ./runtime/python), "
                          f"or name a build's library in {variable}") from error


def _load() -> ctypes.CDLL:
    loaded = open_library("liboctavo.so.1", "OCTAVO_LIBRARY")
    if loaded.octavo_abi_version() != ABI_VERSION:
        raise ImportError(f"{loaded._name} has ABI version {loaded.octavo_abi_version()}, this package needs {ABI_VERSION}")
    for function, arguments in _FUNCTIONS.items():
        getattr(loaded, function).argtypes = arguments
        getattr(loaded, function).restype = c_int32
    for function in _RELEASES:
        getattr(loaded, function).argtypes = (c_void_p,)
        getattr(loaded, function).restype = None
    for function in ("octavo_version", "octavo_last_error", "octavo_linear_backend"):
        getattr(loaded, function).restype = c_char_p
    loaded.octavo_linear_backend.argtypes = (c_void_p,)
    return loaded


lib = _load()


def raise_error(status: int, message: str, of_path: bool = False) -> None:
    """`of_path`: what was asked for by name is a file."""
    kind = PathNotFoundError if of_path and status == NotFoundError.status else BY_STATUS.get(status, OctavoError)
    raise kind(message, status)


def check(status: int, of_path: bool = False) -> None:
    """Raises what the last call of this thread reported."""
    if status != 0:
        raise_error(status, lib.octavo_last_error().decode("utf-8", "replace"), of_path)


class Handle:
    """Owns one reference of a C object; what points into the object keeps its Handle."""

    __slots__ = ("pointer", "_release")

    def __init__(self, pointer: c_void_p, release: Any):
        self.pointer = pointer
        self._release = release

    def __del__(self):
        release = getattr(self, "_release", None)
        if release is not None:
            release(self.pointer)

    def __reduce__(self):
        raise TypeError("what is mapped or prepared cannot be copied or pickled; open the file again in the other process")


def view(address: int, size: int, owner: object) -> memoryview:
    """`size` bytes at `address`, read-only, which keep `owner` alive."""
    array = (ctypes.c_char * size).from_address(address)
    array._owner = owner
    return memoryview(array).toreadonly()


def c_name(name: str) -> bytes:
    """A name of a module, tensor, … as C takes it."""
    return _whole(name, lambda: name.encode())


def c_path(path: str | os.PathLike[str]) -> bytes:
    return _whole(path, lambda: os.fsencode(path))


def _whole(text: object, encode: Callable[[], bytes]) -> bytes:
    """C would cut off what follows a NUL."""
    try:
        encoded = encode()
    except UnicodeEncodeError:
        raise_error(1, f"{text!r} cannot be UTF-8")
    if b"\0" in encoded:
        raise_error(1, f"{text!r} has a NUL in it")
    return encoded


def strings(value: str | Iterable[str] | None) -> list[str]:
    """A list of them; one string alone is a list of one, None an empty one."""
    return [value] if isinstance(value, str) else list(value or ())


def choice(value: str | None, values: dict[str, int], name: str) -> int:
    """The number of a choice by its name; None is 0, what the file says."""
    if value is None:
        return 0
    if value not in values:
        raise_error(1, f"{name} is {value!r}; expected one of {', '.join(values)}")
    return values[value]


def forward_options(threshold: float | None, scope: str | None, row_rule: str | None, activations: str | None) -> ForwardOptions | None:
    """None where everything is as the file says."""
    if threshold is None and scope is None and row_rule is None and activations is None:
        return None
    return ForwardOptions(override_threshold=threshold is not None, threshold=threshold or 0.0, scope=choice(scope, SCOPES, "scope"),
                          row_rule=choice(row_rule, ROW_RULES, "row_rule"),
                          activations=choice(activations, ACTIVATIONS, "activations"))


