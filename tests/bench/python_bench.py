#!/usr/bin/env python3
"""Octavo, bitsandbytes, CTranslate2 and torch, side by side: load, first forward, prefill, decode, process start to first token, memory.

    python_bench.py --octavo build/tools/octavo --work DIR [--rounds 3] [--layers 22] [--threads N] [--new-tokens 16] [--prompt 128]
                    [--contenders octavo,bitsandbytes,torch] [--generate BINARY]

The model is a Llama of TinyLlama's shape with random weights (1.1 billion parameters with 22 layers), made in DIR once. Contenders: octavo,
bitsandbytes and torch, all under transformers; ctranslate2 (int8, where it is installed); generate, which is docs/examples/generate's program.
Each runs in a process of its own, in turns; the best of the rounds is printed, for whatever else runs on the machine only adds time. Prefill is
what generation needs of it, the logits behind the last token. Run it on an idle machine, in the environment of the peers with the package
installed (or $OCTAVO_LIBRARY and $PYTHONPATH set).
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import peers

FIGURES = ("load", "first forward", "prefill", "decode", "start to first token", "resident")


def make_model(folder, layers):
    import torch
    import transformers
    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=4, max_position_embeddings=2048, tie_word_embeddings=False)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    transformers.LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="100GB")


def convert_for_ctranslate2(work):
    """CTranslate2 wants a tokenizer; it comes after the others' model was made."""
    subprocess.run([sys.executable, "-c", peers.TOKENIZER, work / "model", "32000"], check=True)
    subprocess.run([sys.executable, "-c", peers.CTRANSLATE2, work / "model", work / "model.ct2"], check=True)


def load(contender, work):
    import transformers
    if contender == "octavo":
        import octavo.transformers
        return lambda: octavo.transformers.load(work / "model.8vo")[0]
    if contender == "bitsandbytes":
        import bitsandbytes  # noqa: F401
        options = {"quantization_config": transformers.BitsAndBytesConfig(load_in_8bit=True)}
    else:
        options = {}
    return lambda: transformers.AutoModelForCausalLM.from_pretrained(work / "model", dtype="auto", **options)


def warm_imports():
    """What transformers imports with the first model of a class is not part of a load."""
    import torch
    import transformers
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    with torch.inference_mode():
        transformers.LlamaForCausalLM(config)(torch.zeros(1, 1, dtype=torch.long))


