#include "kernels/reference/llm_int8.h"

#include <algorithm>
#include <cmath>

#include "octavo/half.h"

namespace octavo::reference {
namespace {

using kernels::ActivationOptions;
using kernels::Activations;
using kernels::RangeOver;
using kernels::RowRule;
using kernels::Scope;

constexpr size_t kNotKept = SIZE_MAX;

// Section 1: rne, to the nearest integer, half to even.
float RoundToNearestEven(float value) { return std::nearbyint(value); }

float Clamp(float value, float smallest, float largest) {
  return std::min(std::max(value, smallest), largest);
}

float ToHalfAndBack(float value) { return kernels::HalfToFloat(kernels::FloatToHalf(value)); }

// Section 2: an absmax whose scale would not be a normal float counts as 0.
float StoredAbsmax(float absmax) { return absmax < 127.0f * 0x1p-126f ? 0.0f : absmax; }

// Section 2: the code of a weight, or of an activation where symmetric.
int32_t SymmetricCode(float value, float absmax) {
  if (absmax == 0.0f) return 0;
  const float inverse_step = 127.0f * (1.0f / absmax);
  return static_cast<int32_t>(Clamp(RoundToNearestEven(value * inverse_step), -127.0f, 127.0f));
}

// Section 3: the code of an activation where asymmetric, or of a weight in the zeropoint methods.
int32_t ZeropointCode(float value, const ZeropointGrid& grid) {
  const float shifted =
      RoundToNearestEven(value * grid.inverse_step) + static_cast<float>(grid.zero_point);
  return static_cast<int32_t>(Clamp(shifted, 0.0f, 255.0f));
}

// min(0, smallest) and max(0, largest) of some values.
struct Range {
  float lo = 0;
  float hi = 0;

  void Add(float value) {
    lo = std::min(lo, value);
    hi = std::max(hi, value);
  }
  void Add(const Range& other) {
    Add(other.lo);
    Add(other.hi);
  }
  float absmax() const { return std::max(hi, -lo); }
};

bool SharesOneRange(Method method) {
  return method == Method::kRowWise || method == Method::kTensorWise ||
         method == Method::kZeropointTensor;
}

// ---- Section 3: which entries are quantized, and over what range ------------------------------

// Which entries are what, and the ranges of the others.
struct Analysis {
  Matrix seen;  // X as detection and quantization see it
  std::vector<bool> outlier_entry, outlier_column, kept_column;

