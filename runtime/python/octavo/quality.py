"""What each choice of int8 costs on a model and a text: `python -m octavo eval` (docs/quality.md).

The 16-bit model runs in float32 and is what everything is compared with. Each row of the table is a conversion of the same model
(octavo.convert) that is loaded and multiplied by the runtime; the real bitsandbytes runs beside them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from .conversion import convert
from .errors import InvalidArgumentError
from .profiling import Profile, profile
from .texts import read_text
from .torch import Linear8bit
from .transformers import class_of, load, load_tokenizer

PROMPT = "My name is"
KEPT_SHARES = (0.005, 0.01, 0.02, 0.05)
THRESHOLDS = (0.0, 2.0, 3.0, 4.5, 6.0, 8.0)
OURS = "default"


@dataclass(frozen=True)
class Setup:
    """One row: how to convert, and what load() is told instead of what the file says."""

    name: str
    group: str
    convert: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    kept: float = 0.0  # share of the columns


def setups() -> list[Setup]:
    """Every row of ours, in the table's order: the paper's first table, then LLM.int8() and its choices."""
    rows = []
    methods = (("absmax, tensor-wise", "tensor-wise"), ("absmax, row-wise", "row-wise"), ("absmax, vector-wise", "vector-wise"),
               ("zeropoint, tensor-wise", "zeropoint-tensor"), ("zeropoint, vector-wise", "zeropoint-vector"))
    for decomposed in (False, True):
        for label, method in methods:
            options = {"method": method} if method != "vector-wise" else {"method": method, "activations": "symmetric"}
            rows.append(Setup(f"int8 {label}{', decomposition' if decomposed else ''}", "methods", options,
                              {} if decomposed else {"threshold": 0.0}))
    for activations in ("symmetric", "asymmetric"):
        for scope, rule in (("batch", "below_threshold"), ("batch", "inlier_columns"), ("token", "inlier_columns")):
            rows.append(Setup(f"LLM.int8() {scope}, {rule}, {activations}" if scope == "batch" else f"LLM.int8() token, {activations}",
                              "choices", {}, {"activations": activations, "scope": scope, "row_rule": rule}))
    rows += [Setup("compat=paper", "presets", {"compat": "paper"}), Setup("compat=bitsandbytes", "presets", {"compat": "bitsandbytes"}),
             Setup(OURS, "presets")]
    for share in KEPT_SHARES:
        rows.append(Setup(f"{OURS}, {share:.1%} kept", "kept", kept=share))
    for share, threshold in ((0.005, 0.0), (0.005, 12.0), (0.02, 12.0)):
        rows.append(Setup(f"{OURS}, {share:.1%} kept, t={threshold:g}", "kept", load={"threshold": threshold}, kept=share))
    rows += [Setup(f"{OURS}, t={t:g}", "thresholds", load={"threshold": t}) for t in THRESHOLDS]
    return rows


@dataclass
class Result:
    """One row's figures; shares are of 1, `bytes` is the model's size in memory."""

    name: str
    group: str
    kld_millinats: float
    kld_p99: float
    perplexity: float
    agreement: float
    bytes: int
    share_16bit: float | None = None
    cosine_distance: float | None = None
    continuation: str | None = None


class Text:
    """Token ids in sequences of equal length, and others to calibrate on."""

    def __init__(self, tokenizer: Any, path: str | os.PathLike[str], tokens: int, context: int):
        # The first half is for choosing kept columns, so that nothing is measured on what it was chosen by.
        self.calibration, self.sequences = sequences_of(tokenizer, path, tokens, context, 2)


def sequences_of(tokenizer: Any, path: str | os.PathLike[str], tokens: int, context: int, parts: int = 1) -> torch.Tensor:
    """`parts` times about `tokens` token ids of a text, in sequences of equal length up to `context`: [parts, sequences, length]."""
    count = -(-tokens // context)
    length = tokens // count
    needed = parts * count * length
    ids = tokenizer(read_text(path)[:(needed + length) * 12], return_tensors="pt", verbose=False).input_ids[0]
    if ids.numel() < needed:
        raise InvalidArgumentError(f"{path}: {ids.numel()} tokens are too few; {needed} are needed" +
                                   (", half of them to choose kept columns by" if parts == 2 else ""))
    return ids[:needed].reshape(parts, count, length)


def open_folder(folder: str, context: int) -> tuple[Any, Any, Any, int]:
    """(tokenizer, config, class, `context` or what the model has room for) of a folder of 16-bit weights. Raises InvalidArgumentError."""
    if os.path.isfile(folder):
        raise InvalidArgumentError(f"{folder} is a file; python -m octavo takes a Hugging Face folder with 16-bit weights")
    if not os.path.isdir(folder):
        raise InvalidArgumentError(f"{folder}: no such folder")
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        tokenizer = load_tokenizer(folder, os.listdir(folder))
    except Exception as error:  # transformers raises of every kind, and at length
        raise InvalidArgumentError(f"{folder}: transformers cannot load its config or tokenizer: {str(error).splitlines()[0]}") from error
    if tokenizer is None:
        raise InvalidArgumentError(f"{folder}: no tokenizer is there (tokenizer.json); it is what makes tokens of the text")
    if getattr(config, "quantization_config", None) is not None:
        raise InvalidArgumentError(f"{folder}: the weights are quantized already (quantization_config in config.json); give the folder "
                                   "with the 16-bit weights")
    room = getattr(config, "max_position_embeddings", None) or context
    return tokenizer, config, class_of(config) or transformers.AutoModel, min(context, room)


class Reference:
    """The 16-bit model's log probabilities, or its embeddings where it is an encoder."""

    def __init__(self, model: Any, text: Text):
        self.decodes = has_logits(model)
        self.text = text
        self.outputs = [outputs_of(model, ids) for ids in text.sequences]

    def compare(self, model: Any) -> dict[str, float]:
        totals: dict[str, list[torch.Tensor]] = {"kld": [], "nll": [], "agree": [], "cosine": []}
        for ids, expected in zip(self.text.sequences, self.outputs, strict=True):
            found = outputs_of(model, ids)
            if not self.decodes:
                totals["cosine"].append(1 - torch.nn.functional.cosine_similarity(found.mean(0), expected.mean(0), dim=0)[None])
                continue
            totals["kld"].append(torch.nn.functional.kl_div(found, expected, log_target=True, reduction="none").double().sum(-1))
            totals["nll"].append(-found[:-1].gather(1, ids[1:, None])[:, 0].double())
            totals["agree"].append((found.argmax(-1) == expected.argmax(-1)).double())
        joined = {name: torch.cat(parts) if parts else torch.full((1,), math.nan) for name, parts in totals.items()}
        return {"kld_millinats": 1000 * float(joined["kld"].mean()), "kld_p99": 1000 * float(joined["kld"].quantile(0.99)),
                "perplexity": math.exp(float(joined["nll"].mean())), "agreement": float(joined["agree"].mean()),
                "cosine_distance": float(joined["cosine"].mean())}


