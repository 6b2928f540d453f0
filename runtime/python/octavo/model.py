"""A .8vo file opened for use: modules, tensors, embedded files, linears."""

from __future__ import annotations

import ctypes
import functools
import json
import os
from collections.abc import Mapping
from ctypes import byref
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _ffi
from ._ffi import check, lib
from .linear import Linear, parse_device

# numpy has no bfloat16 and no 8-bit floats: their bits.
NUMPY_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16, "F16": np.float16, "BF16": np.uint16,
    "I32": np.int32, "U32": np.uint32, "F32": np.float32, "I64": np.int64, "U64": np.uint64, "F64": np.float64, "F8_E4M3": np.uint8,
    "F8_E5M2": np.uint8,
}


@dataclass(frozen=True)
class Module:
    """One module of the model, as the manifest describes it (docs/format.md section 8); `facts` has all of it."""

    name: str
    kind: str
    quantized: bool
    reason: str
    in_features: int | None
    out_features: int | None
    experts: int | None
    facts: Mapping[str, Any]

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> Module:
        return Module(facts["name"], facts["kind"], facts["quantized"], facts["reason"], facts.get("in_features"),
                      facts.get("out_features"), facts.get("experts"), facts)


@dataclass(frozen=True)
class TensorInfo:
    """A stored tensor: `dtype` as files name it ("I8", "BF16", …), `compressed` where it is not plain in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    compressed: bool


class Model:
    """An opened file. Made by `octavo.open`; thread-safe. Arrays and linears keep the file mapped on their own."""

    def __init__(self, path: str | os.PathLike[str], verify: bool = False, num_threads: int = 0):
        self.path = os.fspath(path)
        options = _ffi.OpenOptions(verify=verify, num_threads=num_threads)
        pointer = ctypes.c_void_p()
        check(lib.octavo_model_open(_ffi.c_path(path), byref(options), byref(pointer)), of_path=True)
        self._handle = _ffi.Handle(pointer, lib.octavo_model_release)

    def __repr__(self) -> str:
        return f"octavo.Model({self.path!r})"

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest (docs/format.md section 5)."""
        return json.loads(self.manifest_json)

    @property
    def manifest_json(self) -> bytes:
        """The manifest's bytes as they are stored."""
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        check(lib.octavo_model_manifest(self._handle.pointer, byref(text), byref(size)))
        return ctypes.string_at(text.value, size.value)

    @property
    def quantization(self) -> dict[str, Any]:
        """How the linears are meant to be multiplied: method, threshold, scope, row_rule, activations, …"""
        return self.manifest["quantization"]

    @functools.cached_property
    def modules(self) -> dict[str, Module]:
        """Every module by its name, in the file's order."""
        return {facts["name"]: Module.from_facts(facts) for facts in self.manifest["modules"]}

    @functools.cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor by its name, in the file's order."""
        return {facts["name"]: TensorInfo(facts["name"], facts["dtype"], tuple(facts["shape"]), "codec" in facts)
                for facts in self.manifest["tensors"]}

    @functools.cached_property
    def assets(self) -> list[str]:
        """Names of the embedded files: config.json, tokenizer.json, …"""
        return [facts["name"] for facts in self.manifest["assets"]]

    def tensor(self, name: str) -> np.ndarray:
        """A tensor of the file, read-only. One that is stored plainly is the mapping itself (no copy, digest not checked); a
        compressed one is decompressed and checked.

        BF16 comes as uint16 and 8-bit floats as uint8: their bits (`octavo.to_float32`, or `octavo.torch.tensor`).
        Raises NotFoundError, NotIntactError.
        """
        info = self.tensors.get(name)
        if info is not None and info.compressed:
            array = self._decompressed(info)
        else:
            data, size = ctypes.c_void_p(), ctypes.c_size_t()
            check(lib.octavo_model_tensor(self._handle.pointer, _ffi.c_name(name), byref(data), byref(size), None, None, None))
            info = self.tensors[name]
            dtype = NUMPY_DTYPES[info.dtype]
            if size.value == 0:
                array = np.empty(info.shape, dtype)
            else:
                array = np.frombuffer(_ffi.view(data.value, size.value, self._handle), dtype).reshape(info.shape)
        array.flags.writeable = False
        return array

    def _decompressed(self, info: TensorInfo) -> np.ndarray:
        array = np.empty(info.shape, NUMPY_DTYPES[info.dtype])
        size = ctypes.c_size_t(array.nbytes)
        check(lib.octavo_model_read_tensor(self._handle.pointer, _ffi.c_name(info.name), array.ctypes.data, byref(size)))
        return array

    def asset(self, name: str) -> bytes:
        """The content of an embedded file, checked. Raises NotFoundError, NotIntactError."""
        size = ctypes.c_size_t()
        check(lib.octavo_model_asset(self._handle.pointer, _ffi.c_name(name), None, byref(size)))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        check(lib.octavo_model_asset(self._handle.pointer, _ffi.c_name(name), buffer, byref(size)))
        return buffer.raw[:size.value]

    def linear(self, name: str, expert: int = 0, *, device: str = "cpu", cpu: str | None = None, check_digests: bool = False) -> Linear:
        """A quantized linear, prepared to multiply on `device` ("cpu", "cuda", "cuda:1"). Prepare once, keep it.

        `expert`: which of a 3-D module's matrices. `cpu`: the kernels by name (`octavo.backends()`). `check_digests`: check the
        module's checksums and codes first. Raises NotFoundError (names near ones), InvalidArgumentError (not quantized, with
        the reason in the file), InvalidFileError, NotIntactError, UnsupportedError.
        """
        device_type, index = parse_device(device)
        options = _ffi.PrepareOptions(device_type=device_type, device_index=index, cpu=_ffi.c_name(cpu) if cpu else None,
                                      check_digests=check_digests)
        pointer = ctypes.c_void_p()
        check(lib.octavo_linear_prepare(self._handle.pointer, _ffi.c_name(name), expert, byref(options), byref(pointer)))
        return Linear(_ffi.Handle(pointer, lib.octavo_linear_release), name)

    def verify(self, num_threads: int = 0) -> None:
        """Checks every checksum and value of the file. Raises NotIntactError or InvalidFileError, naming what is wrong first."""
        Model(self.path, verify=True, num_threads=num_threads)


def to_float32(array: np.ndarray, dtype: str) -> np.ndarray:
    """The values of `Model.tensor`'s array, whose tensor has `dtype` F16, BF16 or F32, as float32: a copy."""
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if dtype in ("F16", "F32"):
        return array.astype(np.float32)
    raise _ffi.BY_STATUS[1](f"to_float32 takes F16, BF16 and F32, not {dtype}")
