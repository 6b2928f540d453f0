#include "octavo/diff.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_set>

#include "libquant/diff_stated.h"
#include "libquant/diff_values.h"
#include "libquant/out_of_memory.h"
#include "octavo/thread_pool.h"

namespace octavo::quant {
namespace {

using format::Manifest;
using format::Module;
using format::Reader;
using format::TensorEntry;

// Of the same stored bytes the same values come out.
bool HaveEqualDigests(const TensorEntry& a, const TensorEntry& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.chunk_rows == b.chunk_rows &&
         a.matrix_rows == b.matrix_rows && a.codec == b.codec && a.stored == b.stored &&
         a.xxh3 == b.xxh3;
}

std::optional<double> Finite(double value) {
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

class Differ {
 public:
  Differ(const Reader& a, const Reader& b, const DiffOptions& options)
      : a_(a), b_(b), options_(options) {}

  Result<DiffReport> Run() {
    report_.settings = CompareSettings(a_.manifest(), b_.manifest());
    report_.storage = CompareStorage(a_, b_);
    report_.origin = CompareOrigin(a_.manifest(), b_.manifest());
    CompareModules();
    if (report_.only_in_a.empty() && report_.only_in_b.empty()) {
      CompareOrder(a_.manifest(), b_.manifest(), &report_.storage);
    }
    CompareOtherTensors();
    OCTAVO_RETURN_IF_ERROR(CompareAllValues());
    OCTAVO_RETURN_IF_ERROR(CompareAssets());
    const auto is_same = [](const ContentDifference& content) {
      return !content.differs() && content.origin.empty();
    };
    std::erase_if(report_.modules, is_same);
    std::erase_if(report_.tensors, is_same);
    return std::move(report_);
  }

 private:
  // A comparison's result belongs to a module, or to a tensor of none.
  struct Owner {
    std::vector<ContentDifference>* contents;
    size_t content = 0;
    std::string what;
    size_t comparison = 0;
  };

  // Of the content that comes last.
  void Enlist(const Operand& a, const Operand& b, const std::string& what,
              std::vector<ContentDifference>* contents) {
    const auto key = std::tuple(a.entry, b.entry, a.module, b.module);
    const auto [known, added] = known_.try_emplace(key, comparisons_.size());
    if (added) comparisons_.push_back({a, b, {}});
    owners_.push_back({contents, contents->size() - 1, what, known->second});
  }

  void CompareStored(const TensorEntry* a, const TensorEntry* b, const std::string& what,
                     std::vector<ContentDifference>* contents) {
    Compare(what, TensorText(a), TensorText(b), &contents->back().stated);
    if (a == nullptr || b == nullptr || !(a->shape == b->shape)) return;
    if (!options_.read_all && HaveEqualDigests(*a, *b)) return;
    Enlist({&a_, a}, {&b_, b}, what, contents);
  }

  void CompareModules() {
    for (const Module& module : a_.manifest().modules) {
      const Module* other = b_.FindModule(module.name);
      if (other == nullptr) {
        report_.only_in_a.push_back(&module);
        continue;
      }
      ++report_.modules_in_both;
      report_.modules.push_back({module.name, &module, other, {}, {}, {}});
      CompareStated(a_, b_, &report_.modules.back());
      CompareWeights(module, *other);
      CompareStored(a_.FindTensor(module.bias), b_.FindTensor(other->bias), "bias",
                    &report_.modules);
      CompareFurther(module, *other);
    }
    for (const Module& module : b_.manifest().modules) {
      if (a_.FindModule(module.name) == nullptr) report_.only_in_b.push_back(&module);
    }
  }

  // The codes, or the weight as it is stored.
  static Operand WeightOf(const Reader& reader, const Module& module) {
    if (module.scheme) return {&reader, reader.FindTensor(module.scheme->codes), &module};
    return {&reader, reader.FindTensor(module.weight)};
  }

  static bool IsAnothers(const Reader& reader, const Module& module) {
    const Module* target = reader.FindModule(module.tied_to);
    return target != nullptr && !module.scheme && module.weight == target->weight;
  }

  static std::string WeightText(const Operand& weight) {
    return weight.module != nullptr ? "int8" : TensorText(weight.entry);
  }

  void CompareWeights(const Module& a, const Module& b) {
    // What both take from the same module is compared there.
    if (a.tied_to == b.tied_to && IsAnothers(a_, a) && IsAnothers(b_, b)) return;
    Operand one = WeightOf(a_, a);
    Operand other = WeightOf(b_, b);
    if (one.module == nullptr && other.module == nullptr) {
      return CompareStored(one.entry, other.entry, "weight", &report_.modules);
    }
    Compare("weight", WeightText(one), WeightText(other), &report_.modules.back().stated);
    if (one.entry == nullptr || other.entry == nullptr) return;
    if (one.module != nullptr && other.module != nullptr) return CompareQuantized(one, other);
    Operand* stored = one.module == nullptr ? &one : &other;
    const Module& quantized = one.module == nullptr ? b : a;
    const Module& kept = one.module == nullptr ? a : b;
    stored->transposed = kept.transposed;
    if (IsWeightOf(quantized, stored->entry->shape, kept.transposed)) {
      Enlist(one, other, "weight", &report_.modules);
    }
  }

  static bool IsWeightOf(const Module& module, const Shape& shape, bool transposed) {
    const uint64_t rows = transposed ? module.in_features : module.out_features;
    const uint64_t columns = transposed ? module.out_features : module.in_features;
    return shape == (module.kind == format::ModuleKind::kExperts
                         ? Shape{module.experts, rows, columns}
                         : Shape{rows, columns});
  }

  void CompareQuantized(const Operand& a, const Operand& b) {
    const Module& one = *a.module;
    const Module& other = *b.module;
    if (one.kind != other.kind || one.in_features != other.in_features ||
        one.out_features != other.out_features || one.experts != other.experts) {
      return;
    }
    const size_t before = owners_.size();
    const auto compare = [&](const std::string& name, const std::string& other_name,
                             const char* what) {
      CompareStored(a_.FindTensor(name), b_.FindTensor(other_name), what, &report_.modules);
    };
    compare(one.scheme->scales, other.scheme->scales, "scales");
    compare(one.scheme->zero_point, other.scheme->zero_point, "zero_point");
    const size_t num_kept = NumKept(a_, one);
    const bool has_kept = num_kept > 0 && num_kept == NumKept(b_, other);
    if (has_kept) {  // else "kept_columns" says it
      compare(one.kept_index, other.kept_index, "kept_index");
      compare(one.kept_weight, other.kept_weight, "kept_weight");
    }
    const bool is_settled = owners_.size() == before && num_kept == NumKept(b_, other) &&
                            one.scheme->convention == other.scheme->convention &&
                            one.scheme->zero_point.empty() == other.scheme->zero_point.empty() &&
                            one.scheme->layout == other.scheme->layout &&
                            HaveEqualDigests(*a.entry, *b.entry);
    if (!is_settled) Enlist(a, b, "weight", &report_.modules);
    compare(one.scheme->code_sum, other.scheme->code_sum, "code_sum");
  }

  void CompareFurther(const Module& a, const Module& b) {
    const std::unordered_set<std::string_view> names(a.tensors.begin(), a.tensors.end());
    const std::unordered_set<std::string_view> others(b.tensors.begin(), b.tensors.end());
    for (const std::string& name : a.tensors) {
      const TensorEntry* other = others.contains(name) ? b_.FindTensor(name) : nullptr;
      CompareStored(a_.FindTensor(name), other, name, &report_.modules);
    }
    for (const std::string& name : b.tensors) {
      if (!names.contains(name)) {
        CompareStored(nullptr, b_.FindTensor(name), name, &report_.modules);
      }
    }
  }

  static std::unordered_set<std::string_view> TakenTensors(const Manifest& manifest) {
    std::unordered_set<std::string_view> taken;
    for (const Module& module : manifest.modules) {
      taken.insert({module.weight, module.bias, module.kept_index, module.kept_weight});
      taken.insert(module.tensors.begin(), module.tensors.end());
      if (!module.scheme) continue;
      const format::SchemeDescriptor& scheme = *module.scheme;
      taken.insert({scheme.codes, scheme.scales, scheme.code_sum, scheme.zero_point});
    }
    return taken;
  }

  void CompareOtherTensors() {
    const auto taken = TakenTensors(a_.manifest());
    const auto others = TakenTensors(b_.manifest());
    const auto add = [this](const TensorEntry* a, const TensorEntry* b) {
      report_.tensors.push_back({(a != nullptr ? a : b)->name, nullptr, nullptr, {}, {}, {}});
      CompareStored(a, b, "tensor", &report_.tensors);
    };
    for (const TensorEntry& tensor : a_.manifest().tensors) {
      if (taken.contains(tensor.name)) continue;
      add(&tensor, others.contains(tensor.name) ? nullptr : b_.FindTensor(tensor.name));
    }
    for (const TensorEntry& tensor : b_.manifest().tensors) {
      if (others.contains(tensor.name)) continue;
      if (taken.contains(tensor.name) || a_.FindTensor(tensor.name) == nullptr) {
        add(nullptr, &tensor);
      }
    }
  }

  Status CompareAllValues() {
    uint64_t bytes = 0;
    for (const Comparison& comparison : comparisons_) {
      bytes += comparison.a.bytes() + comparison.b.bytes();
    }
    ProgressMeter progress(options_.progress, bytes);
    const int32_t num_threads =
        options_.num_threads > 0 ? options_.num_threads : kernels::AvailableCpus();
    OCTAVO_RETURN_IF_ERROR(CompareValues(&comparisons_, num_threads, &progress));
    for (const Owner& owner : owners_) {
      AddValues(owner.what, comparisons_[owner.comparison],
                &(*owner.contents)[owner.content].values);
    }
    return {};
  }

  static void AddValues(const std::string& what, const Comparison& comparison,
                        std::vector<ValueDifference>* values) {
    const ValueSums& sums = comparison.sums;
    if (sums.codes_differing > 0) {
      values->push_back({"codes", sums.elements, sums.codes_differing,
                         static_cast<double>(sums.largest_of_codes), std::nullopt});
    }
    if (sums.differing == 0) return;
    ValueDifference difference{what, sums.elements, sums.differing, std::nullopt, std::nullopt};
    if (comparison.has_numbers() && std::isfinite(sums.error_squares)) {
      difference.largest = Finite(sums.largest);
      if (comparison.is_real() && sums.a_squares > 0 && std::isfinite(sums.a_squares)) {
        difference.relative_error = Finite(std::sqrt(sums.error_squares / sums.a_squares));
      }
    }
    values->push_back(std::move(difference));
  }

  Status CompareAssets() {
    for (const TensorEntry& asset : a_.manifest().assets) {
      const TensorEntry* other = b_.FindAsset(asset.name);
      if (other == nullptr) {
        report_.assets.push_back({asset.name, asset.raw_bytes(), std::nullopt});
        continue;
      }
      OCTAVO_ASSIGN_OR_RETURN(const bool is_same, IsSameAsset(asset, *other));
      if (!is_same) {
        report_.assets.push_back({asset.name, asset.raw_bytes(), other->raw_bytes()});
      }
    }
    for (const TensorEntry& asset : b_.manifest().assets) {
      if (a_.FindAsset(asset.name) != nullptr) continue;
      report_.assets.push_back({asset.name, std::nullopt, asset.raw_bytes()});
    }
    return {};
  }

  Result<bool> IsSameAsset(const TensorEntry& a, const TensorEntry& b) const {
    if (a.raw_bytes() != b.raw_bytes()) return false;
    if (!options_.read_all && HaveEqualDigests(a, b)) return true;
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> one, a_.ReadAll(a));
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> other, b_.ReadAll(b));
    return one == other;
  }

  const Reader& a_;
  const Reader& b_;
  const DiffOptions& options_;
  DiffReport report_;
  std::vector<Comparison> comparisons_;
  std::map<std::tuple<const TensorEntry*, const TensorEntry*, const Module*, const Module*>, size_t>
      known_;
  std::vector<Owner> owners_;
};

}  // namespace

uint64_t DiffReport::differing_modules() const {
  return static_cast<uint64_t>(std::ranges::count_if(modules, &ContentDifference::differs));
}

bool DiffReport::equal() const {
  return settings.empty() && only_in_a.empty() && only_in_b.empty() && tensors.empty() &&
         assets.empty() && differing_modules() == 0;
}

Result<DiffReport> Diff(const Reader& a, const Reader& b, const DiffOptions& options) {
  return CatchOutOfMemory([&] { return Differ(a, b, options).Run(); });
}

}  // namespace octavo::quant
