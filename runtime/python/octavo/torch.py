"""Linear8bit: an nn.Module around an int8 linear, and the operator behind it, `torch.ops.octavo.linear`.

The operator takes tensors and scalars only, so torch.compile and torch.export take it as it is: codes and scales are buffers, over
the file's mapping where they come from one; what the kernels need besides is prepared at first use and kept while the codes live.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from ctypes import byref
from dataclasses import dataclass, field
from typing import Any

import torch

from . import _ffi
from . import _torch_arrays as arrays
from ._ffi import check, lib
from .errors import InvalidArgumentError
from .model import Model

TORCH_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16, "F16": torch.float16,
    "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32, "I64": torch.int64, "U64": torch.uint64,
    "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}


# ---- Tensors of a file ---------------------------------------------------------------------------------------------------------


class FileTensors:
    """Tensors of an opened file as torch tensors over a private mapping: nothing is read before it is used, and writing to one
    changes that copy, never the file."""

    def __init__(self, model: Model):
        self._model = model
        self._facts = {facts["name"]: facts for facts in model.manifest["tensors"]}
        self._mappings: dict[int, mmap.mmap] = {}
        self._paths = [model.path]
        if "shards" in model.manifest:
            folder = os.path.dirname(model.path)
            self._paths = [os.path.join(folder, shard["name"]) for shard in model.manifest["shards"]]

    def __contains__(self, name: str) -> bool:
        return name in self._facts

    def __getitem__(self, name: str) -> torch.Tensor:
        """Raises NotFoundError, and for a compressed tensor NotIntactError."""
        facts = self._facts.get(name)
        if facts is None:
            self._model.tensor(name)  # raises, with near names
        dtype, shape = TORCH_DTYPES[facts["dtype"]], facts["shape"]
        if "codec" in facts:
            # torch does not know uint16 in from_numpy of every version; bytes always.
            raw = torch.frombuffer(bytearray(self._model.tensor(name).tobytes()), dtype=torch.uint8)
            return raw.view(dtype).reshape(shape)
        if facts["bytes"] == 0:
            return torch.empty(shape, dtype=dtype)
        count = facts["bytes"] // dtype.itemsize
        mapping = self._mapping(facts.get("shard", 0))
        return torch.frombuffer(mapping, dtype=dtype, count=count, offset=facts["offset"]).reshape(shape)

    def _mapping(self, shard: int) -> mmap.mmap:
        mapping = self._mappings.get(shard)
        if mapping is None:
            with open(self._paths[shard], "rb") as file:
                flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
                mapping = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            self._check_same_file(mapping, shard)
            self._mappings[shard] = mapping
        return mapping

    def _check_same_file(self, mapping: mmap.mmap, shard: int) -> None:
        """By the manifest, or by its digest in a shard's header: both name every tensor's digest."""
        if "shards" in self._model.manifest:
            facts = self._model.manifest["shards"][shard]
            same = len(mapping) == facts["bytes"] and mapping[64:80].hex() == facts["manifest_xxh3"]
        else:
            stored = self._model.manifest_json
            same = mapping[len(mapping) - len(stored):] == stored
        if not same:
            raise InvalidArgumentError(f"{self._paths[shard]}: the file was replaced after it was opened; open it again")


def tensor(model: Model, name: str) -> torch.Tensor:
    """A tensor of the file, [its shape], of its type, over a private mapping (no copy). Raises NotFoundError."""
    return FileTensors(model)[name]


# ---- What a linear is besides its tensors --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """How activations are quantized and codes are meant, in the manifest's words (docs/format.md section 5)."""

    threshold: float = 6.0
    scope: str = "batch"
    row_rule: str = "inlier_columns"
    activations: str = "asymmetric"
    method: str = "vector-wise"
    convention: str = "absmax"
    full_range: bool = False
    activations_via_fp16: bool = False
    scalars: tuple[Any, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise InvalidArgumentError(f"threshold is {self.threshold}; expected 0 or more")
        object.__setattr__(self, "scalars", (
            float(self.threshold), _ffi.choice(self.scope, _ffi.SCOPES, "scope"), _ffi.choice(self.row_rule, _ffi.ROW_RULES, "row_rule"),
            _ffi.choice(self.activations, _ffi.ACTIVATIONS, "activations"), _ffi.choice(self.method, _ffi.METHODS, "method"),
            _ffi.choice(self.convention, _ffi.CONVENTIONS, "convention"), bool(self.full_range), bool(self.activations_via_fp16)))

    @staticmethod
    def of(model: Model, name: str) -> Settings:
        quantization, scheme = model.quantization, model.modules[name].facts["scheme"]
        return Settings(quantization["threshold"], quantization["scope"], quantization["row_rule"], quantization["activations"],
                        quantization["method"], scheme["scales"]["convention"], scheme.get("full_range", False),
                        quantization["activations_via_fp16"])


# ---- Prepared linears, found again by their codes ------------------------------------------------------------------------------

_prepared: dict[tuple, tuple[weakref.ref, _ffi.Handle, tuple]] = {}


def _pointer(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _forget_prepared(codes: torch.Tensor) -> None:
    """Whatever was prepared from the memory of `codes`, which is about to get other content."""
    for key in [key for key in _prepared if key[0] == codes.data_ptr()]:
        _prepared.pop(key, None)


def _prepare(device: torch.device, codes, scales, bias, kept_index, kept_weight, zero_point, code_sum, scalars) -> _ffi.Handle:
    """Checks the operands and prepares them for `device`; the handle keeps them alive."""
    on_host = [None if t is None else t.detach().to("cpu").contiguous()
               for t in (codes, scales, bias, kept_index, kept_weight, zero_point, code_sum)]
    codes, scales, bias, kept_index, kept_weight, zero_point, code_sum = on_host
    _check_operands(*on_host)
    threshold, scope, row_rule, activations, method, convention, full_range, via_fp16 = scalars
    operands = _ffi.LinearOperands(
        in_features=codes.shape[1], out_features=codes.shape[0], codes=_pointer(codes), scales=_pointer(scales),
        code_sum=_pointer(code_sum) or None, zero_point=_pointer(zero_point) or None,
        num_kept=0 if kept_index is None else kept_index.numel(), kept_index=_pointer(kept_index) or None,
        kept_weight=_pointer(kept_weight) or None, bias=_pointer(bias) or None,
        kept_dtype=0 if kept_weight is None else arrays.NUMBERS[kept_weight.dtype],
        bias_dtype=0 if bias is None else arrays.NUMBERS[bias.dtype], convention=convention, full_range=full_range, method=method,
        threshold=threshold, scope=scope, row_rule=row_rule, activations=activations, activations_via_fp16=via_fp16)
    cuda = device.type == "cuda"
    options = _ffi.PrepareOptions(device_type=_ffi.CUDA if cuda else _ffi.CPU, device_index=(device.index or 0) if cuda else 0)
    pointer = ctypes.c_void_p()
    check(lib.octavo_linear_from_memory(byref(operands), byref(options), byref(pointer)))
    handle = PreparedHandle(pointer, lib.octavo_linear_release)
    handle.operands = None if cuda else on_host
    return handle


class PreparedHandle(_ffi.Handle):
    __slots__ = ("operands",)


def _check_operands(codes, scales, bias, kept_index, kept_weight, zero_point, code_sum) -> None:
    def expect(tensor, name, dtypes, shape):
        if tensor is not None and (tensor.dtype not in dtypes or tuple(tensor.shape) != shape):
            raise InvalidArgumentError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}; expected "
                                       f"{' or '.join(str(d) for d in dtypes)} {shape}")
    if codes.dim() != 2:
        raise InvalidArgumentError(f"codes have shape {tuple(codes.shape)}; expected [out_features, in_features]")
    out_features = codes.shape[0]
    kept = 0 if kept_index is None else kept_index.numel()
    expect(codes, "codes", (torch.int8,), tuple(codes.shape))
    expect(scales, "scales", (torch.float32,), (out_features,))
    expect(bias, "bias", tuple(arrays.NUMBERS), (out_features,))
    expect(kept_index, "kept_index", (torch.int32,), (kept,))
    expect(kept_weight, "kept_weight", tuple(arrays.NUMBERS), (kept, out_features))
    expect(zero_point, "zero_point", (torch.int32,), (out_features,))
    expect(code_sum, "code_sum", (torch.int32,), (out_features,))
    if (kept_index is None) != (kept_weight is None):
        raise InvalidArgumentError("kept_index and kept_weight come together")


