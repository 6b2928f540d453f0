"""octavo.torch: Linear8bit and its operator, through autograd, torch.compile and torch.export. In the environment of the peers."""

import copy
import gc
import os
import subprocess
import sys
import unittest

import torch

import octavo
import octavo.torch
from common import GPT2, LLAMA, OCTAVO, PackageTest, convert
from octavo.torch import Linear8bit, Settings, dequantize

LINEAR = "transformer.h.5.attn.c_attn"
UP = "model.layers.0.mlp.up_proj"


class Linears(PackageTest):
    def setUp(self):
        torch.manual_seed(3)
        self.model = octavo.open(self.converted())
        self.linear = Linear8bit.from_file(self.model, LINEAR)
        self.x = torch.randn(2, 3, 256)
        self.x[0, 1, 7] = 20

    def test_is_the_files_linear(self):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            x = self.x.to(dtype)
            expected = self.model.linear(LINEAR)(x)
            self.assertEqual(expected.dtype, dtype)
            self.assertTrue(torch.equal(self.linear(x), expected))
            self.assertTrue(torch.equal(torch.ops.octavo.linear(x, *self.linear.operands(), *self.linear.settings.scalars), expected))

    def test_codes_are_the_files_pages(self):
        """A file's tensor and its module's buffer are one memory; writing there never reaches the file."""
        before = self.converted().read_bytes()
        weight = octavo.torch.tensor(self.model, "transformer.wte.weight")
        weight.zero_()
        self.assertEqual(self.converted().read_bytes(), before)
        self.assertEqual(self.linear.weight.dtype, torch.int8)
        self.assertFalse(self.model.tensor(f"{LINEAR}.weight") is None)

    def test_outlives_the_model(self):
        expected = self.linear(self.x)
        del self.model
        gc.collect()
        self.assertTrue(torch.equal(self.linear(self.x), expected))

    def test_expanded_and_strided_inputs(self):
        row = self.x[0, 1]
        expected = self.linear(row[None].repeat(4, 1))
        self.assertTrue(torch.equal(self.linear(row.expand(4, 256)), expected))
        turned = self.x[0].t().contiguous().t()
        self.assertTrue(torch.equal(self.linear(turned), self.linear(self.x[0])))

    def test_the_negative_bit(self):
        """A view that torch negates only when it is read: the memory has the opposite."""
        x = self.x[0]
        for linear in (self.linear, self.model.linear(LINEAR)):
            self.assertTrue(torch.equal(linear(torch._neg_view(x)), linear(-x)))
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "out is"):
            self.model.linear(LINEAR)(x, out=torch._neg_view(torch.empty(3, 768)))

    def test_no_tokens(self):
        self.assertEqual(self.linear(self.x[:0]).shape, (0, 3, 768))

    def test_settings(self):
        quiet = Linear8bit.from_file(self.model, LINEAR)
        quiet.settings = Settings(threshold=0)
        quiet._forget()
        self.assertFalse(torch.equal(quiet(self.x), self.linear(self.x)))
        self.assertTrue(torch.equal(quiet(self.x), self.model.linear(LINEAR)(self.x, threshold=0.0)))
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "threshold"):
            Settings(threshold=-1)

    def test_kept_columns(self):
        profile = self.dir / "profile.json"
        profile.write_text('{"octavo_profile": 1, "modules": {"%s": {"in_features": 256, "features": '
                           '[{"index": 3, "max_abs": 9}, {"index": 41, "max_abs": 50}]}}}' % LINEAR)
        model = octavo.open(self.converted(GPT2, "--keep-columns", profile))
        linear = Linear8bit.from_file(model, LINEAR)
        self.assertEqual(linear.weight_kept_index.tolist(), [3, 41])
        self.assertTrue(torch.equal(linear(self.x), model.linear(LINEAR)(self.x)))
        exact = linear.dequantize()[:, 41]
        self.assertTrue(torch.equal(exact, linear.weight_kept[1].float()))

    def test_packed_and_compressed_files(self):
        path = self.converted()
        for options in (("--layout", "vnni16x4-1"), ("--compress",)):
            other = self.dir / f"{options[0]}.8vo"
            subprocess.run([OCTAVO, "repack", path, "-o", other, "--force", "--quiet", *options], check=True)
            linear = Linear8bit.from_file(octavo.open(other), LINEAR)
            self.assertTrue(torch.equal(linear.weight, self.linear.weight))
            self.assertTrue(torch.equal(linear(self.x), self.linear(self.x)))

    def test_errors(self):
        with self.assertRaisesRegex(octavo.InvalidArgumentError, r"\[..., 256\]"):
            self.linear(self.x[..., :9])
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "float64"):
            self.linear(self.x.double())
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "not quantized"):
            Linear8bit.from_file(self.model, "lm_head")
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "scales is torch.float16"):
            torch.ops.octavo.linear(self.x, self.linear.weight, self.linear.weight_absmax.half(), None, None, None, None, None,
                                    *self.linear.settings.scalars)

    def test_state_dict_and_copies(self):
        state = self.linear.state_dict()
        self.assertEqual(set(state), {"weight", "weight_absmax", "bias"})
        other = Linear8bit(256, 768, True)
        other.load_state_dict(state)
        for linear in (other, copy.deepcopy(self.linear)):
            self.assertTrue(torch.equal(linear(self.x), self.linear(self.x)))
        moved = other.to(torch.bfloat16)
        self.assertEqual((moved.weight.dtype, moved.bias.dtype), (torch.int8, torch.bfloat16))

    def test_to_another_type_keeps_the_scales(self):
        expected = self.linear(self.x)
        self.linear.half()
        self.assertEqual(self.linear.weight_absmax.dtype, torch.float32)
        self.assertTrue(torch.equal(self.linear(self.x), expected))

    def test_new_content_is_seen(self):
        """What is prepared belongs to the codes that were there, not to the module or the address."""
        other = Linear8bit.from_file(self.model, "transformer.h.2.attn.c_attn")
        expected = other(self.x)
        self.assertFalse(torch.equal(self.linear(self.x), expected))
        self.linear.load_state_dict(other.state_dict(), assign=True)
        self.assertTrue(torch.equal(self.linear(self.x), expected))

    def test_load_state_dict_replaces_everything(self):
        """Also what a file had given besides (the sums of the codes), and what was prepared from memory that keeps its address."""
        names = [f"transformer.h.{i}.attn.c_attn" for i in (2, 3)]
        states, expected = [], []
        for name in names:
            other = Linear8bit.from_file(self.model, name)
            states.append({key: tensor.clone() for key, tensor in other.state_dict().items()})
            expected.append(other(self.x))
        for assign in (False, True):
            for used_before in (False, True):
                with self.subTest(assign=assign, used_before=used_before):
                    linear = Linear8bit.from_file(self.model, LINEAR)
                    if used_before:
                        linear(self.x)
                    for state, y in zip(states, expected, strict=True):
                        linear.load_state_dict({key: tensor.clone() for key, tensor in state.items()}, assign=assign)
                        self.assertTrue(torch.equal(linear(self.x), y))

    def test_what_is_prepared_is_found_by_all_of_its_operands(self):
        square = Linear8bit.from_file(self.model, "transformer.h.5.attn.c_proj")
        codes, scales = square.weight.clone(), square.weight_absmax
        sums = codes.sum(dim=1, dtype=torch.int32)

        def multiply(codes, code_sum=None):
            return torch.ops.octavo.linear(self.x, codes, scales, None, None, None, None, code_sum, *square.settings.scalars)
        y = multiply(codes)
        self.assertTrue(torch.equal(multiply(codes.t()), multiply(codes.t().contiguous())))
        self.assertFalse(torch.equal(multiply(codes.t()), y))
        self.assertFalse(torch.equal(multiply(codes, sums + 999), y))
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "torch.uint8"):
            multiply(codes.view(torch.uint8))

    def test_a_file_that_was_replaced(self):
        for options in ((), ("--max-shard-size", "1MB")):
            path = self.dir / "replaced.8vo"
            convert(LLAMA, path, *options)
            model = octavo.open(path)
            stored = [path.parent / shard["name"] for shard in model.manifest.get("shards", [])] or [path]
            other = convert(LLAMA, self.dir / "other.8vo", "--method", "row-wise", *options)
            others = [other.parent / shard["name"] for shard in octavo.open(other).manifest.get("shards", [])] or [other]
            for old, new in zip(stored, others, strict=True):
                os.replace(new, old)
            with self.assertRaisesRegex(octavo.InvalidArgumentError, f"{stored[0].name}.*replaced"):
                octavo.torch.tensor(model, next(iter(model.tensors)))

    def test_nothing_prepared_outlives_its_codes(self):
        before = len(octavo.torch._prepared)
        linear = Linear8bit.from_file(octavo.open(self.converted()), LINEAR)
        linear(self.x)
        self.assertEqual(len(octavo.torch._prepared), before + 1)
        del linear
        gc.collect()
        self.assertEqual(len(octavo.torch._prepared), before)


