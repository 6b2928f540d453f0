#include "tools/bench_operands.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "octavo/half.h"

namespace octavo::tools {
namespace {

constexpr std::align_val_t kAlignment{64};

// SplitMix64: good enough for weights, and one state for each row.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

  uint64_t Bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }  // [0, 1)
  // Sum of four bytes: a bell of deviation 148 on [-510, 510].
  int32_t Bell() {
    const uint64_t bits = Bits();
    int32_t sum = -510;
    for (int byte = 0; byte < 4; ++byte) sum += static_cast<int32_t>((bits >> (8 * byte)) & 0xff);
    return sum;
  }

 private:
  uint64_t state_;
};

uint16_t Narrow16(float value, kernels::ElementType type) {
  return type == kernels::ElementType::kBFloat16 ? kernels::FloatToBFloat16(value)
                                                 : kernels::FloatToHalf(value);
}

void Store(std::byte* data, size_t i, float value, kernels::ElementType type) {
  if (type == kernels::ElementType::kFloat32) {
    reinterpret_cast<float*>(data)[i] = value;
  } else {
    reinterpret_cast<uint16_t*>(data)[i] = Narrow16(value, type);
  }
}

// `count` columns of [0, columns) that are not in `taken`, ascending. Requires: there are as many.
std::vector<int32_t> ChooseColumns(size_t count, size_t columns, const std::vector<int32_t>& taken,
                                   Random& random) {
  std::vector<bool> used(columns);
  for (const int32_t column : taken) used[static_cast<size_t>(column)] = true;
  std::vector<int32_t> chosen;
  while (chosen.size() < count) {
    const size_t column = random.Bits() % columns;
    if (used[column]) continue;
    used[column] = true;
    chosen.push_back(static_cast<int32_t>(column));
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace

AlignedBytes::AlignedBytes(size_t bytes)
    : memory_(static_cast<std::byte*>(::operator new(bytes, kAlignment))), bytes_(bytes) {}

void AlignedBytes::Delete::operator()(std::byte* memory) const {
  ::operator delete(memory, kAlignment);
}

BenchWeights::BenchWeights(const BenchShape& shape, const BenchSettings& settings,
                           const kernels::ParallelFor& parallel)
    : shape_(shape),
      kept_type_(settings.type == kernels::ElementType::kBFloat16 ? kernels::ElementType::kBFloat16
                                                                  : kernels::ElementType::kFloat16),
      codes_(shape.weights()),
      absmax_(shape.out_features),
      multiplier_(shape.out_features),
      code_sum_(shape.out_features) {
  const auto fill_row = [](void* context, int64_t row) {
    auto& self = *static_cast<BenchWeights*>(context);
    const auto n = static_cast<size_t>(row);
    Random random(n);
    auto* codes = reinterpret_cast<int8_t*>(self.codes_.data()) + n * self.shape_.in_features;
    int32_t sum = 0;
    for (size_t k = 0; k < self.shape_.in_features; ++k) {
      codes[k] = static_cast<int8_t>(random.Bell() / 4);
      sum += codes[k];
    }
    self.code_sum_[n] = sum;
    self.absmax_[n] = static_cast<float>(0.05 + 0.05 * random.Uniform());
    self.multiplier_[n] = self.absmax_[n] / 127.0f;
  };
  parallel.run(parallel.context, static_cast<int64_t>(shape.out_features), fill_row, this);

  Random random(shape.weights());
  kept_index_ = ChooseColumns(ColumnsOfShare(settings.kept_share, shape.in_features),
                              shape.in_features, {}, random);
  kept_weight_.resize(kept_index_.size() * shape.out_features);
  for (uint16_t& weight : kept_weight_)
    weight = Narrow16(static_cast<float>(random.Bell()) * 1e-4f, kept_type_);
}

kernels::LinearView BenchWeights::view() const {
  kernels::LinearView view;
  view.out_features = shape_.out_features;
  view.in_features = shape_.in_features;
  view.codes = reinterpret_cast<const int8_t*>(codes_.data());
  view.multiplier = multiplier_.data();
  view.code_sum = code_sum_.data();
  view.num_kept = kept_index_.size();
  view.kept_index = kept_index_.data();
  view.kept_weight = kept_weight_.data();
  view.kept_type = kept_type_;
  return view;
}

BenchActivations MakeActivations(size_t tokens, size_t in_features,
                                 const std::vector<int32_t>& kept_index,
                                 const BenchSettings& settings) {
  const float threshold = settings.options.threshold > 0 ? settings.options.threshold : 6.0f;
  BenchActivations activations;
  activations.memory = AlignedBytes(tokens * in_features * kernels::ElementBytes(settings.type));
  activations.view = {activations.memory.data(), settings.type, tokens, in_features, in_features};
  Random random(in_features + tokens);
  const size_t free_columns = in_features - kept_index.size();
  const size_t wanted = ColumnsOfShare(settings.outlier_share, in_features);
  std::vector<bool> is_outlier(in_features);
  for (const int32_t k :
       ChooseColumns(std::min(wanted, free_columns), in_features, kept_index, random))
    is_outlier[static_cast<size_t>(k)] = true;
  for (size_t i = 0; i < tokens * in_features; ++i) {
    const double bell = random.Bell() / 148.0;  // deviation 1, below 3.5
    double value = bell / 6 * threshold;
    if (is_outlier[i % in_features])
      value = std::copysign((1.3 + 4 * random.Uniform()) * threshold, bell);
    Store(activations.memory.data(), i, static_cast<float>(value), settings.type);
  }
  const bool found = settings.options.threshold > 0;
  activations.outlier_columns = found ? std::min(wanted, free_columns) : 0;
  return activations;
}

}  // namespace octavo::tools
