// The names of enumerations in the file, and what follows from a manifest's content alone.
#include <array>
#include <span>

#include "octavo/manifest.h"

namespace octavo::format {
namespace {

// Indexed by the enumerator.
constexpr std::string_view kMethods[] = {"vector-wise", "tensor-wise", "row-wise",
                                         "zeropoint-tensor", "zeropoint-vector"};
constexpr std::string_view kCompats[] = {"none", "paper", "bitsandbytes"};
constexpr std::string_view kScopes[] = {"batch", "token"};
constexpr std::string_view kRowRules[] = {"inlier_columns", "below_threshold"};
constexpr std::string_view kActivations[] = {"asymmetric", "symmetric"};
constexpr std::string_view kModuleKinds[] = {"linear", "experts",     "embedding", "norm",
                                             "head",   "convolution", "router",    "position",
                                             "buffer", "other"};
constexpr std::string_view kLayouts[] = {"plain", "vnni16x4-1"};
constexpr std::string_view kConventions[] = {"absmax", "step"};
constexpr std::string_view kCodecs[] = {"none", "zstd"};

template <typename Enum>
std::string_view NameIn(std::span<const std::string_view> names, Enum value) {
  return names[static_cast<size_t>(value)];
}

template <typename Enum>
std::optional<Enum> FromName(std::span<const std::string_view> names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view Name(Method value) { return NameIn(kMethods, value); }
std::string_view Name(Compat value) { return NameIn(kCompats, value); }
std::string_view Name(Scope value) { return NameIn(kScopes, value); }
std::string_view Name(RowRule value) { return NameIn(kRowRules, value); }
std::string_view Name(Activations value) { return NameIn(kActivations, value); }
std::string_view Name(ModuleKind value) { return NameIn(kModuleKinds, value); }
std::string_view Name(CodeLayout value) { return NameIn(kLayouts, value); }
std::string_view Name(ScaleConvention value) { return NameIn(kConventions, value); }
std::string_view Name(Codec value) { return NameIn(kCodecs, value); }

std::optional<Method> MethodFromName(std::string_view name) {
  return FromName<Method>(kMethods, name);
}
std::optional<Compat> CompatFromName(std::string_view name) {
  return FromName<Compat>(kCompats, name);
}
std::optional<Scope> ScopeFromName(std::string_view name) { return FromName<Scope>(kScopes, name); }
std::optional<RowRule> RowRuleFromName(std::string_view name) {
  return FromName<RowRule>(kRowRules, name);
}
std::optional<Activations> ActivationsFromName(std::string_view name) {
  return FromName<Activations>(kActivations, name);
}
std::optional<ModuleKind> ModuleKindFromName(std::string_view name) {
  return FromName<ModuleKind>(kModuleKinds, name);
}
std::optional<CodeLayout> CodeLayoutFromName(std::string_view name) {
  return FromName<CodeLayout>(kLayouts, name);
}
std::optional<ScaleConvention> ScaleConventionFromName(std::string_view name) {
  return FromName<ScaleConvention>(kConventions, name);
}
std::optional<Codec> CodecFromName(std::string_view name) { return FromName<Codec>(kCodecs, name); }

uint64_t TensorEntry::raw_bytes() const {
  return shape.NumElements().value_or(0) * DTypeBytes(dtype);
}

uint64_t Manifest::RequiredFeatures() const {
  uint64_t features = 0;
  const auto set = [&features](bool condition, uint64_t bit) { features |= condition ? bit : 0; };
  for (const std::vector<TensorEntry>* entries : {&tensors, &assets}) {
    for (const TensorEntry& entry : *entries) set(entry.codec == Codec::kZstd, kFeatureZstd);
  }
  for (const Module& module : modules) {
    set(!module.kept_index.empty(), kFeatureKeptColumns);
    if (!module.scheme) continue;
    set(module.scheme->full_range, kFeatureFullRange);
    set(module.scheme->layout != CodeLayout::kPlain, kFeaturePacked);
  }
  set(quantization.method != Method::kVectorWise, kFeatureComparisonMethod);
  set(!shards.empty(), kFeatureIndex);
  return features;
}

}  // namespace octavo::format
