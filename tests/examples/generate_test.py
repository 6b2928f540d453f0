#!/usr/bin/env python3
"""docs/examples/generate as its user sees it, on the two models that ship. $OCTAVO and $GENERATE are the programs.

tests/peers compares its logits and tokens with transformers'.
"""

import array
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/data/models"
GPT2, LLAMA = MODELS / "gpt2-novels-outliers", MODELS / "llama-novels"
OCTAVO, GENERATE = os.environ["OCTAVO"], os.environ["GENERATE"]
CONTINUATIONS = {
    GPT2: " a very good man, and I am not a very good man, and I am glad to see him, and I am glad to see him,",
    LLAMA: " a great deal of a man, and I am sure I have not been a great deal of my own. I am sure I have not been a",
}
PROMPT = "My name is"
VOCABULARY = 4096


def octavo(*arguments):
    subprocess.run([OCTAVO, *map(str, arguments), "--quiet"], check=True)


class GenerateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="octavo-generate-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        for folder in (GPT2, LLAMA):
            octavo("convert", folder, "-o", cls.file(folder))

    @classmethod
    def file(cls, folder):
        return cls.shared / f"{folder.name}.8vo"

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="octavo-generate-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def convert(self, folder, *options):
        out = self.dir / "model.8vo"
        octavo("convert", folder, "-o", out, "--force", *options)
        return out

    def changed(self, folder, name, change):
        """A .8vo file of a model whose JSON file of that name was changed; change(object), or None to leave the file out."""
        source = self.dir / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for file in folder.iterdir():
            if file.name != name:
                (source / file.name).symlink_to(file)
        if change is not None:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            change(content)
            (source / name).write_text(json.dumps(content), encoding="utf-8")
        return self.convert(source)

    def generate(self, *arguments, code=0, stdin=b""):
        done = subprocess.run([GENERATE, *map(str, arguments)], input=stdin, capture_output=True, check=False)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout!r}\n{done.stderr!r}")
        return done

    def text(self, *arguments, **options):
        """Standard output less the line's end."""
        out = self.generate(*arguments, **options).stdout.decode()
        self.assertTrue(out.endswith("\n"), out)
        return out[:-1]

    def ids(self, *arguments, **options):
        return [int(number) for number in self.text(*arguments, **options).split()]

    def logits(self, *arguments):
        path = self.dir / "logits"
        self.assertEqual(self.generate(*arguments, "--logits", path).stdout, b"")
        values = array.array("f", path.read_bytes())
        return [list(values[i:i + VOCABULARY]) for i in range(0, len(values), VOCABULARY)]

    def fails(self, *arguments, says, code=1):
        done = self.generate(*arguments, code=code)
        message = done.stderr.decode()
        self.assertEqual(done.stdout, b"")
        self.assertTrue(message.startswith("generate: ") and message.count("\n") == 1, message)
        for part in says:
            self.assertIn(part, message)


