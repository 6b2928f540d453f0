#include "libquant/dequantize.h"

#include <array>
#include <cmath>
#include <cstring>

#include "octavo/half.h"

namespace octavo::quant {
namespace {

using format::Reader;

template <typename T>
Result<std::vector<T>> ReadValues(const Reader& reader, const std::string& name) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          reader.ReadAll(*reader.FindTensor(name)));
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct ToHalf {
  uint16_t operator()(float value) const { return kernels::FloatToHalf(value); }
  static bool IsFinite(uint16_t bits) { return (bits & 0x7c00u) != 0x7c00u; }
};
struct ToBFloat16 {
  uint16_t operator()(float value) const { return kernels::FloatToBFloat16(value); }
  static bool IsFinite(uint16_t bits) { return (bits & 0x7f80u) != 0x7f80u; }
};
struct ToFloat {
  float operator()(float value) const { return value; }
  static bool IsFinite(float value) { return std::isfinite(value); }
};

}  // namespace

Result<ModuleScales> ModuleScales::Read(const Reader& reader, const format::Module& module) {
  const format::SchemeDescriptor& scheme = *module.scheme;
  ModuleScales scales;
  scales.in_features_ = module.in_features;
  scales.out_features_ = module.out_features;
  scales.is_step_ = scheme.convention == format::ScaleConvention::kStep;
  OCTAVO_ASSIGN_OR_RETURN(scales.scales_, ReadValues<float>(reader, scheme.scales));
  if (!scheme.zero_point.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(scales.zero_points_, ReadValues<int32_t>(reader, scheme.zero_point));
  }
  if (module.kept_index.empty()) return scales;
  OCTAVO_ASSIGN_OR_RETURN(scales.kept_index_, ReadValues<int32_t>(reader, module.kept_index));
  OCTAVO_ASSIGN_OR_RETURN(scales.kept_, ReadValues<uint16_t>(reader, module.kept_weight));
  scales.kept_dtype_ = reader.FindTensor(module.kept_weight)->dtype;
  for (const int32_t column : scales.kept_index_) {
    if (column < 0 || static_cast<uint64_t>(column) >= module.in_features) {
      return Status(ErrorCode::kInvalidFile,
                    "module \"" + module.name + "\": a kept column is not below in_features (R29)");
    }
  }
  return scales;
}

float ModuleScales::Step(uint64_t row) const {
  return is_step_ ? scales_[row] : scales_[row] / 127.0f;
}

float ModuleScales::Weight(uint64_t row, int32_t code) const {
  const int32_t zero_point = zero_points_.empty() ? 0 : zero_points_[row];
  const double product = static_cast<double>(code - zero_point) * static_cast<double>(scales_[row]);
  return static_cast<float>(is_step_ ? product : product / 127.0);
}

bool ModuleScales::Dequantize(std::span<const std::byte> codes, uint64_t first_row,
                              uint64_t num_rows, DType dtype, std::vector<std::byte>* out) const {
  out->resize(codes.size() * DTypeBytes(dtype));
  // A row has at most 256 different weights: they are rounded once and looked up.
  const auto fill = [&](auto round, auto* weights) {
    using Element = std::remove_pointer_t<decltype(weights)>;
    bool is_finite = true;
    for (uint64_t i = 0; i < num_rows; ++i) {
      const uint64_t row = first_row + i;
      std::array<Element, 256> table;
      for (int32_t code = -128; code < 128; ++code) {
        table[static_cast<uint8_t>(code)] = round(Weight(row, code));
      }
      const std::byte* row_codes = codes.data() + i * in_features_;
      Element* row_weights = weights + i * in_features_;
      for (uint64_t k = 0; k < in_features_; ++k) {
        row_weights[k] = table[static_cast<uint8_t>(row_codes[k])];
        is_finite = is_finite && round.IsFinite(row_weights[k]);
      }
      for (size_t j = 0; j < kept_index_.size(); ++j) {
        const uint16_t bits = kept_[j * out_features_ + row];
        row_weights[kept_index_[j]] =
            round(kept_dtype_ == DType::kF16 ? kernels::HalfToFloat(bits)
                                             : kernels::BFloat16ToFloat(bits));
      }
    }
    return is_finite;
  };
  if (dtype == DType::kF16) return fill(ToHalf(), reinterpret_cast<uint16_t*>(out->data()));
  if (dtype == DType::kBF16) return fill(ToBFloat16(), reinterpret_cast<uint16_t*>(out->data()));
  return fill(ToFloat(), reinterpret_cast<float*>(out->data()));
}

}  // namespace octavo::quant
