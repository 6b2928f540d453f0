#include "tools/bench_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace octavo::tools {
namespace {

constexpr size_t kMaxFeatures = 1 << 20;
constexpr size_t kMaxWeights = size_t{1} << 34;

struct KnownModel {
  const char* name;
  std::vector<BenchShape> shapes;
};

const std::array<KnownModel, 5>& KnownModels() {
  static const std::array<KnownModel, 5> models = {{
      {"llama-3-8b", {{4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}}},
      {"llama-3-70b", {{8192, 8192}, {1024, 8192}, {28672, 8192}, {8192, 28672}}},
      {"opt-13b", {{5120, 5120}, {20480, 5120}, {5120, 20480}}},
      {"opt-175b", {{12288, 12288}, {49152, 12288}, {12288, 49152}}},
      {"gpt2", {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}}},
  }};
  return models;
}

// The whole text as a number from 1 to kMaxFeatures; 0 if it is none.
size_t ParseFeatures(std::string_view text) {
  size_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end && value <= kMaxFeatures ? value : 0;
}

}  // namespace

std::vector<std::string> BenchModels() {
  std::vector<std::string> names;
  for (const KnownModel& model : KnownModels()) names.emplace_back(model.name);
  return names;
}

std::vector<BenchShape> ShapesOfModel(std::string_view model) {
  for (const KnownModel& known : KnownModels()) {
    if (model == known.name) return known.shapes;
  }
  return {};
}

Result<BenchShape> ParseBenchShape(std::string_view text) {
  const size_t cross = text.find('x');
  BenchShape shape;
  if (cross != std::string_view::npos) {
    shape.out_features = ParseFeatures(text.substr(0, cross));
    shape.in_features = ParseFeatures(text.substr(cross + 1));
  }
  if (shape.out_features == 0 || shape.in_features == 0 || shape.weights() > kMaxWeights) {
    return Status(ErrorCode::kInvalidArgument,
                  "\"" + std::string(text) + "\" is no shape; expected OUTxIN, as 14336x4096");
  }
  return shape;
}

size_t BytesToMeasure(size_t most, double seconds) {
  constexpr double kLongRun = 2.0;
  constexpr size_t kLeast = size_t{64} << 20;
  const double wanted = std::min(seconds, kLongRun) / kLongRun * static_cast<double>(most);
  return std::max(kLeast, static_cast<size_t>(wanted));
}

size_t ColumnsOfShare(double share, size_t columns) {
  if (share <= 0) return 0;
  const auto nearest = static_cast<size_t>(std::llround(share * static_cast<double>(columns)));
  return std::clamp<size_t>(nearest, 1, columns);
}

}  // namespace octavo::tools
