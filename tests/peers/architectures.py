#!/usr/bin/env python3
"""Does `octavo convert` quantize what each architecture multiplies by, all of it, and the right way round?

    architectures.py OCTAVO PAGE.md [--only TEXT]

Every case of architecture_cases.py is built by transformers' own class with random weights, run, saved, and converted. What the model
multiplied by (multiplied.py, from the run itself) is found in the checkpoint by its content, and must be exactly what was converted, less the
output head and what the case says stays. Each product of the run is then done again with the dequantized weights, read by tests/reader:
it must lie within the error that the scales allow, and must not with a square weight the other way round. PAGE.md is docs/architectures.md:
the model types that it names must be those tested. Exit code 1 if anything differs. Run it in the environment of make_venv.sh.
"""

import argparse
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections import defaultdict

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from architecture_cases import all_cases, text
from multiplied import Recorder
from octavo_file import open_8vo
from sources import Source

# What no config of a type can make: a feed-forward part that is not four times as wide.
IMPOSSIBLE = {"bloom": {"double"}, "mpt": {"double"}, "openai-gpt": {"double"}}


class Mismatch(Exception):
    """What differs, in one sentence."""


def require(condition, message):
    if not condition:
        raise Mismatch(message)


def build(case):
    """The model with random weights that its type can hold, so that saving loses nothing."""
    config = transformers.AutoConfig.for_model(case.type, **case.config)
    model = getattr(transformers, case.cls)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    if case.prepare:
        case.prepare(model)
    return model.to(case.dtype).eval().requires_grad_(False)


def save(case, model, folder):
    model.save_pretrained(folder, **case.save)
    if case.edit is None:
        return
    source = Source(folder)
    tensors, config = {name: source.tensor(name) for name in source.names}, source.config
    case.edit(tensors, config)
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def run(case, model):
    """The products of one forward pass in float32, in which the weights are exact."""
    with Recorder(model.float()) as recorder:
        model(**(case.inputs or text)(model.config))
    products = defaultdict(list)
    for product in recorder.products:
        products[product.parameter].append(product)
    return dict(products)


def content(tensor):
    return tuple(tensor.shape), tensor.float().contiguous().numpy().tobytes()


def parts_of_parameters(model):
    """Content of every matrix that a checkpoint may hold -> (parameter, expert or None, rows of its output or None)."""
    found = {}
    for name, parameter in model.named_parameters():
        found[content(parameter)] = (name, None, None)
        if parameter.dim() != 3:
            continue
        half = parameter.shape[1] // 2
        for expert, matrix in enumerate(parameter):
            found[content(matrix)] = (name, expert, None)
            found[content(matrix[:half])] = (name, expert, slice(0, half))
            found[content(matrix[half:])] = (name, expert, slice(half, None))
    return found


