// The profile, one JSON object:
//
//   {"octavo_profile": 1,
//    "modules": {"model.layers.0.mlp.down_proj": {
//      "in_features": 1536,
//      "features": [{"index": 41, "max_abs": 39.2, "share": 0.8, "score": 21.7}, …]}, …}}
//
// `index`: input feature; `max_abs`: largest |x| seen there; `share` (optional): part of the tokens
// with an outlier there; `score` (optional, in all features or in none): what a budget ranks by, in
// place of max_abs. Unknown keys are ignored. A feature stands at most once in a module, in
// any order.
#include "libquant/kept_columns.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

namespace octavo::quant {
namespace {

using nlohmann::json;

constexpr size_t kMaxProfileBytes = size_t{256} << 20;
constexpr int kMaxDepth = 16;

struct Feature {
  const Decision* module;
  int32_t index;
  double rank;  // score, else max_abs
  bool has_score;
};

Status Invalid(const std::string& message) {
  return Status(ErrorCode::kInvalidArgument, "profile of kept columns: " + message);
}

Result<json> ParseProfile(std::string_view text) {
  if (text.size() > kMaxProfileBytes) return Invalid("larger than 256 MiB");
  // Which of two values was meant nobody knows, and the parser would keep the last.
  std::vector<std::unordered_set<std::string>> open_objects;
  std::string twice;
  bool too_deep = false;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    too_deep = too_deep || depth > kMaxDepth;
    if (event == json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) open_objects.pop_back();
    if (event == json::parse_event_t::key) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!open_objects.back().insert(key).second) twice = key;
    }
    return !too_deep;
  };
  json parsed = json::parse(text.begin(), text.end(), check, /*allow_exceptions=*/false);
  if (too_deep || !parsed.is_object()) return Invalid("not a JSON object");
  if (!twice.empty()) return Invalid("the key \"" + twice + "\" stands twice in an object");
  const auto version = parsed.find("octavo_profile");
  if (version == parsed.end() || !version->is_number_integer() || *version != 1) {
    return Invalid("\"octavo_profile\" is not 1");
  }
  const auto modules = parsed.find("modules");
  if (modules == parsed.end() || !modules->is_object()) return Invalid("\"modules\" is no object");
  return parsed;
}

// The value of an unsigned integer member; nothing if it is missing or of another type.
std::optional<uint64_t> Count(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number_unsigned()) return std::nullopt;
  return it->get<uint64_t>();
}

Result<Feature> ReadFeature(const json& value, const Decision& module) {
  const std::string where = "module \"" + module.module + "\": ";
  if (!value.is_object()) return Invalid(where + "a feature is no object");
  const std::optional<uint64_t> index = Count(value, "index");
  if (!index) return Invalid(where + "a feature without an index");
  if (*index >= module.in_features) {
    return Invalid(where + "index " + std::to_string(*index) + " is not below in_features " +
                   std::to_string(module.in_features));
  }
  const auto max_abs = value.find("max_abs");
  if (max_abs == value.end() || !max_abs->is_number() || !(max_abs->get<double>() >= 0)) {
    return Invalid(where + "index " + std::to_string(*index) + " has no max_abs >= 0");
  }
  const auto score = value.find("score");
  const bool has_score = score != value.end();
  if (has_score && (!score->is_number() || !(score->get<double>() >= 0))) {
    return Invalid(where + "index " + std::to_string(*index) + " has a score that is not >= 0");
  }
  const double rank = has_score ? score->get<double>() : max_abs->get<double>();
  return Feature{&module, static_cast<int32_t>(*index), rank, has_score};
}

Status ReadModule(const json& value, const Decision& module, std::vector<Feature>* features) {
  const std::string where = "module \"" + module.module + "\": ";
  if (!value.is_object()) return Invalid(where + "no object");
  const std::optional<uint64_t> in_features = Count(value, "in_features");
  if (!in_features || *in_features != module.in_features) {
    return Invalid(where + "its in_features are not the model's " +
                   std::to_string(module.in_features));
  }
  const auto list = value.find("features");
  if (list == value.end() || !list->is_array()) return Invalid(where + "\"features\" is no array");
  std::vector<bool> seen(module.in_features);
  for (const json& item : *list) {
    OCTAVO_ASSIGN_OR_RETURN(const Feature feature, ReadFeature(item, module));
    if (seen[feature.index]) {
      return Invalid(where + "index " + std::to_string(feature.index) + " stands twice");
    }
    if (!features->empty() && features->front().has_score != feature.has_score) {
      return Invalid(where + "index " + std::to_string(feature.index) +
                     ": some features have a score and some have none");
    }
    seen[feature.index] = true;
    features->push_back(feature);
  }
  return {};
}

// The highest rank first, then by name and index, up to the budget's share of all multiplications.
void ApplyBudget(double budget, const std::vector<Decision>& decisions,
                 std::vector<Feature>* features) {
  double total = 0;
  for (const Decision& decision : decisions) {
    if (decision.action != Action::kQuantize) continue;
    total += static_cast<double>(decision.in_features) *
             static_cast<double>(decision.out_features) *
             static_cast<double>(std::max<uint64_t>(decision.experts, 1));
  }
  std::ranges::sort(*features, [](const Feature& a, const Feature& b) {
    if (a.rank != b.rank) return a.rank > b.rank;
    if (a.module->module != b.module->module) return a.module->module < b.module->module;
    return a.index < b.index;
  });
  double used = 0;
  size_t chosen = 0;
  while (chosen < features->size()) {
    used += static_cast<double>((*features)[chosen].module->out_features);
    if (used > budget * total) break;
    ++chosen;
  }
  features->resize(chosen);
}

}  // namespace

Result<KeptColumns> ChooseKeptColumns(std::string_view profile_json, std::optional<double> budget,
                                      const std::vector<Decision>& decisions,
                                      std::vector<std::string>* warnings) {
  OCTAVO_ASSIGN_OR_RETURN(const json profile, ParseProfile(profile_json));
  std::unordered_map<std::string_view, const Decision*> by_name;
  for (const Decision& decision : decisions) by_name.emplace(decision.module, &decision);

  std::vector<Feature> features;
  for (const auto& [name, value] : profile.find("modules")->items()) {
    const auto it = by_name.find(name);
    if (it == by_name.end()) return Invalid("the model has no module \"" + name + "\"");
    const Decision& decision = *it->second;
    if (decision.action != Action::kQuantize || decision.kind != format::ModuleKind::kLinear) {
      warnings->push_back("the profile's columns of \"" + name +
                          "\" are not used: it is no linear "
                          "that is quantized");
      continue;
    }
    OCTAVO_RETURN_IF_ERROR(ReadModule(value, decision, &features));
  }
  if (budget) ApplyBudget(*budget, decisions, &features);
  KeptColumns kept;
  for (const Feature& feature : features) kept[feature.module->module].push_back(feature.index);
  for (auto& [name, index] : kept) std::ranges::sort(index);
  if (kept.empty()) warnings->push_back("no column is kept: the profile or its budget leaves none");
  return kept;
}

}  // namespace octavo::quant
