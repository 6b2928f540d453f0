#include "tools/forward_run.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "octavo/safetensors.h"
#include "octavo/thread_pool.h"
#include "tools/device_memory.h"
#include "tools/near_names.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr int64_t kMaxEmptyRows = int64_t{1} << 20;

constexpr size_t kMaxColumnsShown = 16;

Result<format::SafetensorsEntry> FindInput(const format::SafetensorsFile& file,
                                           const Linear& linear) {
  const format::SafetensorsEntry* entry = file.Find(linear.name());
  if (entry == nullptr && file.tensors().size() == 1) entry = &file.tensors()[0];
  if (entry == nullptr) {
    std::vector<std::string> names;
    for (const auto& tensor : file.tensors()) names.push_back(tensor.name);
    return Status(ErrorCode::kNotFound, file.path() + ": no tensor \"" + linear.name() +
                                            "\", and not just one tensor" + ListNames(names));
  }
  const std::string where = file.path() + ": tensor \"" + entry->name + "\"";
  if (!IsQuantizable(entry->dtype)) {
    return Status(ErrorCode::kInvalidArgument, where + " has type " +
                                                   std::string(DTypeName(entry->dtype)) +
                                                   ", expected F16, BF16 or F32");
  }
  const auto in_features = static_cast<uint64_t>(linear.in_features());
  if (entry->shape.rank() == 0 || entry->shape.row_elements() != in_features) {
    return Status(ErrorCode::kInvalidArgument,
                  where + " has shape " + entry->shape.ToString() + ", expected [..., " +
                      std::to_string(in_features) + "] for module \"" + linear.name() + "\"");
  }
  return *entry;
}

Shape WithLastExtent(const Shape& shape, uint64_t last) {
  std::vector<uint64_t> extents(shape.extents().begin(), shape.extents().end());
  extents.back() = last;
  return *Shape::Make(extents);
}

std::string ColumnList(const std::vector<int64_t>& columns) {
  if (columns.empty()) return "";
  std::string text;
  for (size_t i = 0; i < std::min(columns.size(), kMaxColumnsShown); ++i) {
    text += (i > 0 ? ", " : ": ") + std::to_string(columns[i]);
  }
  if (columns.size() > kMaxColumnsShown) {
    text += ", … and " + std::to_string(columns.size() - kMaxColumnsShown) + " more";
  }
  return text;
}

// Quantizes once for the facts, then multiplies `repeat` times and notes how long each took, on a
// GPU until the result is there; allocation of the workspace not counted.
Status Multiply(const PreparedLinear& prepared, ConstTensorView x, TensorView y,
                const ForwardRequest& request, const kernels::ParallelFor& parallel,
                ForwardOutcome* outcome) {
  Execution execution{parallel, {}, nullptr};
  const size_t bytes = ForwardWorkspaceBytes(prepared, x.rows, execution);
  OCTAVO_ASSIGN_OR_RETURN(const DeviceMemory memory, DeviceMemory::Allocate(x.device, bytes));
  execution.workspace = memory.span();
  {
    OCTAVO_ASSIGN_OR_RETURN(const QuantizedActivations quantized,
                            Quantize(prepared, x, request.quantize, execution));
    OCTAVO_ASSIGN_OR_RETURN(outcome->outlier_columns, quantized.outlier_columns());
    OCTAVO_ASSIGN_OR_RETURN(outcome->outlier_entries, quantized.outlier_entries());
  }
  for (int32_t i = 0; i < request.repeat; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    OCTAVO_RETURN_IF_ERROR(Forward(prepared, x, y, request.quantize, execution));
    OCTAVO_RETURN_IF_ERROR(WaitFor(x.device));
    outcome->seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return Status();
}

// The same on a GPU, with copies of x and y there.
Status MultiplyOnCuda(const PreparedLinear& prepared, ConstTensorView x,
                      std::span<const std::byte> x_bytes, TensorView y,
                      const ForwardRequest& request, const kernels::ParallelFor& parallel,
                      ForwardOutcome* outcome) {
  const Device device = prepared.device();
  OCTAVO_ASSIGN_OR_RETURN(const DeviceMemory x_memory, DeviceMemory::Copy(device, x_bytes));
  OCTAVO_ASSIGN_OR_RETURN(const DeviceMemory y_memory,
                          DeviceMemory::Allocate(device, outcome->y.size()));
  x.data = x_memory.data();
  y.data = y_memory.data();
  x.device = y.device = device;
  OCTAVO_RETURN_IF_ERROR(Multiply(prepared, x, y, request, parallel, outcome));
  return y_memory.CopyToHost(outcome->y);
}

}  // namespace

double ForwardOutcome::median_seconds() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

