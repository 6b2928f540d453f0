"""transformers models whose linears are Octavo's.

    model, tokenizer = octavo.transformers.load("model.8vo")       # from the file alone
    model = AutoModelForCausalLM.from_pretrained(folder)           # a folder of `octavo export --to transformers`

Importing this module registers the quantization method "octavo" with transformers (docs/python.md).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from . import _ffi
from . import torch as octavo_torch
from ._torch_arrays import NUMBERS
from .errors import InvalidArgumentError, InvalidFileError, OctavoError, UnsupportedError
from .model import Model
from .torch import FileTensors, Linear8bit, Settings, tensors_of_module

FOLDER_VERSION = 1
SCALES = (".weight_absmax", ".weight_step")
COMPANIONS = ("weight_kept_index", "weight_kept", "weight_zero_point")
KINDS = {"threshold": (int, float), "activations_via_fp16": bool, "full_range": bool, "version": int,
         "modules_to_not_convert": (list, type(None))}  # of quantization_config; the others are strings


@register_quantization_config("octavo")
class OctavoConfig(QuantizationConfigMixin):
    """`quantization_config` of config.json: docs/python.md, "The transformers folder".

    `llm_int8_threshold` is another name of `threshold`. `llm_int8_skip_modules` of a folder that is quantized already cannot bring
    back 16-bit weights: it is refused with what to do instead. `llm_int8_enable_fp32_cpu_offload` is accepted and not needed:
    parts on a CPU stay in int8 and run there.

    The config of a folder wins over one that from_pretrained is given, so says transformers: change `quantization_config` of
    AutoConfig.from_pretrained(folder) and give that config.
    """

    def __init__(self, method: str = "vector-wise", compat: str = "none", threshold: float = 6.0, scope: str = "batch",
                 row_rule: str = "inlier_columns", activations: str = "asymmetric", activations_via_fp16: bool = False,
                 full_range: bool = False, modules_to_not_convert: list[str] | None = None, version: int = FOLDER_VERSION,
                 llm_int8_threshold: float | None = None, llm_int8_skip_modules: list[str] | None = None,
                 llm_int8_enable_fp32_cpu_offload: bool = False, _content: _Content | None = None, **unknown: Any):
        unknown.pop("quant_method", None)
        if _content is not None and not isinstance(_content, _Content):  # load() gives it, no config.json can
            unknown["_content"] = _content
        if unknown:
            raise InvalidArgumentError(f"quantization_config has unknown keys {sorted(unknown)}; a newer Octavo may know them")
        given = {"method": method, "compat": compat, "threshold": threshold, "scope": scope, "row_rule": row_rule,
                 "activations": activations, "activations_via_fp16": activations_via_fp16, "full_range": full_range,
                 "modules_to_not_convert": modules_to_not_convert, "version": version}
        for key, value in given.items():
            if not isinstance(value, KINDS.get(key, str)):
                raise InvalidArgumentError(f"quantization_config: {key} is {value!r}")
        if version > FOLDER_VERSION:
            raise InvalidFileError(f"quantization_config has version {version}; this Octavo reads up to {FOLDER_VERSION}")
        if llm_int8_skip_modules:
            raise InvalidArgumentError(
                "llm_int8_skip_modules: these weights are int8 already; convert again with octavo convert --skip-modules "
                f"{','.join(_ffi.strings(llm_int8_skip_modules))} (which adds to what is kept anyway: heads stay in 16 bit, unlike with "
                "the list of bitsandbytes, which replaces them)")
        self.quant_method = "octavo"
        self.version = version
        self.method, self.compat = method, compat
        self.threshold = threshold if llm_int8_threshold is None else llm_int8_threshold
        self.scope, self.row_rule, self.activations = scope, row_rule, activations
        self.activations_via_fp16, self.full_range = activations_via_fp16, full_range
        self.modules_to_not_convert = modules_to_not_convert
        self._content = _content  # of load(), whose checkpoint has no files
        self.settings("absmax")  # checks the values

    def settings(self, convention: str) -> Settings:
        return Settings(self.threshold, self.scope, self.row_rule, self.activations, self.method, convention, self.full_range,
                        self.activations_via_fp16)

    @property
    def llm_int8_threshold(self) -> float:
        return self.threshold

    def to_dict(self) -> dict[str, Any]:
        values = {key: value for key, value in self.__dict__.items() if not key.startswith("_")}
        if not self.full_range:
            del values["full_range"]
        return values


@dataclass
class _Quantized:
    """What a module is before its tensors are there; `shape` is that of its codes."""

    convention: str
    shape: tuple[int, ...]
    bias: bool
    kept: int = 0
    kept_dtype: torch.dtype = torch.float16


def _quantized_of_files(files: Iterable[str], method: str) -> dict[str, _Quantized]:
    """The quantized modules of safetensors files, from their headers. Raises InvalidFileError where one lacks a tensor or has a wrong
    one."""
    headers: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():
                header = file.get_slice(key)
                headers[key] = (header.get_dtype(), tuple(header.get_shape()))
    names = dict.fromkeys(name for key, (dtype, _) in headers.items() for name, _, tensor in [key.rpartition(".")]
                          if "." + tensor in SCALES or tensor in COMPANIONS or tensor == "weight" and dtype == "I8")
    return {name: _quantized_of_headers(headers, name, method) for name in names}


def _quantized_of_headers(headers: Mapping[str, tuple[str, tuple[int, ...]]], name: str, method: str) -> _Quantized:
    scales = [suffix.removeprefix(".") for suffix in SCALES if name + suffix in headers]
    if len(scales) != 1:
        raise InvalidFileError(f"the checkpoint's module {name} has no scales, or two kinds of them: weight_absmax or weight_step must be "
                               "there")

    def expect(tensor: str, dtypes: tuple[str, ...], *shape: int | None) -> tuple[str, tuple[int, ...]]:
        dtype, found = headers.get(f"{name}.{tensor}", (None, ()))
        if dtype is None:
            raise InvalidFileError(f"the checkpoint's {name}.{tensor} is missing")
        if dtype not in dtypes or len(found) != len(shape) or any(e not in (None, f) for e, f in zip(shape, found, strict=True)):
            raise InvalidFileError(f"the checkpoint's {name}.{tensor} is {dtype} {list(found)}; expected {' or '.join(dtypes)} "
                                   f"{[size if size is not None else 'any' for size in shape]}")
        return dtype, found
    _, codes = expect("weight", ("I8",), None, None)
    expect(scales[0], ("F32",), codes[0])
    if method.startswith("zeropoint"):
        expect("weight_zero_point", ("I32",), codes[0])
    found = _Quantized(scales[0].removeprefix("weight_"), codes, f"{name}.bias" in headers)
    if f"{name}.weight_kept_index" in headers or f"{name}.weight_kept" in headers:
        found.kept = expect("weight_kept_index", ("I32",), None)[1][0]
        found.kept_dtype = octavo_torch.TORCH_DTYPES[expect("weight_kept", ("F16", "BF16"), found.kept, codes[0])[0]]
    return found


@register_quantizer("octavo")
class OctavoQuantizer(HfQuantizer):
    """Puts a Linear8bit in the place of every linear whose scales are in the checkpoint."""

    requires_calibration = False  # what cannot be loaded has a message of its own, below
    quantization_config: OctavoConfig

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        if not self.pre_quantized:
            raise UnsupportedError("Octavo quantizes once, not at every load: octavo convert MODEL -o model.8vo, then "
                                   "octavo.transformers.load, or octavo export model.8vo --to transformers")

    def _process_model_before_weight_loading(self, model: Any, checkpoint_files: list[str] | None = None, **kwargs: Any) -> None:
        content = self.quantization_config._content
        if content is not None:
            content.fill(model)
            self.quantization_config.modules_to_not_convert = content.in_16_bit
            quantized, paths = content.quantized, content.paths
        else:
            quantized = _quantized_of_files(checkpoint_files or [], self.quantization_config.method)
            paths = module_paths(model, quantized)
            if not quantized:
                raise InvalidFileError("the checkpoint has no scales (NAME.weight_absmax): it is no folder of octavo export --to "
                                       "transformers")
        for name, path in paths.items():
            if path is None:
                raise UnsupportedError(f"this version of transformers keeps {name!r} in no module of its own (experts, fused weights)")
            replace_linear(model, path, quantized[name], self.quantization_config)

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> None:
        for module in model.modules():
            if isinstance(module, Linear8bit):
                module._buffers["weight"] = module.weight.to("cpu")  # the device's copy is the runtime's
                if module.bias is not None:
                    module.bias.requires_grad_(False)
        self.quantization_config._content = None

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return True

    @property
    def is_compileable(self) -> bool:
        return True

    def _dequantize(self, model: Any, dtype: torch.dtype | str | None = None) -> Any:
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float16
        for path, module in list(model.named_modules()):
            if isinstance(module, Linear8bit):
                weight = module.dequantize(dtype)
                if module.replaces_conv1d:  # of GPT-2, whose weights are [in, out]
                    with torch.device("meta"):
                        dense = transformers.pytorch_utils.Conv1D(module.out_features, module.in_features)
                    weight = weight.t().contiguous()
                else:
                    dense = torch.nn.Linear(module.in_features, module.out_features, module.bias is not None, device="meta")
                dense.weight = torch.nn.Parameter(weight, requires_grad=False)
                dense.bias = module.bias
                _set_module(model, path, dense)
        return model


def module_paths(model: Any, names: Iterable[str]) -> dict[str, str | None]:
    """Where the model has the checkpoint's modules; None where it has no linear of its own for one."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    state = dict.fromkeys(model.state_dict(), True)  # what has no value counts as absent
    paths: dict[str, str | None] = {}
    for name in names:
        key, pattern = rename_source_key(name + ".weight", renamings, converters, model.base_model_prefix, state)
        paths[name] = key.removesuffix(".weight") if pattern is None and key in state else None
    return paths