class Text(GenerateTest):
    def test_continues_a_prompt(self):
        for folder, continuation in CONTINUATIONS.items():
            self.assertEqual(self.text(self.file(folder), PROMPT, "-n", 30), continuation)
            self.assertEqual(self.text(self.file(folder), "-n", 30, stdin=PROMPT.encode()), continuation)

    def test_says_times_on_standard_error(self):
        done = self.generate(self.file(GPT2), PROMPT, "-n", 3)
        self.assertRegex(done.stderr.decode(), r"^load .* s; prompt of 3 tokens .* tokens/s; then .* s/token, .* tokens/s\n$")

    def test_every_form_of_a_file_gives_the_same(self):
        for folder, continuation in CONTINUATIONS.items():
            for options in (["--compress"], ["--layout", "vnni16x4-1"], ["--max-shard-size", "2MB", "--compress"]):
                out = self.dir / "form.8vo"
                octavo("repack", self.file(folder), "-o", out, "--force", *options)
                self.assertEqual(self.text(out, PROMPT, "-n", 30), continuation, options)

    def test_linears_of_a_group_may_be_quantized_or_not(self):
        for kept in ("*", "k_proj,up_proj,lm_head", "q_proj,down_proj"):
            model = self.convert(LLAMA, "--skip-modules", kept)
            self.assertEqual(self.text(model, PROMPT, "-n", 30), CONTINUATIONS[LLAMA], kept)

    def test_linears_of_a_group_may_have_other_kept_columns(self):
        """One quantization of x cannot serve q, k and v then."""
        profile = {"octavo_profile": 1, "modules": {
            f"model.layers.0.self_attn.{name}_proj": {"in_features": 256, "features": [{"index": index, "max_abs": 9.0}]}
            for name, index in (("q", 3), ("k", 200))}}
        (self.dir / "profile.json").write_text(json.dumps(profile))
        model = self.convert(LLAMA, "--keep-columns", self.dir / "profile.json")
        self.assertEqual(self.text(model, PROMPT, "-n", 30), CONTINUATIONS[LLAMA])

    def test_names_may_lack_the_base_model(self):
        """As in the checkpoints of GPT-2 that everybody has: h.0 for transformer.h.0, and no head."""
        source = self.dir / "source"
        shutil.copytree(GPT2, source)
        content = (GPT2 / "model.safetensors").read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = {name.removeprefix("transformer."): tensor for name, tensor in json.loads(content[8:8 + size]).items()}
        text = json.dumps(header).encode()
        (source / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size:])
        self.assertEqual(self.text(self.convert(source), PROMPT, "-n", 30), CONTINUATIONS[GPT2])

    def test_stops_where_the_model_ends_its_text(self):
        following = self.ids(self.file(GPT2), "--ids", "1 2 3", "-n", 3)

        def end_with_second(config):
            config["eos_token_id"] = [4095, following[1]]
        model = self.changed(GPT2, "generation_config.json", end_with_second)
        self.assertEqual(self.ids(model, "--ids", "1 2 3", "-n", 3), following[:1])
        self.assertEqual(self.ids(model, "--ids", "1 2 3", "-n", 3, "--ignore-end"), following)
        self.assertEqual(self.ids(model, "--ids", "1 2 3", "-n", 0), [])


