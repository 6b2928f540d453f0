"""The real bitsandbytes on the CPU, in numpy's terms. Whatever comes in is cast as bitsandbytes' own modules cast it."""

import logging
import warnings

import numpy as np
import torch

for noisy in ("bitsandbytes", "torch.utils.flop_counter"):  # casts to fp16; a missing triton
    logging.getLogger(noisy).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=RuntimeWarning)

import bitsandbytes  # noqa: E402
from bitsandbytes import functional  # noqa: E402

VERSION = bitsandbytes.__version__


def quantize_weight(weight):
    """torch [out_features, in_features] -> (CB int8, SCB float32), as Int8Params does."""
    codes, absmax, _ = functional.int8_vectorwise_quant(weight.contiguous().to(torch.float16))
    return codes.numpy(), absmax.numpy()


def quantize_activations(x, threshold):
    """torch [tokens, in_features] -> (CA int8, row statistics float32, outlier columns int32), as MatMul8bitLt does."""
    codes, statistics, columns = functional.int8_vectorwise_quant(x.to(torch.float16).clone(), threshold=threshold)
    columns = np.zeros(0, dtype=np.int32) if columns is None else columns.numpy().astype(np.int32)
    return codes.numpy(), statistics.numpy(), columns


def linear(x, weight, bias=None, threshold=6.0):
    """torch [tokens, out_features] from Linear8bitLt in evaluation mode (training mode multiplies in 16 bit on a CPU)."""
    out_features, in_features = weight.shape
    layer = bitsandbytes.nn.Linear8bitLt(
        in_features, out_features, bias=bias is not None, has_fp16_weights=False, threshold=threshold)
    layer.weight = bitsandbytes.nn.Int8Params(weight.contiguous(), requires_grad=False, has_fp16_weights=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias.clone(), requires_grad=False)
    layer = layer.to("cpu").eval()
    assert layer.weight.dtype == torch.int8
    with torch.no_grad():
        return layer(x)