def replace_linear(model: Any, path: str, quantized: _Quantized, config: OctavoConfig) -> None:
    """The linear at `path`, nn.Linear or Conv1D, becomes a Linear8bit without content."""
    old = model.get_submodule(path)
    if isinstance(old, transformers.pytorch_utils.Conv1D):
        in_features, out_features = old.nx, old.nf
    elif isinstance(old, torch.nn.Linear):
        in_features, out_features = old.in_features, old.out_features
    else:
        raise UnsupportedError(f"{path} is a {type(old).__name__}; int8 weights can stand for nn.Linear and Conv1D")
    if quantized.shape != (out_features, in_features):
        raise InvalidFileError(f"{path}: the codes are {list(quantized.shape)}, the model's linear is {[out_features, in_features]}")
    if old.bias is not None and not quantized.bias:
        raise InvalidFileError(f"{path}.bias is missing, which the model has")
    new = Linear8bit(in_features, out_features, old.bias is not None, settings=config.settings(quantized.convention), kept=quantized.kept,
                     kept_dtype=quantized.kept_dtype, dtype=old.weight.dtype, device="meta", name=path)
    new.replaces_conv1d = isinstance(old, transformers.pytorch_utils.Conv1D)
    new.train(old.training)
    _set_module(model, path, new)


