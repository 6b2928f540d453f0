#include "kept_linear.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "floats.h"
#include "tensors.h"

namespace generate {
namespace {

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

constexpr int64_t kRowsOfATask = 64;  // of W

// GPT-2 has its weights as [in_features, out_features], and Octavo leaves what it does not quantize
// as it was.
std::vector<std::byte> Transpose(std::span<const std::byte> from, int64_t rows, int64_t columns,
                                 int64_t element_bytes) {
  std::vector<std::byte> to(from.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(to.data() + (c * rows + r) * element_bytes,
                  from.data() + (r * columns + c) * element_bytes, element_bytes);
  return to;
}

}  // namespace

Result<KeptLinear> KeptLinear::Load(const octavo::Model& model,
                                    const octavo::format::Module& module) {
  const octavo::format::TensorEntry* tensor = model.reader().FindTensor(module.weight);
  if (tensor == nullptr || tensor->shape.rank() != 2)
    return Status(ErrorCode::kInvalidFile, "module \"" + module.name + "\" has no matrix");
  KeptLinear linear;
  linear.dtype_ = tensor->dtype;
  linear.out_features_ = static_cast<int64_t>(tensor->shape[0]);
  linear.in_features_ = static_cast<int64_t>(tensor->shape[1]);
  OCTAVO_ASSIGN_OR_RETURN(linear.weight_, ReadBytes(model, module.weight, &linear.owned_));
  if (module.transposed) {
    linear.owned_ = Transpose(linear.weight_, linear.out_features_, linear.in_features_,
                              octavo::DTypeBytes(linear.dtype_));
    linear.weight_ = linear.owned_;
    std::swap(linear.out_features_, linear.in_features_);
  }
  if (!module.bias.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(linear.bias_, ReadFloats(model, module.bias, linear.out_features_));
  }
  return linear;
}

void KeptLinear::Multiply(const Real* x, int64_t tokens, Real* y, int64_t y_stride,
                          Workshop& workshop) const {
  const int64_t row_bytes = in_features_ * octavo::DTypeBytes(dtype_);
  workshop.ForEach((out_features_ + kRowsOfATask - 1) / kRowsOfATask, [&](int64_t task) {
    const int64_t end = std::min(out_features_, (task + 1) * kRowsOfATask);
    for (int64_t t = 0; t < tokens; t += kRowsAtOnce) {
      const int64_t rows = std::min(kRowsAtOnce, tokens - t);
      for (int64_t n = task * kRowsOfATask; n < end; ++n) {
        Real sums[kRowsAtOnce];
        DotRows(weight_.data() + n * row_bytes, dtype_, in_features_, x + t * in_features_,
                in_features_, rows, sums);
        const Real bias = bias_.empty() ? 0 : bias_[n];
        for (int64_t i = 0; i < rows; ++i) y[(t + i) * y_stride + n] = sums[i] + bias;
      }
    }
  });
}

}  // namespace generate
