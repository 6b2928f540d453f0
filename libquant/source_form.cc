#include "libquant/source_form.h"

#include <algorithm>
#include <array>
#include <string>

namespace octavo::quant {
namespace {

using format::ScaleConvention;
using format::SourceTensor;

constexpr uint64_t kBlock = 128;
constexpr std::string_view kAdvice = "; convert the 16-bit model it was made from instead";

// Last components that only quantizers write and that we cannot read, and what they are.
struct Mark {
  std::string_view last;
  std::string_view what;
};
constexpr Mark kMarks[] = {
    {"quant_state", "bitsandbytes' 4-bit state"},
    {"absmax", "bitsandbytes' 4-bit scales"},
    {"quant_map", "bitsandbytes' 4-bit code book"},
    {"qweight", "packed GPTQ or AWQ codes"},
    {"weight_packed", "packed compressed-tensors codes"},
    {"weight_zero_point", "zero points of a quantized weight"},
    {"weight_g_idx", "groups of a quantized weight"},
    {"weight_global_scale", "scales of a 4-bit float weight"},
    {"input_zero_point", "zero points of quantized activations"},
    {"bitmask", "a compressed sparse weight"},
    {"weight_absmax", "Octavo's own scales, of a folder made from a .8vo file"},
    {"weight_step", "Octavo's own scales, of a folder made from a .8vo file"},
};
// Those that we do read, beside the weight they belong to.
constexpr std::string_view kScb = "SCB", kFormat = "weight_format", kScale = "weight_scale",
                           kScaleInverse = "weight_scale_inv", kInputScale = "input_scale";
constexpr std::array kCompanions = {kScb, kFormat, kScale, kScaleInverse, kInputScale};

Status Refused(const std::string& why) {
  return Status(ErrorCode::kRefused,
                "the source is quantized already: " + why + std::string(kAdvice));
}

std::string_view LastOf(const std::string& name) {
  return std::string_view(name).substr(name.rfind('.') + 1);
}

// "x.SCB" of "x.weight".
const SourceTensor* Companion(const SourceTensor& weight, std::string_view last,
                              const FindTensor& find) {
  const size_t dot = weight.name.rfind('.');
  return find(weight.name.substr(0, dot + 1) + std::string(last));
}

bool IsCode(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kU8 || dtype == DType::kF8E4M3 ||
         dtype == DType::kF8E5M2;
}

std::string Describe(const SourceTensor& tensor) {
  return "\"" + tensor.name + "\" (" + std::string(DTypeName(tensor.dtype)) + " " +
         tensor.shape.ToString() + ")";
}

Status NoScales(const SourceTensor& weight, const std::string& why) {
  return Refused("the weight " + Describe(weight) + " " + why);
}

Result<WeightScales> FindInt8Scales(const SourceTensor& weight, const FindTensor& find) {
  const uint64_t rows = weight.shape[0];
  if (Companion(weight, kInputScale, find) != nullptr) {
    return NoScales(weight, "comes with fixed scales of its activations, which LLM.int8() has not");
  }
  if (const SourceTensor* scb = Companion(weight, kScb, find); scb != nullptr) {
    if (scb->dtype == DType::kF32 && scb->shape == Shape{rows}) {
      return WeightScales{WeightForm::kCodes, scb, ScaleConvention::kAbsmax};
    }
    return NoScales(weight,
                    "has scales " + Describe(*scb) + ", not F32 [" + std::to_string(rows) + "]");
  }
  if (const SourceTensor* scale = Companion(weight, kScale, find); scale != nullptr) {
    if (IsQuantizable(scale->dtype) && scale->shape == Shape{rows, 1}) {
      return WeightScales{WeightForm::kCodes, scale, ScaleConvention::kStep};
    }
    return NoScales(weight, "has scales " + Describe(*scale) + ", not one for each row: [" +
                                std::to_string(rows) + ", 1]");
  }
  return NoScales(weight, "has no scales beside it: neither SCB nor weight_scale");
}

Result<WeightScales> FindFp8Scales(const SourceTensor& weight, const FindTensor& find) {
  const SourceTensor* scale = Companion(weight, kScaleInverse, find);
  if (scale == nullptr) scale = Companion(weight, kScale, find);
  if (scale == nullptr) {
    return NoScales(weight, "has no scales beside it: neither weight_scale_inv nor weight_scale");
  }
  const uint64_t rows = weight.shape[0], columns = weight.shape[1];
  WeightScales scales{WeightForm::kFp8, scale, {}, 0, 0};
  const Shape blocks{(rows + kBlock - 1) / kBlock, (columns + kBlock - 1) / kBlock};
  if (IsQuantizable(scale->dtype)) {
    if (scale->shape.NumElements() == 1u) return scales;
    if (scale->shape == Shape{rows, 1} || scale->shape == Shape{rows}) {
      scales.block_rows = 1;
      return scales;
    }
    if (scale->shape == blocks) {
      scales.block_rows = scales.block_columns = kBlock;
      return scales;
    }
  }
  return NoScales(weight,
                  "has scales " + Describe(*scale) +
                      ", neither one, nor one for each row, nor one for each block of 128 x 128");
}

}  // namespace

Result<WeightScales> FindScales(const SourceTensor& weight, const FindTensor& find) {
  if (!IsCode(weight.dtype)) return WeightScales();
  const bool is_int8 = weight.dtype == DType::kI8;
  if (!is_int8 && weight.dtype != DType::kF8E4M3) {
    return NoScales(weight, "is of a type that cannot be taken over");
  }
  if (weight.shape.rank() != 2) return NoScales(weight, "is no matrix");
  return is_int8 ? FindInt8Scales(weight, find) : FindFp8Scales(weight, find);
}

bool IsCompanion(const SourceTensor& tensor, const FindTensor& find) {
  const std::string_view last = LastOf(tensor.name);
  if (std::ranges::find(kCompanions, last) == kCompanions.end()) return false;
  const SourceTensor* weight = Companion(tensor, "weight", find);
  return weight != nullptr && IsCode(weight->dtype);
}

Status CheckQuantizedSource(std::span<const SourceTensor> tensors, const ModelConfig& config,
                            const FindTensor& find) {
  for (const SourceTensor& tensor : tensors) {
    const std::string_view last = LastOf(tensor.name);
    const auto mark = std::ranges::find(kMarks, last, &Mark::last);
    if (mark != std::end(kMarks)) {
      return Refused("tensor \"" + tensor.name + "\" holds " + std::string(mark->what));
    }
  }
  bool has_codes = false;
  for (const SourceTensor& tensor : tensors) {
    const std::string_view last = LastOf(tensor.name);
    if (std::ranges::find(kCompanions, last) != kCompanions.end() && !IsCompanion(tensor, find)) {
      return Refused("tensor \"" + tensor.name +
                     "\" belongs to a quantized weight that is not there");
    }
    const bool is_fp8 = tensor.dtype == DType::kF8E4M3 || tensor.dtype == DType::kF8E5M2;
    if (last != "weight" && is_fp8) {
      return Refused("tensor \"" + tensor.name + "\" is fp8, and no module's \"weight\"");
    }
    if (last != "weight" || !IsCode(tensor.dtype)) continue;
    has_codes = true;
    OCTAVO_RETURN_IF_ERROR(FindScales(tensor, find).status());
  }
  if (config.has_transforms) {
    return Refused(
        "its compressed-tensors configuration rotates weights and activations (transform_config)");
  }
  if (!config.quant_method.empty() && !has_codes) {
    return Refused("config.json has a quantization_config (" + config.quant_method +
                   "), and no weight of a kind that is known");
  }
  return {};
}

}  // namespace octavo::quant