def _set_module(model: Any, path: str, module: torch.nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


# ---- From one file -------------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str] | Model, *, device_map: Any = None, dtype: torch.dtype | str | None = None,
         torch_dtype: torch.dtype | str | None = None, threshold: float | None = None, scope: str | None = None,
         row_rule: str | None = None, activations: str | None = None, llm_int8_threshold: float | None = None,
         llm_int8_skip_modules: str | list[str] | None = None, skip_modules: str | list[str] | None = None, model_class: Any = None,
         attn_implementation: str | None = None, trust_remote_code: bool = False, **unknown: Any) -> tuple[Any, Any]:
    """(model, tokenizer) from a `.8vo` file alone: its embedded config and tokenizer, every quantized linear ours, over the mapping.

    Nothing is read before it is used, and nothing is allocated in 16 bit. `dtype` (or `torch_dtype`): of what is not quantized; None: as
    config.json says. `threshold` (or `llm_int8_threshold`), `scope`, `row_rule`, `activations`: instead of the file's. `skip_modules`
    (or `llm_int8_skip_modules`): patterns of whole dotted components, "*" for any one; these linears multiply in 16 bit, by the weights
    that their codes stand for. They add to what the file keeps anyway. `model_class`: instead of the one that config.json names, an Auto
    class too. The tokenizer is None where the file has none. What the file says about code of its own counts with `trust_remote_code` only.

    Raises NotFoundError, InvalidArgumentError, InvalidFileError, UnsupportedError.
    """
    if unknown:
        raise InvalidArgumentError(f"load() takes no {', '.join(unknown)}" + (
            ": the file is int8 already" if unknown.keys() & {"load_in_8bit", "load_in_4bit", "quantization_config"} else ""))
    model_file = path if isinstance(path, Model) else Model(path)
    if "config.json" not in model_file.assets:
        raise InvalidFileError(f"{model_file.path}: no config.json is embedded; convert from a folder that has one")
    overrides = {"threshold": llm_int8_threshold if threshold is None else threshold, "scope": scope, "row_rule": row_rule,
                 "activations": activations}
    with tempfile.TemporaryDirectory(prefix="octavo-") as folder:
        _write_assets(model_file, folder, trust_remote_code)
        with _reading(model_file, "config.json"):
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        with _reading(model_file, "the tokenizer (tokenizer.json, tokenizer_config.json)"):
            tokenizer = load_tokenizer(folder, model_file.assets, trust_remote_code)
        with _reading(model_file, "generation_config.json"):
            generation = transformers.GenerationConfig.from_pretrained(folder) if "generation_config.json" in model_file.assets else None
    cls = _class_for(config, model_file, model_class)
    content = _Content(model_file, [*_ffi.strings(skip_modules), *_ffi.strings(llm_int8_skip_modules)])
    quantization = {key: model_file.quantization[key] for key in
                    ("method", "compat", "threshold", "scope", "row_rule", "activations", "activations_via_fp16")}
    quantization |= {key: value for key, value in overrides.items() if value is not None}
    config.quantization_config = quantization | {"quant_method": "octavo", "full_range": content.full_range,
                                                 "modules_to_not_convert": content.in_16_bit, "_content": content}
    kwargs = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    with _undisturbed():
        model = cls.from_pretrained(None, config=config, state_dict=content.state, device_map=device_map,
                                    dtype=dtype or torch_dtype or "auto", trust_remote_code=trust_remote_code, **kwargs)
    for name, path_in_model in content.paths.items():
        model.get_submodule(path_in_model)._buffers["weight_code_sum"] = content.code_sums[name]
    if generation is not None and model.can_generate():
        model.generation_config = generation
    for named in (model, model.config, tokenizer):  # after the file, not after the folder that is gone: PEFT writes it down
        if named is not None:
            named.name_or_path = model_file.path
    return model, tokenizer


