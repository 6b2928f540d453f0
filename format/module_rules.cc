// Rules about modules: R15, R30, R32 to R34, limits.
#include <array>
#include <initializer_list>

#include "format/by_name.h"
#include "format/layout.h"
#include "format/manifest_rules.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

using TensorMap = ByName<TensorEntry>;
using ModuleMap = ByName<Module>;

Status Fault(const Module& module, const std::string& what, std::string_view rule) {
  return Broken("module", module.name, what, rule);
}

// What the table of section 8 says about one tensor that a module names.
struct Expected {
  std::string_view role;
  const std::string& tensor;
  std::initializer_list<DType> dtypes;  // empty: any
  std::optional<Shape> shape;           // nothing: any
};

Status CheckTensor(const Module& module, const TensorMap& tensors, const Expected& expected) {
  const auto broken = [&](const std::string& what) {
    return Fault(module, std::string(expected.role) + " " + Quote(expected.tensor) + " " + what,
                 "R30");
  };
  const TensorEntry* found = tensors.Find(expected.tensor);
  if (found == nullptr) return broken("is no tensor of the file");
  const TensorEntry& tensor = *found;
  bool fits = expected.dtypes.size() == 0;
  for (const DType dtype : expected.dtypes) fits = fits || tensor.dtype == dtype;
  if (!fits) return broken("has dtype " + std::string(DTypeName(tensor.dtype)));
  if (expected.shape && !(tensor.shape == *expected.shape)) {
    return broken("has shape " + tensor.shape.ToString() + ", not " + expected.shape->ToString());
  }
  return {};
}

Shape PerOutputFeature(const Module& module) {
  if (module.kind == ModuleKind::kExperts) return Shape{module.experts, module.out_features};
  return Shape{module.out_features};
}

Shape CodesShape(const Module& module) {
  const uint64_t out = module.out_features;
  const uint64_t in = module.in_features;
  if (module.scheme->layout == CodeLayout::kVnni16x4) {
    return Shape{CeilDiv(out, kPackedRows), CeilDiv(in, kPackedColumns) * 16, 16, 4};
  }
  if (module.kind == ModuleKind::kExperts) return Shape{module.experts, out, in};
  return Shape{out, in};
}

// R33.
Status CheckKept(const Module& module, const TensorMap& tensors) {
  if (module.kind != ModuleKind::kLinear || !module.scheme ||
      module.scheme->convention != ScaleConvention::kAbsmax) {
    return Fault(module, "kept columns come with kind linear and convention absmax only", "R33");
  }
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(module, tensors, {"kept index", module.kept_index, {DType::kI32}, std::nullopt}));
  const Shape& shape = tensors.Find(module.kept_index)->shape;
  if (shape.rank() != 1) return Fault(module, "the kept index has not one dimension", "R30");
  if (shape[0] < 1 || shape[0] > module.in_features) {
    return Fault(
        module, std::to_string(shape[0]) + " kept columns of " + std::to_string(module.in_features),
        "R33");
  }
  return CheckTensor(module, tensors,
                     {"kept weight",
                      module.kept_weight,
                      {DType::kF16, DType::kBF16},
                      Shape{shape[0], module.out_features}});
}

// R34.
Status CheckMethod(const Module& module, Method method) {
  const bool is_zeropoint =
      method == Method::kZeropointTensor || method == Method::kZeropointVector;
  const ScaleConvention convention = module.scheme->convention;
  const std::string with = " with method " + std::string(Name(method));
  if (module.scheme->zero_point.empty() == is_zeropoint) {
    return Fault(module, std::string(is_zeropoint ? "no zero_point" : "a zero_point") + with,
                 "R34");
  }
  const bool needs_absmax = method == Method::kTensorWise || method == Method::kRowWise;
  if ((is_zeropoint && convention != ScaleConvention::kStep) ||
      (needs_absmax && convention != ScaleConvention::kAbsmax)) {
    return Fault(module, "convention " + std::string(Name(convention)) + with, "R34");
  }
  return {};
}

Status CheckScheme(const Module& module, const TensorMap& tensors, Method method) {
  const SchemeDescriptor& scheme = *module.scheme;
  if (scheme.layout != CodeLayout::kPlain && module.kind == ModuleKind::kExperts) {
    return Fault(module, "experts have layout plain only", "R30");
  }
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(module, tensors, {"codes", scheme.codes, {DType::kI8}, CodesShape(module)}));
  const Shape per_row = PerOutputFeature(module);
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(module, tensors, {"scales", scheme.scales, {DType::kF32}, per_row}));
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(module, tensors, {"code_sum", scheme.code_sum, {DType::kI32}, per_row}));
  if (!scheme.zero_point.empty()) {
    OCTAVO_RETURN_IF_ERROR(
        CheckTensor(module, tensors, {"zero_point", scheme.zero_point, {DType::kI32}, per_row}));
  }
  return CheckMethod(module, method);
}

// R32.
Status CheckTie(const Module& module, const ModuleMap& modules) {
  const Module* target = modules.Find(module.tied_to);
  if (target == nullptr) {
    return Fault(module, "tied to " + Quote(module.tied_to) + ", which is not there", "R32");
  }
  if (target->tied_to.empty()) return {};
  return Fault(module, "tied to " + Quote(module.tied_to) + ", which is tied itself", "R32");
}

Status CheckModule(const Module& module, const TensorMap& tensors, const ModuleMap& modules,
                   Method method) {
  if (module.in_features > kMaxFeatures || module.out_features > kMaxFeatures) {
    return Fault(module, "more than 2^23 features", "section 10");
  }
  if (module.scheme) OCTAVO_RETURN_IF_ERROR(CheckScheme(module, tensors, method));
  if (!module.weight.empty()) {
    OCTAVO_RETURN_IF_ERROR(
        CheckTensor(module, tensors, {"weight", module.weight, {}, std::nullopt}));
  }
  if (!module.bias.empty()) {
    const bool is_linear = module.in_features != 0 || module.out_features != 0;
    const auto shape = is_linear ? std::optional(PerOutputFeature(module)) : std::nullopt;
    OCTAVO_RETURN_IF_ERROR(CheckTensor(module, tensors, {"bias", module.bias, {}, shape}));
  }
  for (const std::string& name : module.tensors) {
    OCTAVO_RETURN_IF_ERROR(CheckTensor(module, tensors, {"tensor", name, {}, std::nullopt}));
  }
  if (!module.tied_to.empty()) OCTAVO_RETURN_IF_ERROR(CheckTie(module, modules));
  if (!module.kept_index.empty()) return CheckKept(module, tensors);
  return {};
}

template <typename T>
Status CheckUnique(std::string_view noun, const ByName<T>& elements) {
  const T* const twice = elements.FindTwice();
  return twice == nullptr ? Status() : Broken(noun, twice->name, "the name is there twice", "R15");
}

}  // namespace

Status CheckModules(const Manifest& manifest) {
  const TensorMap tensors(manifest.tensors), assets(manifest.assets);
  const ModuleMap modules(manifest.modules);
  OCTAVO_RETURN_IF_ERROR(CheckUnique("asset", assets));
  OCTAVO_RETURN_IF_ERROR(CheckUnique("tensor", tensors));
  for (const Module& module : manifest.modules) {
    OCTAVO_RETURN_IF_ERROR(CheckName("module", module.name));
  }
  OCTAVO_RETURN_IF_ERROR(CheckUnique("module", modules));
  for (const Module& module : manifest.modules) {
    OCTAVO_RETURN_IF_ERROR(CheckModule(module, tensors, modules, manifest.quantization.method));
  }
  return {};
}

}  // namespace octavo::format
