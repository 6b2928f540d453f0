#include "linears.h"

#include <optional>
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

Status Linears::Multiply(const float* x, int64_t tokens, float* y, Workshop& workshop) const {
  const int64_t y_stride = out_features();
  std::optional<octavo::QuantizedActivations> quantized;
  for (const Linear& linear : linears_) {
    if (const auto* kept = std::get_if<KeptLinear>(&linear)) {
      kept->Multiply(x, tokens, y, y_stride, workshop);
      y += kept->out_features();
      continue;
    }
    const PreparedLinear& int8 = std::get<PreparedLinear>(linear);
    if (!quantized || !shares_quantization_) {
      const size_t bytes = octavo::QuantizeWorkspaceBytes(int8, tokens);
      OCTAVO_ASSIGN_OR_RETURN(
          quantized, octavo::Quantize(int8, ConstTensorView(x, DType::kF32, tokens, in_features()),
                                      {}, workshop.ForQuantize(bytes)));
    }
    const size_t bytes = octavo::MultiplyWorkspaceBytes(int8, tokens, workshop.ForMultiply(0));
    OCTAVO_RETURN_IF_ERROR(octavo::Multiply(
        *quantized, int8, TensorView(y, DType::kF32, tokens, int8.out_features(), y_stride),
        workshop.ForMultiply(bytes)));
    y += int8.out_features();
  }
  return {};
}

}  // namespace generate