def _find_prepared(device: torch.device, codes, scales, bias, kept_index, kept_weight, zero_point, code_sum, scalars) -> _ffi.Handle:
    """Prepared at first use; kept while the tensor `codes` lives. Codes and scales must not be changed in place."""
    operands = (codes, scales, bias, kept_index, kept_weight, zero_point, code_sum)
    key = (*map(_pointer, operands), codes.shape, codes.stride(), codes.dtype, device, scalars)
    found = _prepared.get(key)
    # A tensor that was given other memory leaves its key behind: what is there now may be somebody else's.
    if found is not None and (owner := found[0]()) is not None and owner.data_ptr() == key[0]:
        return found[1]
    handle = _prepare(device, *operands, scalars)
    _prepared[key] = (weakref.ref(codes, lambda _: _prepared.pop(key, None)), handle)
    return handle


# ---- The operator --------------------------------------------------------------------------------------------------------------

torch.library.define(
    "octavo::linear",
    "(Tensor x, Tensor codes, Tensor scales, Tensor? bias, Tensor? kept_index, Tensor? kept_weight, Tensor? zero_point, "
    "Tensor? code_sum, float threshold, int scope, int row_rule, int activations, int method, int convention, bool full_range, "
    "bool via_fp16) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,))


@torch.library.impl("octavo::linear", ("cpu", "cuda"))
def _linear(x, codes, scales, bias, kept_index, kept_weight, zero_point, code_sum, *scalars):
    handle = _find_prepared(x.device, codes, scales, bias, kept_index, kept_weight, zero_point, code_sum, scalars)
    return _forward(handle, x, codes.shape[0], codes.shape[1])


def _forward(handle: _ffi.Handle, x: torch.Tensor, out_features: int, in_features: int) -> torch.Tensor:
    x2 = arrays.rows_of(x, in_features, "x")
    y = torch.empty((*x.shape[:-1], out_features), dtype=x.dtype, device=x.device)
    y2 = _ffi.Tensor(y.data_ptr(), x2.dtype, x2.device_type, x2.device_index, 0, x2.rows, out_features, out_features)
    arrays.forward(handle, x2, y2, None)
    return y


@torch.library.register_fake("octavo::linear")
def _fake_linear(x, codes, *_):
    torch._check(x.shape[-1] == codes.shape[1], lambda: f"x has shape {tuple(x.shape)}; expected [..., {codes.shape[1]}]")
    return x.new_empty((*x.shape[:-1], codes.shape[0]))


def _setup_context(ctx, inputs, output):
    x, codes, scales, bias, kept_index, kept_weight, zero_point = inputs[:7]
    ctx.save_for_backward(codes, scales, kept_index, kept_weight, zero_point)
    ctx.convention = inputs[13]
    ctx.num_inputs = len(inputs)


def _backward(ctx, grad):
    """dX = dY W with the dequantized weights; codes and scales have no gradient."""
    grads = [None] * ctx.num_inputs
    if ctx.needs_input_grad[0]:
        codes, scales, kept_index, kept_weight, zero_point = ctx.saved_tensors
        weight = dequantize(codes, scales, kept_index, kept_weight, zero_point, step=ctx.convention == 1, dtype=grad.dtype,
                            device=grad.device)
        grads[0] = grad @ weight
    if ctx.needs_input_grad[3]:
        grads[3] = grad.reshape(-1, grad.shape[-1]).sum(dim=0)
    return tuple(grads)


torch.library.register_autograd("octavo::linear", _backward, setup_context=_setup_context)


def dequantize(codes: torch.Tensor, scales: torch.Tensor, kept_index: torch.Tensor | None = None, kept_weight: torch.Tensor | None = None,
               zero_point: torch.Tensor | None = None, *, step: bool = False, dtype: torch.dtype = torch.float32,
               device: torch.device | None = None) -> torch.Tensor:
    """The weights that codes stand for, [out_features, in_features]: code * absmax / 127, or with `step` code * step; kept columns
    have their own."""
    device = device or codes.device
    multiplier = (scales if step else scales / 127).to(device)
    values = codes.to(device).to(torch.float32)
    if zero_point is not None:
        values = values - zero_point.to(device)[:, None]
    weight = (values * multiplier[:, None]).to(dtype)
    if kept_index is not None:
        weight = weight.index_copy(1, kept_index.to(device).long(), kept_weight.to(device, dtype).t())
    return weight


# ---- The module ----------------------------------------------------------------------------------------------------------------


def _plain_call(x: torch.Tensor) -> bool:
    """Nobody watches: no tracing, no subclass, no gradient, no dispatch mode."""
    return (type(x) is torch.Tensor and not (x.requires_grad and torch.is_grad_enabled())
            and torch._C._len_torch_dispatch_stack() == 0)


class Linear8bit(torch.nn.Linear):
    """An int8 linear. A subclass of nn.Linear, so PEFT's LoRA and others take it for one.

    `weight` [out_features, in_features] int8 and its companions (`weight_absmax` or `weight_step`, `weight_kept_index`,
    `weight_kept`, `weight_zero_point`) are buffers with the names that files have; `bias` is a frozen parameter. Differentiable
    with respect to its input (through the dequantized weights) and its bias. Codes and scales must not be changed in place.

    On a CUDA device the codes are uploaded at first use and `weight` itself stays in host memory.
    """

    replaces_conv1d = False  # the linear that was here before was a Conv1D of transformers, whose weights are [in, out]

    def __init__(self, in_features: int, out_features: int, bias: bool = False, *, settings: Settings = Settings(), kept: int = 0,
                 kept_dtype: torch.dtype = torch.float16, dtype: torch.dtype = torch.float16,
                 device: torch.device | str | None = None, name: str = ""):
        """Buffers of the right shapes without content; `device="meta"` for none at all. `kept`: how many kept columns.
        `dtype`: of the bias."""
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.settings, self.name = settings, name

        def empty(*shape, dtype):
            return torch.empty(shape, dtype=dtype, device=device)
        self.register_buffer("weight", empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer(self.scales_name, empty(out_features, dtype=torch.float32))
        if kept:
            self.register_buffer("weight_kept_index", empty(kept, dtype=torch.int32))
            self.register_buffer("weight_kept", empty(kept, out_features, dtype=kept_dtype))
        if settings.method.startswith("zeropoint"):
            self.register_buffer("weight_zero_point", empty(out_features, dtype=torch.int32))
        self.register_buffer("weight_code_sum", None, persistent=False)  # computed where a file has not given it
        if bias:
            self.bias = torch.nn.Parameter(empty(out_features, dtype=dtype), requires_grad=False)
        else:
            self.register_parameter("bias", None)
        self._handle: _ffi.Handle | None = None

    @property
    def scales_name(self) -> str:
        return "weight_" + self.settings.convention

    @staticmethod
    def from_file(model: Model, name: str, *, dtype: torch.dtype | None = None) -> Linear8bit:
        """The linear `name` of an opened file, its codes in the mapping. `dtype`: of the bias; None: the file's. Raises
        NotFoundError, InvalidArgumentError (not a quantized linear, or one of kind `experts`)."""
        return linear_of_file(FileTensors(model), model, name, dtype=dtype)

    def reset_parameters(self) -> None:
        """Nothing: the weights come from a file."""

    def operands(self) -> tuple[torch.Tensor | None, ...]:
        """What the operator takes between x and the scalars."""
        buffers = self._buffers
        return (buffers["weight"], buffers[self.scales_name], self.bias, buffers.get("weight_kept_index"), buffers.get("weight_kept"),
                buffers.get("weight_zero_point"), buffers.get("weight_code_sum"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [..., in_features] in float16, bfloat16 or float32; returns [..., out_features] of the same type."""
        if torch.compiler.is_compiling() or not _plain_call(x) or self._trains_bias():
            return torch.ops.octavo.linear(x, *self.operands(), *self.settings.scalars)
        return _forward(self._prepared_for(x.device), x, self.out_features, self.in_features)

    def _trains_bias(self) -> bool:
        bias = self._parameters["bias"]
        return bias is not None and bias.requires_grad and torch.is_grad_enabled()

    def _prepared_for(self, device: torch.device) -> _ffi.Handle:
        handle, bias = self._handle, self._parameters["bias"]
        key = (self._buffers["weight"], 0 if bias is None else bias.data_ptr(), device)
        if handle is None or self._handle_key[0] is not key[0] or self._handle_key[1:] != key[1:]:
            handle = _find_prepared(device, *self.operands(), self.settings.scalars)
            self._handle, self._handle_key = handle, key
        return handle

    def _forget(self) -> None:
        self._handle = None

    def _apply(self, fn, recurse=True):
        """Devices and the bias's type change; scales and kept weights keep theirs, and codes stay in host memory."""
        self._forget()
        before = dict(self._buffers)
        result = super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is None:
                continue
            if new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
            if name == "weight" and old.device.type == "cpu" and new.device.type == "cuda":
                self._buffers[name] = old
        return result

    def _load_from_state_dict(self, *args, **kwargs):
        """Nothing stays of the old codes: neither what was prepared from them nor their sums, which no state_dict has."""
        self._forget()
        _forget_prepared(self._buffers["weight"])
        self._buffers["weight_code_sum"] = None
        return super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key not in ("_handle", "_handle_key")} | {"_handle": None}

    def dequantize(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The weights as they are multiplied, [out_features, in_features]."""
        codes, scales, _, kept_index, kept_weight, zero_point, _ = self.operands()
        return dequantize(codes, scales, kept_index, kept_weight, zero_point, step=self.settings.convention == "step", dtype=dtype)

    def extra_repr(self) -> str:
        kept = self._buffers.get("weight_kept_index")
        return (f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
                f"threshold={self.settings.threshold:g}" + ("" if kept is None else f", kept={kept.numel()}"))


def linear_of_file(tensors: FileTensors, model: Model, name: str, *, dtype: torch.dtype | None = None) -> Linear8bit:
    """Linear8bit.from_file with the mapping shared among modules."""
    module = model.modules.get(name)
    if module is None or not module.quantized:
        model.linear(name)  # raises, with near names or the reason
    if module.kind == "experts":
        raise InvalidArgumentError(f"{model.path}: module {name!r} is of kind experts; Linear8bit takes one matrix")
    facts = module.facts
    kept = facts.get("kept")
    bias = tensors[facts["bias"]] if "bias" in facts else None
    linear = Linear8bit(module.in_features, module.out_features, bias is not None, settings=Settings.of(model, name),
                        kept=0 if kept is None else tensors[kept["index"]].numel(), device="meta", name=name)
    for buffer, tensor in tensors_of_module(tensors, model, name).items():
        linear._buffers[buffer] = tensor
    linear._buffers["weight_code_sum"] = tensors[facts["scheme"]["code_sum"]]
    if bias is not None:
        linear.bias = torch.nn.Parameter(bias if dtype is None else bias.to(dtype), requires_grad=False)
    return linear


def tensors_of_module(tensors: FileTensors, model: Model, name: str) -> dict[str, torch.Tensor]:
    """The persistent buffers of a quantized module's Linear8bit, by their names in it."""
    facts = model.modules[name].facts
    scheme = facts["scheme"]
    codes = tensors[scheme["codes"]["tensor"]]
    if scheme["codes"]["layout"] != "plain":
        codes = unpack_codes(codes, facts["out_features"], facts["in_features"])
    found = {"weight": codes, "weight_" + scheme["scales"]["convention"]: tensors[scheme["scales"]["tensor"]]}
    if "zero_point" in scheme:
        found["weight_zero_point"] = tensors[scheme["zero_point"]]
    if "kept" in facts:
        found["weight_kept_index"] = tensors[facts["kept"]["index"]]
        found["weight_kept"] = tensors[facts["kept"]["weight"]]
    return found


def unpack_codes(packed: torch.Tensor, out_features: int, in_features: int) -> torch.Tensor:
    """Layout vnni16x4-1 [out/16, in/4, 16, 4] as plain codes: a copy."""
    blocks, depth = packed.shape[0], packed.shape[1]
    return packed.permute(0, 2, 1, 3).reshape(blocks * 16, depth * 4)[:out_features, :in_features].contiguous()


__all__ = ["FileTensors", "Linear8bit", "Settings", "dequantize", "tensor", "unpack_codes"]
