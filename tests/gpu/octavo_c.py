"""octavo.h through ctypes, for torch tensors: open a file, prepare a linear, multiply.

Only what the benchmark needs, and thin: a call costs what it would cost any engine in Python. Structs mirror the header.
"""

import ctypes
import json

import torch

DTYPES = {torch.float16: 5, torch.bfloat16: 6, torch.float32: 9}
DEVICES = {"cpu": 0, "cuda": 1}
SCOPES = {None: 0, "batch": 1, "token": 2}
ACTIVATIONS = {None: 0, "asymmetric": 1, "symmetric": 2}


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_int32), ("device_type", ctypes.c_int32),
                ("device_index", ctypes.c_int32), ("reserved", ctypes.c_int32), ("rows", ctypes.c_int64),
                ("columns", ctypes.c_int64), ("row_stride", ctypes.c_int64)]


class OpenOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("verify", ctypes.c_int32), ("num_threads", ctypes.c_int32)]


class PrepareOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("device_type", ctypes.c_int32), ("device_index", ctypes.c_int32),
                ("cpu", ctypes.c_char_p), ("check_digests", ctypes.c_int32), ("reserved", ctypes.c_int32)]


class ForwardOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("override_threshold", ctypes.c_int32),
                ("threshold", ctypes.c_float), ("scope", ctypes.c_int32), ("row_rule", ctypes.c_int32),
                ("activations", ctypes.c_int32), ("num_threads", ctypes.c_int32), ("parallel_for", ctypes.c_void_p),
                ("parallel_context", ctypes.c_void_p), ("workspace", ctypes.c_void_p),
                ("workspace_bytes", ctypes.c_size_t), ("stream", ctypes.c_void_p)]


class OctavoError(RuntimeError):
    pass


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.octavo_version.restype = ctypes.c_char_p
        self.c.octavo_last_error.restype = ctypes.c_char_p
        self.c.octavo_status_name.restype = ctypes.c_char_p
        self.c.octavo_linear_backend.restype = ctypes.c_char_p
        for name in ("octavo_model_release", "octavo_linear_release"):
            getattr(self.c, name).argtypes = [ctypes.c_void_p]
            getattr(self.c, name).restype = None
        self.c.octavo_linear_backend.argtypes = [ctypes.c_void_p]

    @property
    def version(self):
        return self.c.octavo_version().decode()

    def check(self, status):
        if status:
            name = self.c.octavo_status_name(status).decode()
            raise OctavoError(f"{name}: {self.c.octavo_last_error().decode()}")


class Model:
    def __init__(self, library, path):
        self.library, self.handle = library, ctypes.c_void_p()
        library.check(library.c.octavo_model_open(str(path).encode(), None, ctypes.byref(self.handle)))

    def manifest(self):
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.library.check(self.library.c.octavo_model_manifest(self.handle, ctypes.byref(text), ctypes.byref(size)))
        return json.loads(ctypes.string_at(text, size.value))

    def tensor(self, name, dtype):
        """A view of the mapped file; it must not outlive the model."""
        data, size, rank = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_int32()
        shape = (ctypes.c_int64 * 8)()
        self.library.check(self.library.c.octavo_model_tensor(
            self.handle, name.encode(), ctypes.byref(data), ctypes.byref(size), None, shape, ctypes.byref(rank)))
        buffer = (ctypes.c_char * size.value).from_address(data.value)
        return torch.frombuffer(buffer, dtype=dtype).reshape(list(shape[:rank.value]))

    def close(self):
        self.library.c.octavo_model_release(self.handle)
        self.handle = None


class Linear:
    """A prepared linear: its own copy of the weights on `device`."""

    def __init__(self, model, name, device):
        self.library, self.device, self.handle = model.library, device, ctypes.c_void_p()
        options = PrepareOptions(struct_size=ctypes.sizeof(PrepareOptions), device_type=DEVICES[device.type],
                                 device_index=device.index or 0)
        self.library.check(self.library.c.octavo_linear_prepare(
            model.handle, name.encode(), ctypes.c_int64(0), ctypes.byref(options), ctypes.byref(self.handle)))
        inside, outside = ctypes.c_int64(), ctypes.c_int64()
        self.library.check(self.library.c.octavo_linear_features(
            self.handle, ctypes.byref(inside), ctypes.byref(outside)))
        self.in_features, self.out_features = inside.value, outside.value

    @property
    def backend(self):
        return self.library.c.octavo_linear_backend(self.handle).decode()

    def workspace_bytes(self, tokens):
        size = ctypes.c_size_t()
        self.library.check(self.library.c.octavo_forward_workspace(
            self.handle, ctypes.c_int64(tokens), None, ctypes.byref(size)))
        return size.value

    def close(self):
        self.library.c.octavo_linear_release(self.handle)
        self.handle = None


class Caller:
    """y = forward(x) with fixed options for any linears of one shape, as an engine would call: the output is allocated
    by torch, the workspace once, and the work goes to torch's current stream."""

    def __init__(self, linear, max_tokens, threshold, scope=None, activations=None):
        self.library, self.device = linear.library, linear.device
        self.options = ForwardOptions(
            struct_size=ctypes.sizeof(ForwardOptions), override_threshold=1, threshold=threshold,
            scope=SCOPES[scope], activations=ACTIVATIONS[activations])
        size = linear.workspace_bytes(max_tokens)
        self.workspace = torch.empty(max(size, 64), dtype=torch.uint8, device=linear.device)
        self.options.workspace, self.options.workspace_bytes = self.workspace.data_ptr(), self.workspace.numel()
        kind, index = DEVICES[linear.device.type], linear.device.index or 0
        self.x = Tensor(device_type=kind, device_index=index, columns=linear.in_features)
        self.y = Tensor(device_type=kind, device_index=index, columns=linear.out_features,
                        row_stride=linear.out_features)
        self.arguments = (ctypes.byref(self.x), ctypes.byref(self.y), ctypes.byref(self.options))

    def __call__(self, linear, x):
        y = torch.empty((x.shape[0], self.y.columns), dtype=x.dtype, device=x.device)
        self.x.data, self.x.row_stride = x.data_ptr(), x.stride(0)
        self.y.data = y.data_ptr()
        self.x.rows = self.y.rows = x.shape[0]
        self.x.dtype = self.y.dtype = DTYPES[x.dtype]
        if self.device.type == "cuda":
            self.options.stream = torch.cuda.current_stream().cuda_stream
        status = self.library.c.octavo_forward(linear.handle, *self.arguments)
        if status:
            self.library.check(status)
        return y