@contextlib.contextmanager
def _reading(model_file: Model, what: str) -> Iterator[None]:
    """transformers raises whatever its code runs into where an embedded file makes no sense."""
    try:
        yield
    except (ImportError, MemoryError, OctavoError):
        raise
    except Exception as error:
        raise InvalidFileError(f"{model_file.path}: {what}: transformers cannot read it: {type(error).__name__}: {error}") from error


def _write_assets(model_file: Model, folder: str, trust_remote_code: bool) -> None:
    """The embedded files into `folder`, with nothing that makes transformers fetch or run code, or ask whether it may."""
    for name in model_file.assets:
        content = model_file.asset(name)
        if name in ("config.json", "tokenizer_config.json"):
            try:
                facts = json.loads(content)
                content = json.dumps(_without_code(facts, trust_remote_code)).encode()
                _check_counts(facts, sum(module.experts or 1 for module in model_file.modules.values()))
            except (ValueError, RecursionError) as error:
                raise InvalidFileError(f"{model_file.path}: {name}: {error}") from error
            if name == "config.json" and not trust_remote_code and isinstance(facts, dict) and "auto_map" in facts and (
                    facts.get("model_type") not in transformers.CONFIG_MAPPING):
                raise UnsupportedError(f"{model_file.path}: transformers does not know the model type {facts.get('model_type')!r}, and "
                                       "code that comes with a model (auto_map in config.json) needs trust_remote_code=True")
        pathlib.Path(folder, name).write_bytes(content)