Result<ForwardOutcome> RunForward(const Linear& linear, int64_t expert, const std::string& input,
                                  const ForwardRequest& request) {
  OCTAVO_ASSIGN_OR_RETURN(const format::SafetensorsFile file, format::SafetensorsFile::Open(input));
  OCTAVO_ASSIGN_OR_RETURN(const format::SafetensorsEntry entry, FindInput(file, linear));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> x_bytes, file.Read(entry));

  ForwardOutcome outcome;
  outcome.module = linear.name();
  outcome.input_tensor = entry.name;
  outcome.x_dtype = entry.dtype;
  outcome.y_dtype = request.output_dtype.value_or(entry.dtype);
  outcome.x_shape = entry.shape;
  outcome.y_shape = WithLastExtent(entry.shape, static_cast<uint64_t>(linear.out_features()));
  outcome.tokens = static_cast<int64_t>(entry.shape.NumRows().value_or(0));
  // Rows of no features take no bytes in the input: their number is only a claim.
  if (linear.in_features() == 0 && outcome.tokens > kMaxEmptyRows) {
    return Status(ErrorCode::kLimit, input + ": tensor \"" + entry.name + "\" has " +
                                         std::to_string(outcome.tokens) +
                                         " rows without features; at most " +
                                         std::to_string(kMaxEmptyRows) + " are multiplied");
  }
  outcome.kept_columns = linear.num_kept_columns();
  outcome.y.resize(outcome.y_shape.NumElements().value_or(0) * DTypeBytes(outcome.y_dtype));
  const ConstTensorView x(x_bytes.data(), outcome.x_dtype, outcome.tokens, linear.in_features());
  const TensorView y(outcome.y.data(), outcome.y_dtype, outcome.tokens, linear.out_features());

  kernels::ThreadPool pool(request.num_threads);
  outcome.num_threads = pool.num_threads();
  PrepareOptions prepare_options;
  prepare_options.cpu = request.cpu;
  prepare_options.check_digests = true;
  OCTAVO_ASSIGN_OR_RETURN(const PreparedLinear prepared,
                          Prepare(linear, request.device, prepare_options));
  outcome.device = prepared.device();
  outcome.backend = prepared.backend();
  const kernels::ParallelFor parallel = pool.parallel_for();
  OCTAVO_RETURN_IF_ERROR(request.device.type == DeviceType::kCuda
                             ? MultiplyOnCuda(prepared, x, x_bytes, y, request, parallel, &outcome)
                             : Multiply(prepared, x, y, request, parallel, &outcome));
  if (!request.compare.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(outcome.relative_error, RelativeError(linear, expert, request.compare,
                                                                  x, y, pool.parallel_for()));
  }
  return outcome;
}

namespace {

std::string WhereText(const ForwardOutcome& outcome) {
  if (outcome.device.type == DeviceType::kCuda) return "device " + ToString(outcome.device);
  return "kernels " + outcome.backend + ", " +
         Plural(static_cast<uint64_t>(outcome.num_threads), "thread");
}

}  // namespace

std::string OutcomeText(const ForwardOutcome& outcome) {
  const auto in_features = static_cast<int64_t>(outcome.x_shape.row_elements());
  const auto entries = static_cast<uint64_t>(outcome.tokens * in_features);
  std::string text =
      Escaped(outcome.module) + ": " + std::to_string(in_features) + " -> " +
      std::to_string(outcome.y_shape.row_elements()) + ", " + WhereText(outcome) + "\n" +
      "  tokens           " + FormatCount(static_cast<uint64_t>(outcome.tokens)) + " (" +
      std::string(DTypeName(outcome.x_dtype)) + " " + outcome.x_shape.ToString() + ")\n" +
      "  outlier columns  " + std::to_string(outcome.outlier_columns.size()) + " of " +
      std::to_string(in_features) + ColumnList(outcome.outlier_columns) + "\n" +
      "  in 16 bit        " + FormatCount(static_cast<uint64_t>(outcome.outlier_entries)) + " of " +
      FormatCount(entries) + " entries (" +
      FormatShare(static_cast<uint64_t>(outcome.outlier_entries), entries) + ")";
  if (outcome.kept_columns > 0)
    text += ", and " + Plural(static_cast<uint64_t>(outcome.kept_columns), "kept column");
  text += "\n  time             " + FormatSeconds(outcome.median_seconds());
  if (outcome.seconds.size() > 1) text += ", median of " + std::to_string(outcome.seconds.size());
  if (outcome.relative_error) {
    text += Format("\n  error            %.3f %% of the source's own result",
                   *outcome.relative_error * 100);
  }
  return text + "\n";
}

Json OutcomeJson(const ForwardOutcome& outcome) {
  Json error = outcome.relative_error ? Json(*outcome.relative_error) : Json(nullptr);
  return {{"module", outcome.module},
          {"device", ToString(outcome.device)},
          {"backend", outcome.backend},
          {"threads", outcome.num_threads},
          {"input_tensor", outcome.input_tensor},
          {"input_dtype", DTypeName(outcome.x_dtype)},
          {"input_shape", outcome.x_shape.extents()},
          {"output_dtype", DTypeName(outcome.y_dtype)},
          {"output_shape", outcome.y_shape.extents()},
          {"tokens", outcome.tokens},
          {"outlier_columns", outcome.outlier_columns},
          {"outlier_entries", outcome.outlier_entries},
          {"kept_columns", outcome.kept_columns},
          {"seconds_median", outcome.median_seconds()},
          {"relative_error", std::move(error)}};
}

}  // namespace octavo::tools