class Ids(GenerateTest):
    def test_ids_are_the_prompt_and_the_output(self):
        for folder, continuation in CONTINUATIONS.items():
            model = self.file(folder)
            prompt = self.ids(model, PROMPT, "--print-tokens")
            following = self.ids(model, "--ids", ",".join(map(str, prompt)), "-n", 30)
            self.assertEqual(following, self.ids(model, continuation, "--print-tokens"))

    def test_tokens_of_text_are_the_recorded_ones(self):
        """Those of Hugging Face's library: tests/peers/generate_tokens.py."""
        recorded = json.loads((pathlib.Path(__file__).parent / "tokens.json").read_text())
        for name, pre_tokenizer in recorded["pre_tokenizers"].items():
            model = self.changed(LLAMA, "tokenizer.json", lambda t, p=pre_tokenizer: t.update(pre_tokenizer=p))
            for text, ids in zip(recorded["texts"], recorded["ids"][name]):
                self.assertEqual(self.ids(model, "--print-tokens", "--", text), ids, f"{name}: {text!r}")

    def test_special_tokens_stand_around_a_text(self):
        special = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
        processor = {"type": "TemplateProcessing",
                     "single": [special, {"Sequence": {"id": "A", "type_id": 0}}, special],
                     "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [7, 8], "tokens": ["a", "b"]}}}
        model = self.changed(LLAMA, "tokenizer.json", lambda t: t.update(
            post_processor={"type": "Sequence", "processors": [{"type": "ByteLevel"}, processor]}))
        plain = self.ids(self.file(LLAMA), PROMPT, "--print-tokens")
        self.assertEqual(self.ids(model, PROMPT, "--print-tokens"), [7, 8, *plain, 7, 8])

    def test_bytes_that_are_not_utf8_come_back(self):
        broken = b"caf\xe9 \xff\xfe\xf0\x9f\x99 end \xc3"
        ids = self.ids(self.file(GPT2), "--print-tokens", stdin=broken)
        vocabulary = json.loads((GPT2 / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        byte_of = {chr(b): b for b in range(256) if 0x21 <= b <= 0x7e or (b >= 0xa1 and b != 0xad)}
        others = [b for b in range(256) if chr(b) not in byte_of]
        byte_of.update({chr(0x100 + i): b for i, b in enumerate(others)})
        symbols = {number: symbol for symbol, number in vocabulary.items()}
        self.assertEqual(bytes(byte_of[c] for i in ids for c in symbols[i]), broken)


class Sampling(GenerateTest):
    def sample(self, *options):
        return self.text(self.file(LLAMA), PROMPT, "-n", 24, *options)

    def test_is_reproducible_and_varies_with_the_seed(self):
        first = self.sample("-t", 1, "--seed", 5)
        self.assertEqual(self.sample("-t", 1, "--seed", 5), first)
        self.assertGreater(len({self.sample("-t", 1, "--seed", seed) for seed in range(6)}), 4)

    def test_a_low_temperature_is_the_likeliest_text(self):
        self.assertEqual(self.sample("-t", 0.001), self.sample())

    def test_threads_change_nothing(self):
        self.assertEqual(self.sample("-t", 1, "--threads", 1), self.sample("-t", 1, "--threads", 3))


class Logits(GenerateTest):
    IDS = "12 500 3 77 1024 9 300 41 2000 5"

    def test_each_token_has_a_row(self):
        rows = self.logits(self.file(LLAMA), "--ids", self.IDS)
        self.assertEqual(len(rows), 10)
        last = rows[-1]
        self.assertEqual(self.ids(self.file(LLAMA), "--ids", self.IDS, "-n", 1), [last.index(max(last))])

    def test_a_row_does_not_depend_on_what_follows(self):
        """With scope token, bit for bit: neither by attention nor by another batch of tokens."""
        for folder in (GPT2, LLAMA):
            for options in (["--scope", "token"], ["--skip-modules", "*"]):
                model = self.convert(folder, *options)
                whole = self.logits(model, "--ids", self.IDS)
                for count in (1, 4, 9):
                    some = self.logits(model, "--ids", " ".join(self.IDS.split()[:count]))
                    self.assertEqual(some, whole[:count], (folder.name, options, count))

    def test_the_cache_gives_what_a_batch_gives(self):
        for folder in (GPT2, LLAMA):
            for options in (["--scope", "token"], ["--skip-modules", "*"]):
                model = self.convert(folder, *options)
                following = self.ids(model, "--ids", self.IDS, "-n", 12)
                for count in (1, 7):
                    prompt = self.IDS + "".join(f" {number}" for number in following[:count])
                    self.assertEqual(self.ids(model, "--ids", prompt, "-n", 12 - count), following[count:])

    def test_a_file_that_cannot_be_written_is_an_error(self):
        self.fails(self.file(GPT2), "--ids", "1", "--logits", self.dir / "no" / "folder", says=["cannot be written"])


class Errors(GenerateTest):
    def test_help_has_examples(self):
        for flag in ("-h", "--help"):
            text = self.text(flag)
            self.assertIn("usage: generate MODEL.8vo", text)
            self.assertIn("examples:", text)

    def test_wrong_usage(self):
        model = self.file(GPT2)
        for arguments, says in (
                ([], "a model"), ([model, "a", "b"], "quotes"), ([model, "--frob"], "--frob"), ([model, "-n"], "-n wants a value"),
                ([model, "-n", "x"], '"x"'), ([model, "-t", "-1"], "-t wants"), ([model, "-t", "nan"], "-t wants"),
                ([model, "--threads", "0"], "--threads"), ([model, "--ids", "1", "a prompt"], "not both")):
            self.fails(*arguments, code=2, says=[says, "generate --help"])

    def test_models_and_files_that_are_not_there(self):
        self.fails(self.dir / "none.8vo", "x", says=["none.8vo"])
        (self.dir / "broken.8vo").write_bytes(b"no model")
        self.fails(self.dir / "broken.8vo", "x", says=["broken.8vo"])

    def test_prompts_that_cannot_be(self):
        model = self.file(GPT2)
        self.fails(model, "", says=["no token"])
        self.fails(model, "--ids", "1 4096", says=["no token 4096", "4096"])
        self.fails(model, "--ids", "1 x", says=['"x"'])
        self.fails(model, "--ids", "1 2", "-n", 255, says=["257", "256"])
        self.generate(model, "--ids", "1 2", "-n", 254, "--ignore-end")

    def test_configurations_that_it_does_not_compute(self):
        for folder, change, says in (
                (LLAMA, {"model_type": "opt"}, ['model_type is "opt"', "gpt2, llama"]),
                (LLAMA, {"model_type": "mistral", "sliding_window": 64}, ["sliding_window is 64"]),
                (LLAMA, {"hidden_act": "gelu"}, ["hidden_act", '"silu"']),
                (LLAMA, {"rope_parameters": {"rope_theta": 1.0, "rope_type": "yarn"}}, ['"yarn"', "llama3"]),
                (LLAMA, {"num_key_value_heads": 3}, ["num_key_value_heads"]),
                (LLAMA, {"num_key_value_heads": 8}, ["layer 0", "config.json"]),
                (LLAMA, {"num_hidden_layers": 7}, ["model.layers.6"]),
                (LLAMA, {"num_hidden_layers": 16_000_000}, ["config.json", "layers"]),
                (LLAMA, {"vocab_size": 4000}, ["model.embed_tokens", "4000"]),
                (LLAMA, {"vocab_size": None}, ["config.json"]),
                (LLAMA, {"max_position_embeddings": -1}, ["max_position_embeddings"]),
                (GPT2, {"activation_function": "relu"}, ["activation_function", '"gelu_new"']),
                (GPT2, {"scale_attn_by_inverse_layer_idx": True}, ["scale_attn_by_inverse_layer_idx"]),
                (GPT2, {"n_positions": 300}, ["wpe"])):
            model = self.changed(folder, "config.json", lambda config, new=change: config.update(new))
            self.fails(model, "--ids", "1", says=["config.json" if "config.json" in says else "", *says])

    def test_tokenizers_that_it_does_not_have(self):
        for change, says in (
                ({"normalizer": {"type": "NFC"}}, ["normalizer NFC"]),
                ({"pre_tokenizer": {"type": "Metaspace"}}, ["Metaspace"]),
                ({"pre_tokenizer": None}, ["pre-tokenizer"]),
                ({"model": {"type": "Unigram", "vocab": []}}, ["Unigram"]),
                ({"post_processor": {"type": "BertProcessing"}}, ["BertProcessing"])):
            model = self.changed(GPT2, "tokenizer.json", lambda tokenizer, new=change: tokenizer.update(new))
            self.fails(model, PROMPT, says=["tokenizer.json", "--ids", *says])
            self.assertEqual(len(self.ids(model, "--ids", "1 2", "-n", 2)), 2)
        model = self.changed(GPT2, "tokenizer.json", lambda tokenizer: tokenizer["model"]["merges"].append(["Q", "zq"]))
        self.fails(model, PROMPT, says=["tokenizer.json", "merge"])
        self.fails(self.changed(GPT2, "tokenizer.json", None), PROMPT, says=["tokenizer.json"])


if __name__ == "__main__":
    unittest.main()