def has_logits(model: Any) -> bool:
    return model.get_output_embeddings() is not None


def outputs_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """[tokens, vocabulary] log probabilities, or [tokens, features]."""
    with torch.no_grad():
        if has_logits(model):
            return torch.log_softmax(model(input_ids=ids[None], use_cache=False).logits[0].float(), dim=-1)
        return model(input_ids=ids[None]).last_hidden_state[0].float()


def memory_of(model: Any, float_bytes: int) -> int:
    """Bytes of its parameters and buffers, each once, with `float_bytes` for what runs in float32 here and was narrower in the source."""
    ours = {id(buffer) for module in model.modules() if isinstance(module, Linear8bit) for buffer in module.buffers(recurse=False)}
    sizes = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        narrowed = tensor.dtype == torch.float32 and id(tensor) not in ours
        sizes[tensor.data_ptr()] = tensor.numel() * (float_bytes if narrowed else tensor.element_size())
        if (scales := getattr(tensor, "SCB", None)) is not None:  # bitsandbytes keeps them beside its parameter
            sizes[scales.data_ptr()] = scales.numel() * scales.element_size()
    return sum(sizes.values())


@contextlib.contextmanager
def counted_columns(model: Any, threshold_of: Callable[[Linear8bit], float]) -> Iterator[list[float]]:
    """The share of columns in 16 bit of each call of each Linear8bit: with an outlier in some row, or kept."""
    shares: list[float] = []

    def hook(module: Linear8bit, inputs: tuple[torch.Tensor, ...]) -> None:
        columns = torch.zeros(module.in_features, dtype=torch.bool)
        threshold = threshold_of(module)
        if threshold > 0:
            columns |= (inputs[0].reshape(-1, module.in_features).abs() >= threshold).any(dim=0)
        if module._buffers.get("weight_kept_index") is not None:
            columns[module.weight_kept_index.long()] = True
        shares.append(float(columns.double().mean()))

    handles = [m.register_forward_pre_hook(hook) for m in model.modules() if isinstance(m, Linear8bit)]
    try:
        yield shares
    finally:
        for handle in handles:
            handle.remove()


