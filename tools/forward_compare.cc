// RelativeError(): what int8 costs, against the 16-bit weights of the source in float64.
#include <cmath>
#include <cstring>
#include <vector>

#include "octavo/checkpoint.h"
#include "octavo/half.h"
#include "octavo/model.h"
#include "tools/forward_run.h"

namespace octavo::tools {
namespace {

double ElementAt(const void* data, DType dtype, size_t index) {
  const auto* bytes = static_cast<const std::byte*>(data) + index * DTypeBytes(dtype);
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof bits);
  return dtype == DType::kF16 ? kernels::HalfToFloat(bits) : kernels::BFloat16ToFloat(bits);
}

std::vector<double> Widen(const void* data, DType dtype, size_t count) {
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = ElementAt(data, dtype, i);
  return values;
}

// The matrix of a linear as the source has it, or its bias, widened.
Result<std::vector<double>> ReadSource(const format::Checkpoint& checkpoint,
                                       const std::string& name, uint64_t count,
                                       int64_t matrix_idx) {
  const format::SourceTensor* tensor = checkpoint.Find(name);
  if (tensor == nullptr)
    return Status(ErrorCode::kNotFound, "the source has no tensor \"" + name + "\"");
  const uint64_t bytes = count * DTypeBytes(tensor->dtype);
  const uint64_t skipped = bytes * static_cast<uint64_t>(matrix_idx);
  if (!IsQuantizable(tensor->dtype) || skipped + bytes > tensor->bytes) {
    return Status(ErrorCode::kInvalidArgument, "the source's tensor \"" + name + "\", " +
                                                   tensor->shape.ToString() +
                                                   ", is not the one that the file was made from");
  }
  std::vector<std::byte> raw(bytes);
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadAt(tensor->file, tensor->offset + skipped, raw));
  return Widen(raw.data(), tensor->dtype, count);
}

struct Operands {
  std::vector<double> x, weight, bias;
  ConstTensorView y;
  size_t tokens = 0, in_features = 0, out_features = 0;
  size_t in_stride = 0, out_stride = 0;     // of the weight, whatever its orientation
  std::vector<double> row_error, row_norm;  // squared, for each token
};

void MeasureRow(void* context, int64_t row) {
  auto& o = *static_cast<Operands*>(context);
  const auto m = static_cast<size_t>(row);
  std::vector<double> sums = o.bias;
  sums.resize(o.out_features, 0.0);
  const double* x = o.x.data() + m * o.in_features;
  if (o.out_stride == 1) {
    for (size_t k = 0; k < o.in_features; ++k) {
      const double* w = o.weight.data() + k * o.in_stride;
      for (size_t n = 0; n < o.out_features; ++n) sums[n] += x[k] * w[n];
    }
  } else {
    for (size_t n = 0; n < o.out_features; ++n) {
      const double* w = o.weight.data() + n * o.out_stride;
      double sum = 0;
      for (size_t k = 0; k < o.in_features; ++k) sum += x[k] * w[k];
      sums[n] += sum;
    }
  }
  for (size_t n = 0; n < o.out_features; ++n) {
    const double difference = ElementAt(o.y.data, o.y.dtype, m * o.out_features + n) - sums[n];
    o.row_error[m] += difference * difference;
    o.row_norm[m] += sums[n] * sums[n];
  }
}

}  // namespace

Result<double> RelativeError(const Linear& linear, int64_t expert, const std::string& source,
                             ConstTensorView x, ConstTensorView y,
                             const kernels::ParallelFor& parallel) {
  const format::Module& module = linear.module();
  OCTAVO_ASSIGN_OR_RETURN(const format::Checkpoint checkpoint, format::Checkpoint::Open(source));
  Operands o;
  o.tokens = static_cast<size_t>(x.rows);
  o.in_features = module.in_features;
  o.out_features = module.out_features;
  o.in_stride = module.transposed ? o.out_features : 1;
  o.out_stride = module.transposed ? 1 : o.in_features;
  o.x = Widen(x.data, x.dtype, o.tokens * o.in_features);
  o.y = y;
  Result<std::vector<double>> weight =
      ReadSource(checkpoint, module.source_tensor, o.in_features * o.out_features, expert);
  if (!weight.ok()) return weight.status().WithContext(source);
  o.weight = std::move(weight).value();
  if (linear.has_bias()) {
    Result<std::vector<double>> bias = ReadSource(checkpoint, module.bias, o.out_features, expert);
    if (!bias.ok()) return bias.status().WithContext(source);
    o.bias = std::move(bias).value();
  }
  o.row_error.assign(o.tokens, 0);
  o.row_norm.assign(o.tokens, 0);
  parallel.run(parallel.context, x.rows, MeasureRow, &o);
  double error = 0, norm = 0;
  for (size_t m = 0; m < o.tokens; ++m) {
    error += o.row_error[m];
    norm += o.row_norm[m];
  }
  return std::sqrt(error / norm);
}

}  // namespace octavo::tools
