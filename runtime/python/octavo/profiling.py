"""Which input features of a model's linears get large, on text: the profile that `octavo convert --keep-columns` reads, and its
picture, the emergent features of the LLM.int8() paper."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from .errors import InvalidArgumentError


@dataclass
class Features:
    """Of one linear, each [in_features]: largest |x|, mean of x^2, share of the tokens with |x| >= threshold."""

    largest: torch.Tensor
    square_sum: torch.Tensor
    at_threshold: torch.Tensor
    tokens: int = 0

    def add(self, x: torch.Tensor, threshold: float) -> None:
        rows = x.detach().reshape(-1, x.shape[-1]).float()
        magnitude = rows.abs()
        self.largest = torch.maximum(self.largest, magnitude.amax(dim=0))
        self.square_sum += rows.double().square().sum(dim=0)
        self.at_threshold += (magnitude >= threshold).sum(dim=0)
        self.tokens += rows.shape[0]


@dataclass
class Profile:
    """What `profile` saw. `linears`: by the names of the model's modules."""

    threshold: float
    linears: dict[str, Features] = field(default_factory=dict)

    def to_dict(self, per_linear: int | None = 64) -> dict[str, Any]:
        """What --keep-columns takes (docs/cli.md): of each linear the `per_linear` features with the largest |x|, None for all.

        `score`, by which a budget chooses over the whole model, is the largest |x| relative to the median feature's of the same linear: what
        one feature takes away from all others by stretching their range. docs/quality.md compares it with other measures.
        """
        modules = {}
        for name, seen in self.linears.items():
            count = seen.largest.numel() if per_linear is None else min(per_linear, seen.largest.numel())
            indices = torch.topk(seen.largest, count).indices.tolist()
            typical = max(float(seen.largest.median()), 1e-30)
            modules[name] = {"in_features": seen.largest.numel(), "features": [
                {"index": i, "max_abs": float(seen.largest[i]), "share": float(seen.at_threshold[i]) / max(seen.tokens, 1),
                 "score": float(seen.largest[i]) / typical}
                for i in indices]}
        return {"octavo_profile": 1, "threshold": self.threshold, "modules": modules}

    def save(self, path: str | os.PathLike[str], per_linear: int | None = 64) -> None:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.to_dict(per_linear), file)

    def emergent_features(self, in_features: int | None = None) -> list[dict[str, Any]]:
        """Features of the residual stream by the paper's measure, most widespread first: `feature`, `layers` (share of the linears
        with this input width that have an outlier there), `tokens` (share of the sequence positions, mean over those linears),
        `max_abs`. `in_features`: the width; None: the one that most linears have."""
        widths = [seen.largest.numel() for seen in self.linears.values()]
        width = in_features or max(set(widths), key=widths.count)
        same = [seen for seen in self.linears.values() if seen.largest.numel() == width]
        if not same:
            raise InvalidArgumentError(f"no linear has {width} input features")
        hit = torch.stack([seen.at_threshold > 0 for seen in same]).double().mean(dim=0)
        tokens = torch.stack([seen.at_threshold / max(seen.tokens, 1) for seen in same])
        largest = torch.stack([seen.largest for seen in same]).amax(dim=0)
        found = [{"feature": i, "layers": float(hit[i]), "tokens": float(tokens[:, i].mean()), "max_abs": float(largest[i])}
                 for i in torch.nonzero(hit).flatten().tolist()]
        return sorted(found, key=lambda f: (-f["layers"], -f["tokens"], f["feature"]))

    def draw(self, path: str | os.PathLike[str], most: int = 24) -> None:
        """The picture, PNG or SVG by the path's ending: linears across, the most widespread features down, the share of tokens with an
        outlier as color. Needs matplotlib."""
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
        features = [f["feature"] for f in self.emergent_features()[:most]]
        width = max(features, default=0) + 1
        same = {name: seen for name, seen in self.linears.items() if seen.largest.numel() >= width}
        shares = torch.stack([(seen.at_threshold / max(seen.tokens, 1))[features] for seen in same.values()], dim=1)
        figure, axes = pyplot.subplots(figsize=(10, 1.5 + 0.22 * max(len(features), 1)), layout="constrained")
        image = axes.imshow(shares.double().numpy(), aspect="auto", vmin=0, vmax=1, cmap="magma_r", interpolation="nearest")
        axes.set_yticks(range(len(features)), features)
        axes.set_xlabel(f"linears, first to last ({len(same)})")
        axes.set_ylabel("input feature")
        axes.set_title(f"share of tokens with |x| >= {self.threshold:g}")
        figure.colorbar(image)
        figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
        pyplot.close(figure)


def linears_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Every linear but the output head, ours and Conv1D included."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds) and module is not head}


def profile(model: Any, texts: str | torch.Tensor | Iterable[Any], tokenizer: Any = None, *, threshold: float = 6.0,
            max_tokens: int = 512) -> Profile:
    """Runs texts through a model of transformers (16-bit or ours) and notes, for each linear, which input features reach `threshold`,
    how often and how far.

    `texts`: strings (with `tokenizer`) or tensors of token ids, [tokens] or [sequences, tokens]; each is cut to `max_tokens`. One of
    them alone will do.
    """
    if isinstance(texts, (str, torch.Tensor)):
        texts = [texts]
    found = Profile(threshold)
    handles = []

    def watch(name: str):
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0]
            if name not in found.linears:
                zeros = torch.zeros(x.shape[-1], device=x.device)
                found.linears[name] = Features(zeros, zeros.double(), zeros.long())
            found.linears[name].add(x, threshold)
        return hook

    for name, module in linears_of(model).items():
        handles.append(module.register_forward_pre_hook(watch(name)))
    try:
        with torch.no_grad():
            for text in texts:
                if isinstance(text, str):
                    if tokenizer is None:
                        raise InvalidArgumentError("texts are strings; give the tokenizer too")
                    text = tokenizer(text, return_tensors="pt").input_ids
                ids = text if text.dim() == 2 else text[None]
                model(input_ids=ids[:, :max_tokens].to(next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return found


__all__ = ["Features", "Profile", "profile"]