class Autograd(PackageTest):
    def setUp(self):
        torch.manual_seed(4)
        self.linear = Linear8bit.from_file(octavo.open(self.converted()), LINEAR)

    def test_gradient_of_x(self):
        x = torch.randn(5, 256, requires_grad=True)
        grad = torch.randn(5, 768)
        y = self.linear(x)
        self.assertTrue(torch.equal(y, self.linear(x.detach())))
        y.backward(grad)
        self.assertTrue(torch.allclose(x.grad, grad @ self.linear.dequantize(), rtol=1e-5, atol=1e-5))

    def test_gradient_of_the_bias(self):
        self.linear.bias.requires_grad_()
        grad = torch.randn(5, 768, dtype=torch.float16)
        self.linear(torch.randn(5, 256, dtype=torch.float16)).backward(grad)
        self.assertTrue(torch.allclose(self.linear.bias.grad, grad.sum(0)))

    def test_dequantize_with_zero_points(self):
        codes, points = torch.tensor([[3, -4]], dtype=torch.int8), torch.tensor([1], dtype=torch.int32)
        self.assertEqual(dequantize(codes, torch.tensor([0.5]), zero_point=points, step=True).tolist(), [[1.0, -2.5]])


class Compiled(PackageTest):
    def setUp(self):
        torch.manual_seed(5)
        model = octavo.open(self.converted(LLAMA))
        self.block = torch.nn.Sequential(Linear8bit.from_file(model, UP), torch.nn.SiLU(),
                                         Linear8bit.from_file(model, UP.replace("up", "down")))
        self.x = torch.randn(4, 256)

    def test_no_graph_break(self):
        explained = torch._dynamo.explain(self.block)(self.x)
        self.assertEqual((explained.graph_count, explained.graph_break_count), (1, 0), explained.break_reasons)

    def test_compiled_gives_the_same(self):
        torch._dynamo.reset()
        compiled = torch.compile(self.block, fullgraph=True, backend="aot_eager")
        self.assertTrue(torch.equal(compiled(self.x), self.block(self.x)))
        x, again = (self.x.clone().requires_grad_() for _ in range(2))
        compiled(x).sum().backward()
        self.block(again).sum().backward()
        self.assertTrue(torch.allclose(x.grad, again.grad))

    def test_the_operator_is_well_behaved(self):
        """torch's own checks: schema, fake implementation, autograd, dynamic shapes."""
        linear = self.block[0]
        torch.library.opcheck(torch.ops.octavo.linear.default,
                              (self.x.clone().requires_grad_(), *linear.operands(), *linear.settings.scalars))

    def test_an_exported_program_runs_in_a_new_process(self):
        tokens = torch.export.Dim("tokens", min=2, max=64)
        program = torch.export.export(self.block, (self.x,), dynamic_shapes=({0: tokens},))
        calls = [node for node in program.graph.nodes if node.target is torch.ops.octavo.linear.default]
        self.assertEqual(len(calls), 2)
        torch.export.save(program, self.dir / "block.pt2")
        x = torch.randn(7, 256)
        torch.save({"x": x, "y": self.block(x)}, self.dir / "expected.pt")
        code = ("import sys, torch, octavo.torch\n"
                "program = torch.export.load(sys.argv[1]).module()\n"
                "expected = torch.load(sys.argv[2])\n"
                "assert torch.equal(program(expected['x']), expected['y'])\n")
        subprocess.run([sys.executable, "-c", code, self.dir / "block.pt2", self.dir / "expected.pt"], check=True)


if __name__ == "__main__":
    unittest.main()