def _check_counts(facts: Any, most: int) -> None:
    """Thousands of layers or experts more than the file has modules would only cost memory. Raises ValueError."""
    for key, value in facts.items() if isinstance(facts, dict) else ():
        if isinstance(value, int) and key.endswith(("layer", "layers", "experts")) and value > most + 1000:
            raise ValueError(f"{key} is {value}, and the file has {most} modules")
        _check_counts(value, most)


def _without_code(facts: Any, trust_remote_code: bool) -> Any:
    """A config without its auto_map, and without kernels of the hub ("owner/name"), which are for the caller to choose."""
    if not isinstance(facts, dict):
        return facts
    return {key: _without_code(value, trust_remote_code) for key, value in facts.items()
            if not (key == "auto_map" and not trust_remote_code or "_implementation" in key and "/" in str(value))}


class _Content:
    """A file's tensors in the checkpoint's terms. `state` is filled when the model is there: only it knows which linears it has."""

    def __init__(self, model_file: Model, skip: list[str]):
        self.file, self.skip = model_file, skip
        modules = model_file.modules.values()
        for pattern in skip:
            if not any(_matches([pattern], m.name) for m in modules):
                warnings.warn(f'skip_modules: pattern "{pattern}" matches no module', stacklevel=3)
        self.state: dict[str, torch.Tensor] = {}
        self.quantized: dict[str, _Quantized] = {}
        self.paths: dict[str, str | None] = {}
        self.code_sums: dict[str, torch.Tensor] = {}
        self.in_16_bit = [m.name for m in modules if m.kind in ("linear", "head") and not m.quantized or _matches(skip, m.name)]
        self.full_range = any(m.facts["scheme"].get("full_range", False) for m in modules if m.quantized)

    def __deepcopy__(self, memo: Any) -> _Content:  # transformers copies configs often
        return self

    def fill(self, model: Any) -> None:
        tensors = FileTensors(self.file)
        quantized = [m for m in self.file.modules.values() if m.quantized]
        places = module_paths(model, [m.name for m in quantized if m.kind != "experts"])
        for name in self.file.tensors.keys() - {tensor for m in quantized for tensor in _tensors_of(m.facts)}:
            self.state[name] = tensors[name]
        homeless = []  # linears that transformers keeps in no module of their own: experts, fused weights
        for module in quantized:
            skipped = _matches(self.skip, module.name)
            if module.kind == "head" and places.get(module.name) is None and model.get_output_embeddings() is None:
                continue  # model_class is one without a head
            if places.get(module.name) is None or skipped:
                self.state[module.facts["source_tensor"]] = _dense(tensors, self.file, module, model.dtype)
                if not skipped:
                    homeless.append(module.name)
            else:
                self.paths[module.name] = places[module.name]
                self._add(tensors, module.name, module.facts)
        if homeless:
            self.in_16_bit += homeless
            warnings.warn(f"{len(homeless)} linears are multiplied in 16 bit, which takes the memory of 16-bit weights: transformers keeps "
                          f"them in no module of their own ({homeless[0]}, …)", stacklevel=2)

    def _add(self, tensors: FileTensors, name: str, facts: Mapping[str, Any]) -> None:
        kept = tensors[facts["kept"]["weight"]] if "kept" in facts else None
        self.quantized[name] = _Quantized(facts["scheme"]["scales"]["convention"], (facts["out_features"], facts["in_features"]),
                                          "bias" in facts, 0 if kept is None else kept.shape[0],
                                          torch.float16 if kept is None else kept.dtype)
        self.code_sums[name] = tensors[facts["scheme"]["code_sum"]]
        for buffer, tensor in tensors_of_module(tensors, self.file, name).items():
            self.state[f"{name}.{buffer}"] = tensor


