"""What `octavo export` writes, opened and run by the programs that it is for.

    python exports.py OCTAVO MODEL_FOLDER…      needs the environment of make_venv.sh

- safetensors: every tensor is what the independent reader dequantizes, and transformers loads it.
- bitsandbytes: of a file converted with --compat bitsandbytes, tensor for tensor what transformers' own save_pretrained writes after
  load_in_8bit, and the loaded model gives the same logits bit for bit.
- compressed-tensors (models whose linears are nn.Linear): the package's own decompression and transformers' loader give code times
  step, and the model runs, near its own weights in 16 bit.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import bitsandbytes_peer  # noqa: F401  quiets bitsandbytes
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, CompressedTensorsConfig
from transformers.utils import logging

from octavo_file import open_8vo
from sources import Source

logging.set_verbosity_error()
logging.disable_progress_bar()
warnings.filterwarnings("ignore", message="You passed `quantization_config`")
TOKENS = torch.arange(500, 4000, 97)[None]  # words, not the special tokens of the first hundred


def expect(ok, what):
    if not ok:
        sys.exit(f"exports: {what}")


def run(octavo, *arguments):
    subprocess.run([octavo, *map(str, arguments), "--quiet"], check=True)


def load(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype="auto", **options).eval()


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits.float()


def same(a, b):
    """Names of tensors that differ in type, shape or content, or are on one side only."""
    return sorted(set(a) ^ set(b)) + [
        name for name in sorted(set(a) & set(b))
        if a[name].dtype != b[name].dtype or a[name].shape != b[name].shape or not torch.equal(a[name], b[name])]


def check_safetensors(folder, file, source):
    tensors = load_file(folder / "model.safetensors")
    for module in file.manifest["modules"]:
        if "scheme" not in module:
            continue
        name = module["source_tensor"]
        weight = torch.from_numpy(file.dequantized(module["name"]))
        expected = (weight.T if module["transposed"] else weight).contiguous().to(source.tensor(name).dtype)
        found = tensors.pop(name)
        expect(found.dtype == expected.dtype and torch.equal(found, expected), f"{folder}: {name} is not its dequantized weight")
    for name, tensor in tensors.items():
        expect(torch.equal(tensor, source.tensor(name)), f"{folder}: {name} is not as it was")
    expect("quantization_config" not in json.loads((folder / "config.json").read_text()), f"{folder}: says that it is quantized")
    return load(folder)


def check_bitsandbytes(folder, source, scratch):
    theirs = load(source.folder, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    theirs.save_pretrained(scratch)
    differences = same(load_file(folder / "model.safetensors"), load_file(scratch / "model.safetensors"))
    expect(not differences, f"{folder}: differs from save_pretrained: {differences}")
    ours = load(folder)
    kinds = [type(m).__name__ for m in ours.modules()]
    expect(kinds == [type(m).__name__ for m in theirs.modules()] and "Linear8bitLt" in kinds, f"{folder}: loaded as other modules")
    expect(torch.equal(logits(ours), logits(theirs)), f"{folder}: other logits than load_in_8bit")


def check_compressed_tensors(folder, dense):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    tensors = load_file(folder / "model.safetensors")
    scheme = next(iter(QuantizationConfig.model_validate(
        json.loads((folder / "config.json").read_text())["quantization_config"]).config_groups.values()))
    compressor = BaseCompressor.get_value_from_registry("int-quantized")
    modules = [name[:-len(".weight_scale")] for name in tensors if name.endswith(".weight_scale")]
    expect(modules, f"{folder}: nothing is int8")
    for module in modules:
        state = {k: tensors[f"{module}.{k}"] for k in ("weight", "weight_scale")}
        weight = compressor.decompress(dict(state), scheme)["weight"]
        step = state["weight_scale"]
        expect(torch.equal(weight.float(), (state["weight"].float() * step)), f"{folder}: {module} is decompressed to something else")
    loaded = load(folder, quantization_config=CompressedTensorsConfig(dequantize=True))
    for module in modules:
        weight, step = tensors[f"{module}.weight"].float(), tensors[f"{module}.weight_scale"]
        found = loaded.get_submodule(module).weight
        expect(torch.equal(found, (weight * step).to(found.dtype)), f"{folder}: {module} is loaded as something else")
    ours, expected = logits(load(folder)), logits(dense)
    kld = torch.nn.functional.kl_div(ours.log_softmax(-1), expected.log_softmax(-1), log_target=True, reduction="none").sum(-1).mean()
    expect(float(kld) < 0.1, f"{folder}: KL divergence {float(kld)} from its own weights in 16 bit")
    return float(kld)


def main():
    octavo, models = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    for model in models:
        source = Source(model)
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            run(octavo, "convert", model, "-o", scratch / "m.8vo")
            run(octavo, "convert", model, "-o", scratch / "bnb.8vo", "--compat", "bitsandbytes")
            run(octavo, "export", scratch / "m.8vo", "--to", "safetensors", "-o", scratch / "dense")
            dense = check_safetensors(scratch / "dense", open_8vo(scratch / "m.8vo"), source)
            run(octavo, "export", scratch / "bnb.8vo", "--to", "bitsandbytes", "-o", scratch / "bnb")
            check_bitsandbytes(scratch / "bnb", source, scratch / "theirs")
            said = "safetensors and bitsandbytes"
            if source.config["model_type"] != "gpt2":
                run(octavo, "export", scratch / "m.8vo", "--to", "compressed-tensors", "-o", scratch / "ct")
                kld = check_compressed_tensors(scratch / "ct", dense)
                said += f" and compressed-tensors ({1000 * kld:.2f} millinats from its weights in 16 bit)"
            print(f"{pathlib.Path(model).name}: {said} as their readers have them")


if __name__ == "__main__":
    main()
