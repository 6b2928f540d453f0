"""octavo.transformers: load() from the file alone, folders for from_pretrained, LoRA with PEFT. In the environment of the peers."""

import json
import logging
import os
import shutil
import subprocess
import sys
import unittest
import unittest.mock
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import octavo
import octavo.transformers
from common import GPT2, LLAMA, OCTAVO, ROOT, PackageTest, convert
from octavo.torch import Linear8bit

transformers.utils.logging.disable_progress_bar()
TEXT = (ROOT / "README.md").read_text()[:3000]


def ours(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear8bit)}


def logits(model, tokenizer, tokens=64):
    ids = tokenizer(TEXT, return_tensors="pt").input_ids[:, :tokens]
    with torch.no_grad():
        return model(ids).logits.float()


def divergence(p, q):
    """Mean KL divergence, nats for each token."""
    p, q = torch.log_softmax(p.double(), -1), torch.log_softmax(q.double(), -1)
    return float((p.exp() * (p - q)).sum(-1).mean())


class Load(PackageTest):
    def test_the_file_is_all_it_needs(self):
        """Another process, with nothing but a copy of the file."""
        path = self.dir / "alone" / "model.8vo"
        path.parent.mkdir()
        path.write_bytes(self.converted().read_bytes())
        code = ("import sys, octavo.transformers\n"
                "model, tokenizer = octavo.transformers.load(sys.argv[1])\n"
                "ids = tokenizer('My name is', return_tensors='pt')\n"
                "print(tokenizer.decode(model.generate(**ids, max_new_tokens=8, do_sample=False)[0]))\n")
        done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True, cwd=path.parent)
        self.assertEqual(done.stdout.strip(), "My name is a very good man, and I am")

    def test_every_quantized_linear_is_ours(self):
        for source, count in ((GPT2, 24), (LLAMA, 42)):
            model, _ = octavo.transformers.load(self.converted(source))
            file = octavo.open(self.converted(source))
            quantized = {name for name, module in file.modules.items() if module.quantized}
            self.assertEqual(len(quantized), count)
            self.assertEqual(set(ours(model)), quantized)
            others = [m for m in model.modules() if isinstance(m, (torch.nn.Linear, transformers.pytorch_utils.Conv1D))
                      and not isinstance(m, Linear8bit)]
            self.assertEqual(others, [model.get_output_embeddings()])

    def test_close_to_16_bit(self):
        for source in (GPT2, LLAMA):
            exact = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
            model, tokenizer = octavo.transformers.load(self.converted(source), dtype=torch.float32)
            self.assertLess(divergence(logits(exact, tokenizer), logits(model, tokenizer)), 2e-3)
            random = octavo.transformers.load(self.converted(source), dtype=torch.float32, threshold=0.01)[0]
            self.assertLess(divergence(logits(exact, tokenizer), logits(random, tokenizer)), 1e-3)

    def test_heads(self):
        model, _ = octavo.transformers.load(self.converted(GPT2))
        self.assertIs(model.get_output_embeddings().weight, model.get_input_embeddings().weight)
        model, _ = octavo.transformers.load(self.converted(LLAMA))
        self.assertIsNot(model.get_output_embeddings().weight, model.get_input_embeddings().weight)

    def test_types(self):
        self.assertEqual(octavo.transformers.load(self.converted(GPT2))[0].dtype, torch.float16)
        self.assertEqual(octavo.transformers.load(self.converted(LLAMA))[0].dtype, torch.bfloat16)
        model, _ = octavo.transformers.load(self.converted(LLAMA), dtype=torch.float32)
        self.assertEqual({p.dtype for p in model.parameters()}, {torch.float32})
        self.assertEqual({m.weight.dtype for m in ours(model).values()}, {torch.int8})

    def test_nothing_is_copied(self):
        """Codes and embeddings are in a file's mapping, as /proc/self/maps has it."""
        path = self.converted(LLAMA)
        model, _ = octavo.transformers.load(path)
        ranges = []
        for line in open("/proc/self/maps"):
            if str(path) in line:
                ranges.append([int(end, 16) for end in line.split()[0].split("-")])
        linear = ours(model)["model.layers.0.mlp.up_proj"]
        for tensor in (linear.weight, linear.weight_absmax, model.get_input_embeddings().weight, model.lm_head.weight):
            self.assertTrue(any(begin <= tensor.data_ptr() < end for begin, end in ranges))

    def test_writing_to_the_model_leaves_the_file(self):
        before = self.converted().read_bytes()
        model, _ = octavo.transformers.load(self.converted())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.5)
        self.assertEqual(self.converted().read_bytes(), before)

    def test_overrides_and_their_other_names(self):
        model, _ = octavo.transformers.load(self.converted(), llm_int8_threshold=3.0, scope="token", activations="symmetric")
        settings = next(iter(ours(model).values())).settings
        self.assertEqual((settings.threshold, settings.scope, settings.activations), (3.0, "token", "symmetric"))
        self.assertEqual(model.config.quantization_config.llm_int8_threshold, 3.0)

    def test_skipped_modules_multiply_in_16_bit(self):
        model, tokenizer = octavo.transformers.load(self.converted(), llm_int8_skip_modules=["h.0", "attn.c_proj"])
        left = {n for n in octavo.open(self.converted()).modules if n.startswith("transformer.h.0.") or n.endswith("attn.c_proj")}
        self.assertFalse(left & set(ours(model)))
        self.assertEqual(len(ours(model)), 24 - 4 - 5)
        whole, _ = octavo.transformers.load(self.converted())
        self.assertLess(divergence(logits(model, tokenizer), logits(whole, tokenizer)), 1e-3)

    def test_skipped_modules_of_an_int8_source(self):
        """Their type is that of what is not quantized: the source's is int8."""
        folder = self.dir / "bitsandbytes"
        subprocess.run([OCTAVO, "export", self.converted(LLAMA), "--to", "bitsandbytes", "-o", folder, "--quiet"], check=True)
        model, tokenizer = octavo.transformers.load(self.converted(folder), skip_modules="down_proj")  # one pattern is a list of one
        self.assertEqual(len(ours(model)), 42 - 6)
        self.assertEqual(model.model.layers[0].mlp.down_proj.weight.dtype, torch.bfloat16)
        self.assertLess(divergence(logits(octavo.transformers.load(self.converted(LLAMA))[0], tokenizer), logits(model, tokenizer)), 1e-3)

    def test_patterns_that_match_nothing_are_named(self):
        for options in ({"skip_modules": ["dwn_proj"]}, {"llm_int8_skip_modules": "dwn_proj"}):
            with self.assertWarnsRegex(UserWarning, '"dwn_proj" matches no module'):
                octavo.transformers.load(self.converted(LLAMA), **options)

    def test_a_quantized_head(self):
        path = self.converted(LLAMA, "--only-skip", "--skip-modules", "down_proj")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model, _ = octavo.transformers.load(path)
            headless, _ = octavo.transformers.load(path, model_class=transformers.AutoModel)
        self.assertEqual(set(ours(headless)), {name.removeprefix("model.") for name in ours(model) if name != "lm_head"})
        self.assertIsInstance(model.lm_head, Linear8bit)
        self.assertEqual(set(ours(model)), {name for name, module in octavo.open(path).modules.items() if module.quantized})
        x = torch.randn(3, 256)
        self.assertTrue(torch.equal(model.lm_head(x), Linear8bit.from_file(octavo.open(path), "lm_head")(x)))

    def test_other_classes(self):
        whole, _ = octavo.transformers.load(self.converted(LLAMA))
        model, _ = octavo.transformers.load(self.converted(LLAMA), model_class=transformers.LlamaModel)
        self.assertEqual(len(ours(model)), 42)
        ids = torch.arange(40)[None]
        self.assertTrue(torch.equal(model(ids).last_hidden_state, whole.model(ids).last_hidden_state))
        for automatic, expected in ((transformers.AutoModelForCausalLM, transformers.LlamaForCausalLM),
                                    (transformers.AutoModel, transformers.LlamaModel)):
            self.assertIs(type(octavo.transformers.load(self.converted(LLAMA), model_class=automatic)[0]), expected)
        with self.assertRaisesRegex(octavo.UnsupportedError, "AutoModelForCTC.*LlamaConfig"):
            octavo.transformers.load(self.converted(LLAMA), model_class=transformers.AutoModelForCTC)

    def test_is_named_after_the_file(self):
        model, tokenizer = octavo.transformers.load(self.converted(LLAMA))
        self.assertEqual({model.name_or_path, model.config.name_or_path, tokenizer.name_or_path}, {str(self.converted(LLAMA))})

    def test_options_of_from_pretrained(self):
        model, _ = octavo.transformers.load(self.converted(LLAMA), torch_dtype=torch.float16)
        self.assertEqual(model.dtype, torch.float16)
        for option in ({"load_in_8bit": True}, {"quantization_config": transformers.BitsAndBytesConfig(load_in_8bit=True)}):
            with self.assertRaisesRegex(octavo.InvalidArgumentError, f"{next(iter(option))}.*int8 already"):
                octavo.transformers.load(self.converted(LLAMA), **option)
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "skip_module"):
            octavo.transformers.load(self.converted(LLAMA), skip_module=["x"])

    def with_config(self, name="config.json", **changes):
        """The shipped model with another config.json (or tokenizer_config.json), converted."""
        folder = self.dir / "changed"
        shutil.copytree(LLAMA, folder, dirs_exist_ok=True)
        content = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(content))
        return convert(folder, self.dir / "changed.8vo")

    def test_nobody_is_asked_to_run_a_repositorys_code(self):
        """Nor is one looked for: what a file says about code counts with trust_remote_code only."""
        kernel = "somebody/kernel"
        with (unittest.mock.patch("builtins.input", side_effect=AssertionError("asked")),
              unittest.mock.patch("socket.socket.connect", side_effect=AssertionError("connected"))):
            for changes in ({"auto_map": {"AutoConfig": "somebody/code--module.Config"}},
                            {"auto_map": {"AutoModelForDepthEstimation": "somebody/code--module.Model"},
                             "architectures": ["AutoModelForDepthEstimation", "LlamaForCausalLM"]},
                            {"architectures": ["LlamaConfig", "LlamaForCausalLM"]},
                            {"attn_implementation": kernel}, {"_attn_implementation": kernel}, {"attn_implementation": {"": kernel}},
                            {"_attn_implementation_internal": kernel}, {"experts_implementation": kernel}):
                with self.subTest(changes=changes):
                    model, _ = octavo.transformers.load(self.with_config(**changes))
                    self.assertIs(type(model), transformers.LlamaForCausalLM)
                    self.assertEqual(model.config._attn_implementation, "sdpa")
            for architectures in (["AutoModelForDepthEstimation"], ["LlamaConfig"], ["pipeline"], None):
                with self.assertRaisesRegex(octavo.UnsupportedError, "model_class"):
                    octavo.transformers.load(self.with_config(architectures=architectures))
            with self.assertRaisesRegex(octavo.UnsupportedError, "trust_remote_code"):
                octavo.transformers.load(self.with_config(model_type="somebodys", auto_map={"AutoConfig": "module.Config"}))
            shutil.rmtree(self.dir / "changed")
            path = self.with_config("tokenizer_config.json", auto_map={"AutoTokenizer": ["somebody/code--module.Tokenizer", None]})
            self.assertIsNotNone(octavo.transformers.load(path)[1])

    def test_what_is_wrong_with_the_embedded_files_is_said(self):
        """File and embedded file are named, whatever transformers raises."""
        for name, content, says in (("config.json", {"num_hidden_layers": 2_000_000}, "num_hidden_layers is 2000000"),
                                    ("config.json", {"hidden_size": "wide"}, "config.json"),
                                    ("tokenizer_config.json", "{" * 5000, "tokenizer_config.json"),
                                    ("tokenizer.json", "{}", "tokenizer"), ("generation_config.json", "[", "generation_config.json")):
            with self.subTest(name=name):
                shutil.rmtree(self.dir / "changed", ignore_errors=True)
                if isinstance(content, dict):
                    path = self.with_config(name, **content)
                else:
                    shutil.copytree(LLAMA, self.dir / "changed")
                    (self.dir / "changed" / name).write_text(content)
                    path = convert(self.dir / "changed", self.dir / "changed.8vo")
                with self.assertRaisesRegex(octavo.InvalidFileError, f"changed.8vo: .*{says}"):
                    octavo.transformers.load(path)

    def test_device_map(self):
        model, tokenizer = octavo.transformers.load(self.converted(), device_map="cpu")
        self.assertTrue(torch.equal(logits(model, tokenizer), logits(octavo.transformers.load(self.converted())[0], tokenizer)))

    def test_kept_sharded_compressed(self):
        plain, tokenizer = octavo.transformers.load(self.converted(LLAMA))
        for options in (("--max-shard-size", "3MB"), ("--compress",)):
            model, _ = octavo.transformers.load(self.converted(LLAMA, *options))
            self.assertTrue(torch.equal(logits(model, tokenizer), logits(plain, tokenizer)))

    def test_a_file_without_config(self):
        folder = self.dir / "bare"
        folder.mkdir(exist_ok=True)
        save_file({"h.0.attn.c_attn.weight": torch.randn(8, 8)}, folder / "model.safetensors")
        with self.assertRaisesRegex(octavo.InvalidFileError, "no config.json"):
            octavo.transformers.load(self.converted(folder / "model.safetensors"))


