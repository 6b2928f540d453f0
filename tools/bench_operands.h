// Synthetic linears and activations that look like real ones: weights near normal, a few columns of
// X beyond the threshold. The same numbers every time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "octavo/kernels.h"
#include "tools/bench_settings.h"

namespace octavo::tools {

// 64-byte aligned memory, not initialized. Move-only.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(size_t bytes);

  std::byte* data() const { return memory_.get(); }
  size_t size() const { return bytes_; }

 private:
  struct Delete {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Delete> memory_;
  size_t bytes_ = 0;
};

// An int8 linear in host memory, codes in layout plain.
class BenchWeights {
 public:
  BenchWeights(const BenchShape& shape, const BenchSettings& settings,
               const kernels::ParallelFor& parallel);

  kernels::LinearView view() const;
  const std::vector<float>& absmax() const { return absmax_; }
  const std::vector<int32_t>& kept_index() const { return kept_index_; }

 private:
  BenchShape shape_;
  kernels::ElementType kept_type_;
  AlignedBytes codes_;
  std::vector<float> absmax_, multiplier_;
  std::vector<int32_t> code_sum_, kept_index_;
  std::vector<uint16_t> kept_weight_;
};

struct BenchActivations {
  AlignedBytes memory;
  kernels::ActivationView view;
  size_t outlier_columns = 0;  // what detection finds: none of them is a kept column
};

// Rows of `settings.type`. In ColumnsOfShare(outlier_share) columns, none of them kept, every entry
// is an outlier; no other entry is.
BenchActivations MakeActivations(size_t tokens, size_t in_features,
                                 const std::vector<int32_t>& kept_index,
                                 const BenchSettings& settings);

}  // namespace octavo::tools
