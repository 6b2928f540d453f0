"""What a .8vo file holds, by the independent reader, in the terms of definition.py."""

import pathlib
import sys

import numpy as np

from definition import Settings, Weights

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reader"))
from octavo_reader import open_8vo, to_float32  # noqa: E402, F401


def settings_of(file, **overrides):
    """How the file says that activations are quantized, less what a caller overrides."""
    q = file.manifest["quantization"]
    values = {
        "threshold": q["threshold"], "scope": q["scope"], "row_rule": q["row_rule"], "activations": q["activations"],
        "via_fp16": q["activations_via_fp16"], "one_range": q["method"] in ("tensor-wise", "zeropoint-tensor"),
    }
    return Settings(**(values | overrides))


def float64_tensor(file, name):
    return to_float32(file.tensor(name), file.tensors[name].dtype).astype(np.float64)


def weights_of(file, module):
    scheme = module["scheme"]
    a = file.scales(module["name"]).astype(np.float64)
    if scheme["scales"]["convention"] == "absmax":
        a = a / 127
    weights = Weights(file.codes(module["name"]), a)
    if "zero_point" in scheme:
        weights.zero_point = file.tensor(scheme["zero_point"])
    if "kept" in module:
        weights.kept_index = file.tensor(module["kept"]["index"])
        weights.kept_weight = float64_tensor(file, module["kept"]["weight"])
    if "bias" in module:
        weights.bias = float64_tensor(file, module["bias"])
    return weights