class Folders(PackageTest):
    def saved(self, source):
        model, tokenizer = octavo.transformers.load(self.converted(source))
        folder = self.dir / f"{source.name}-folder"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model, tokenizer, folder

    def test_round_trip(self):
        for source in (GPT2, LLAMA):
            model, tokenizer, folder = self.saved(source)
            again = transformers.AutoModelForCausalLM.from_pretrained(folder)
            self.assertEqual(set(ours(again)), set(ours(model)))
            self.assertTrue(torch.equal(logits(again, tokenizer), logits(model, tokenizer)))
            second = self.dir / "second"
            again.save_pretrained(second)
            self.assertEqual((second / "model.safetensors").read_bytes(), (folder / "model.safetensors").read_bytes())
            self.assertEqual((second / "config.json").read_text(), (folder / "config.json").read_text())

    def test_is_what_the_page_says(self):
        """docs/python.md, "The transformers folder": names, types and shapes are the .8vo file's, less the sums."""
        _, _, folder = self.saved(GPT2)
        file = octavo.open(self.converted())
        with safe_open(folder / "model.safetensors", "pt") as saved:
            self.assertEqual(set(saved.keys()), {name for name in file.tensors if not name.endswith("_code_sum")})
            for name in saved.keys():
                header = saved.get_slice(name)
                self.assertEqual((header.get_dtype(), tuple(header.get_shape())), (file.tensors[name].dtype, file.tensors[name].shape))
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        self.assertEqual(config["modules_to_not_convert"], ["lm_head"])
        self.assertEqual({key: config[key] for key in ("quant_method", "version", "method", "threshold", "activations")},
                         {"quant_method": "octavo", "version": 1, "method": "vector-wise", "threshold": 6.0, "activations": "asymmetric"})

    def test_octavo_export(self):
        """The folder that the command line writes, without Python, is the one that save_pretrained does."""
        for source in (GPT2, LLAMA):
            model, tokenizer, saved = self.saved(source)
            folder = self.dir / f"{source.name}-exported"
            subprocess.run([OCTAVO, "export", self.converted(source), "--to", "transformers", "-o", folder, "--quiet"], check=True)
            exported = transformers.AutoModelForCausalLM.from_pretrained(folder)
            self.assertEqual(set(ours(exported)), set(ours(model)))
            self.assertTrue(torch.equal(logits(exported, tokenizer), logits(model, tokenizer)))
            ours_tensors, saved_tensors = load_file(folder / "model.safetensors"), load_file(saved / "model.safetensors")
            self.assertEqual(set(ours_tensors), set(saved_tensors))
            for name, tensor in saved_tensors.items():
                self.assertTrue(torch.equal(ours_tensors[name], tensor), name)
            configs = [json.loads((f / "config.json").read_text())["quantization_config"] for f in (folder, saved)]
            self.assertEqual(*configs)

    def test_what_is_refused(self):
        _, _, folder = self.saved(GPT2)
        config = json.loads((folder / "config.json").read_text())

        def load_with(**changes):
            changed = config | {"quantization_config": config["quantization_config"] | changes}
            (folder / "config.json").write_text(json.dumps(changed))
            return transformers.AutoModelForCausalLM.from_pretrained(folder)

        for changes, says in (({"version": 2}, "version 2"), ({"scope": "row"}, "scope"), ({"new": 1}, "unknown keys"),
                              ({"_content": {}}, "unknown keys"), ({"threshold": "x"}, "threshold is 'x'"),
                              ({"version": "9"}, "version is '9'"),
                              ({"method": [1]}, "method is"), ({"modules_to_not_convert": 5}, "modules_to_not_convert is 5"),
                              ({"full_range": "no"}, "full_range is 'no'"), ({"llm_int8_skip_modules": ["h.0"]}, "--skip-modules h.0")):
            with self.assertRaisesRegex(octavo.OctavoError, says):
                load_with(**changes)
        self.assertEqual(load_with(llm_int8_threshold=3.5).config.quantization_config.threshold, 3.5)
        tensors = load_file(folder / "model.safetensors")
        save_file({k: v for k, v in tensors.items() if not k.endswith("absmax")}, folder / "model.safetensors", {"format": "pt"})
        with self.assertRaisesRegex(octavo.InvalidFileError, "no scales"):
            load_with()

    def test_folders_that_lack_a_tensor(self):
        """Or have a wrong one: nothing is made up in its place."""
        _, _, folder = self.saved(GPT2)
        whole, name = load_file(folder / "model.safetensors"), "transformer.h.0.attn.c_attn"
        kept = {f"{name}.weight_kept": torch.zeros(1, 768, dtype=torch.float16)}
        index = {f"{name}.weight_kept_index": torch.zeros(1, dtype=torch.int32)}
        for left_out, added, says in (("weight", {}, f"{name}.weight is missing"), ("weight_absmax", {}, f"{name} has no scales"),
                                      ("bias", {}, f"{name}.bias is missing"), ("", kept, f"{name}.weight_kept_index is missing"),
                                      ("", index, f"{name}.weight_kept is missing"),
                                      ("", kept | {f"{name}.weight_kept_index": torch.zeros(2, dtype=torch.int32)}, "weight_kept is F16"),
                                      ("", {f"{name}.weight_absmax": torch.zeros(5)}, "weight_absmax is F32"),
                                      ("", {f"{name}.weight": torch.zeros(10, 10, dtype=torch.int8)}, "weight_absmax is F32"),
                                      ("", {f"{name}.weight_step": torch.zeros(768)}, f"{name} has no scales, or"),
                                      ("", {"transformer.h.0.ln_1.weight_absmax": torch.zeros(256)}, "ln_1.weight is F16"),
                                      ("", {"foo.weight_kept": torch.zeros(1, 4)}, "foo has no scales")):
            tensors = {key: tensor for key, tensor in whole.items() if key != f"{name}.{left_out}"} | added
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
            with self.subTest(says=says), self.assertRaisesRegex(octavo.InvalidFileError, says):
                transformers.AutoModelForCausalLM.from_pretrained(folder)

    def test_base_model_of_a_causal_folder(self):
        _, tokenizer, folder = self.saved(LLAMA)
        model = transformers.AutoModel.from_pretrained(folder)
        self.assertEqual(len(ours(model)), 42)

    def test_quantizing_at_every_load_is_refused(self):
        with self.assertRaisesRegex(octavo.UnsupportedError, "octavo convert"):
            transformers.AutoModelForCausalLM.from_pretrained(GPT2, quantization_config=octavo.transformers.OctavoConfig())

    def test_dequantize(self):
        model, tokenizer, _ = self.saved(GPT2)
        expected = logits(model, tokenizer)
        model = model.dequantize()
        self.assertFalse(ours(model))
        self.assertLess(divergence(expected, logits(model, tokenizer)), 1e-3)


