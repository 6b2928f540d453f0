"""docs/numerics.md in numpy: the third implementation, which checks the C++ ones from outside.

Codes and ranges in float32 as the page says, the integer product exactly, the rest in float64. Section numbers are the page's.
Matrices: x [tokens, in_features], w and codes [out_features, in_features].
"""

from dataclasses import dataclass

import numpy as np

F32 = np.float32
SMALLEST_ABSMAX = F32(127 * 2.0**-126)
SMALLEST_RANGE = F32(255 * 2.0**-126)


@dataclass
class Weights:
    """A quantized linear. `a` is float64: absmax / 127 before any rounding, or the step."""
    codes: np.ndarray
    a: np.ndarray
    zero_point: np.ndarray | None = None   # section 6
    kept_index: np.ndarray | None = None
    kept_weight: np.ndarray | None = None  # float64 [kept, out_features]
    bias: np.ndarray | None = None         # float64 [out_features]

    def codes_less_zero_point(self):
        """float64 holding integers."""
        codes = self.codes.astype(np.float64)
        return codes if self.zero_point is None else codes - self.zero_point.astype(np.float64)[:, None]


@dataclass
class Settings:
    threshold: float = 6.0
    scope: str = "batch"
    row_rule: str = "inlier_columns"
    activations: str = "asymmetric"
    via_fp16: bool = False
    one_range: bool = False  # methods tensor-wise and zeropoint-tensor


@dataclass
class Quantized:
    """q: codes less their zero point, float64 holding integers; s: float64, unrounded; g: entries multiplied unquantized."""
    q: np.ndarray
    s: np.ndarray
    g: np.ndarray
    outlier_columns: np.ndarray
    row_absmax: np.ndarray | None = None  # symmetric only, float32


def symmetric_codes(values, absmax):
    """Section 2, one absmax for each row of values."""
    with np.errstate(all="ignore"):
        inverse = F32(127) * (F32(1) / absmax)
        codes = np.clip(np.rint(values * inverse[:, None]), F32(-127), F32(127))
    return np.where(absmax[:, None] > 0, codes, F32(0))


def flush_tiny(absmax):
    return np.where(absmax < SMALLEST_ABSMAX, F32(0), absmax)


def quantize_weights(w, method="vector-wise"):
    """(codes int8, absmax float32) of a weight in any float type: sections 2 and 6, the symmetric methods."""
    w = np.asarray(w, dtype=F32)
    absmax = np.abs(w).max(axis=1, initial=0)
    if method != "vector-wise":
        absmax = np.full_like(absmax, absmax.max(initial=0))
    absmax = flush_tiny(absmax)
    return symmetric_codes(w, absmax).astype(np.int8), absmax


def asymmetric_range(lo, hi):
    """Section 3: (inverse float32, s float64, z float32) of each row; all 0 where the range is tiny."""
    with np.errstate(all="ignore"):
        r, length = hi - lo, np.full_like(hi, 255)
        halved = np.isinf(r)
        r = np.where(halved, hi / F32(2) - lo / F32(2), r)
        length = np.where(halved, F32(127.5), length)
        tiny = r < SMALLEST_RANGE
        inverse = np.where(tiny, F32(0), length / r)
        s = np.where(tiny, 0.0, r.astype(np.float64) / length)
        return inverse, s, np.rint(-lo * inverse)


def quantize_activations(x, settings, kept_index=None):
    """Section 3. x: float32 that holds the values of whatever type they came in."""
    x = np.asarray(x, dtype=F32)
    threshold, detected = F32(settings.threshold), x
    if settings.via_fp16:
        with np.errstate(over="ignore"):
            threshold, detected = F32(np.float16(threshold)), x.astype(np.float16).astype(F32)
    magnitude = np.abs(detected)
    outlier = ~np.isfinite(detected)
    if threshold > 0:
        outlier |= magnitude >= threshold
    columns = outlier.any(axis=0)
    kept = np.zeros(x.shape[1], dtype=bool)
    if kept_index is not None:
        kept[kept_index] = True

    g = (outlier | columns) if settings.scope == "batch" else outlier
    g = g | kept
    by_column = settings.row_rule == "inlier_columns" and settings.scope == "batch"
    ranged = ~((columns | kept) if by_column else (outlier | kept))
    ranged = np.broadcast_to(ranged, x.shape)

    inlier = np.where(ranged, detected, F32(0))
    if settings.activations == "symmetric":
        absmax = np.abs(inlier).max(axis=1, initial=0)
        if settings.one_range:
            absmax = np.full_like(absmax, absmax.max(initial=0))
        absmax = flush_tiny(absmax)
        q = symmetric_codes(np.where(g, F32(0), detected), absmax)
        return Quantized(q.astype(np.float64), absmax.astype(np.float64) / 127, g, np.flatnonzero(columns), absmax)

    lo, hi = inlier.min(axis=1, initial=0), inlier.max(axis=1, initial=0)
    if settings.one_range:
        lo, hi = np.full_like(lo, lo.min(initial=0)), np.full_like(hi, hi.max(initial=0))
    inverse, s, z = asymmetric_range(lo, hi)
    values = np.where(g, F32(0), detected)
    u = np.clip(np.rint(values * inverse[:, None]) + z[:, None], F32(0), F32(255))
    q = np.where(g, 0.0, u.astype(np.float64) - z[:, None])
    return Quantized(q, s, g, np.flatnonzero(columns))


