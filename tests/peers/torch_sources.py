"""Models saved by torch.save, converted: the same tensors as from safetensors.

    python torch_sources.py OCTAVO MODEL_FOLDER…      needs the environment of make_venv.sh

Whole and sharded with an index; as parameters and plain tensors; weights as transposed views, slices of one storage, and a tied head.
"""

import collections
import json
import pathlib
import shutil
import sys
import tempfile

import torch

from exports import expect, run
from octavo_file import open_8vo
from sources import Source


def content(path):
    """Every tensor's type, shape and digests."""
    return {t["name"]: (t["dtype"], t["shape"], t["xxh3"]) for t in open_8vo(path).manifest["tensors"]}


def forms(tensors):
    yield "as it is", dict(tensors)
    yield "parameters", collections.OrderedDict((n, torch.nn.Parameter(t, requires_grad=t.is_floating_point())) for n, t in tensors.items())
    yield "transposed views", {n: t.T.contiguous().T if t.dim() == 2 else t for n, t in tensors.items()}
    pool = torch.cat([t.flatten() for t in tensors.values()])
    ends = torch.tensor([t.numel() for t in tensors.values()]).cumsum(0).tolist()
    yield "slices of one storage", {n: pool[end - t.numel():end].view(t.shape) for (n, t), end in zip(tensors.items(), ends)}
    yield "under state_dict", {"step": 7, "state_dict": dict(tensors)}


def write_shards(folder, tensors):
    names = list(tensors)
    weight_map = {}
    for i in range(3):
        shard = f"pytorch_model-0000{i + 1}-of-00003.bin"
        part = {n: tensors[n] for n in names[i::3]}
        torch.save(part, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def check(octavo, model, scratch):
    source = Source(model)
    run(octavo, "convert", model, "-o", scratch / "expected.8vo")
    expected = content(scratch / "expected.8vo")
    tensors = {name: source.tensor(name) for name in source.names}
    folder = scratch / "model"
    folder.mkdir()
    shutil.copy(source.folder / "config.json", folder)
    for label, state in forms(tensors):
        torch.save(state, folder / "pytorch_model.bin")
        run(octavo, "convert", folder, "-o", scratch / "m.8vo", "--force")
        expect(content(scratch / "m.8vo") == expected, f"{model}: {label}: other tensors than from safetensors")
        run(octavo, "verify", scratch / "m.8vo", "--against", folder)
    (folder / "pytorch_model.bin").unlink()
    write_shards(folder, tensors)
    run(octavo, "convert", folder, "-o", scratch / "m.8vo", "--force")
    expect(content(scratch / "m.8vo") == expected, f"{model}: shards: other tensors than from safetensors")


def main():
    octavo, models = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    for model in models:
        with tempfile.TemporaryDirectory() as scratch:
            check(octavo, model, pathlib.Path(scratch))
        print(f"{pathlib.Path(model).name}: by torch.save in six forms, the same tensors as from safetensors")


if __name__ == "__main__":
    main()
