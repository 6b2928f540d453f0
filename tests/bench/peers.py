"""`octavo convert` beside what else makes an int8 checkpoint of a Llama: transformers with bitsandbytes, and CTranslate2's converter.

Each is its own process from start to end, reads the same 2.2 GB of fp16 from a warm page cache, and ends with an fsync of its output.
"""

import os
import pathlib
import statistics
import subprocess
import time

import synthetic
from observe import observe

SYNC = """
for folder, _, names in os.walk(out):
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            os.fsync(file.fileno())
"""

TRANSFORMERS = """
import os, sys
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
source, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    source, quantization_config=BitsAndBytesConfig(load_in_8bit=True), dtype=torch.float16, device_map="cpu")
model.save_pretrained(out)
""" + SYNC

CTRANSLATE2 = """
import os, sys
import ctranslate2
source, out = sys.argv[1:]
ctranslate2.converters.TransformersConverter(source, load_as_float16=True, low_cpu_mem_usage=True).convert(
    out, quantization="int8_float16")
""" + SYNC

# CTranslate2 wants a tokenizer; a word for each number is one.
TOKENIZER = """
import sys
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
size = int(sys.argv[2])
words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, size)}}
tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(sys.argv[1])
"""

VERSIONS = """
import importlib.metadata, sys
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in sys.argv[1:]))
"""


def tiny_llama():
    """1.1 billion parameters, 2.2 GB."""
    return synthetic.llama_config(2048, 5632, 22, 32, 4, 32000)


def warm(folder):
    for path in pathlib.Path(folder).glob("*.safetensors"):
        with open(path, "rb", buffering=0) as file:
            while file.read(8 << 20):
                pass


def folder_bytes(path):
    path = pathlib.Path(path)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def remove(path):
    subprocess.run(["rm", "-rf", str(path)], check=True)


def run(args, work):
    source = work / "source"
    config = tiny_llama()
    config.update(bos_token_id=1, eos_token_id=2)
    source_bytes = synthetic.write_folder(source, config, synthetic.llama_tensors(config), 10**10, synthetic.NormalBlock())
    threads = str(len(os.sched_getaffinity(0)))
    env = {"OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    contenders = [("octavo", [args.octavo, "convert", source, "-o", work / "octavo.8vo", "--quiet"], work / "octavo.8vo"),
                  ("transformers", [args.python, "-c", TRANSFORMERS, source, work / "bnb"], work / "bnb")]
    packages = ["torch", "transformers", "bitsandbytes"]
    subprocess.run([args.python, "-c", TOKENIZER, source, str(config["vocab_size"])], check=True, env={**os.environ, **env})
    if args.ctranslate2:
        contenders.append(("ctranslate2", [args.ctranslate2, "-c", CTRANSLATE2, source, work / "ct2"], work / "ct2"))
    print(f"source: {source_bytes / 1e9:.2f} GB of fp16, {threads} threads, warm page cache, all end with an fsync; "
          + subprocess.run([args.python, "-c", VERSIONS, *packages], capture_output=True, text=True).stdout.strip())
    rows = {name: [] for name, _, _ in contenders}
    for _ in range(args.runs):
        for name, command, out in contenders:
            warm(source)
            os.sync()
            usage = observe(command, env=env)
            rows[name].append(usage)
            print(f"  {name:13} {usage}; {folder_bytes(out) / 1e9:.2f} GB written", flush=True)
            remove(out)
            time.sleep(1)
    ours = {field: statistics.median(getattr(usage, field) for usage in rows["octavo"]) for field in ("wall", "cpu", "peak_bytes")}
    for name, _, _ in contenders[1:]:
        theirs = {field: statistics.median(getattr(usage, field) for usage in rows[name]) for field in ours}
        print(f"octavo beside {name}: {theirs['wall'] / ours['wall']:.1f} times faster, {theirs['cpu'] / ours['cpu']:.1f} times less CPU, "
              f"{theirs['peak_bytes'] / ours['peak_bytes']:.0f} times less memory (medians of {args.runs})")
    return True