  bool is_outlier(size_t m, size_t k) const { return outlier_entry[m * seen.cols + k]; }
};

Analysis FindOutliers(const Matrix& x, const ActivationOptions& options,
                      const std::vector<int32_t>& kept_index) {
  Analysis a{x, std::vector<bool>(x.rows * x.cols), std::vector<bool>(x.cols),
             std::vector<bool>(x.cols)};
  float threshold = options.threshold;
  if (options.via_fp16) {
    for (float& value : a.seen.data) value = ToHalfAndBack(value);
    threshold = ToHalfAndBack(threshold);
  }
  for (const int32_t k : kept_index) a.kept_column[k] = true;
  for (size_t m = 0; m < x.rows; ++m) {
    for (size_t k = 0; k < x.cols; ++k) {
      const float value = a.seen.at(m, k);
      const bool is_outlier =
          !std::isfinite(value) || (threshold > 0.0f && std::abs(value) >= threshold);
      a.outlier_entry[m * x.cols + k] = is_outlier;
      if (is_outlier) a.outlier_column[k] = true;
    }
  }
  return a;
}

// G: the entries that are multiplied unquantized.
bool IsUnquantized(const Analysis& a, const ActivationOptions& options, size_t m, size_t k) {
  if (a.kept_column[k]) return true;
  return options.scope == Scope::kBatch ? a.outlier_column[k] : a.is_outlier(m, k);
}

// The entries that the range is taken over.
bool CountsForRange(const Analysis& a, const ActivationOptions& options, size_t m, size_t k) {
  if (a.kept_column[k] || a.is_outlier(m, k)) return false;
  const bool by_column =
      options.scope == Scope::kBatch && options.row_rule == RowRule::kInlierColumns;
  return !(by_column && a.outlier_column[k]);
}

std::vector<Range> RangesOfRows(const Analysis& a, const ActivationOptions& options) {
  std::vector<Range> ranges(a.seen.rows);
  Range all;
  for (size_t m = 0; m < a.seen.rows; ++m) {
    for (size_t k = 0; k < a.seen.cols; ++k) {
      if (CountsForRange(a, options, m, k)) ranges[m].Add(a.seen.at(m, k));
    }
    all.Add(ranges[m]);
  }
  if (options.range_over == RangeOver::kTensor) std::fill(ranges.begin(), ranges.end(), all);
  return ranges;
}

void EncodeRow(const Analysis& a, const ActivationOptions& options, const Range& range, size_t m,
               QuantizedRows& rows) {
  const bool symmetric = options.activations == Activations::kSymmetric;
  const float absmax = StoredAbsmax(range.absmax());
  const ZeropointGrid grid = symmetric ? ZeropointGrid{} : MakeZeropointGrid(range.lo, range.hi);
  rows.scale[m] = symmetric ? absmax / 127.0f : grid.step;
  rows.exact_scale[m] = symmetric ? static_cast<double>(absmax) / 127.0 : grid.exact_step;
  rows.zero_point[m] = grid.zero_point;
  for (size_t k = 0; k < a.seen.cols; ++k) {
    const size_t i = m * a.seen.cols + k;
    rows.unquantized[i] = IsUnquantized(a, options, m, k);
    // Entries of G have the code that stands for 0.
    const float value = rows.unquantized[i] ? 0.0f : a.seen.at(m, k);
    rows.codes[i] = symmetric ? SymmetricCode(value, absmax) : ZeropointCode(value, grid);
  }
}

// kept_position[k]: where column k stands among the kept ones.
std::vector<size_t> KeptPositions(const KeptColumns& kept, size_t in_features) {
  std::vector<size_t> position(in_features, kNotKept);
  for (size_t j = 0; j < kept.index.size(); ++j) position[kept.index[j]] = j;
  return position;
}

}  // namespace

ActivationOptions OptionsOf(Method method, ActivationOptions base) {
  const bool tensor = method == Method::kTensorWise || method == Method::kZeropointTensor;
  const bool zeropoint = method == Method::kZeropointTensor || method == Method::kZeropointVector;
  if (tensor) base.range_over = RangeOver::kTensor;
  if (zeropoint) base.activations = Activations::kAsymmetric;
  return base;
}

ZeropointGrid MakeZeropointGrid(float lo, float hi) {
  float range = hi - lo;
  float levels = 255.0f;
  if (range < 255.0f * 0x1p-126f) return {};
  if (std::isinf(range)) {
    range = hi / 2.0f - lo / 2.0f;
    levels = 127.5f;
  }
  ZeropointGrid grid;
  grid.inverse_step = levels / range;
  grid.step = range / levels;
  grid.exact_step = static_cast<double>(range) / static_cast<double>(levels);
  grid.zero_point = static_cast<int32_t>(RoundToNearestEven(-lo * grid.inverse_step));
  return grid;
}

// ---- Sections 2 and 6: weights ----------------------------------------------------------------

int32_t QuantizedWeights::code_less_zero_point(size_t n, size_t k) const {
  return codes[n * in_features + k] - (zero_point.empty() ? 0 : zero_point[n]);
}

float QuantizedWeights::multiplier(size_t n) const {
  return step.empty() ? absmax[n] / 127.0f : step[n];
}

double QuantizedWeights::exact_multiplier(size_t n) const {
  return step.empty() ? static_cast<double>(absmax[n]) / 127.0 : static_cast<double>(step[n]);
}

QuantizedWeights QuantizeWeights(const Matrix& w, Method method) {
  const bool zeropoint = method == Method::kZeropointTensor || method == Method::kZeropointVector;
  std::vector<Range> ranges(w.rows);
  Range all;
  for (size_t n = 0; n < w.rows; ++n) {
    for (size_t k = 0; k < w.cols; ++k) ranges[n].Add(w.at(n, k));
    all.Add(ranges[n]);
  }
  if (SharesOneRange(method)) std::fill(ranges.begin(), ranges.end(), all);

  QuantizedWeights quantized{w.rows, w.cols, {}, {}, {}, {}, {}};
  for (size_t n = 0; n < w.rows; ++n) {
    const float absmax = StoredAbsmax(ranges[n].absmax());
    const ZeropointGrid grid =
        zeropoint ? MakeZeropointGrid(ranges[n].lo, ranges[n].hi) : ZeropointGrid{};
    if (zeropoint) {
      quantized.step.push_back(grid.step);
      quantized.zero_point.push_back(grid.zero_point - 128);
    } else {
      quantized.absmax.push_back(absmax);
    }
    int32_t sum = 0;
    for (size_t k = 0; k < w.cols; ++k) {
      const float value = w.at(n, k);
      const int32_t code =
          zeropoint ? ZeropointCode(value, grid) - 128 : SymmetricCode(value, absmax);
      quantized.codes.push_back(static_cast<int8_t>(code));
      sum += code;
    }
    quantized.code_sum.push_back(sum);
  }
  return quantized;
}

// ---- Section 3: activations -------------------------------------------------------------------

QuantizedRows QuantizeActivations(const Matrix& x, const ActivationOptions& options,
                                  const std::vector<int32_t>& kept_index) {
  const Analysis analysis = FindOutliers(x, options, kept_index);
  const std::vector<Range> ranges = RangesOfRows(analysis, options);
  QuantizedRows rows{x.rows,
                     x.cols,
                     std::vector<bool>(x.rows * x.cols),
                     {},
                     std::vector<int32_t>(x.rows * x.cols),
                     std::vector<float>(x.rows),
                     std::vector<double>(x.rows),
                     std::vector<int32_t>(x.rows)};
  for (size_t k = 0; k < x.cols; ++k) {
    if (analysis.outlier_column[k] && !analysis.kept_column[k]) {
      rows.outlier_columns.push_back(static_cast<int32_t>(k));
    }
  }
  for (size_t m = 0; m < x.rows; ++m) EncodeRow(analysis, options, ranges[m], m, rows);
  return rows;
}

// ---- Sections 4 and 5: the product ------------------------------------------------------------

std::vector<int64_t> Accumulate(const QuantizedRows& x, const QuantizedWeights& w) {
  std::vector<int64_t> acc(x.tokens * w.out_features);
  for (size_t m = 0; m < x.tokens; ++m) {
    for (size_t n = 0; n < w.out_features; ++n) {
      int64_t sum = 0;
      for (size_t k = 0; k < x.in_features; ++k) {
        const int64_t activation = x.codes[m * x.in_features + k] - x.zero_point[m];
        sum += activation * w.code_less_zero_point(n, k);
      }
      acc[m * w.out_features + n] = sum;
    }
  }
  return acc;
}

Matrix Multiply(const Matrix& x, const QuantizedRows& rows, const QuantizedWeights& weights,
                const KeptColumns& kept, const std::vector<float>& bias) {
  const std::vector<int64_t> acc = Accumulate(rows, weights);
  const std::vector<size_t> kept_position = KeptPositions(kept, x.cols);
  Matrix y(x.rows, weights.out_features);
  for (size_t m = 0; m < x.rows; ++m) {
    for (size_t n = 0; n < weights.out_features; ++n) {
      const float a = weights.multiplier(n);
      float outliers = 0.0f, kept_sum = 0.0f;
      for (size_t k = 0; k < x.cols; ++k) {
        if (!rows.unquantized[m * x.cols + k]) continue;
        if (kept_position[k] == kNotKept) {
          outliers += x.at(m, k) * static_cast<float>(weights.code_less_zero_point(n, k));
        } else {
          kept_sum += x.at(m, k) * kept.weight.at(kept_position[k], n);
        }
      }
      const float int8_term =
          (static_cast<float>(acc[m * weights.out_features + n]) * rows.scale[m]) * a;
      y.at(m, n) = int8_term + (outliers * a + kept_sum);
      if (!bias.empty()) y.at(m, n) += bias[n];
    }
  }
  return y;
}

// Section 7.
std::vector<ExactOutput> MultiplyExactly(const Matrix& x, const QuantizedRows& rows,
                                         const QuantizedWeights& weights, const KeptColumns& kept,
                                         const std::vector<float>& bias) {
  const std::vector<int64_t> acc = Accumulate(rows, weights);
  const std::vector<size_t> kept_position = KeptPositions(kept, x.cols);
  std::vector<ExactOutput> outputs(acc.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const size_t m = i / weights.out_features, n = i % weights.out_features;
    const double a = weights.exact_multiplier(n);
    const double sum = static_cast<double>(acc[i]) * rows.exact_scale[m];
    ExactOutput& out = outputs[i];
    double outliers = 0, kept_sum = 0, magnitude = 0, code_magnitude = 0;
    for (size_t k = 0; k < x.cols; ++k) {
      if (!rows.unquantized[m * x.cols + k]) continue;
      ++out.unquantized;
      const bool is_kept = kept_position[k] != kNotKept;
      const double code = weights.code_less_zero_point(n, k);
      const double product =
          x.at(m, k) * (is_kept ? static_cast<double>(kept.weight.at(kept_position[k], n)) : code);
      (is_kept ? kept_sum : outliers) += product;
      if (!std::isfinite(product)) continue;  // then y is not finite either, and has no bound
      code_magnitude += std::abs(product);
      magnitude += std::abs(is_kept ? product : product * a);
    }
    const double bias_term = bias.empty() ? 0.0 : bias[n];
    out.y = (sum * a + (outliers * a + kept_sum)) + bias_term;
    out.magnitude = std::abs(sum * a) + magnitude + std::abs(bias_term);
    out.may_overflow = std::max({std::abs(sum), code_magnitude, out.magnitude}) >= 0x1p127;
  }
  return outputs;
}

}  // namespace octavo::reference