class LoRA(PackageTest):
    """The real PEFT, with plain Adam and with bitsandbytes' 8-bit Adam: the loss falls, and nothing but the adapters changes."""

    def train(self, source, targets, optimizer):
        from peft import LoraConfig, get_peft_model
        torch.manual_seed(6)
        model, tokenizer = octavo.transformers.load(self.converted(source), dtype=torch.float32)
        codes = {name: module.weight.clone() for name, module in ours(model).items()}
        model = get_peft_model(model, LoraConfig(r=64, lora_alpha=128, target_modules=targets, task_type="CAUSAL_LM"))
        trained = [p for p in model.parameters() if p.requires_grad]
        self.assertEqual({p.dtype for p in trained}, {torch.float32})
        steps = optimizer(trained)
        ids = tokenizer(TEXT, return_tensors="pt").input_ids[:, :96]
        losses = []
        for _ in range(8):
            loss = model(ids, labels=ids).loss
            losses.append(float(loss))
            loss.backward()
            steps.step()
            steps.zero_grad()
        for name, module in ours(model.get_base_model()).items():
            self.assertTrue(torch.equal(module.weight, codes[name.replace(".base_layer", "")]))
            self.assertIsNone(module.weight.grad)
        self.assertLess(losses[-1], losses[0] - 0.5, losses)

    def test_adam(self):
        self.train(LLAMA, ["q_proj", "v_proj", "down_proj"], lambda parameters: torch.optim.Adam(parameters, lr=2e-3))

    def test_adam_on_gpt2(self):
        self.train(GPT2, ["c_attn", "c_fc"], lambda parameters: torch.optim.Adam(parameters, lr=2e-3))

    def test_bitsandbytes_adam(self):
        import bitsandbytes
        self.train(LLAMA, ["q_proj", "v_proj", "down_proj"], lambda parameters: bitsandbytes.optim.Adam8bit(parameters, lr=2e-3))

    def test_merging_into_16_bit_and_converting_again(self):
        """The recipe of docs/python.md; GPT-2 keeps its linears turned, and so must what dequantize() leaves."""
        from peft import LoraConfig, PeftModel, get_peft_model
        for source, targets in ((LLAMA, ["q_proj", "down_proj"]), (GPT2, ["c_attn", "c_proj"])):
            adapter, merged, path = (self.dir / f"{source.name}-{what}" for what in ("adapter", "merged", "merged.8vo"))
            base, tokenizer = octavo.transformers.load(self.converted(source))
            model = get_peft_model(base, LoraConfig(target_modules=targets, init_lora_weights=False))
            expected = logits(model, tokenizer)
            model.save_pretrained(adapter)
            self.assertEqual(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"],
                             str(self.converted(source)))
            dense = octavo.transformers.load(self.converted(source))[0].dequantize()
            PeftModel.from_pretrained(dense, adapter).merge_and_unload().save_pretrained(merged)
            tokenizer.save_pretrained(merged)
            octavo.convert(merged, path)
            again, _ = octavo.transformers.load(path)
            self.assertEqual(len(ours(again)), len(ours(octavo.transformers.load(self.converted(source))[0])))
            self.assertLess(divergence(expected, logits(again, tokenizer)), 2e-3)
            self.assertGreater(divergence(logits(octavo.transformers.load(self.converted(source))[0], tokenizer), expected), 4e-3)

    def test_merging_is_an_error(self):
        from peft import LoraConfig, get_peft_model
        model, _ = octavo.transformers.load(self.converted(LLAMA))
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
        with self.assertRaises(Exception):
            model.merge_and_unload()


class Compiled(PackageTest):
    def test_a_whole_model_without_a_graph_break(self):
        model, tokenizer = octavo.transformers.load(self.converted(LLAMA))
        ids = tokenizer(TEXT, return_tensors="pt").input_ids[:, :32]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explained = torch._dynamo.explain(lambda ids: model(ids, use_cache=False).logits)(ids)
        self.assertEqual((explained.graph_count, explained.graph_break_count), (1, 0), explained.break_reasons)


if __name__ == "__main__":
    unittest.main()
