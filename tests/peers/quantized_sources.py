"""Checkpoints that bitsandbytes, compressed-tensors and DeepSeek's fp8 rule made, converted and exported back.

    python quantized_sources.py OCTAVO MODEL_FOLDER…      needs the environment of make_venv.sh

- What transformers' save_pretrained writes after load_in_8bit, and what compressed-tensors' own compressor makes (scales of absmax / 127.5,
  bf16 as the weights, codes of -128), come back from .8vo tensor for tensor, whole, or compressed and sharded.
- The weights as F8_E4M3 with torch, in blocks of 128 x 128, for each row and for all of a matrix: codes and scales are those of docs/numerics.md for the
  weights that torch dequantizes.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig

from definition import quantize_weights
from exports import expect, load, run, same
from octavo_file import open_8vo
from sources import Source

BLOCK = 128
FORMS = [[], ["--compress", "--max-shard-size", "2MB"]]


def copy_small_files(source, folder):
    folder.mkdir()
    for path in source.folder.iterdir():
        if path.suffix in (".json", ".txt", ".model") and "index" not in path.name:
            shutil.copy(path, folder)


def write_config(source, folder, quantization_config):
    (folder / "config.json").write_text(json.dumps(source.config | {"quantization_config": quantization_config}))


def linears(octavo, source, scratch):
    """Names of what Octavo would quantize, by a conversion of the original."""
    run(octavo, "convert", source.folder, "-o", scratch / "original.8vo")
    return [m for m in open_8vo(scratch / "original.8vo").manifest["modules"] if m["quantized"]]


def round_trip(octavo, folder, target, scratch, label):
    before = load_file(folder / "model.safetensors")
    for i, form in enumerate(FORMS):
        run(octavo, "convert", folder, "-o", scratch / "m.8vo", "--force", *form)
        run(octavo, "verify", scratch / "m.8vo", "--against", folder)
        run(octavo, "export", scratch / "m.8vo", "--to", target, "-o", scratch / f"back-{target}", "--force")
        differences = same(before, load_file(scratch / f"back-{target}" / "model.safetensors"))
        expect(not differences, f"{label}: {differences} after a round trip {form}")
    return open_8vo(scratch / "m.8vo").manifest


def check_bitsandbytes(octavo, source, scratch):
    theirs = scratch / "bitsandbytes"
    load(source.folder, quantization_config=BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=4.5)).save_pretrained(theirs)
    manifest = round_trip(octavo, theirs, "bitsandbytes", scratch, f"{source.folder.name}, bitsandbytes")
    expect(manifest["quantization"]["threshold"] == 4.5, "the threshold is not that of the source")


def check_compressed_tensors(octavo, source, modules, scratch):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig, preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams
    scheme = preset_name_to_scheme("W8A8", ["Linear"])
    compressor = BaseCompressor.get_value_from_registry("int-quantized")
    tensors = {name: source.tensor(name) for name in source.names}
    lowest = 0
    for module in modules:
        prefix = module["source_tensor"].removesuffix("weight")
        weight = tensors.pop(module["source_tensor"])
        scale, _ = calculate_qparams(weight.amin(1, keepdim=True), weight.amax(1, keepdim=True), scheme.weights)
        compressed = compressor.compress({"weight": weight, "weight_scale": scale.to(weight.dtype)}, scheme)
        lowest = min(lowest, int(compressed["weight"].min()))
        tensors |= {prefix + k: v.contiguous() for k, v in compressed.items()}
    expect(lowest == -128, "no code is -128: the case is too easy")
    theirs = scratch / "compressed"
    copy_small_files(source, theirs)
    save_file(tensors, str(theirs / "model.safetensors"), metadata={"format": "pt"})
    config = QuantizationConfig(config_groups={"group_0": scheme}, format="int-quantized", ignore=["lm_head"], quantization_status="compressed")
    write_config(source, theirs, config.model_dump(mode="json"))
    manifest = round_trip(octavo, theirs, "compressed-tensors", scratch, f"{source.folder.name}, compressed-tensors")
    schemes = [m["scheme"] for m in manifest["modules"] if m["quantized"]]
    expect(len(schemes) == len(modules) and all(s["scales"]["convention"] == "step" for s in schemes), "not every module is taken over")
    expect(any(s.get("full_range") for s in schemes), "no module says that it has -128")


def fp8(weight, kind):
    """(F8_E4M3 codes, scales, the weights they stand for) of [out, in]."""
    weight = weight.float()
    rows, columns = weight.shape
    height, width = {"blocks": (BLOCK, BLOCK), "rows": (1, columns), "all": (rows, columns)}[kind]
    grid = [(r, c) for r in range(0, rows, height) for c in range(0, columns, width)]
    scales = torch.stack([weight[r:r + height, c:c + width].abs().max() / 448 for r, c in grid])
    scales = scales.reshape(-(-rows // height), -(-columns // width)).clamp(min=1e-12)
    spread = scales.repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :columns]
    codes = (weight / spread).to(torch.float8_e4m3fn)
    return codes, scales, codes.float() * spread


def check_fp8(octavo, source, modules, kind, scratch):
    tensors = {name: source.tensor(name) for name in source.names}
    expected = {}
    for module in modules:
        name = module["source_tensor"]
        codes, scales, expected[module["name"]] = fp8(tensors[name], kind)
        tensors[name] = codes
        tensors[name + ("_scale_inv" if kind == "blocks" else "_scale")] = scales.reshape(1) if kind == "all" else scales
    folder = scratch / f"fp8-{kind}"
    copy_small_files(source, folder)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    write_config(source, folder, {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]} if kind == "blocks"
                 else {"quant_method": "compressed-tensors", "format": "float-quantized"})
    run(octavo, "convert", folder, "-o", scratch / "fp8.8vo", "--force")
    file = open_8vo(scratch / "fp8.8vo")
    for name, weight in expected.items():
        codes, absmax = quantize_weights(weight.numpy())
        expect((file.codes(name) == codes).all() and (file.scales(name) == absmax).all(), f"{folder}: {name} has other codes")


def main():
    octavo, models = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    for model in models:
        source = Source(model)
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            check_bitsandbytes(octavo, source, scratch)
            said = "bitsandbytes"
            if source.config["model_type"] != "gpt2":
                modules = linears(octavo, source, scratch)
                check_compressed_tensors(octavo, source, modules, scratch)
                for kind in ("blocks", "rows", "all"):
                    check_fp8(octavo, source, modules, kind, scratch)
                said += ", compressed-tensors: back bit for bit; fp8 in blocks, rows and matrices: codes as of the weights it stands for"
            else:
                said += ": back bit for bit"
            print(f"{pathlib.Path(model).name}: {said}")


if __name__ == "__main__":
    main()
