// The loops that all tables share: over rows of weights and of activations, a mask word at a time.
//
// In an unnamed namespace on purpose, like ymm_common.h: each file that includes this compiles its
// own copy.
//
// A file gives its way with the entries of a word as a type `Words`:
//   Values                                    the entries as floats
//   Reader(x, options, m)                     a row of X: Read and count as below
//   Range, Extend(range, values, count)       with lo_value() and hi_value()
//   Grid, Symmetric(absmax), Asymmetric(grid, offset)
//   EncodeWeights(row, type, in_features, grid, codes)   returns the sum of the codes
//   Sums, EncodeWord(values, count, grid, codes, sums), Total(sums)   writes 64 codes, 0 from count
//
// Reader::Read(word, exclude, values) widens the entries of a word with those in `exclude` and the
// outlier entries set to 0, and returns the latter; Reader::count(word) is how many there are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kWord = 64;  // entries of one mask word
constexpr int32_t kInfinityBits = 0x7f800000;

inline size_t Smaller(size_t a, size_t b) { return a < b ? a : b; }
inline size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
inline size_t WordsOf(size_t in_features) { return (in_features + kWord - 1) / kWord; }

struct Elements {  // maybe unaligned (rows of a mapped file)
  const unsigned char* data;
  ElementType type;
};

inline Elements RowOfX(const ActivationView& x, size_t m) {
  const size_t element_bytes = x.type == ElementType::kFloat32 ? 4 : 2;
  return {static_cast<const unsigned char*>(x.data) + m * x.row_stride * element_bytes, x.type};
}

// ---- Weights ----------------------------------------------------------------------------------

template <class Words>
int32_t EncodeSymmetric(const void* row, ElementType type, size_t in_features, float absmax,
                        int8_t* codes) {
  const FpEnvironment environment;
  PinToEnvironment(absmax);
  return Words::EncodeWeights(row, type, in_features, Words::Symmetric(absmax), codes);
}

template <class Words>
int32_t EncodeZeropoint(const void* row, ElementType type, size_t in_features, ZeropointGrid grid,
                        int8_t* codes) {
  const FpEnvironment environment;
  return Words::EncodeWeights(row, type, in_features, Words::Asymmetric(grid, 128), codes);
}

// ---- Activations ------------------------------------------------------------------------------

template <class Words>
void FindOutliers(const ActivationView& x, const ActivationOptions& options, size_t row_begin,
                  size_t row_end, uint64_t* mask) {
  const FpEnvironment environment;
  typename Words::Values values;
  for (size_t m = row_begin; m < row_end; ++m) {
    const typename Words::Reader reader(x, options, m);
    for (size_t w = 0; w < WordsOf(x.in_features); ++w) mask[w] |= reader.Read(w, 0, values);
  }
}

template <class Words>
void RowRanges(const ActivationView& x, const ActivationOptions& options, const uint64_t* exclude,
               size_t row_begin, size_t row_end, float* lo, float* hi) {
  const FpEnvironment environment;
  typename Words::Values values;
  for (size_t m = row_begin; m < row_end; ++m) {
    const typename Words::Reader reader(x, options, m);
    typename Words::Range range;
    for (size_t w = 0; w < WordsOf(x.in_features); ++w) {
      reader.Read(w, exclude[w], values);  // the zeros it leaves do not change the range
      Words::Extend(range, values, reader.count(w));
    }
    lo[m] = range.lo_value();
    hi[m] = range.hi_value();
  }
}

// The grid of a row's codes, with s and z.
template <class Words>
typename Words::Grid GridOfRow(Activations activations, float lo, float hi, float* scale,
                               int32_t* zero_point) {
  if (activations == Activations::kSymmetric) {
    const float absmax = StoredAbsmax(hi > -lo ? hi : -lo);
    *scale = absmax / 127.0f;
    *zero_point = 0;
    return Words::Symmetric(absmax);
  }
  const ZeropointGrid grid = MakeZeropointGrid(lo, hi);
  *scale = grid.step;
  *zero_point = grid.zero_point;
  return Words::Asymmetric(grid, 0);
}

template <class Words>
void EncodeRows(const ActivationView& x, const ActivationOptions& options, const uint64_t* exclude,
                const float* lo, const float* hi, size_t row_begin, size_t row_end, uint8_t* codes,
                size_t code_stride, float* scale, int32_t* zero_point, int32_t* code_sum,
                uint64_t* outlier_mask, size_t mask_stride) {
  const FpEnvironment environment;
  typename Words::Values values;
  for (size_t m = row_begin; m < row_end; ++m) {
    const typename Words::Reader reader(x, options, m);
    const typename Words::Grid grid =
        GridOfRow<Words>(options.activations, lo[m], hi[m], &scale[m], &zero_point[m]);
    uint8_t* row_codes = codes + m * code_stride;
    typename Words::Sums sums{};
    for (size_t w = 0; w < WordsOf(x.in_features); ++w) {
      const uint64_t outliers = reader.Read(w, exclude[w], values);
      Words::EncodeWord(values, reader.count(w), grid, row_codes + w * kWord, &sums);
      if (options.scope == Scope::kToken)
        outlier_mask[m * mask_stride + w] = outliers & ~exclude[w];
    }
    code_sum[m] = Words::Total(sums);
  }
}

}  // namespace
}  // namespace octavo::kernels
