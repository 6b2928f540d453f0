// What `octavo bench` measures: shapes, token counts, and how the activations are quantized.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/device.h"
#include "octavo/kernels.h"
#include "octavo/result.h"

namespace octavo::tools {

struct BenchShape {
  size_t out_features = 0;
  size_t in_features = 0;

  size_t weights() const { return out_features * in_features; }
  friend bool operator==(const BenchShape&, const BenchShape&) = default;
};

struct BenchSettings {
  std::vector<BenchShape> shapes;
  std::vector<size_t> tokens;
  kernels::ActivationOptions options;
  kernels::ElementType type = kernels::ElementType::kFloat16;  // of X, Y and kept weights
  double outlier_share = 0;  // of the columns; above 0 at least one
  double kept_share = 0;
  bool cold = false;
  double seconds = 0;  // of timing, all together
  Device device;
  std::string cpu;          // kernels by name; empty: the best
  int32_t num_threads = 0;  // 0: one for each CPU
};

// The models whose linears are known, in the order of help.
std::vector<std::string> BenchModels();
// The different linears of a block of that model. Requires: one of BenchModels().
std::vector<BenchShape> ShapesOfModel(std::string_view model);

// "4096x14336", out_features first. Errors: kInvalidArgument.
Result<BenchShape> ParseBenchShape(std::string_view text);

// How much memory a bandwidth is measured over: `most`, less where the whole run is to be short.
size_t BytesToMeasure(size_t most, double seconds);

// How many of `columns` a share of them is; at least 1 where the share is not 0.
size_t ColumnsOfShare(double share, size_t columns);

}  // namespace octavo::tools
