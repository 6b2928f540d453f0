"""import octavo with numpy alone: files, tensors, linears, errors, lifetimes."""

import copy
import gc
import importlib.util
import pathlib
import pickle
import subprocess
import sys
import unittest
import unittest.mock

try:
    import numpy as np
    import xxhash  # noqa: F401  of the independent reader
    import zstandard  # noqa: F401
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import octavo
from common import GPT2, LLAMA, PackageTest

import definition
from octavo_file import open_8vo, settings_of, weights_of

LINEAR = "transformer.h.5.attn.c_attn"


class Files(PackageTest):
    def test_needs_neither_torch_nor_transformers(self):
        code = "import octavo, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_what_needs_more_is_there_when_it_is_asked_for(self):
        self.assertLessEqual({"profile", "torch", "transformers"}, set(dir(octavo)))
        code = ("import sys, octavo\n"
                "sys.modules['torch'] = None\n"  # as if it were not installed
                "for name in ('profile', 'torch', 'transformers'):\n"
                "    try:\n"
                "        getattr(octavo, name)\n"
                "    except AttributeError as error:\n"
                "        assert f'octavo.{name} needs' in str(error) and 'torch' in str(error), error\n")
        subprocess.run([sys.executable, "-c", code], check=True)
        if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
            code = "import octavo; octavo.torch.Linear8bit, octavo.transformers.load, octavo.profile"
            subprocess.run([sys.executable, "-c", code], check=True)

    def test_copies_are_refused(self):
        model = octavo.open(self.converted())
        for thing in (model, model.linear(LINEAR)):
            for attempt in (copy.deepcopy, pickle.dumps):
                with self.assertRaisesRegex(TypeError, "open the file again"):
                    attempt(thing)
        with unittest.mock.patch("sys.unraisablehook") as hook:
            octavo._ffi.Handle.__new__(octavo._ffi.Handle)  # half made, and gone at once
        hook.assert_not_called()

    def test_modules_manifest_and_assets(self):
        model = octavo.open(self.converted())
        self.assertEqual(len(model.modules), 40)
        module = model.modules[LINEAR]
        self.assertEqual((module.kind, module.quantized, module.in_features, module.out_features), ("linear", True, 256, 768))
        self.assertEqual(model.quantization["threshold"], 6)
        self.assertEqual(model.asset("config.json"), (GPT2 / "config.json").read_bytes())
        self.assertIn("tokenizer.json", model.assets)
        self.assertEqual(model.manifest_json[:1], b"{")

    def test_tensors_are_the_independent_readers(self):
        for options in ((), ("--compress",)):
            path = self.converted(LLAMA, *options)
            model, file = octavo.open(path), open_8vo(str(path))
            self.assertEqual(list(model.tensors), list(file.tensors))
            for name in model.tensors:
                array = model.tensor(name)
                self.assertTrue(np.array_equal(array, np.asarray(file.tensor(name)).view(array.dtype)), name)
                self.assertFalse(array.flags.writeable)

    def test_a_sharded_model(self):
        path = self.converted(LLAMA, "--max-shard-size", "3MB")
        model, whole = octavo.open(path), octavo.open(self.converted(LLAMA))
        self.assertGreater(len(model.manifest["shards"]), 1)
        for name in whole.tensors:
            self.assertTrue(np.array_equal(model.tensor(name), whole.tensor(name)), name)

    def test_arrays_are_the_mapping(self):
        model = octavo.open(self.converted())
        first, second = (model.tensor(f"{LINEAR}.weight") for _ in range(2))
        self.assertEqual(first.ctypes.data, second.ctypes.data)

    def test_the_mapping_cannot_be_made_writable(self):
        codes = octavo.open(self.converted()).tensor(f"{LINEAR}.weight")
        with self.assertRaises(ValueError):
            codes.flags.writeable = True

    def test_names_that_c_would_cut_off(self):
        model = octavo.open(self.converted())
        for wrong in ("\0rest", "\ud800"):
            for call in (model.tensor, model.asset, model.linear, octavo.open):
                with self.assertRaisesRegex(octavo.InvalidArgumentError, "NUL|UTF-8"):
                    call((str(self.converted()) if call is octavo.open else LINEAR) + wrong)

    def test_arrays_outlive_the_model(self):
        model = octavo.open(self.converted())
        codes, linear = model.tensor(f"{LINEAR}.weight"), model.linear(LINEAR)
        total = int(codes.sum(dtype=np.int64))
        del model
        gc.collect()
        self.assertEqual(int(codes.sum(dtype=np.int64)), total)
        self.assertEqual(linear(np.ones((1, 256), np.float32)).shape, (1, 768))

    def test_to_float32(self):
        model = octavo.open(self.converted(LLAMA))
        name = "model.norm.weight"
        self.assertEqual(model.tensors[name].dtype, "BF16")
        bits = model.tensor(name)
        self.assertTrue(np.array_equal(octavo.to_float32(bits, "BF16").view(np.uint32) >> 16, bits))

    def test_verify(self):
        path = self.dir / "broken.8vo"
        content = bytearray(self.converted().read_bytes())
        octavo.open(self.converted()).verify()
        content[5000] ^= 1
        path.write_bytes(content)
        model = octavo.open(path)  # payloads are not looked at
        with self.assertRaisesRegex(octavo.NotIntactError, "R23") as caught:
            model.verify()
        self.assertEqual(caught.exception.status, 10)
        with self.assertRaises(octavo.NotIntactError):
            octavo.open(path, verify=True)

    def test_errors(self):
        with self.assertRaisesRegex(octavo.NotFoundError, "absent.8vo") as caught:
            octavo.open(self.dir / "absent.8vo")
        self.assertIsInstance(caught.exception, FileNotFoundError)
        (self.dir / "text.8vo").write_bytes(b"no file of ours" * 20)
        with self.assertRaisesRegex(octavo.InvalidFileError, "R1"):
            octavo.open(self.dir / "text.8vo")
        model = octavo.open(self.converted())
        for call in (model.tensor, model.asset, model.linear):
            with self.assertRaises(octavo.NotFoundError) as caught:
                call("nobody")
            self.assertNotIsInstance(caught.exception, FileNotFoundError)
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "not quantized"):
            model.linear("lm_head")
        self.assertTrue(issubclass(octavo.NotFoundError, KeyError) and issubclass(octavo.InvalidArgumentError, ValueError))

    def test_backends(self):
        selected = [b for b in octavo.backends() if b.selected]
        self.assertEqual(len(selected), 1)
        linear = octavo.open(self.converted()).linear(LINEAR, cpu="portable")
        self.assertEqual(linear.backend, "portable")
        with self.assertRaisesRegex(octavo.UnsupportedError, "nonsense"):
            octavo.open(self.converted()).linear(LINEAR, cpu="nonsense")
        with self.assertRaises(octavo.UnsupportedError):
            octavo.open(self.converted()).linear(LINEAR, device="cuda:77")
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "device is 'tpu'"):
            octavo.open(self.converted()).linear(LINEAR, device="tpu")


