// Small .8vo files with known content, one for each trait of the format. The golden files are these; tests of the format
// start from them. Uses the public interface only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/manifest.h"
#include "octavo/result.h"
#include "octavo/writer.h"

namespace octavo::testing {

// Builds a file module by module. The first error sticks and is what Finish returns.
class SampleFile {
 public:
  explicit SampleFile(const std::string& path, const format::WriterOptions& options = {});

  struct Linear {
    std::string name;
    uint64_t out_features = 4;
    uint64_t in_features = 8;
    uint64_t experts = 0;      // > 0: kind experts
    uint64_t num_kept = 0;     // kept columns
    bool has_bias = false;
    bool full_range = false;   // one code is -128
    bool zero_row = false;     // row 0 has scale 0
    format::CodeLayout layout = format::CodeLayout::kPlain;
    format::ScaleConvention convention = format::ScaleConvention::kAbsmax;
    bool has_zero_point = false;
  };
  void AddLinear(const Linear& linear);
  // A module in 16 bit (or whatever dtype) with one tensor NAME.weight.
  void AddKept(const std::string& name, format::ModuleKind kind, DType dtype, const Shape& shape);
  // A head without a tensor of its own.
  void AddTiedHead(const std::string& name, const std::string& tied_to);
  void AddAsset(const std::string& name, const std::string& content);

  format::Manifest& manifest() { return manifest_; }
  Status Finish();
  const format::Writer* writer() const { return writer_.empty() ? nullptr : &writer_.front(); }

 private:
  void Append(const std::string& name, DType dtype, const Shape& shape,
              std::span<const std::byte> raw, uint64_t matrix_rows = 0);
  void AppendBytes(const std::string& name, DType dtype, const Shape& shape);
  void AppendKept(const Linear& linear, format::Module* module);
  void AppendPerRow(const Linear& linear, const std::vector<int8_t>& codes, format::Module* module);
  std::vector<int8_t> Codes(const Linear& linear);
  void Take(const Status& status) {
    if (status_.ok()) status_ = status;
  }
  uint32_t NextRandom();

  std::vector<format::Writer> writer_;  // one, unless Create failed
  format::Manifest manifest_;
  Status status_;
  uint64_t random_ = 1;
};

struct Sample {
  std::string_view name;
  Status (*write)(const std::string& path);
};
// "plain", "zstd", "sharded", …: what tests/golden/valid holds as NAME.8vo.
std::span<const Sample> Samples();

}  // namespace octavo::testing
