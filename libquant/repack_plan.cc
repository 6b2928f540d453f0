#include "libquant/repack_plan.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace octavo::quant {
namespace {

using format::CodeLayout;
using format::Manifest;
using format::Module;
using format::TensorEntry;

// Which tensors belong together: those of one module, and of modules that are tied.
class Bundles {
 public:
  explicit Bundles(const Manifest& manifest) : parent_(manifest.tensors.size()) {
    std::iota(parent_.begin(), parent_.end(), size_t{0});
    std::unordered_map<std::string_view, size_t> tensors;
    tensors.reserve(manifest.tensors.size());
    for (size_t i = 0; i < manifest.tensors.size(); ++i) tensors[manifest.tensors[i].name] = i;
    std::unordered_map<std::string_view, size_t> first_of;  // of each module
    first_of.reserve(manifest.modules.size());
    for (const Module& module : manifest.modules) {
      std::optional<size_t> first;
      for (const std::string_view name : TensorsOf(module)) {
        const auto found = tensors.find(name);
        if (found == tensors.end()) continue;
        if (first) Join(*first, found->second);
        first = found->second;
      }
      if (first) first_of.emplace(module.name, *first);
    }
    for (const Module& module : manifest.modules) {
      const auto own = first_of.find(module.name);
      const auto target = first_of.find(module.tied_to);
      if (own != first_of.end() && target != first_of.end()) Join(own->second, target->second);
    }
  }

  // The first tensor of the bundle.
  size_t Of(size_t tensor) {
    while (parent_[tensor] != tensor) {
      parent_[tensor] = parent_[parent_[tensor]];
      tensor = parent_[tensor];
    }
    return tensor;
  }

 private:
  static std::vector<std::string_view> TensorsOf(const Module& module) {
    std::vector<std::string_view> names(module.tensors.begin(), module.tensors.end());
    names.insert(names.end(), {module.weight, module.bias, module.kept_index, module.kept_weight});
    if (module.scheme) {
      const format::SchemeDescriptor& scheme = *module.scheme;
      names.insert(names.end(), {scheme.codes, scheme.scales, scheme.code_sum, scheme.zero_point});
    }
    std::erase(names, std::string_view());
    return names;
  }
  void Join(size_t a, size_t b) {
    a = Of(a);
    b = Of(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

  std::vector<size_t> parent_;
};

void SetRelayout(const Module& module, CodeLayout before, RepackTensor* tensor) {
  tensor->spec = CodesSpec(module);
  tensor->relayout = before == CodeLayout::kPlain ? Relayout::kPack : Relayout::kUnpack;
  tensor->in_features = module.in_features;
  tensor->out_features = module.out_features;
}

}  // namespace

Result<RepackPlan> PlanRepack(const format::Reader& reader, const RepackOptions& options) {
  const Manifest& manifest = reader.manifest();
  RepackPlan plan;
  plan.modules = manifest.modules;
  std::vector<RepackTensor> tensors;
  for (const TensorEntry& entry : manifest.tensors) {
    tensors.push_back(
        {.entry = &entry,
         .spec = {entry.name, entry.dtype, entry.shape, entry.matrix_rows, entry.chunk_rows}});
  }
  for (Module& module : plan.modules) {
    if (!module.scheme || module.kind == format::ModuleKind::kExperts) continue;
    const CodeLayout before = module.scheme->layout;
    if (options.layout.value_or(before) == before) continue;
    module.scheme->layout = *options.layout;
    OCTAVO_RETURN_IF_ERROR(CheckLayout(module));
    const TensorEntry* codes = reader.FindTensor(module.scheme->codes);
    SetRelayout(module, before, &tensors[static_cast<size_t>(codes - manifest.tensors.data())]);
  }
  Bundles bundles(manifest);
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return bundles.Of(i); });
  std::vector<uint64_t> bytes(tensors.size(), 0);  // of the bundle that begins there
  for (const size_t i : order) bytes[bundles.Of(i)] += tensors[i].spec.bytes();
  for (const size_t i : order) {
    if (bundles.Of(i) == i) tensors[i].bundle_bytes = bytes[i];
    plan.tensors.push_back(std::move(tensors[i]));
  }
  return plan;
}

}  // namespace octavo::quant
