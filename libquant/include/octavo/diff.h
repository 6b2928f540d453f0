// How two .8vo files differ: as models, in how they are stored, and in how they came about.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "octavo/convert.h"
#include "octavo/manifest.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::quant {

struct DiffOptions {
  // Read every payload, also where equal digests of equal chunks say that both have the same.
  bool read_all = false;
  int32_t num_threads = 0;         // 0: one for each CPU. Never changes the report.
  ProgressCallback progress = {};  // bytes of both files' tensors, not compressed
};

// Something that is stated differently, each side as text; empty: not there.
struct Difference {
  std::string
      what;  // "threshold", "in_features", "layout", …: the manifest's word where it has one
  std::string a, b;
};

// Numbers that are not the same. `what`: "codes" and "scales", "zero_point", "code_sum",
// "kept_index", "kept_weight" of int8; "weight" (dequantized where it is int8), "bias", "tensor",
// or the name of a module's further tensor.
struct ValueDifference {
  std::string what;
  uint64_t elements = 0;
  uint64_t differing = 0;  // other bits; between two types other values
  // The largest |b - a|, and of floats the Frobenius norm of b - a over that of a. Nothing where
  // that is no finite number, and for types that are compared by their bits alone (fp8).
  std::optional<double> largest;
  std::optional<double> relative_error;
};

// One module that both files have, or one tensor that belongs to no module.
struct ContentDifference {
  std::string name;
  const format::Module* a = nullptr;  // null for a tensor
  const format::Module* b = nullptr;
  std::vector<Difference> stated;  // kind, features, types and shapes, ties, scheme, kept columns
  std::vector<ValueDifference> values;
  std::vector<Difference> origin;  // reason and measured error: no difference of the model

  bool differs() const { return !stated.empty() || !values.empty(); }
};

struct AssetDifference {
  std::string name;
  std::optional<uint64_t> bytes_a, bytes_b;  // nothing: not in that file
};

struct DiffReport {
  // Of the model.
  std::vector<Difference> settings;  // quantization, architecture
  std::vector<const format::Module*> only_in_a, only_in_b;
  std::vector<ContentDifference> modules;  // A's order; some with nothing but `origin`
  std::vector<ContentDifference> tensors;  // that belong to no module
  std::vector<AssetDifference> assets;
  uint64_t modules_in_both = 0;
  // Not of the model.
  std::vector<Difference> storage;  // layout, compression, shards, chunks, order
  std::vector<Difference> origin;   // converter, source files

  uint64_t differing_modules() const;  // of those in both
  bool equal() const;                  // as models
};

// Compares codes by value whatever their layout, int8 with 16 bit by dequantizing, tied weights
// once. Every chunk that is read is checked. Memory is bounded by threads times a few MiB (10 where
// a weight is transposed in one file; as Convert's, a row where that is larger, a module's scales
// and kept columns), plus the report. The report points into both readers. Errors: kNotIntact,
// kInvalidFile (payloads; naming file and tensor), kLimit, kCancelled.
Result<DiffReport> Diff(const format::Reader& a, const format::Reader& b,
                        const DiffOptions& options);

}  // namespace octavo::quant
