#include "tools/options.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "tools/text.h"

namespace octavo::tools {
namespace {

std::optional<double> ParseNumber(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789.eE+-") != std::string::npos) return {};
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value)) return {};
  return value;
}

}  // namespace

CLI::Validator NonNegativeNumber() {
  const auto check = [](const std::string& text) -> std::string {
    const std::optional<double> value = ParseNumber(text);
    if (value && *value >= 0 && std::isfinite(static_cast<float>(*value))) return "";
    return "\"" + text + "\" is not a number from 0 up";
  };
  return CLI::Validator(check, "");
}

CLI::Validator Share() {
  const auto check = [](const std::string& text) -> std::string {
    const std::optional<double> value = ParseNumber(text);
    if (value && *value > 0 && *value <= 1) return "";
    return "\"" + text + "\" is not a share above 0 and up to 1";
  };
  return CLI::Validator(check, "");
}

CLI::Validator ByteSize() {
  const auto check = [](const std::string& text) { return ParseByteSize(text).status().message(); };
  return CLI::Validator(check, "");
}

void AddChoice(CLI::App& app, const std::string& flag, std::string* value,
               const std::vector<std::string>& names, const std::string& description) {
  app.add_option(flag, *value, description)
      ->check(CLI::IsMember(names))
      ->option_text("{" + CLI::detail::join(names, ",") + "}");
}

void ActivationFlags::Register(CLI::App& app) {
  app.add_option("--threshold", threshold,
                 "|x| from which an activation is an outlier, multiplied in 16 bit; 0: none is")
      ->check(NonNegativeNumber())
      ->option_text("T");
  AddChoice(app, "--scope", &scope_name, {"batch", "token"},
            "batch: a column with one outlier is in 16 bit in every row; token: only the outlier "
            "entries are, and a row never depends on its neighbours");
  AddChoice(app, "--activations", &activations_name, {"asymmetric", "symmetric"},
            "asymmetric: uint8 with a zero point; symmetric: int8, as in the paper");
  AddChoice(app, "--row-rule", &row_rule_name, {"inlier_columns", "below_threshold"},
            "A row's range is taken over the columns without outliers (the paper's), or over all "
            "entries below the threshold (bitsandbytes')");
}

Status ForceHint(const Status& status) {
  if (status.code() != ErrorCode::kAlreadyExists) return status;
  if (status.message().find("--force") != std::string::npos) return status;
  return Status(status.code(), status.message() + " (--force overwrites it)");
}

void ProgressFlags::Register(CLI::App& app) {
  auto* quiet_flag = app.add_flag("-q,--quiet", quiet, "No progress, no report, no warnings");
  app.add_flag("--progress", always, "Show progress even where standard error is not a terminal")
      ->excludes(quiet_flag);
}

ProgressMode ProgressFlags::mode() const {
  if (quiet) return ProgressMode::kNever;
  return always ? ProgressMode::kAlways : ProgressMode::kAuto;
}

void AddLayout(CLI::App& app, std::string* layout, const std::string& description) {
  AddChoice(app, "--layout", layout,
            {std::string(format::Name(format::CodeLayout::kPlain)), "packed",
             std::string(format::Name(format::CodeLayout::kVnni16x4))},
            description);
}

void AddDevice(CLI::App& app, std::string* name) {
  const auto check = [](const std::string& text) {
    if (DeviceFromName(text)) return std::string();
    return "\"" + text + "\" is not cpu, cuda or cuda:N";
  };
  app.add_option("--device", *name,
                 "Where to multiply, see octavo devices (default: cpu; cuda is cuda:0)")
      ->check(CLI::Validator(check, "", "device"))
      ->option_text("cpu|cuda|cuda:N");
}

std::optional<quant::PartOfMany> ParsePartOfMany(std::string_view text) {
  quant::PartOfMany part;
  const char* end = text.data() + text.size();
  const auto [slash, first] = std::from_chars(text.data(), end, part.index);
  if (first != std::errc() || slash == end || *slash != '/') return std::nullopt;
  const auto [parsed, second] = std::from_chars(slash + 1, end, part.count);
  if (second != std::errc() || parsed != end) return std::nullopt;
  if (part.index == 0 || part.index > part.count || part.count > 99'999) return std::nullopt;
  return part;
}

CLI::Validator PartOfMany() {
  const auto check = [](const std::string& text) {
    if (ParsePartOfMany(text)) return std::string();
    return "\"" + text + "\" is not I/N with I from 1 to N";
  };
  return CLI::Validator(check, "", "part");
}

std::optional<Device> DeviceFromName(std::string_view name) {
  if (name == "cpu") return kCpuDevice;
  if (name == "cuda") return Device{DeviceType::kCuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  int32_t index = 0;
  const char* end = digits.data() + digits.size();
  const auto [parsed, error] = std::from_chars(digits.data(), end, index);
  if (error != std::errc() || parsed != end || index < 0) return std::nullopt;
  return Device{DeviceType::kCuda, index};
}

void AddThreads(CLI::App& app, int32_t* num_threads) {
  app.add_option("--threads", *num_threads, "How many threads to use (default: one for each CPU)")
      ->check(CLI::Range(1, 1024))
      ->option_text("N");
}

}  // namespace octavo::tools
