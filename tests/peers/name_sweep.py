#!/usr/bin/env python3
"""Do the general rules take anything for a linear that is none? Over every model type of transformers, by names alone.

    name_sweep.py OCTAVO [TYPE...]

Each type's largest text class is built by its default config without weights (torch's meta device; few layers), its names and shapes are
written as a checkpoint of holes, and `octavo convert --dry-run` decides. A module that is quantized although the live one is no linear is
reported, unless MISTAKEN lists it. Takes five minutes and is run by hand; architectures.py is the test of what the table claims. Exit code 1 if
something new is mistaken. Run it in the environment of make_venv.sh.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from cli import write_safetensors  # noqa: E402

MAPPINGS = [getattr(modeling_auto, f"MODEL_{name}MAPPING_NAMES") for name in (
    "FOR_IMAGE_TEXT_TO_TEXT_", "FOR_CAUSAL_LM_", "FOR_SEQ_TO_SEQ_CAUSAL_LM_", "FOR_MASKED_LM_", "FOR_SPEECH_SEQ_2_SEQ_", "")]
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "depth")
# Embeddings with names of their own: type and pattern.
MISTAKEN = {
    ("ctrl", "transformer.w"), ("lw_detr", "query_feat"), ("rf_detr", "query_feat"), ("mask2former", "transformer_module.queries_features"),
    ("sam3", "detr_decoder.reference_points"), ("sam3_lite_text", "detr_decoder.reference_points"),
    ("sam3_video", "detector_model.detr_decoder.reference_points"), ("speecht5", "speecht5.encoder.wrapped_encoder.embed_positions.pe_k"),
}


def class_of(model_type):
    name = next((mapping[model_type] for mapping in MAPPINGS if mapping.get(model_type)), None)
    return name[0] if isinstance(name, (tuple, list)) else name


def build(model_type, cls):
    config = transformers.AutoConfig.for_model(model_type)
    for part in (config, getattr(config, "text_config", None), getattr(config, "vision_config", None)):
        for key in LAYER_COUNTS:
            count = getattr(part, key, None)
            if isinstance(count, int) and count > 4 and not getattr(part, "layer_types", None):
                setattr(part, key, 2)
    with torch.device("meta"):
        return getattr(transformers, cls)(config)


def decide(octavo, model_type, cls, model):
    tensors = {name: ("F16", tuple(t.shape), None) for name, t in model.state_dict().items() if t.dtype.is_floating_point}
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        write_safetensors(folder / "model.safetensors", tensors)
        (folder / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": [cls]}))
        done = subprocess.run([octavo, "convert", work, "--dry-run", "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{model_type}: octavo: {done.stderr}")
    return json.loads(done.stdout)["modules"]


def mistaken(modules, model):
    """Patterns of modules that are quantized and are no linear in the model."""
    live = dict(model.named_modules())
    for module in modules:
        kind = type(live.get(module["name"]))
        is_linear = issubclass(kind, torch.nn.Linear) or "Linear" in kind.__name__ or kind.__name__ == "Conv1D"
        if module["quantized"] and module["name"] in live and not is_linear:
            yield re.sub(r"\.\d+(?=\.|$)", ".*", module["name"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("octavo")
    parser.add_argument("types", nargs="*")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    examined, not_built, found = 0, 0, set()
    for model_type in args.types or sorted(CONFIG_MAPPING_NAMES):
        cls = class_of(model_type)
        if cls is None:
            continue
        try:
            model = build(model_type, cls)
        except Exception as error:  # defaults that do not build, packages that are not there
            not_built += 1
            print(f"{model_type}: not built: {str(error).splitlines()[0][:100]}")
            continue
        examined += 1
        found |= {(model_type, pattern) for pattern in mistaken(decide(args.octavo, model_type, cls, model), model)}
    for model_type, pattern in sorted(found):
        print(f"{'listed' if (model_type, pattern) in MISTAKEN else 'MISTAKEN'}: {model_type} {pattern}")
    print(f"{examined} types examined, {not_built} not built, {len(found)} patterns of modules are no linears and would be quantized")
    sys.exit(1 if found - MISTAKEN else 0)


if __name__ == "__main__":
    main()
