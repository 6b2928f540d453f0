"""torch tensors as the C interface's matrices: data pointers, nothing is copied whose rows are contiguous."""

from __future__ import annotations

from ctypes import byref

import torch

from . import _ffi
from ._ffi import check, lib
from .errors import InvalidArgumentError

NUMBERS = {torch.float16: _ffi.F16, torch.bfloat16: _ffi.BF16, torch.float32: _ffi.F32}


def empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def rows_of(tensor: torch.Tensor, features: int, name: str, writes: bool = False) -> _ffi.Tensor:
    """The tensor as a matrix where it lies."""
    number = NUMBERS.get(tensor.dtype)
    if number is None:
        raise InvalidArgumentError(f"{name} has dtype {tensor.dtype}; expected float16, bfloat16 or float32")
    if tensor.dim() == 0 or tensor.shape[-1] != features:
        raise InvalidArgumentError(f"{name} has shape {tuple(tensor.shape)}; expected [..., {features}]")
    if writes and (not tensor.is_contiguous() or tensor.is_neg()):
        raise InvalidArgumentError(f"{name} is not contiguous, or a view that negates")
    matrix = tensor.resolve_neg()  # a copy only where torch negates when the memory is read
    matrix = matrix.reshape(-1, features) if tensor.dim() != 2 else matrix
    if features > 1 and matrix.stride(1) != 1 or matrix.shape[0] > 1 and matrix.stride(0) < features:
        matrix = matrix.contiguous()  # also the rows of an expanded tensor, which are one row
    cuda = tensor.is_cuda
    result = _ffi.Tensor(matrix.data_ptr(), number, _ffi.CUDA if cuda else _ffi.CPU, tensor.get_device() if cuda else 0, 0,
                         matrix.shape[0], features, max(matrix.stride(0), features))
    result.owner = matrix
    return result


def forward(handle: _ffi.Handle, x: _ffi.Tensor, y: _ffi.Tensor, options: _ffi.ForwardOptions | None) -> None:
    if x.device_type == _ffi.CPU:
        check(lib.octavo_forward(handle.pointer, byref(x), byref(y), None if options is None else byref(options)))
        return
    options = options or _ffi.ForwardOptions()
    size = _ffi.c_size_t()
    check(lib.octavo_forward_workspace(handle.pointer, x.rows, byref(options), byref(size)))
    device = torch.device("cuda", x.device_index)
    # torch's allocator reuses it only for what is enqueued later on the same stream.
    workspace = torch.empty(max(size.value, 1), dtype=torch.uint8, device=device)
    options.workspace, options.workspace_bytes = workspace.data_ptr(), size.value
    options.stream = torch.cuda.current_stream(device).cuda_stream
    check(lib.octavo_forward(handle.pointer, byref(x), byref(y), byref(options)))