def multiply(x, quantized, weights):
    """Section 4 and 5 in float64: (y64, M), M the sum of magnitudes of section 7.

    The integer product is a float64 product of integers below 2^53, so it is exact in any order.
    """
    codes = weights.codes_less_zero_point()
    acc = quantized.q @ codes.T
    int8_term = acc * quantized.s[:, None] * weights.a
    w16 = codes * weights.a[:, None]
    if weights.kept_index is not None:
        w16[:, weights.kept_index] = weights.kept_weight.T
    used = np.flatnonzero(quantized.g.any(axis=0))
    entries = np.where(quantized.g, np.asarray(x, dtype=np.float64), 0.0)[:, used]
    with np.errstate(invalid="ignore"):
        outlier_sum = entries @ w16[:, used].T
        magnitude = np.abs(int8_term) + np.abs(entries) @ np.abs(w16[:, used]).T
        y64 = int8_term + outlier_sum
    if weights.bias is not None:
        y64, magnitude = y64 + weights.bias, magnitude + np.abs(weights.bias)
    return y64, magnitude


def fused_multiply_add(a, b, c):
    """float32(a * b + c) of float32 arrays: the product is exact in float64, and the sum nearly so."""
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(F32)


def multiply_in_float32(x, quantized, weights):
    """Section 4 and 5 step by step in float32, in the order that the vector kernels of CPUs share: y, before the rounding to its type.

    The outlier sum by ascending column, then kept columns, each added with a fused multiply-add. Other orders are as right; this one lets
    two programs be compared bit for bit.
    """
    codes = weights.codes_less_zero_point()
    a, kept = weights.a.astype(F32), weights.kept_index if weights.kept_index is not None else ()
    x = np.asarray(x, dtype=F32)
    outlier_sum = np.zeros((x.shape[0], codes.shape[0]), dtype=F32)
    with np.errstate(invalid="ignore", over="ignore"):
        for k in np.setdiff1d(np.flatnonzero(quantized.g.any(axis=0)), kept):
            rows = np.flatnonzero(quantized.g[:, k])
            outlier_sum[rows] = fused_multiply_add(x[rows, k][:, None], codes[:, k].astype(F32), outlier_sum[rows])
        outlier_sum *= a
        for j, k in enumerate(kept):
            outlier_sum = fused_multiply_add(x[:, k][:, None], weights.kept_weight[j].astype(F32), outlier_sum)
        y = (quantized.q @ codes.T).astype(F32) * quantized.s.astype(F32)[:, None] * a + outlier_sum
    return y if weights.bias is None else y + weights.bias.astype(F32)


# significand bits, smallest exponent of a normal number, from where on the type rounds to infinity
OUTPUT_TYPES = {
    "F16": (10, -14, 65520.0),
    "BF16": (7, -126, 2.0**128 * (1 - 2.0**-9)),
    "F32": (23, -126, 2.0**128 * (1 - 2.0**-25)),
}


def violations(y, y64, magnitude, quantized, output_type, terms=1, g=2.0**-24):
    """Section 7: (mask of the elements of y beyond the bound, each element's error as a share of its bound)."""
    digits, smallest_exponent, overflow = OUTPUT_TYPES[output_type]
    entries = quantized.g.sum(axis=1, dtype=np.float64)[:, None]
    with np.errstate(invalid="ignore"):
        e = (entries * terms + 8) * g * magnitude + (entries + 4) * 2.0**-150
        reach = np.abs(y64) + e
        exponent = np.frexp(np.where(np.isfinite(reach), reach, 1.0))[1] - 1
        bound = np.ldexp(0.5, np.maximum(exponent, smallest_exponent) - digits) + e
        y = np.asarray(y, dtype=np.float64)
        error = np.abs(y - y64)
        good = error <= bound
        same = (y == y64) | (np.isnan(y) & np.isnan(y64))
        overflowed = np.isinf(y) & (np.sign(y) == np.sign(y64)) & (reach >= overflow)
        share = np.where(np.isfinite(y64) & np.isfinite(y), error / bound, 0.0)
    return ~(np.where(np.isfinite(y64), good | overflowed, same)), share


def relative_error(y, exact):
    """Frobenius, against the 16-bit layer in float64."""
    return float(np.linalg.norm(np.asarray(y, dtype=np.float64) - exact) / np.linalg.norm(exact))
