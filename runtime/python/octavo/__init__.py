"""Octavo: LLM.int8() checkpoints, mapped and multiplied with.

    model = octavo.open("model.8vo")
    linear = model.linear("model.layers.0.mlp.up_proj")   # once
    y = linear(x)                                          # numpy array or torch tensor, [..., in_features]

numpy is all that this needs. `octavo.torch` (Linear8bit), `octavo.transformers` (load, AutoModel.from_pretrained) and
`python -m octavo` (eval, profile) bring in what they use.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from ctypes import byref
from dataclasses import dataclass

from . import _ffi
from .conversion import Conversion, convert
from .errors import (AlreadyExistsError, CancelledError, InputOutputError, InvalidArgumentError, InvalidFileError, LimitError,
                     NewerFormatError, NotFoundError, NotIntactError, OctavoError, OutOfMemoryError, RefusedError, UnsupportedError)
from .linear import Linear, Quantized
from .model import Model, Module, TensorInfo, to_float32

__version__: str = _ffi.lib.octavo_version().decode()


def open(path: str | os.PathLike[str], *, verify: bool = False, num_threads: int = 0) -> Model:
    """Maps a .8vo file, or the index of a sharded model, and checks its header and manifest.

    `verify`: every checksum and value too, which reads the whole file, by `num_threads` threads (0: one for each CPU). Raises
    NotFoundError, InputOutputError, InvalidFileError, NotIntactError, NewerFormatError.
    """
    return Model(path, verify, num_threads)


@dataclass(frozen=True)
class Backend:
    """What can multiply on this machine, or why it cannot; `selected`: the CPU's kernels that are used unless others are named."""

    name: str
    usable: bool
    selected: bool
    reason: str


def backends() -> list[Backend]:
    """The CPU's kernels and the CUDA devices, best first; the environment variable OCTAVO_CPU chooses among the kernels."""
    count = ctypes.c_int64()
    _ffi.check(_ffi.lib.octavo_backend_count(byref(count)))
    found = []
    for i in range(count.value):
        name, reason = ctypes.c_char_p(), ctypes.c_char_p()
        usable, selected = ctypes.c_int32(), ctypes.c_int32()
        _ffi.check(_ffi.lib.octavo_backend(i, byref(name), byref(usable), byref(selected), byref(reason)))
        found.append(Backend(name.value.decode(), bool(usable.value), bool(selected.value), reason.value.decode()))
    return found


# What needs more than numpy, and the module that it is in: imported when it is asked for. Not in __all__, whose names all get imported.
_LAZY = {"profile": "profiling", "torch": "torch", "transformers": "transformers"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'octavo' has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_LAZY[name]}", __name__)
    except ImportError as error:
        raise AttributeError(f"octavo.{name} needs a package that is not there: {error}") from error
    return module.profile if name == "profile" else module


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "AlreadyExistsError", "Backend", "CancelledError", "Conversion", "InputOutputError", "InvalidArgumentError", "InvalidFileError", "LimitError",
    "Linear", "Model", "Module", "NewerFormatError", "NotFoundError", "NotIntactError", "OctavoError", "OutOfMemoryError", "Quantized",
    "RefusedError", "TensorInfo", "UnsupportedError", "backends", "convert", "open", "to_float32",
]
