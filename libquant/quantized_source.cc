#include "libquant/quantized_source.h"

#include <string>

namespace octavo::quant {
namespace {

constexpr std::string_view kAdvice = "; convert the 16-bit model it was made from instead";

// Last components that only quantizers write, and who does.
struct Mark {
  std::string_view last;
  std::string_view what;
};
constexpr Mark kMarks[] = {
    {"SCB", "bitsandbytes' int8 scales"},
    {"weight_format", "bitsandbytes' weight layout"},
    {"quant_state", "bitsandbytes' 4-bit state"},
    {"qweight", "packed GPTQ or AWQ codes"},
    {"weight_packed", "packed compressed-tensors codes"},
    {"weight_scale", "scales of a quantized weight"},
    {"weight_scale_inv", "scales of an fp8 weight"},
    {"weight_zero_point", "zero points of a quantized weight"},
};

Status Refused(const std::string& why) {
  return Status(ErrorCode::kRefused,
                "the source is quantized already: " + why + std::string(kAdvice));
}

bool IsCode(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kU8 || dtype == DType::kF8E4M3 ||
         dtype == DType::kF8E5M2;
}

}  // namespace

Status RefuseQuantizedSource(std::span<const format::SourceTensor> tensors,
                             const ModelConfig& config) {
  if (!config.quant_method.empty()) {
    return Refused("config.json has a quantization_config (" + config.quant_method + ")");
  }
  for (const format::SourceTensor& tensor : tensors) {
    const std::string_view last = std::string_view(tensor.name).substr(tensor.name.rfind('.') + 1);
    for (const Mark& mark : kMarks) {
      if (last == mark.last) {
        return Refused("tensor \"" + tensor.name + "\" holds " + std::string(mark.what));
      }
    }
    if (IsCode(tensor.dtype) && last == "weight") {
      return Refused("tensor \"" + tensor.name + "\" is a weight of type " +
                     std::string(DTypeName(tensor.dtype)));
    }
  }
  return {};
}

}  // namespace octavo::quant
