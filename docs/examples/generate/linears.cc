#include "linears.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

namespace generate {
namespace {

using octavo::ConstTensorView;
using octavo::DType;
using octavo::ErrorCode;
using octavo::PreparedLinear;
using octavo::Result;
using octavo::Status;
using octavo::TensorView;

// The indices of a linear's kept columns (those that are always multiplied in 16 bit). Linears
// share a quantization only where these are the same; without a profile there are none.
Result<std::vector<std::byte>> KeptColumns(const octavo::Model& model, const std::string& name) {
  const std::string& tensor = model.reader().FindModule(name)->kept_index;
  if (tensor.empty()) return std::vector<std::byte>();
  return model.reader().ReadAll(*model.reader().FindTensor(tensor));
}

Result<PreparedLinear> LoadQuantized(const octavo::Model& model, const std::string& name) {
  // Chooses the kernels of this CPU. Where they read codes as the file has them, the codes stay in
  // the mapping, and the system loads them on first use; else they are packed, here by this thread
  // alone, for other blocks are loaded beside this one.
  OCTAVO_ASSIGN_OR_RETURN(const octavo::Linear linear, model.linear(name));
  return octavo::Prepare(linear, octavo::kCpuDevice, {.parallel = octavo::kernels::SerialFor()});
}

// x in float32, as Octavo takes it: itself, or in a build with double a copy.
template <class Number>
const float* AsFloats(const Number* x, int64_t size, std::vector<float>* copy) {
  if constexpr (std::is_same_v<Number, float>) {
    return x;
  } else {
    copy->assign(x, x + size);
    return copy->data();
  }
}

// y [tokens, out_features], rows y_stride apart.
template <class Number>
Status MultiplyInto(const octavo::QuantizedActivations& x, const PreparedLinear& linear,
                    int64_t tokens, Number* y, int64_t y_stride, Workshop& workshop) {
  const int64_t out = linear.out_features();
  if constexpr (std::is_same_v<Number, float>) {
    const size_t bytes = octavo::MultiplyWorkspaceBytes(linear, tokens, workshop.ForMultiply(0));
    return octavo::Multiply(x, linear, TensorView(y, DType::kF32, tokens, out, y_stride),
                            workshop.ForMultiply(bytes));
  } else {
    std::vector<float> product(tokens * out);
    OCTAVO_RETURN_IF_ERROR(MultiplyInto(x, linear, tokens, product.data(), out, workshop));
    for (int64_t t = 0; t < tokens; ++t)
      std::copy_n(product.data() + t * out, out, y + t * y_stride);
    return {};
  }
}

}  // namespace

Result<Linears> Linears::Load(const octavo::Model& model, const std::vector<std::string>& names) {
  Linears linears;
  std::optional<std::vector<std::byte>> kept_columns;
  for (const std::string& name : names) {
    const octavo::format::Module* module = model.reader().FindModule(name);
    if (module == nullptr)
      return Status(ErrorCode::kNotFound, "the file has no module \"" + name + "\"");
    if (module->quantized) {
      OCTAVO_ASSIGN_OR_RETURN(PreparedLinear linear, LoadQuantized(model, name));
      linears.linears_.emplace_back(std::move(linear));
      OCTAVO_ASSIGN_OR_RETURN(std::vector<std::byte> columns, KeptColumns(model, name));
      if (kept_columns && columns != *kept_columns) linears.shares_quantization_ = false;
      kept_columns = std::move(columns);
    } else {
      OCTAVO_ASSIGN_OR_RETURN(KeptLinear linear, KeptLinear::Load(model, *module));
      linears.linears_.emplace_back(std::move(linear));
    }
    const auto in_features = [](const auto& linear) { return linear.in_features(); };
    if (std::visit(in_features, linears.linears_.back()) != linears.in_features())
      return Status(ErrorCode::kInvalidFile, "module \"" + name + "\" and \"" + names.front() +
                                                 "\" take inputs of different sizes");
  }
  return linears;
}

int64_t Linears::in_features() const {
  return std::visit([](const auto& linear) { return linear.in_features(); }, linears_.front());
}

int64_t Linears::out_features() const {
  int64_t sum = 0;
  for (const Linear& linear : linears_)
    sum += std::visit([](const auto& one) { return one.out_features(); }, linear);
  return sum;
}

Status Linears::Multiply(const Real* x, int64_t tokens, Real* y, Workshop& workshop) const {
  const int64_t y_stride = out_features();
  std::vector<float> copy;
  std::optional<octavo::QuantizedActivations> quantized;
  for (const Linear& linear : linears_) {
    if (const auto* kept = std::get_if<KeptLinear>(&linear)) {
      kept->Multiply(x, tokens, y, y_stride, workshop);
      y += kept->out_features();
      continue;
    }
    const PreparedLinear& int8 = std::get<PreparedLinear>(linear);
    if (!quantized || !shares_quantization_) {
      const float* from = AsFloats(x, tokens * in_features(), &copy);
      const size_t bytes = octavo::QuantizeWorkspaceBytes(int8, tokens);
      OCTAVO_ASSIGN_OR_RETURN(
          quantized,
          octavo::Quantize(int8, ConstTensorView(from, DType::kF32, tokens, in_features()), {},
                           workshop.ForQuantize(bytes)));
    }
    OCTAVO_RETURN_IF_ERROR(MultiplyInto(*quantized, int8, tokens, y, y_stride, workshop));
    y += int8.out_features();
  }
  return {};
}

}  // namespace generate
