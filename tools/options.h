// Options that several verbs share, with their checks.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/convert.h"
#include "octavo/device.h"
#include "octavo/manifest.h"
#include "octavo/result.h"
#include "octavo/thread_pool.h"
#include "tools/progress.h"

namespace octavo::tools {

// --threshold, --scope, --row-rule, --activations: how activations are quantized. Left empty: not
// given.
struct ActivationFlags {
  std::optional<float> threshold;
  std::string scope_name, row_rule_name, activations_name;

  void Register(CLI::App& app);
  std::optional<format::Scope> scope() const { return format::ScopeFromName(scope_name); }
  std::optional<format::RowRule> row_rule() const { return format::RowRuleFromName(row_rule_name); }
  std::optional<format::Activations> activations() const {
    return format::ActivationsFromName(activations_name);
  }
};

// --quiet and --progress of the verbs that take long.
struct ProgressFlags {
  bool quiet = false;
  bool always = false;

  void Register(CLI::App& app);
  ProgressMode mode() const;
};

// An option that takes one of `names`.
void AddChoice(CLI::App& app, const std::string& flag, std::string* value,
               const std::vector<std::string>& names, const std::string& description);

// --layout plain|packed|…; quant::LayoutFromOption knows what was given.
void AddLayout(CLI::App& app, std::string* layout, const std::string& description);

// --device cpu|cuda|cuda:N; DeviceFromName knows what was given.
void AddDevice(CLI::App& app, std::string* name);
std::optional<Device> DeviceFromName(std::string_view name);

// --threads N.
void AddThreads(CLI::App& app, int32_t* num_threads);

// Adds what --force would do to the error that the output exists already.
Status ForceHint(const Status& status);

// A decimal number that float32 holds, not negative; nan and inf are no numbers here.
CLI::Validator NonNegativeNumber();
// A number in (0, 1].
CLI::Validator Share();
// "2/3": part 2 of 3; nothing for anything else.
std::optional<quant::PartOfMany> ParsePartOfMany(std::string_view text);
CLI::Validator PartOfMany();
// What ParseByteSize takes.
CLI::Validator ByteSize();

}  // namespace octavo::tools
