// From a 16-bit checkpoint to a .8vo file: plan, convert, and compare a file with its source.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/checkpoint.h"
#include "octavo/manifest.h"
#include "octavo/policy.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::quant {

enum class OnNonfinite : int32_t {
  kError = 0,  // a NaN or infinity in a weight ends the conversion, naming tensor and index
  kSkip = 1,   // that module stays in 16 bit, with the reason; costs a pass over the linears ahead
};

// What is measured while converting. `bytes` are of the source, as often as it is read.
struct Progress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  const std::string* tensor = nullptr;  // being worked on; valid during the call
};
// Called from one thread at a time, at most about ten times a second, first at the beginning and
// last when all bytes are done. Returning false cancels (kCancelled).
using ProgressCallback = std::function<bool(const Progress&)>;

// A layout by its name in files, or "packed": the one that the CPU kernels read.
std::optional<format::CodeLayout> LayoutFromOption(std::string_view name);

// Part `index` (from 1) of `count` of a sharded conversion; count 0: all of it.
struct PartOfMany {
  uint32_t index = 0;
  uint32_t count = 0;
};

struct ConvertOptions {
  // Left empty, a value comes from `compat`'s preset, else from the method's, else from Octavo's
  // defaults: threshold 6, scope batch, row rule inlier_columns, activations asymmetric (symmetric
  // for the methods tensor-wise and row-wise, as in the paper). A preset takes another threshold,
  // but no other change.
  format::Compat compat = format::Compat::kNone;
  std::optional<format::Method> method = {};
  std::optional<float> threshold = {};
  std::optional<format::Scope> scope = {};
  std::optional<format::RowRule> row_rule = {};
  std::optional<format::Activations> activations = {};
  // bf16 and fp32 weights are rounded to fp16 first; overflow is kRefused.
  bool via_fp16 = false;
  OnNonfinite on_nonfinite = OnNonfinite::kError;
  PolicyOptions policy = {};
  // JSON text of a profile (docs/cli.md); empty: no kept columns. With method vector-wise only, and
  // not with compat bitsandbytes.
  std::string keep_columns = {};
  // Share of all linears' multiplications, (0, 1]: the columns with the largest |x| first, up to
  // that share; empty: all in the profile.
  std::optional<double> keep_budget = {};
  format::Codec codec = format::Codec::kNone;
  format::CodeLayout layout = format::CodeLayout::kPlain;  // experts are always plain
  uint64_t max_shard_bytes = 0;                            // 0: one file
  bool sha256 = false;                                     // SHA-256 of every source file, too
  PartOfMany part = {};  // needs max_shard_bytes; the output is then OUTPUT.part-I-of-N, for Join
  bool overwrite = false;
  // Go on where an interrupted conversion to this output stopped, if there is one: the source and
  // the options above must be the same.
  bool resume = false;
  // Bytes of the source between two points from which a conversion can be resumed; 0: a fiftieth,
  // at least 16 MiB.
  uint64_t save_interval_bytes = 0;
  int32_t num_threads = 0;  // 0: one for each CPU. Never changes the bytes.
  ProgressCallback progress = {};
};

// The values that options resolve to. Errors: kInvalidArgument (what contradicts what).
Result<format::Quantization> ResolveQuantization(const ConvertOptions& options);

// What a conversion would do, from names and shapes; weights are read only to compare a head that
// is stored although tied with its embedding.
struct Plan {
  Policy policy;
  format::Quantization quantization;
  uint64_t bytes_source = 0;            // tensors of the source
  uint64_t bytes_file = 0;              // without compression, assets included, manifest estimated
  uint64_t bytes_quantized_source = 0;  // the weights to quantize, as they are
  uint64_t bytes_quantized_file = 0;    // and what will stand for them
  uint64_t kept_columns = 0;
  std::vector<uint64_t> module_bytes;  // of each decision's tensors in the file
  std::vector<std::string> warnings;
};
Result<Plan> PlanConversion(const format::Checkpoint& source, const ConvertOptions& options);

struct ConvertReport {
  format::Manifest manifest;       // as written (of the index if sharded)
  std::vector<std::string> files;  // base names written, the output first
  uint64_t bytes_source = 0;
  uint64_t bytes_file = 0;
  double seconds = 0;
  PartOfMany part = {};        // as asked for
  uint64_t bytes_resumed = 0;  // of the source that an interrupted run had done
  std::vector<std::string> warnings;
};

// Converts. Memory is bounded by threads times a few MiB, not by the model (plus the manifest, the
// kept columns of one module, and for each thread a row where a row is larger than that). The same
// source and options give the same bytes, whatever the threads and the CPU.
// Errors: as Checkpoint::Open and format::Writer, and kRefused (non-finite weights, overflow to
// fp16, a source that is quantized already), kInvalidArgument (also: the output is a file of the
// source, and resuming with another source or other options), kCancelled, kIo (also: too little
// room on the disk, a source that changed while it was read, and an output that another process is
// writing). On error the old output is untouched. What kIo, kCancelled and kLimit interrupt can be
// resumed if it had come to a save point; it waits in hidden files beside the output, which the
// next conversion to that output takes up or removes. Of the work done, less than two intervals are
// lost.
Result<ConvertReport> Convert(const std::string& source, const std::string& output,
                              const ConvertOptions& options);

// Puts the parts of a conversion together, which Convert wrote beside `output`: all of them, from
// one source, with the same options and version. The bytes are those of one conversion; the parts
// are gone afterwards. Errors: kNotFound (parts are missing: says which), kInvalidArgument (parts
// that do not belong together: says what differs), kInvalidFile, kAlreadyExists, kIo. On error the
// parts are as they were; a join that was interrupted is done again.
Result<ConvertReport> Join(const std::string& output, bool overwrite);

// Recomputes every code, scale, sum, kept column, copied tensor and asset of `file` from `source`
// with the options the file states, and compares. Findings as format::Reader::Verify gives them
// (subject: the tensor, module or asset, or "manifest"; message: first index that differs). A
// source whose files have other digests is a finding too. num_threads and progress of `options`
// count, nothing else. Errors: as Convert, where one of both cannot be read or recomputed.
Result<std::vector<format::Finding>> VerifyAgainst(const std::string& file,
                                                   const std::string& source,
                                                   const ConvertOptions& options);

}  // namespace octavo::quant
