"""One peer of linear_bench.py in a process of its own, which says what it can do and times it when it is asked.

    linear_worker.py PEER THREADS      octavo, bitsandbytes, torch16, torch-dynamic, torch-onednn, int-mm, onnxruntime

It prints its version, then answers requests from standard input, a line each, with a line of JSON; linear_worker.h is the same in C++:

    shape FOLDER OUT IN COLD_BYTES    the weights in FOLDER (see linear_bench.py); cold weights are copies of together so many bytes
    tokens T                          x of T rows; {"variants": [{name, type, rule, weight_bytes, note}]}, after whatever is chosen by trial
    check VARIANT                     one call: FOLDER/y.f64 for the features in FOLDER/features.i64, and w.f64 if the weights are others
    time VARIANT hot|cold CALLS       after a few calls, {"seconds": of a call}

An error is an answer too: {"error": …}.
"""

import ctypes
import json
import logging
import os
import pathlib
import sys
import time
import warnings

WARM_SECONDS = 5e-3
TRIALS = 3


class Peer:
    """What all have in common: the files of a shape and of a number of tokens."""
    bytes_of_weight = 1

    def __init__(self, threads):
        self.threads = threads

    def load(self, folder, out_features, in_features, cold_bytes):
        import numpy
        self.folder, self.out_features, self.in_features = pathlib.Path(folder), out_features, in_features
        self.cold_bytes = cold_bytes
        self.codes = numpy.fromfile(self.folder / "codes.i8", "int8").reshape(out_features, in_features)
        self.absmax, self.scales = (numpy.fromfile(self.folder / f"{name}.f32", "float32") for name in ("absmax", "scales"))

    @property
    def copies(self):
        return max(2, -(-self.cold_bytes // (self.codes.size * self.bytes_of_weight)))

    def dense(self):
        """The weights in float32."""
        return self.codes * self.scales[:, None]

    def file_of_x(self, name, tokens, dtype):
        import numpy
        return numpy.fromfile(self.folder / f"{name}-{tokens}.{'i8' if dtype == 'int8' else 'f32'}", dtype)

    def x(self, tokens):
        return self.file_of_x("x", tokens, "float32").reshape(tokens, self.in_features)

    def weights(self, name, features):
        """float64 [features, in_features] where they are not the files'."""
        return None


def has_vnni():
    return "vnni" in pathlib.Path("/proc/cpuinfo").read_text()


def variant(name, dtype, rule, weight_bytes=1, note=""):
    return {"name": name, "type": dtype, "rule": rule, "weight_bytes": weight_bytes, "note": note}


def fastest(calls):
    """name -> function; the name of the fastest one, and its seconds."""
    seconds = {}
    for name, call in calls.items():
        call()
        seconds[name] = min(elapsed(call) for _ in range(TRIALS))
    best = min(seconds, key=seconds.get)
    return best, seconds[best]


def elapsed(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


class TorchPeer(Peer):
    def __init__(self, threads):
        super().__init__(threads)
        import torch
        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.inputs = {}

    def version(self):
        return f"torch {self.torch.__version__}"

    def set_tokens(self, tokens):
        x = self.torch.from_numpy(self.x(tokens))
        self.inputs = {"f16": x.half(), "bf16": x.bfloat16(), "f32": x}

    def codes_of_x(self, tokens):
        codes = self.torch.from_numpy(self.file_of_x("x-codes", tokens, "int8")).reshape(tokens, self.in_features)
        return codes, self.torch.from_numpy(self.file_of_x("x-scales", tokens, "float32"))[:, None]


class Octavo(TorchPeer):
    """octavo_forward on linears in memory, the output allocated by torch and the workspace once, as an engine would call it."""

    def version(self):
        import octavo
        return f"octavo {octavo.__version__} ({next(b.name for b in octavo.backends() if b.selected)})"

    def load(self, *shape):
        super().load(*shape)
        from octavo import _ffi
        self.ffi, self.linears, self.kept_alive = _ffi, [], []
        while len(self.linears) < self.copies:  # each has its own codes: kernels of the plain layout read them where they are
            codes, pointer = self.codes.copy(), ctypes.c_void_p()
            self.kept_alive.append(codes)
            operands = _ffi.LinearOperands(
                in_features=self.in_features, out_features=self.out_features, codes=codes.ctypes.data, scales=self.absmax.ctypes.data,
                threshold=6.0)
            _ffi.check(_ffi.lib.octavo_linear_from_memory(ctypes.byref(operands), None, ctypes.byref(pointer)))
            self.linears.append(_ffi.Handle(pointer, _ffi.lib.octavo_linear_release))

    def set_tokens(self, tokens):
        super().set_tokens(tokens)
        ffi, size = self.ffi, ctypes.c_size_t()
        first = self.linears[0].pointer
        ffi.check(ffi.lib.octavo_forward_workspace(first, ctypes.c_int64(tokens), None, ctypes.byref(size)))
        self.workspace = self.torch.empty(max(size.value, 64), dtype=self.torch.uint8)
        note = ffi.lib.octavo_linear_backend(first).decode()
        self.calls, variants = {}, []
        for dtype, number in (("f16", ffi.F16), ("bf16", ffi.BF16)):
            x = self.inputs[dtype]
            for preset, activations in (("default", "asymmetric"), ("paper", "symmetric")):
                for threshold in (6, 0):
                    options = ffi.forward_options(float(threshold), "batch", "inlier_columns", activations)
                    options.workspace, options.workspace_bytes = self.workspace.data_ptr(), self.workspace.numel()
                    rows = ffi.Tensor(x.data_ptr(), number, ffi.CPU, 0, 0, tokens, self.in_features, self.in_features)
                    y = ffi.Tensor(None, number, ffi.CPU, 0, 0, tokens, self.out_features, self.out_features)
                    name = f"{preset}-t{threshold}-{dtype}"
                    self.calls[name] = (x, y, [ctypes.byref(part) for part in (rows, y, options)])
                    variants.append(variant(name, dtype, f"octavo {threshold} {activations}", note=note))
        return variants

    def call(self, name, copy):
        x, y, arguments = self.calls[name]
        result = self.torch.empty((y.rows, y.columns), dtype=x.dtype)
        y.data = result.data_ptr()
        status = self.ffi.lib.octavo_forward(self.linears[copy].pointer, *arguments)
        if status:
            self.ffi.check(status)
        return result


class BitsAndBytes(TorchPeer):
    """What Linear8bitLt.forward does with int8 weights: bitsandbytes.matmul with a state."""

    def __init__(self, threads):
        super().__init__(threads)
        import bitsandbytes
        self.bitsandbytes = bitsandbytes

    def version(self):
        return f"bitsandbytes {self.bitsandbytes.__version__}"

    def load(self, *shape):
        super().load(*shape)
        absmax = self.torch.from_numpy(self.absmax)
        self.copied = [self.torch.from_numpy(self.codes.copy()) for _ in range(self.copies)]
        self.states = {}
        for threshold in (6, 0):
            for copy, codes in enumerate(self.copied):
                state = self.bitsandbytes.MatmulLtState()
                state.CB, state.SCB, state.threshold = codes, absmax, float(threshold)
                state.is_training = state.has_fp16_weights = False
                self.states[f"t{threshold}", copy] = state

    def set_tokens(self, tokens):
        super().set_tokens(tokens)
        return [variant(f"t{threshold}-{dtype}", dtype, "row below 6" if threshold else "row")
                for dtype in ("f16", "bf16") for threshold in (6, 0)]

    def call(self, name, copy):
        threshold, dtype = name.split("-")
        state = self.states[threshold, copy]
        return self.bitsandbytes.matmul(self.inputs[dtype], state.CB, bias=None, state=state)


class Torch16(TorchPeer):
    """torch.nn.functional.linear in bf16, and in fp16 where that is the faster one."""
    bytes_of_weight = 2

    def load(self, *shape):
        super().load(*shape)
        dense = self.torch.from_numpy(self.dense())
        self.copied = {"bf16": [dense.bfloat16()], "f16": [dense.half()]}

    def set_tokens(self, tokens):
        super().set_tokens(tokens)
        best, _ = fastest({dtype: lambda dtype=dtype: self.call(dtype, 0) for dtype in ("bf16", "f16")})
        used = {"bf16", best}
        for dtype, copies in self.copied.items():
            del copies[1:]
            if dtype in used:
                copies.extend(copies[0].clone() for _ in range(self.copies - 1))
        return [variant(dtype, dtype, "exact", 2) for dtype in sorted(used)]

    def call(self, name, copy):
        return self.torch.nn.functional.linear(self.inputs[name], self.copied[name][copy])

    def weights(self, name, features):
        return self.copied[name][0][features].double().numpy()


class TorchDynamic(TorchPeer):
    """torch.ao.quantization.quantize_dynamic with weights by row, on the engine that is fastest for these tokens. Takes and gives float32."""

    def load(self, *shape):
        super().load(*shape)
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
        torch, self.modules, self.refused = self.torch, {}, []
        linear = torch.nn.Linear(self.in_features, self.out_features, bias=False)
        linear.weight = torch.nn.Parameter(torch.from_numpy(self.dense()))
        for engine in torch.backends.quantized.supported_engines:
            if engine == "none":
                continue
            torch.backends.quantized.engine = engine
            try:
                module = quantize_dynamic(torch.nn.Sequential(linear), {torch.nn.Linear: per_channel_dynamic_qconfig}, torch.qint8)[0]
                module(torch.randn(1, self.in_features))
                self.modules[engine] = [module]
            except Exception as error:  # what an engine cannot do here is its own matter
                self.refused.append(f"{engine}: {error}")
        if not self.modules:
            raise RuntimeError("; ".join(self.refused))

    def set_tokens(self, tokens):
        super().set_tokens(tokens)
        self.engine, _ = fastest({engine: lambda engine=engine: self.call_on(engine, 0) for engine in self.modules})
        self.torch.backends.quantized.engine = self.engine
        for engine, modules in self.modules.items():
            if engine != self.engine:
                del modules[1:]
        modules = self.modules[self.engine]
        weight = modules[0].weight()
        while len(modules) < self.copies:
            module = type(modules[0])(self.in_features, self.out_features, bias_=False)
            module.set_weight_bias(weight, None)
            modules.append(module)
        return [variant("dynamic", "f32", "tensor", note=f"{self.engine}, of {', '.join(self.modules)}")]

    def call_on(self, engine, copy):
        self.torch.backends.quantized.engine = engine
        return self.modules[engine][copy](self.inputs["f32"])

    def call(self, name, copy):
        return self.modules[self.engine][copy](self.inputs["f32"])

    def weights(self, name, features):
        return self.modules[self.engine][0].weight().dequantize()[features].double().numpy()


class TorchOneDnn(TorchPeer):
    """The oneDNN inside torch with packed weights and columns scaled, through what torch.compile emits for a quantized linear; rows are
    scaled in place afterwards. x comes as int8 codes."""

    def load(self, *shape):
        super().load(*shape)
        self.packed = []
        self.columns = self.torch.from_numpy(self.scales)
        self.zero_points = self.torch.zeros(self.out_features, dtype=self.torch.int8)

    def set_tokens(self, tokens):
        torch = self.torch
        self.codes_in, self.rows = self.codes_of_x(tokens)
        codes = torch.from_numpy(self.codes)
        self.packed = [torch.ops.onednn.qlinear_prepack(codes, list(self.codes_in.shape)) for _ in range(self.copies)]
        return [variant(f"scaled-{dtype}", dtype, "codes") for dtype in ("f16", "bf16")]

    def call(self, name, copy):
        dtype = self.torch.float16 if name.endswith("-f16") else self.torch.bfloat16
        y = self.torch.ops.onednn.qlinear_pointwise(self.codes_in, 1.0, 0, self.packed[copy], self.columns, self.zero_points, None, 1.0, 0,
                                                    dtype, "none", [], "")
        return y.mul_(self.rows)


class IntMm(TorchPeer):
    """torch._int_mm: no quantization, no scales, int32 out. x comes as int8 codes."""

    def load(self, *shape):
        super().load(*shape)
        self.copied = [self.torch.from_numpy(self.codes.copy()).t() for _ in range(self.copies)]

    def set_tokens(self, tokens):
        self.codes_in, _ = self.codes_of_x(tokens)
        return [variant("int-mm", "int32", "codes")]

    def call(self, name, copy):
        return self.torch._int_mm(self.codes_in, self.copied[copy])


class OnnxRuntime(Peer):
    """quantize_dynamic's graph of a MatMul: DynamicQuantizeLinear and MatMulInteger, weights by column. Takes and gives float32."""

    def __init__(self, threads):
        super().__init__(threads)
        import onnx
        import onnxruntime
        self.onnx, self.runtime = onnx, onnxruntime
        onnxruntime.set_default_logger_severity(3)

    def version(self):
        return f"ONNX Runtime {self.runtime.__version__}"

    def load(self, *shape):
        super().load(*shape)
        from onnxruntime.quantization import QuantType, quantize_dynamic
        helper = self.onnx.helper
        rows = {name: helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, ["tokens", features])
                for name, features in (("x", self.in_features), ("y", self.out_features))}
        weight = self.onnx.numpy_helper.from_array(self.dense().T.copy(), "w")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "linear", [rows["x"]], [rows["y"]], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        plain, quantized = (str(self.folder / name) for name in ("plain.onnx", "int8.onnx"))
        self.onnx.save(model, plain)
        # Without VNNI its products of 8 bits by 8 bits saturate; its documentation asks for 7-bit weights there.
        quantize_dynamic(plain, quantized, weight_type=QuantType.QInt8, per_channel=True, reduce_range=not has_vnni())
        stored = {each.name: each for each in self.onnx.load(quantized).graph.initializer}
        self.weight_codes, self.weight_scales, self.zero_points = (
            self.onnx.numpy_helper.to_array(stored[f"w_{what}"]) for what in ("quantized", "scale", "zero_point"))
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        # The threads of one copy must not spin while another works.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.sessions = [self.runtime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"]) for _ in range(self.copies)]
        os.remove(plain)
        os.remove(quantized)

    def set_tokens(self, tokens):
        import numpy
        self.y = numpy.zeros((tokens, self.out_features), "float32")
        x, y = (self.runtime.OrtValue.ortvalue_from_numpy(array) for array in (self.x(tokens), self.y))
        self.bound, self.y = [], y
        for session in self.sessions:
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            binding.bind_ortvalue_output("y", y)
            self.bound.append(binding)
        return [variant("dynamic", "f32", "tensor")]

    def call(self, name, copy):
        self.sessions[copy].run_with_iobinding(self.bound[copy])
        return self.y

    def weights(self, name, features):
        codes = self.weight_codes[:, features].astype("float64") - self.zero_points[features]
        return (codes * self.weight_scales[features]).T


PEERS = {"octavo": Octavo, "bitsandbytes": BitsAndBytes, "torch16": Torch16, "torch-dynamic": TorchDynamic, "torch-onednn": TorchOneDnn,
         "int-mm": IntMm, "onnxruntime": OnnxRuntime}


class Server:
    def __init__(self, peer):
        self.peer, self.next = peer, 0

    def answer(self, verb, *words):
        return getattr(self, verb)(*words)

    def shape(self, folder, out_features, in_features, cold_bytes):
        self.peer.load(folder, int(out_features), int(in_features), int(cold_bytes))
        return {}

    def tokens(self, count):
        self.next = 0
        return {"variants": self.peer.set_tokens(int(count))}

    def check(self, name):
        import numpy
        features = numpy.fromfile(self.peer.folder / "features.i64", "int64")
        begin = time.perf_counter()
        y = self.peer.call(name, 0)
        seconds = time.perf_counter() - begin
        if hasattr(y, "double"):
            y = y.double()
        numpy.asarray(y.numpy(), dtype="float64")[:, features].tofile(self.peer.folder / "y.f64")
        weights = self.peer.weights(name, features)
        if weights is not None:
            numpy.ascontiguousarray(weights, dtype="float64").tofile(self.peer.folder / "w.f64")
        return {"seconds": seconds, "own_weights": weights is not None}

    def time(self, name, weights, calls):
        if weights == "hot":
            def call():
                self.peer.call(name, 0)
        else:
            def call():
                self.peer.call(name, self.next)
                self.next = (self.next + 1) % self.peer.copies
        start = time.perf_counter()
        call()
        while time.perf_counter() - start < WARM_SECONDS:
            call()
        begin = time.perf_counter()
        for _ in range(int(calls)):
            call()
        return {"seconds": (time.perf_counter() - begin) / int(calls)}


def main():
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints goes to standard error
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)

    def reply(value):
        print(json.dumps(value), file=answers, flush=True)
    try:
        peer = PEERS[sys.argv[1]](int(sys.argv[2]))
        reply({"version": peer.version()})
    except Exception as error:  # a package that is missing, a library that does not load
        reply({"error": f"{type(error).__name__}: {error}"})
        return
    server = Server(peer)
    for line in sys.stdin:
        try:
            reply(server.answer(*line.split()))
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
