// octavo_quant.h: the C interface of conversion.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "octavo/convert.h"
#include "octavo/octavo_quant.h"

namespace octavo::quant {
namespace {

struct LastError {
  std::string text;
  bool out_of_memory = false;
};
thread_local LastError last_error;

constexpr int32_t kOutOfMemory = 12;  // OCTAVO_OUT_OF_MEMORY of octavo.h

// No struct of this interface will ever be larger: what claims to be was not initialized.
constexpr size_t kLargestStruct = 4096;

Status Invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

// Today's shape of *options; what an older caller's struct lacks is zero.
Result<octavo_convert_options> ReadOptions(const octavo_convert_options* options) {
  octavo_convert_options known = {};
  if (options == nullptr) return known;
  const size_t given = options->struct_size;
  if (given < sizeof(size_t) || given > kLargestStruct)
    return Invalid("struct_size is " + std::to_string(given));
  std::memcpy(&known, options, std::min(given, sizeof(known)));
  const auto* bytes = reinterpret_cast<const unsigned char*>(options);
  for (size_t i = sizeof(known); i < given; ++i) {
    if (bytes[i] != 0) return Invalid("an option is set that this version does not know");
  }
  return known;
}

// By its name; null leaves it empty.
template <typename Enum>
Status ReadName(const char* name, const char* option,
                std::optional<Enum> (*from_name)(std::string_view), std::optional<Enum>* value) {
  if (name == nullptr) return {};
  *value = from_name(name);
  return *value ? Status() : Invalid(std::string(option) + " is \"" + name + "\", no value of it");
}

Status ReadChoices(const octavo_convert_options& from, ConvertOptions* to) {
  using namespace format;
  std::optional<Compat> compat;
  std::optional<CodeLayout> layout;
  OCTAVO_RETURN_IF_ERROR(ReadName(from.method, "method", MethodFromName, &to->method));
  OCTAVO_RETURN_IF_ERROR(ReadName(from.compat, "compat", CompatFromName, &compat));
  OCTAVO_RETURN_IF_ERROR(ReadName(from.scope, "scope", ScopeFromName, &to->scope));
  OCTAVO_RETURN_IF_ERROR(ReadName(from.row_rule, "row_rule", RowRuleFromName, &to->row_rule));
  OCTAVO_RETURN_IF_ERROR(
      ReadName(from.activations, "activations", ActivationsFromName, &to->activations));
  OCTAVO_RETURN_IF_ERROR(ReadName(from.layout, "layout", LayoutFromOption, &layout));
  to->compat = compat.value_or(Compat::kNone);
  to->layout = layout.value_or(CodeLayout::kPlain);
  return {};
}

ProgressCallback ToCallback(const octavo_convert_options& options) {
  if (options.progress == nullptr) return {};
  return [call = options.progress, context = options.progress_context](const Progress& now) {
    return call(context, now.bytes_done, now.bytes_total,
                now.tensor == nullptr ? "" : now.tensor->c_str()) != 0;
  };
}

Result<ConvertOptions> ToOptions(const octavo_convert_options& from) {
  ConvertOptions to;
  OCTAVO_RETURN_IF_ERROR(ReadChoices(from, &to));
  if (from.override_threshold != 0) {
    to.threshold = from.threshold;
  } else if (from.threshold != 0) {
    return Invalid("a threshold without override_threshold");
  }
  for (size_t i = 0; i < from.num_skip_modules; ++i)
    to.policy.skip_modules.emplace_back(from.skip_modules[i]);
  to.policy.only_skip = from.only_skip != 0;
  to.via_fp16 = from.via_fp16 != 0;
  to.on_nonfinite = from.skip_nonfinite != 0 ? OnNonfinite::kSkip : OnNonfinite::kError;
  to.codec = from.compress != 0 ? format::Codec::kZstd : format::Codec::kNone;
  if (from.keep_columns != nullptr) to.keep_columns = from.keep_columns;
  if (from.keep_budget != 0) to.keep_budget = from.keep_budget;
  to.max_shard_bytes = from.max_shard_bytes;
  to.sha256 = from.sha256 != 0;
  to.overwrite = from.overwrite != 0;
  to.resume = from.resume != 0;
  to.num_threads = from.num_threads;
  to.progress = ToCallback(from);
  return to;
}

Status ConvertChecked(const char* source, const char* output, const octavo_convert_options* options,
                      octavo_convert_result* result) {
  if (source == nullptr || output == nullptr) return Invalid("source or output is null");
  OCTAVO_ASSIGN_OR_RETURN(const octavo_convert_options known, ReadOptions(options));
  OCTAVO_ASSIGN_OR_RETURN(const ConvertOptions how, ToOptions(known));
  OCTAVO_ASSIGN_OR_RETURN(const ConvertReport report, Convert(source, output, how));
  if (known.warning != nullptr) {
    for (const std::string& warning : report.warnings)
      known.warning(known.warning_context, warning.c_str());
  }
  if (result != nullptr)
    *result = {report.bytes_source, report.bytes_file, report.bytes_resumed, report.seconds};
  return {};
}

}  // namespace
}  // namespace octavo::quant

int32_t octavo_quant_abi_version(void) { return OCTAVO_QUANT_ABI_VERSION; }

const char* octavo_quant_last_error(void) {
  using octavo::quant::last_error;
  return last_error.out_of_memory ? "out of memory" : last_error.text.c_str();
}

int32_t octavo_convert(const char* source, const char* output,
                       const octavo_convert_options* options, octavo_convert_result* result) {
  using namespace octavo::quant;
  try {
    const octavo::Status status = ConvertChecked(source, output, options, result);
    last_error = {status.message(), false};
    return static_cast<int32_t>(status.code());
  } catch (const std::bad_alloc&) {
    last_error.out_of_memory = true;
    return kOutOfMemory;
  } catch (const std::exception& error) {  // a thread that the system refuses
    last_error = {error.what(), false};
    return static_cast<int32_t>(octavo::ErrorCode::kLimit);
  }
}
