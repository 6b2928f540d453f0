"""Reads Hugging Face folders and captured activations as torch tensors, nothing of ours in between."""

import json
import pathlib

import torch
from safetensors import safe_open


class Source:
    """The weights of a model folder: model.safetensors, or what its index names."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.config = json.loads((self.folder / "config.json").read_text())
        index = self.folder / "model.safetensors.index.json"
        files = {"model.safetensors"}
        if index.exists():
            files = set(json.loads(index.read_text())["weight_map"].values())
        self._where = {}
        for name in sorted(files):
            handle = safe_open(str(self.folder / name), framework="pt")
            self._where.update(dict.fromkeys(handle.keys(), handle))

    @property
    def names(self):
        return sorted(self._where)

    def tensor(self, name):
        return self._where[name].get_tensor(name)

    def weight(self, module):
        """[out_features, in_features] of a module of the .8vo file, its transposed flag applied."""
        weight = self.tensor(module["source_tensor"])
        return (weight.T if module["transposed"] else weight).contiguous()

    @property
    def is_fp16(self):
        return self.dtypes == {torch.float16}

    @property
    def dtypes(self):
        return {self.tensor(name).dtype for name in self._where if name.endswith("weight")}


def load_activations(path):
    """{module name: [tokens, in_features]}"""
    with safe_open(str(path), framework="pt") as handle:
        return {name: handle.get_tensor(name) for name in handle.keys()}
