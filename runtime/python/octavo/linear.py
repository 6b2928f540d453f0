"""One int8 linear, ready to multiply with numpy arrays and torch tensors where they are."""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _ffi
from ._ffi import check, lib
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor

_NUMPY_NUMBERS = {np.dtype(np.float16): _ffi.F16, np.dtype(np.float32): _ffi.F32}


def parse_device(device: str) -> tuple[int, int]:
    """("cuda", 1) of "cuda:1" in octavo.h's numbers."""
    kind, _, index = str(device).partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise InvalidArgumentError(f"device is {str(device)!r}; expected cpu, cuda or cuda:INDEX")
    return (_ffi.CPU if kind == "cpu" else _ffi.CUDA), int(index or 0)


class Linear:
    """y = x W^T + bias as LLM.int8() does it (docs/numerics.md). Made by `Model.linear`; keeps the file mapped; thread-safe."""

    def __init__(self, handle: _ffi.Handle, name: str):
        self._handle = handle
        self.name = name
        in_features, out_features = ctypes.c_int64(), ctypes.c_int64()
        check(lib.octavo_linear_features(handle.pointer, byref(in_features), byref(out_features)))
        self.in_features: int = in_features.value
        self.out_features: int = out_features.value

    def __repr__(self) -> str:
        return f"octavo.Linear({self.name!r}, {self.in_features} -> {self.out_features}, {self.backend})"

    @property
    def backend(self) -> str:
        """What multiplies: "avx2", "cuda:0", …"""
        return lib.octavo_linear_backend(self._handle.pointer).decode()

    def __call__(self, x: Array, *, out: Array | None = None, threshold: float | None = None, scope: str | None = None,
                 row_rule: str | None = None, activations: str | None = None) -> Array:
        """x: [..., in_features] in float16 or float32, of torch also bfloat16, on the linear's device; read where it is, never copied
        if its rows are contiguous. Returns [..., out_features] of x's type, or `out` (which may have another one).

        `threshold`, `scope`, `row_rule`, `activations`: instead of what the file says. On a CUDA device the call is enqueued on
        torch's current stream. Raises InvalidArgumentError, UnsupportedError.
        """
        options = _ffi.forward_options(threshold, scope, row_rule, activations)
        arrays = _arrays_of(x)
        x2 = arrays.rows_of(x, self.in_features, "x")
        if out is None:
            out = arrays.empty(x, (*x.shape[:-1], self.out_features))
        y2 = arrays.rows_of(out, self.out_features, "out", writes=True)
        arrays.forward(self._handle, x2, y2, options)
        return out

    def quantize(self, x: Array, *, threshold: float | None = None, scope: str | None = None, row_rule: str | None = None,
                 activations: str | None = None) -> Quantized:
        """x once, for every linear with the same input (q, k and v; gate and up): `linear.multiply(quantized)`. On a CPU."""
        options = _ffi.forward_options(threshold, scope, row_rule, activations)
        x2 = _arrays_of(x).rows_of(x, self.in_features, "x")
        pointer = ctypes.c_void_p()
        check(lib.octavo_quantize(self._handle.pointer, byref(x2), None if options is None else byref(options), byref(pointer)))
        return Quantized(_ffi.Handle(pointer, lib.octavo_quantized_release), x, x2)

    def multiply(self, quantized: Quantized) -> Array:
        """y for what `quantize` made of x, [..., out_features] of x's type."""
        x = quantized.x
        arrays = _arrays_of(x)
        y = arrays.empty(x, (*x.shape[:-1], self.out_features))
        y2 = arrays.rows_of(y, self.out_features, "y", writes=True)
        check(lib.octavo_multiply(quantized._handle.pointer, self._handle.pointer, byref(y2), None))
        return y


class Quantized:
    """Quantized activations; keeps `x` alive, which must not change while this is used."""

    def __init__(self, handle: _ffi.Handle, x: Array, rows: _ffi.Tensor):
        self._handle = handle
        self.x = x
        self._rows = rows  # what the handle reads: x, or a copy of it

    @property
    def outlier_columns(self) -> np.ndarray:
        """Input features with an outlier in some row, ascending, int64; kept columns are not counted."""
        count = ctypes.c_int64()
        check(lib.octavo_outlier_columns(self._handle.pointer, None, 0, byref(count)))
        columns = np.empty(count.value, np.int64)
        data = columns.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))
        check(lib.octavo_outlier_columns(self._handle.pointer, data, count.value, byref(count)))
        return columns


class _NumpyArrays:
    @staticmethod
    def empty(like: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.empty(shape, like.dtype)

    @staticmethod
    def rows_of(array: np.ndarray, features: int, name: str, writes: bool = False) -> _ffi.Tensor:
        """The array as a matrix where it lies."""
        number = _NUMPY_NUMBERS.get(array.dtype)
        if number is None:
            raise InvalidArgumentError(f"{name} has dtype {array.dtype}; expected float16 or float32")
        if array.ndim == 0 or array.shape[-1] != features:
            raise InvalidArgumentError(f"{name} has shape {array.shape}; expected [..., {features}]")
        if writes and not (array.flags.writeable and array.flags.c_contiguous):
            raise InvalidArgumentError(f"{name} is not writeable and contiguous")
        matrix = array.reshape(-1, features) if array.ndim != 2 else array
        if (features > 1 and matrix.strides[1] != matrix.itemsize
                or matrix.shape[0] > 1 and (matrix.strides[0] % matrix.itemsize or matrix.strides[0] < features * matrix.itemsize)):
            matrix = np.ascontiguousarray(matrix)  # also rows that share memory: of a broadcast array, of a sliding window
        tensor = _ffi.Tensor(matrix.ctypes.data, number, _ffi.CPU, 0, 0, matrix.shape[0], features,
                             max(matrix.strides[0] // matrix.itemsize, features))
        tensor.owner = matrix
        return tensor

    @staticmethod
    def forward(handle: _ffi.Handle, x: _ffi.Tensor, y: _ffi.Tensor, options: _ffi.ForwardOptions | None) -> None:
        check(lib.octavo_forward(handle.pointer, byref(x), byref(y), None if options is None else byref(options)))


def _arrays_of(x: Any) -> Any:
    """What knows x's kind of array."""
    if isinstance(x, np.ndarray):
        return _NumpyArrays
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        from . import _torch_arrays
        return _torch_arrays
    raise InvalidArgumentError(f"x is a {type(x).__name__}; expected a numpy array or a torch tensor")
