// A conversion split among machines: which part has which jobs, and what a part says of itself
// (docs/cluster.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libquant/module_job.h"
#include "octavo/convert.h"

namespace octavo::quant {

// What one part converts: whole shards, one after the other.
struct PartPlan {
  size_t begin_job = 0;
  size_t end_job = 0;
  std::vector<std::string> assets;
  std::vector<bool> hashes_file;  // for each file of the source
};

// Shard s belongs to part floor(N * bytes of the shards before s / bytes of all), counted from 0;
// the bytes are those of payloads without compression. A file of the source is hashed by the part
// that has the first of its tensors. Errors: kIo.
Result<PartPlan> PlanPart(const format::Checkpoint& source, const std::vector<ModuleJob>& jobs,
                          const ConvertOptions& options);

// "OUT.8vo.part-2-of-3".
std::string PartPath(const std::string& output, const PartOfMany& part);

// What is in an output that needed nothing more but its name. Takes bytes_source of the report.
// Errors: as Reader::Open.
Status DescribeComplete(const std::string& output, ConvertReport* report);
Status DescribeCompletePart(const std::string& path, ConvertReport* report);

// What a part's record holds besides its tensors, for Join.
struct PartState {
  PartOfMany part;
  uint64_t num_modules = 0;            // of all parts
  std::vector<uint64_t> module_idx;    // of each module of the part's manifest
  std::vector<uint64_t> source_files;  // the files that its manifest has digests of
  uint64_t num_source_files = 0;
  uint64_t bytes_source = 0;  // of the whole model

  std::vector<std::byte> Encode() const;
  // Errors: kInvalidFile.
  static Result<PartState> Decode(std::span<const std::byte> bytes);
};

}  // namespace octavo::quant
