#include "format/verify_values.h"

#include <bit>
#include <cmath>

#include "format/layout.h"

namespace octavo::format {
namespace {

constexpr float kSmallestStep = 0x1p-126f;
constexpr float kSmallestAbsmax = 127.0f * kSmallestStep;

template <typename T>
T LoadAt(std::span<const std::byte> bytes, uint64_t idx) {
  uint32_t bits = 0;
  for (size_t i = 4; i-- > 0;) bits = bits << 8 | std::to_integer<uint32_t>(bytes[4 * idx + i]);
  return std::bit_cast<T>(bits);
}

bool IsGoodScale(float scale, ScaleConvention convention) {
  const float smallest = convention == ScaleConvention::kAbsmax ? kSmallestAbsmax : kSmallestStep;
  return scale == 0 ? !std::signbit(scale) : scale >= smallest && std::isfinite(scale);
}

}  // namespace

CodeSums::CodeSums(const Module& module) : module_(module) {
  uint64_t rows = module.out_features;
  if (module.kind == ModuleKind::kExperts) rows *= module.experts;
  sums_.resize(rows);
  any_nonzero_.resize(rows);
}

void CodeSums::Add(uint64_t first_row, std::span<const std::byte> raw) {
  if (module_.scheme->layout == CodeLayout::kPlain) {
    AddPlain(first_row, raw);
  } else {
    AddPacked(first_row, raw);
  }
}

void CodeSums::AddPlain(uint64_t first_row, std::span<const std::byte> raw) {
  const uint64_t in_features = module_.in_features;
  bool has_lowest = false;
  for (uint64_t row = 0; row < raw.size() / in_features; ++row) {
    const auto* codes = reinterpret_cast<const int8_t*>(raw.data()) + row * in_features;
    int32_t sum = 0;
    int8_t lowest = 0;
    int8_t any = 0;
    for (uint64_t k = 0; k < in_features; ++k) {
      sum += codes[k];
      lowest = codes[k] < lowest ? codes[k] : lowest;
      any = static_cast<int8_t>(any | codes[k]);
    }
    sums_[first_row + row] = sum;
    any_nonzero_[first_row + row] = any != 0;
    has_lowest = has_lowest || lowest == -128;
  }
  if (has_lowest) has_lowest_.store(true, std::memory_order_relaxed);
}

// A row of the tensor is a group of four codes: [n / 16][k / 4][n % 16].
void CodeSums::AddPacked(uint64_t first_row, std::span<const std::byte> raw) {
  const uint64_t groups = RoundUp(module_.in_features, kPackedColumns) / kPackedGroup;
  const std::lock_guard lock(mutex_);
  for (uint64_t i = 0; i < raw.size(); ++i) {
    const auto code = std::to_integer<int8_t>(raw[i]);
    if (code == 0) continue;
    const uint64_t row = first_row + i / kPackedGroup;
    const uint64_t n = row / kPackedRows / groups * kPackedRows + row % kPackedRows;
    const uint64_t k = row / kPackedRows % groups * kPackedGroup + i % kPackedGroup;
    if (n >= module_.out_features || k >= module_.in_features) {
      has_padding_.store(true, std::memory_order_relaxed);
    } else {
      AddCode(n, code);
    }
  }
}

// The checks of one module, each adding a finding for the tensor that breaks the rule.
class ValueCheck {
 public:
  ValueCheck(const CodeSums& sums, const ReadTensor& read) : sums_(sums), read_(read) {}
  std::vector<Finding> Run();

 private:
  void Add(const std::string& tensor, const std::string& what) {
    findings_.push_back({.file = "", .subject = tensor, .status = {ErrorCode::kInvalidFile, what}});
  }
  // Empty, with a finding, where it cannot be read.
  std::vector<std::byte> Read(const std::string& tensor);
  void CheckCodes();
  void CheckScales();
  void CheckCodeSum();
  void CheckZeroPoint();
  void CheckKeptIndex();

  const CodeSums& sums_;
  const ReadTensor& read_;
  const Module& module_ = sums_.module_;
  const SchemeDescriptor& scheme_ = *module_.scheme;
  std::vector<Finding> findings_;
};

std::vector<Finding> ValueCheck::Run() {
  CheckCodes();
  CheckScales();
  CheckCodeSum();
  if (!scheme_.zero_point.empty()) CheckZeroPoint();
  if (!module_.kept_index.empty()) CheckKeptIndex();
  return std::move(findings_);
}

std::vector<std::byte> ValueCheck::Read(const std::string& tensor) {
  Result<std::vector<std::byte>> bytes = read_(tensor);
  if (bytes.ok()) return std::move(bytes).value();
  findings_.push_back({.file = "", .subject = tensor, .status = bytes.status()});
  return {};
}

void ValueCheck::CheckCodes() {
  if (sums_.has_lowest_ && !scheme_.full_range) {
    Add(scheme_.codes, "a code is -128, but the scheme is not full_range (R27)");
  }
  if (sums_.has_padding_) Add(scheme_.codes, "a padding code is not zero (R27)");
}

void ValueCheck::CheckScales() {
  const std::vector<std::byte> scales = Read(scheme_.scales);
  for (uint64_t row = 0; row < scales.size() / 4; ++row) {
    const float scale = LoadAt<float>(scales, row);
    if (!IsGoodScale(scale, scheme_.convention)) {
      Add(scheme_.scales, "scale " + std::to_string(row) + " is " + std::to_string(scale) +
                              ", not 0 or a finite number from the smallest scale on (R26)");
      return;
    }
    const bool is_absmax = scheme_.convention == ScaleConvention::kAbsmax;
    if (is_absmax && scale == 0 && sums_.any_nonzero_[row] != 0) {
      Add(scheme_.codes,
          "row " + std::to_string(row) + " has scale 0 and codes that are not zero (R26)");
      return;
    }
  }
}

void ValueCheck::CheckCodeSum() {
  const std::vector<std::byte> stored = Read(scheme_.code_sum);
  for (uint64_t row = 0; row < stored.size() / 4; ++row) {
    const int32_t sum = LoadAt<int32_t>(stored, row);
    if (sum == sums_.sums_[row]) continue;
    Add(scheme_.code_sum, "row " + std::to_string(row) + " has " + std::to_string(sum) +
                              ", its codes sum up to " + std::to_string(sums_.sums_[row]) +
                              " (R28)");
    return;
  }
}

void ValueCheck::CheckZeroPoint() {
  const std::vector<std::byte> stored = Read(scheme_.zero_point);
  for (uint64_t row = 0; row < stored.size() / 4; ++row) {
    const int32_t zero_point = LoadAt<int32_t>(stored, row);
    if (zero_point >= -128 && zero_point <= 127) continue;
    Add(scheme_.zero_point, "row " + std::to_string(row) + " has " + std::to_string(zero_point) +
                                ", not in [-128, 127] (R29)");
    return;
  }
}

void ValueCheck::CheckKeptIndex() {
  const std::vector<std::byte> stored = Read(module_.kept_index);
  int64_t before = -1;
  for (uint64_t i = 0; i < stored.size() / 4; ++i) {
    const int64_t column = LoadAt<int32_t>(stored, i);
    if (column > before && column < static_cast<int64_t>(module_.in_features)) {
      before = column;
      continue;
    }
    Add(module_.kept_index, "entry " + std::to_string(i) + " is " + std::to_string(column) +
                                ", not ascending and below in_features (R29)");
    return;
  }
}

std::vector<Finding> CheckValues(const CodeSums& sums, const ReadTensor& read) {
  return ValueCheck(sums, read).Run();
}

}  // namespace octavo::format