def run_transformers(contender, work, prompt, new_tokens, threads):
    import torch
    torch.set_num_threads(threads)
    open_model = load(contender, work)
    if not os.environ.get("OCTAVO_BENCH_START"):
        warm_imports()
    begin = time.perf_counter()
    model = open_model()
    figures = {"load": time.perf_counter() - begin}
    ids = torch.arange(1, prompt + 1)[None]
    with torch.inference_mode():
        begin = time.perf_counter()
        model(ids[:, :1])
        figures["first forward"] = time.perf_counter() - begin
        if start := os.environ.get("OCTAVO_BENCH_START"):
            return {"start to first token": time.time() - float(start)}
        prefills = []
        for _ in range(3):
            begin = time.perf_counter()
            cache = model(ids, logits_to_keep=1).past_key_values
            prefills.append(time.perf_counter() - begin)
        figures["prefill"] = min(prefills)
        steps = []
        for _ in range(new_tokens):
            begin = time.perf_counter()
            model(ids[:, :1], past_key_values=cache)
            steps.append(time.perf_counter() - begin)
        figures["decode"] = sorted(steps)[len(steps) // 2]
    return figures


def run_ctranslate2(work, prompt, new_tokens, threads):
    import ctranslate2
    begin = time.perf_counter()
    generator = ctranslate2.Generator(str(work / "model.ct2"), compute_type="int8", intra_threads=threads)
    figures = {"load": time.perf_counter() - begin}
    ids = [f"w{i}" for i in range(3, prompt + 3)]

    def seconds(tokens, count):
        begin = time.perf_counter()
        generator.generate_batch([tokens], max_length=count, min_length=count, include_prompt_in_result=False)
        return time.perf_counter() - begin
    figures["first forward"] = seconds(ids[:1], 1)
    if start := os.environ.get("OCTAVO_BENCH_START"):
        return {"start to first token": time.time() - float(start)}
    figures["prefill"] = min(seconds(ids, 1) for _ in range(3))
    figures["decode"] = (seconds(ids, new_tokens + 1) - figures["prefill"]) / new_tokens
    return figures


def run(contender, work, prompt, new_tokens, threads):
    """One contender in this process: its figures as a dictionary."""
    if contender == "ctranslate2":
        figures = run_ctranslate2(work, prompt, new_tokens, threads)
    else:
        figures = run_transformers(contender, work, prompt, new_tokens, threads)
    status = pathlib.Path("/proc/self/status").read_text()
    return figures | {"resident": int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9}


def run_generate(args):
    """docs/examples/generate: it prints its own times."""
    def figures(prompt, new_tokens):
        command = [args.generate, args.work / "model.8vo", "--ids", " ".join(map(str, range(1, prompt + 1))), "-n", str(new_tokens),
                   "--threads", str(args.threads), "--ignore-end"]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        found = re.search(r"load ([\d.]+) s; prompt of \d+ tokens ([\d.]+) s.*; then ([\d.]+) s/token", said)
        if status != 0 or not found:
            sys.exit(f"generate: {said}")
        load, prompt_seconds, decode = map(float, found.groups())
        return load, prompt_seconds, decode, wall, usage.ru_maxrss * 1024 / 1e9
    load, prefill, decode, _, resident = figures(args.prompt, args.new_tokens)
    _, first, _, wall, _ = figures(1, 1)
    return {"load": load, "first forward": first, "prefill": prefill, "decode": decode, "start to first token": wall, "resident": resident}


def figures_of(contender, args):
    if contender == "generate":
        return run_generate(args)
    return in_a_process(contender, args) | in_a_process(contender, args, OCTAVO_BENCH_START=str(time.time()))


def in_a_process(contender, args, **environment):
    command = [sys.executable, __file__, "--work", str(args.work), "--run", contender, "--prompt", str(args.prompt), "--new-tokens",
               str(args.new_tokens), "--threads", str(args.threads)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{contender}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--octavo")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--contenders", default="octavo,bitsandbytes,torch")
    parser.add_argument("--generate", help="the binary of docs/examples/generate; a contender of its own")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.run:
        import transformers
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        print(json.dumps(run(args.run, args.work, args.prompt, args.new_tokens, args.threads)))
        return
    if not (args.work / "model" / "config.json").exists():
        make_model(args.work / "model", args.layers)
    if not (args.work / "model.8vo").exists():
        subprocess.run([args.octavo, "convert", args.work / "model", "-o", args.work / "model.8vo", "--quiet"], check=True)
    contenders = args.contenders.split(",") + (["generate"] if args.generate else [])
    if "ctranslate2" in contenders and not (args.work / "model.ct2").exists():
        convert_for_ctranslate2(args.work)
    best = {contender: {} for contender in contenders}
    for _ in range(args.rounds):
        for contender in contenders:
            for name, value in figures_of(contender, args).items():
                best[contender][name] = min(value, best[contender].get(name, value))
    print(f"{args.threads} threads, best of {args.rounds} rounds, prompt of {args.prompt} tokens; load average {os.getloadavg()[0]:.1f}\n")
    print(f"| | {' | '.join(contenders)} |\n|---|{'---|' * len(contenders)}")
    for name in FIGURES:
        unit = "GB" if name == "resident" else "s"
        first = best[contenders[0]][name]
        cells = [f"{best[c][name]:.3f} {unit}" + ("" if c == contenders[0] else f" ({best[c][name] / first:.1f}x)") for c in contenders]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
