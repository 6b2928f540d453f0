// The work of `octavo bench`: make operands, check every product once, then time them in rounds.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/bench_target.h"
#include "tools/json.h"

namespace octavo::tools {

struct BenchResult {
  BenchShape shape;
  size_t tokens = 0;
  size_t outlier_columns = 0, kept_columns = 0;
  std::string product;
  std::vector<double> seconds;  // ascending, one for each round

  double median() const;
  double spread() const;  // (third quartile - first quartile) / median
};

struct BenchOutcome {
  std::string backend, device_name;
  int32_t num_threads = 0;
  BenchCeilings ceilings;
  size_t checked_outputs = 0;
  std::vector<BenchResult> results;
};

// Errors: kUnsupported (no such device or kernels; a product that is not what docs/numerics.md
// defines: nothing is timed then), kLimit (memory).
Result<BenchOutcome> RunBench(const BenchSettings& settings);

std::string BenchText(const BenchOutcome& outcome, const BenchSettings& settings);
Json BenchJson(const BenchOutcome& outcome, const BenchSettings& settings);

}  // namespace octavo::tools