def convert(octavo, folder, out):
    command = [octavo, "convert", str(folder), "-o", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    require(done.returncode == 0, f"octavo convert: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def check_product(product, weight, step, bias):
    """Is x @ dequantized the y of the model, within half a step for each code and the rounding of float32?

    weight: [out, in], dequantized; step: [out], the distance of two codes. A code is rne(w * 127/absmax), three roundings in float32 of a
    number of at most 127, so |w - code * step| <= step * (1/2 + 127 * 3 * 2^-24); the reader rounds code * step to float32 once more (127 *
    2^-24 steps). The model's own sum over in_features has (in_features + 2) roundings of 2^-24 of the sum of magnitudes.
    """
    x, y = product.x.numpy(), product.y.numpy()
    ours = x @ weight.T
    magnitude = np.abs(x) @ np.abs(weight).T
    if bias is not None:
        ours, magnitude = ours + bias, magnitude + np.abs(bias)
    allowed = np.abs(x).sum(axis=1, keepdims=True) * step * (0.5 + 127 * 4 * 2.0**-24)
    return bool((np.abs(y - ours) <= allowed + (x.shape[1] + 2) * 2.0**-24 * (magnitude + allowed)).all())


class Conversion:
    """One case, built, run, saved and converted."""

    def __init__(self, case, octavo, work):
        self.case = case
        model = build(case)
        self.folder = work / "model"
        save(case, model, self.folder)
        self.report = convert(octavo, self.folder, work / "model.8vo")
        self.file = open_8vo(work / "model.8vo")
        self.source = Source(self.folder)
        self.products = run(case, model)
        self.parts = parts_of_parameters(model)
        head = model.get_output_embeddings()
        self.head_parameter = next((name for name, p in model.named_parameters() if head is not None and p is head.weight), None)
        self.head_is_tied = head is not None and head.weight is model.get_input_embeddings().weight
        self.modules = {m["name"]: m for m in self.file.modules}
        self.multiplied = self._find_multiplied()
        self.shapes = set()  # what the case covers: of "square", "double", "tied", "untied"

    def _find_multiplied(self):
        """Tensor of the checkpoint -> where its values are in the model, for what the run multiplied by."""
        found = {}
        for name in self.source.names:
            part = self.parts.get(content(self.source.tensor(name)))
            if part is not None and part[0] in self.products:
                found[name] = part
        stored = {part[0] for part in found.values()}
        require(stored >= set(self.products), f"multiplied by, and not in the checkpoint: {set(self.products) - stored}")
        return found

    def _module_of(self, tensor):
        return tensor.removesuffix(".weight")

    def check_set(self):
        expected = set(self.multiplied)
        heads = {tensor for tensor in expected if self.multiplied[tensor][0] == self.head_parameter}
        expected -= heads
        for pattern, kind in self.case.stays.items():
            names = fnmatch.filter(map(self._module_of, expected | heads), pattern)
            require(names, f"nothing that the model multiplies by is called {pattern}")
            for name in names:
                expected -= {name, name + ".weight"}
                if kind is None:  # a loose parameter, no module
                    continue
                require(self.modules[name]["kind"] == kind, f"{name} is {self.modules[name]['kind']}, expected {kind}")
                require(not self.modules[name]["quantized"], f"{name} is converted")
        converted = {m["source_tensor"] for m in self.file.modules if m["quantized"]}
        require(converted == expected, f"converted and should not be: {sorted(converted - expected)}; "
                                       f"not converted and should be: {sorted(expected - converted)}")

    def check_head(self):
        if not self.case.head:
            return
        head = self.modules.get(self.case.head)
        require(head is not None and head["kind"] == "head" and not head["quantized"], f"{self.case.head} is no head in 16 bit: {head}")
        if self.head_parameter is None:  # the checkpoint claims a class with a head
            require("tied_to" in head, "the head is not tied")
        else:
            require(("tied_to" in head) == self.head_is_tied, f"the head is tied to {head.get('tied_to')}; in the model: {self.head_is_tied}")
        self.shapes.add("tied" if "tied_to" in head else "untied")
        if "tied_to" in head:
            tied = self.modules[head["tied_to"]]
            require(tied["kind"] == "embedding" and tied["weight"] == head["weight"], f"the head is tied to {tied}")
            require(self.case.head + ".weight" not in self.file.tensors, "the tied head is stored twice")

    def check_values(self):
        for module in self.file.modules:
            if not module["quantized"]:
                continue
            name = module["name"]
            has_bias = not {f"{name}.bias", f"{name}_bias"}.isdisjoint(self.source.names)
            require(("bias" in module) == has_bias, f"{name}: its bias is {module.get('bias')}")
            weight = self.file.dequantized(name).astype(np.float64)
            step = self.file.scales(name).astype(np.float64) / 127
            parameter, expert, rows = self.multiplied[module["source_tensor"]]
            products = self.products[parameter]
            stacked = weight.ndim == 3
            require((module["kind"] == "experts") == stacked, f"{name}: kind {module['kind']} of {weight.ndim} dimensions")
            used = set()
            for product in products:
                if (expert is not None and product.expert != expert) or not product.x.any():  # no token chose this expert
                    continue
                used.add(product.expert)
                way = "[in, out]" if product.stored_in_out else "[out, in]"
                require(bool(module["transposed"]) == product.stored_in_out,
                        f"{name}: transposed {module['transposed']}, but the model has it as {way}")
                self.check_one(module, product, weight[product.expert] if stacked else weight, step[product.expert] if stacked else step, rows)
            wanted = set(range(weight.shape[0])) if stacked else {expert}
            require(used == wanted, f"{name}: the run used experts {used} of {wanted}: more tokens are needed")

    def check_one(self, module, product, weight, step, rows):
        name, out_features, in_features = module["name"], *weight.shape
        if rows is not None:
            product = type(product)(product.parameter, product.expert, product.stored_in_out, product.x, product.y[:, rows], product.bias)
        require(product.x.shape[1] == in_features and product.y.shape[1] == out_features,
                f"{name}: {in_features} -> {out_features}, the model's product is {product.x.shape[1]} -> {product.y.shape[1]}")
        bias = None
        if product.bias is not None:
            bias = self.source.tensor(module["bias"]).double().numpy()
        require(check_product(product, weight, step, bias), f"{name}: x @ dequantized is not what the model computes")
        if in_features == out_features:
            self.shapes.add("square")
            require(not check_product(product, weight.T, step, bias), f"{name}: the other way round passes too: the test cannot tell")
        if max(in_features, out_features) == 2 * min(in_features, out_features):
            self.shapes.add("double")

    def check_rest(self):
        """Nothing is lost: what is not converted is in the file, byte for byte."""
        gone = {m["source_tensor"] for m in self.file.modules if m["quantized"]}
        gone |= {f"{m['name']}.weight" for m in self.file.modules if "tied_to" in m}
        for name in set(self.source.names) - gone:
            require(name in self.file.tensors, f"{name} is not in the file")
            kept, was = self.file.tensor(name), self.source.tensor(name)
            raw = was.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            require(kept.shape == tuple(was.shape) and kept.tobytes() == raw, f"{name} is not what it was")

    def check_report(self):
        known = self.file.manifest["source"]["known_architecture"]
        require(known == self.case.known, f"known_architecture is {known}")
        warnings = self.report["warnings"]
        if self.case.warns:
            require(any(self.case.warns in w for w in warnings), f"no warning says {self.case.warns!r}: {warnings}")
        else:
            require(not warnings, f"warnings: {warnings}")


def check(case, octavo):
    """The conversion, all of whose checks hold."""
    torch.manual_seed(sum(map(ord, case.name)))
    with tempfile.TemporaryDirectory() as work:
        conversion = Conversion(case, octavo, pathlib.Path(work))
        conversion.check_set()
        conversion.check_head()
        conversion.check_values()
        conversion.check_rest()
        conversion.check_report()
        return conversion


def types_of_page(path):
    lines = [line for line in pathlib.Path(path).read_text().splitlines() if line.startswith("- model types:")]
    return {name for line in lines for name in re.findall(r"`([^`]+)`", line)}


def check_coverage(cases, covered, page):
    """Sentences about what the cases leave out."""
    tested = {case.type for case in cases if case.known}
    if tested != types_of_page(page):
        yield f"the page names {sorted(types_of_page(page) - tested)} without a test; tested and not named: {sorted(tested - types_of_page(page))}"
    for model_type in sorted(tested):
        missing = {"square", "double", "tied", "untied"} - covered[model_type] - IMPOSSIBLE.get(model_type, set())
        if missing:
            yield f"{model_type}: no case is {' or '.join(sorted(missing))}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("octavo")
    parser.add_argument("page")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cases = [case for case in all_cases() if args.only in case.name]
    failures, covered = [], defaultdict(set)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for case in cases:
        try:
            conversion = check(case, args.octavo)
        except Exception as error:  # one case that cannot even be built must not hide the others
            failures.append(f"{case.name}: {'' if isinstance(error, Mismatch) else type(error).__name__ + ': '}{error}")
            print("FAILED", failures[-1])
            continue
        covered[case.type] |= conversion.shapes
        converted = sum(m["quantized"] for m in conversion.file.modules)
        products = sum(map(len, conversion.products.values()))
        print(f"{case.name:64} {converted:4} of {len(conversion.modules):4} modules, {products:4} products")
    if not args.only:
        failures += check_coverage(cases, covered, args.page)
    for failure in failures:
        print("FAILED", failure, file=sys.stderr)
    print(f"{len(cases)} models of {len(covered)} types" + (f", {len(failures)} failures" if failures else ": all agree"))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