def _tensors_of(facts: Mapping[str, Any]) -> list[str]:
    """What a quantized module has in place of its weight."""
    scheme = facts["scheme"]
    return [scheme["codes"]["tensor"], scheme["scales"]["tensor"], scheme["code_sum"], scheme.get("zero_point", ""),
            *facts.get("kept", {}).values()]


def _dense(tensors: FileTensors, model_file: Model, module: Any, dtype: torch.dtype) -> torch.Tensor:
    """A quantized module's weights in 16 bit as the source had them, in the model's `dtype` where they were int8 there too: what
    transformers has no linear for, or the caller skips."""
    facts, scheme = module.facts, module.facts["scheme"]
    source_dtype = octavo_torch.TORCH_DTYPES.get(facts.get("source_dtype"))
    dtype = source_dtype if source_dtype in NUMBERS else dtype
    parts = tensors_of_module(tensors, model_file, module.name)
    step = scheme["scales"]["convention"] == "step"
    scales = parts["weight_step" if step else "weight_absmax"]
    if module.kind == "experts":
        weight = torch.stack([octavo_torch.dequantize(c, s, step=step, dtype=dtype) for c, s in zip(parts["weight"], scales, strict=True)])
        return weight.transpose(1, 2).contiguous() if facts.get("transposed") else weight
    weight = octavo_torch.dequantize(parts["weight"], scales, parts.get("weight_kept_index"), parts.get("weight_kept"),
                                     parts.get("weight_zero_point"), step=step, dtype=dtype)
    return weight.t().contiguous() if facts.get("transposed") else weight


def _matches(patterns: list[str], name: str) -> bool:
    """A pattern equals a run of components that ends at the module's own name or above it, as in `octavo convert`."""
    parts = name.split(".")
    for pattern in patterns:
        wanted = pattern.split(".")
        for begin in range(len(parts) - len(wanted) + 1):
            if all(w in ("*", p) for w, p in zip(wanted, parts[begin:], strict=False)):
                return True
    return False


def class_of(config: Any) -> Any:
    """The first of the classes that config.json names which is a model of this version of transformers, or None."""
    for name in config.architectures or []:
        cls = getattr(transformers, name, None)
        if isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel):
            return cls
    return None


def _class_for(config: Any, model_file: Model, model_class: Any) -> Any:
    """The caller's, of an Auto class the one it stands for, or config.json's."""
    cls = model_class or class_of(config)
    if cls is None:
        raise UnsupportedError(f"{model_file.path}: this version of transformers has no model {config.architectures}; give model_class")
    mapping = getattr(cls, "_model_mapping", None)
    if mapping is None:
        return cls
    if type(config) not in mapping:
        raise UnsupportedError(f"{model_file.path}: {cls.__name__} has no model for {type(config).__name__}")
    from transformers.models.auto.auto_factory import _get_model_class
    return _get_model_class(config, mapping)


def load_tokenizer(folder: str, files: list[str], trust_remote_code: bool = False) -> Any:
    """None where no file of `files` is a tokenizer's."""
    if not any(name.startswith(("tokenizer", "vocab", "spiece")) or name.endswith(".model") for name in files):
        return None
    return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


class _undisturbed:
    """transformers draws a bar while it "loads" what is only mapped, and makes so many small objects meanwhile that the garbage
    collector takes a third of the time."""

    def __enter__(self) -> None:
        self.was_shown, self.collected = transformers.utils.logging.is_progress_bar_enabled(), gc.isenabled()
        transformers.utils.logging.disable_progress_bar()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self.collected:
            gc.enable()
        if self.was_shown:
            transformers.utils.logging.enable_progress_bar()


__all__ = ["Linear8bit", "OctavoConfig", "OctavoQuantizer", "load"]
