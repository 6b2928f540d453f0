"""octavo.convert: from a 16-bit checkpoint to a .8vo file. Its library is loaded only when this is used."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import pathlib
import re
import warnings as python_warnings
from collections.abc import Callable, Iterable, Mapping
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _ffi
from .errors import AlreadyExistsError

if TYPE_CHECKING:
    from .profiling import Profile

ABI_VERSION = 1
_PROGRESS = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_uint64, c_char_p)
_WARNING = CFUNCTYPE(None, c_void_p, c_char_p)


class ConvertOptions(_ffi._Options):
    _fields_ = [("struct_size", c_size_t), ("method", c_char_p), ("compat", c_char_p), ("scope", c_char_p), ("row_rule", c_char_p),
                ("activations", c_char_p), ("override_threshold", c_int32), ("threshold", c_float),
                ("skip_modules", POINTER(c_char_p)), ("num_skip_modules", c_size_t), ("only_skip", c_int32), ("via_fp16", c_int32),
                ("skip_nonfinite", c_int32), ("compress", c_int32), ("keep_columns", c_char_p), ("keep_budget", c_double),
                ("max_shard_bytes", c_uint64), ("sha256", c_int32), ("overwrite", c_int32), ("resume", c_int32),
                ("num_threads", c_int32), ("progress", _PROGRESS), ("progress_context", c_void_p), ("warning", _WARNING),
                ("warning_context", c_void_p), ("layout", c_char_p)]


class ConvertResult(ctypes.Structure):
    _fields_ = [("bytes_source", c_uint64), ("bytes_file", c_uint64), ("bytes_resumed", c_uint64), ("seconds", c_double)]


@dataclass(frozen=True)
class Conversion:
    """What a conversion did. Sizes are bytes."""

    bytes_source: int
    bytes_file: int
    bytes_resumed: int
    seconds: float


@functools.cache
def _library() -> ctypes.CDLL:
    library = _ffi.open_library("liboctavo_quant.so.1", "OCTAVO_QUANT_LIBRARY")
    if library.octavo_quant_abi_version() != ABI_VERSION:
        raise ImportError(f"{library._name} has another ABI version than {ABI_VERSION}")
    library.octavo_convert.argtypes = (c_char_p, c_char_p, POINTER(ConvertOptions), POINTER(ConvertResult))
    library.octavo_convert.restype = c_int32
    library.octavo_quant_last_error.restype = c_char_p
    return library


def _text(value: str | None) -> bytes | None:
    return None if value is None else _ffi.c_name(value)


def _profile_json(profile: Any) -> str | None:
    """As JSON text: a Profile, a dictionary, JSON text, a path."""
    if hasattr(profile, "to_dict"):
        profile = profile.to_dict()
    if isinstance(profile, Mapping):
        return json.dumps(profile)
    if profile is None or isinstance(profile, str) and profile.lstrip().startswith("{"):
        return profile
    return pathlib.Path(profile).read_text(encoding="utf-8")


def _bytes(size: int | str) -> int:
    """5_000_000_000 of "5GB"."""
    if not isinstance(size, str):
        return size
    match = re.fullmatch(r"(\d+)(?:([KMGT])(i?)B)?", size)
    if match is None:
        _ffi.raise_error(1, f"max_shard_bytes is {size!r}; expected a number of bytes, or text like 5GB, 500MB, 2GiB")
    number, unit, binary = match.groups()
    return int(number) * (1024 if binary else 1000) ** (" KMGT".index(unit) if unit else 0)


def convert(source: str | os.PathLike[str], output: str | os.PathLike[str], *, method: str | None = None, compat: str | None = None,
            threshold: float | None = None, scope: str | None = None, row_rule: str | None = None, activations: str | None = None,
            skip_modules: str | Iterable[str] = (), only_skip: bool = False, via_fp16: bool = False, on_nonfinite: str = "error",
            keep_columns: Profile | Mapping[str, Any] | str | os.PathLike[str] | None = None, keep_budget: float | None = None,
            layout: str | None = None, compress: bool = False, max_shard_bytes: int | str = 0, sha256: bool = False, overwrite: bool = False, resume: bool = False,
            num_threads: int = 0,
            progress: Callable[[int, int, str], Any] | None = None) -> Conversion:
    """Converts a Hugging Face folder, a .safetensors file or an index. The options are those of `octavo convert` (docs/cli.md);
    `overwrite` is its --force, `max_shard_bytes` its --max-shard-size, a number or text like "5GB".

    `keep_columns`: what `octavo.profile` returned, as it is, as a dictionary, as JSON text or as the path of a file.
    `progress(bytes_done, bytes_total, tensor)` is called up to ten times a second; returning False cancels, and what it raises ends the
    conversion and is raised. Warnings are Python warnings. Raises NotFoundError, AlreadyExistsError, RefusedError, CancelledError,
    InvalidArgumentError, …
    """
    library = _library()
    raised: list[BaseException] = []
    warned: list[str] = []

    def on_progress(_: int, done: int, total: int, tensor: bytes) -> int:
        try:
            return progress(done, total, tensor.decode("utf-8", "replace")) is not False
        except BaseException as error:  # no exception may pass through C
            raised.append(error)
            return 0

    skip_modules = _ffi.strings(skip_modules)
    if on_nonfinite not in ("error", "skip"):
        _ffi.raise_error(1, f"on_nonfinite is {on_nonfinite!r}; expected error or skip")
    options = ConvertOptions(
        method=_text(method), compat=_text(compat), scope=_text(scope), row_rule=_text(row_rule), activations=_text(activations),
        override_threshold=threshold is not None, threshold=threshold or 0.0,
        skip_modules=(c_char_p * len(skip_modules))(*map(_ffi.c_name, skip_modules)), num_skip_modules=len(skip_modules),
        only_skip=only_skip, via_fp16=via_fp16, skip_nonfinite=on_nonfinite == "skip", compress=compress,
        keep_columns=_text(_profile_json(keep_columns)), keep_budget=keep_budget or 0.0,
        max_shard_bytes=_bytes(max_shard_bytes), sha256=sha256, overwrite=overwrite, resume=resume, num_threads=num_threads,
        progress=_PROGRESS(0) if progress is None else _PROGRESS(on_progress),
        warning=_WARNING(lambda _, text: warned.append(text.decode("utf-8", "replace"))), layout=_text(layout))
    result = ConvertResult()
    status = library.octavo_convert(_ffi.c_path(source), _ffi.c_path(output), byref(options), byref(result))
    if raised:
        raise raised[0]
    if status != 0:
        message = library.octavo_quant_last_error().decode("utf-8", "replace")
        if status == AlreadyExistsError.status:
            message += "; overwrite=True replaces it"
        _ffi.raise_error(status, message, of_path=True)
    for text in warned:
        python_warnings.warn(text, stacklevel=2)
    return Conversion(result.bytes_source, result.bytes_file, result.bytes_resumed, result.seconds)