class Products(PackageTest):
    def check(self, path, name, x, **overrides):
        """y of the package, every element within the bound of docs/numerics.md."""
        file = open_8vo(str(path))
        module = next(m for m in file.modules if m["name"] == name)
        weights = weights_of(file, module)
        quantized = definition.quantize_activations(x.astype(np.float32), settings_of(file, **overrides), weights.kept_index)
        y64, magnitude = definition.multiply(x, quantized, weights)
        y = octavo.open(path).linear(name)(x, **overrides)
        self.assertEqual(y.dtype, x.dtype)
        output_type = {"float16": "F16", "float32": "F32"}[x.dtype.name]
        bad, _ = definition.violations(y, y64, magnitude, quantized, output_type)
        self.assertFalse(bad.any())
        return y

    def activations(self, tokens, features, dtype):
        x = np.random.default_rng(7).normal(0, 2, (tokens, features)).astype(dtype)
        x[0, 3] = 20
        return x

    def test_against_the_definition(self):
        results = [self.check(self.converted(), LINEAR, self.activations(5, 256, dtype), **overrides)
                   for dtype in (np.float16, np.float32)
                   for overrides in ({}, {"threshold": 0}, {"scope": "token"}, {"activations": "symmetric"},
                                     {"activations": "symmetric", "row_rule": "below_threshold", "threshold": 3})]
        self.assertFalse(np.array_equal(results[0], results[1]))

    def test_any_shape_and_stride(self):
        linear = octavo.open(self.converted()).linear(LINEAR)
        x = self.activations(6, 256, np.float32)
        y = linear(x)
        self.assertTrue(np.array_equal(linear(x.reshape(2, 3, 256)), y.reshape(2, 3, 768)))
        self.assertTrue(np.array_equal(linear(np.asfortranarray(x)), y))
        self.assertTrue(np.array_equal(linear(x[::-1])[::-1], y))
        wide = np.zeros((6, 300), np.float32)
        wide[:, :256] = x
        self.assertTrue(np.array_equal(linear(wide[:, :256]), y))
        self.assertEqual(linear(x[:0]).shape, (0, 768))
        self.assertEqual(linear(x[0], scope="token").shape, (768,))

    def test_rows_that_share_memory(self):
        """Nothing beyond the array's own memory is read: each of these has fewer elements than rows x features."""
        linear = octavo.open(self.converted()).linear(LINEAR)
        row = self.activations(1, 256, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self.activations(1, 300, np.float32)[0], 256)
        for x in (np.broadcast_to(row, (64, 256)), np.broadcast_to(row, (2, 5, 256)), windows, windows[::-1], windows[:, ::-1]):
            with self.subTest(shape=x.shape, strides=x.strides):
                self.assertTrue(np.array_equal(linear(x), linear(x.copy())))
                self.assertTrue(np.array_equal(linear.multiply(linear.quantize(x)), linear(x.copy())))

    def test_out(self):
        linear = octavo.open(self.converted()).linear(LINEAR)
        x = self.activations(2, 256, np.float16)
        out = np.empty((2, 768), np.float32)
        self.assertIs(linear(x, out=out), out)
        self.assertTrue(np.array_equal(out.astype(np.float16), linear(x)))

    def test_one_quantization_for_several(self):
        model = octavo.open(self.converted(LLAMA))
        q, k = (model.linear(f"model.layers.0.self_attn.{name}_proj") for name in "qk")
        x = self.activations(3, 256, np.float32)
        quantized = q.quantize(x)
        self.assertEqual(quantized.outlier_columns.tolist(), np.flatnonzero((abs(x) >= 6).any(axis=0)).tolist())
        self.assertTrue(np.array_equal(k.multiply(quantized), k(x)))

    def test_what_does_not_fit(self):
        linear = octavo.open(self.converted()).linear(LINEAR)
        x = self.activations(1, 256, np.float32)
        for wrong, says in ((x[:, :9], r"\[..., 256\]"), (x.astype(np.float64), "float64"), ([1.0], "list"), (np.array(1, np.float32), "shape")):
            with self.assertRaisesRegex(octavo.InvalidArgumentError, says):
                linear(wrong)
        for options, says in (({"scope": "row"}, "batch, token"), ({"threshold": -1.0}, "threshold")):
            with self.assertRaisesRegex(octavo.InvalidArgumentError, says):
                linear(x, **options)
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "out has shape"):
            linear(x, out=np.empty((1, 9), np.float32))


class Interface(unittest.TestCase):
    def test_structs_are_those_of_the_header(self):
        """Each field of octavo.h's structs, in order: the package describes them a second time."""
        import re

        from octavo import _ffi
        header = (pathlib.Path(__file__).resolve().parents[2] / "runtime/include/octavo/octavo.h").read_text()
        header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
        for name, struct in (("tensor", _ffi.Tensor), ("open_options", _ffi.OpenOptions), ("prepare_options", _ffi.PrepareOptions),
                             ("forward_options", _ffi.ForwardOptions), ("linear_operands", _ffi.LinearOperands)):
            body = re.search(rf"typedef struct octavo_{name} {{(.*?)}} octavo_{name};", header, re.DOTALL).group(1)
            fields = re.findall(r"(\w+);", body)
            self.assertEqual([field for field, _ in struct._fields_], fields, name)


if __name__ == "__main__":
    unittest.main()