class Evaluation:
    """Runs the rows of one model. `model`: a Hugging Face folder of 16-bit weights."""

    def __init__(self, model: str | os.PathLike[str], text: str | os.PathLike[str], *, tokens: int = 1024, context: int = 256,
                 say: Callable[[str], None] = lambda _: None):
        self.folder, self.say = os.fspath(model), say
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        self.tokenizer, config, self.model_class, context = open_folder(self.folder, context)
        self.text = Text(self.tokenizer, text, tokens, context)
        self.float_bytes = 4 if config.dtype == torch.float32 else 2
        exact = self.exact()
        self.reference = Reference(exact, self.text)
        self.profile: Profile = profile(exact, [self.text.calibration], max_tokens=context)
        self.first = self.result(Setup("16 bit", "reference"), exact)

    def exact(self) -> Any:
        return self.model_class.from_pretrained(self.folder, dtype=torch.float32).eval()

    def result(self, setup: Setup, model: Any) -> Result:
        self.say(setup.name)
        with counted_columns(model, lambda linear: linear.settings.threshold) as shares:
            figures = self.reference.compare(model)
        if not self.reference.decodes:
            figures |= dict.fromkeys(("kld_millinats", "kld_p99", "perplexity", "agreement"), math.nan)
        return Result(setup.name, setup.group, bytes=memory_of(model, self.float_bytes), share_16bit=sum(shares) / len(shares) if shares else None, **figures)

    def run(self, setup: Setup) -> Result:
        """One row of ours: converted, loaded, multiplied."""
        options = dict(setup.convert)
        if setup.kept:
            options |= {"keep_columns": self.profile.to_dict(None), "keep_budget": setup.kept}
        with tempfile.TemporaryDirectory(prefix="octavo-eval-") as work:
            path = pathlib.Path(work, "model.8vo")
            convert(self.folder, path, **options)
            model, _ = load(path, dtype=torch.float32, **setup.load)
            result = self.result(setup, model)
            if setup.name == OURS:
                result.continuation = self.continue_prompt(model)
            return result

    def bitsandbytes(self) -> Result:
        """The real one, as load_in_8bit gives it."""
        for noisy in ("bitsandbytes", "torch.utils.flop_counter"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        config = transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=6.0)
        model = self.model_class.from_pretrained(self.folder, quantization_config=config, dtype=torch.float32).eval()
        return self.result(Setup("bitsandbytes t=6", "bitsandbytes"), model)

    def continue_prompt(self, model: Any, new_tokens: int = 24) -> str | None:
        if not self.reference.decodes:
            return None
        ids = self.tokenizer(PROMPT, return_tensors="pt")
        with torch.no_grad():
            tokens = model.generate(**ids, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0)
        return self.tokenizer.decode(tokens[0], skip_special_tokens=True)

    def all(self, only: Callable[[str], bool] = lambda _: True) -> Iterator[Result]:
        if only("16 bit"):
            self.first.continuation = self.continue_prompt(self.exact())
            yield self.first
        if only("bitsandbytes t=6"):
            yield self.bitsandbytes()
        for setup in setups():
            if only(setup.name):
                yield self.run(setup)


def table(results: list[Result]) -> str:
    """For people, in the layout of the paper's first table: a row for each method."""
    encoder = all(r.cosine_distance is not None and not math.isnan(r.cosine_distance) for r in results)
    lines, group = [], None
    head = f"{'':44}{'cosine distance':>18}" if encoder else f"{'':44}{'KLD':>10}{'KLD p99':>10}{'perplexity':>12}{'agreement':>11}"
    lines.append(head + f"{'16-bit cols':>13}{'memory':>12}")
    for r in results:
        if r.group != group and group is not None:
            lines.append("")
        group = r.group
        share = "" if r.share_16bit is None else f"{r.share_16bit:.2%}"
        figures = (f"{r.cosine_distance:18.2e}" if encoder else
                   f"{r.kld_millinats:10.3f}{r.kld_p99:10.2f}{r.perplexity:12.4f}{r.agreement:11.2%}")
        lines.append(f"{r.name:44}{figures}{share:>13}{r.bytes / 1e6:9.1f} MB")
    lines.append("" if encoder else "KLD: mean Kullback-Leibler divergence from the 16-bit model, millinats for each token")
    return "\n".join(lines)


def to_json(results: list[Result]) -> list[dict[str, Any]]:
    return [{key: None if isinstance(value, float) and math.isnan(value) else value for key, value in vars(r).items()} for r in results]


def draw(results: list[Result], path: str | os.PathLike[str]) -> None:
    """KL divergence against the share of 16-bit columns, PNG or SVG by the path's ending. Needs matplotlib."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for group, label in (("thresholds", "thresholds 0 to 8"), ("kept", "kept columns"), ("presets", "presets")):
        points = sorted((100 * r.share_16bit, r.kld_millinats, r.name) for r in results if r.group == group and r.share_16bit is not None)
        if not points:
            continue
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-" if group == "thresholds" else "o", label=label)
        for x, y, name in points:
            # The names of t=12 and of presets stand beside points whose own are above them.
            place = {"xytext": (4, -9)} if group == "presets" else {"xytext": (4, 4)}
            if name.endswith("t=12"):
                place = {"xytext": (-4, -9), "horizontalalignment": "right"}
            axes.annotate(name.removeprefix(OURS + ", "), (x, y), textcoords="offset points", fontsize=7, **place)
    axes.set_xlabel("columns multiplied in 16 bit, %")
    axes.set_ylabel("KL divergence from 16 bit, millinats")
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
    pyplot.close(figure)
