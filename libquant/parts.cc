#include "libquant/parts.h"

#include <algorithm>

#include "libquant/plan.h"
#include "octavo/byte_stream.h"
#include "octavo/reader.h"
#include "octavo/shard_packer.h"
#include "octavo/writer.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::TensorEntry;

// Shards of a model as the writer will cut it, with nothing written.
class ShardCounter {
 public:
  explicit ShardCounter(const ConvertOptions& options)
      : codec_(options.codec), packer_(options.max_shard_bytes) {}

  void BeginBundle(uint64_t raw_bytes) {
    if (packer_.BeginBundle(raw_bytes)) bytes_.push_back(0);
  }
  void Add(TensorEntry entry) {
    entry.codec = codec_;
    packer_.Add(entry);
    bytes_.back() += entry.raw_bytes();
  }
  size_t shard() const { return bytes_.size() - 1; }
  // The part of each shard.
  std::vector<uint32_t> Parts(uint32_t num_parts) const {
    uint64_t total = 0, before = 0;
    for (const uint64_t bytes : bytes_) total += bytes;
    std::vector<uint32_t> parts;
    for (const uint64_t bytes : bytes_) {
      const auto product = static_cast<unsigned __int128>(num_parts) * before;
      const auto part = static_cast<uint32_t>(product / std::max<uint64_t>(total, 1));
      parts.push_back(std::min(part, num_parts - 1));  // an empty shard at the end
      before += bytes;
    }
    return parts;
  }

 private:
  format::Codec codec_;
  format::ShardPacker packer_;
  std::vector<uint64_t> bytes_ = {0};
};

TensorEntry EntryOf(const TensorSpec& spec) {
  TensorEntry entry;
  entry.name = spec.name;
  entry.dtype = spec.dtype;
  entry.shape = spec.shape;
  entry.matrix_rows = spec.matrix_rows;
  entry.chunk_rows = spec.chunk_rows;
  return entry;
}

// The part that has the first of a file's tensors; the first part for a file of which nothing is
// stored.
std::vector<uint32_t> PartOfFiles(const Checkpoint& source, const std::vector<ModuleJob>& jobs,
                                  const std::vector<uint32_t>& part_of_job) {
  std::vector<uint32_t> parts(source.files().size(), 0);
  std::vector<uint64_t> first(source.files().size(), UINT64_MAX);
  for (size_t job = 0; job < jobs.size(); ++job) {
    for (const format::SourceTensor* tensor : jobs[job].tensors) {
      if (tensor->offset >= first[tensor->file]) continue;
      first[tensor->file] = tensor->offset;
      parts[tensor->file] = part_of_job[job];
    }
  }
  return parts;
}

}  // namespace

Result<PartPlan> PlanPart(const Checkpoint& source, const std::vector<ModuleJob>& jobs,
                          const ConvertOptions& options) {
  ShardCounter counter(options);
  std::vector<size_t> shard_of_job, shard_of_asset;
  for (const ModuleJob& job : jobs) {
    if (job.bundle_bytes) counter.BeginBundle(*job.bundle_bytes);
    for (const TensorSpec& spec : AllSpecs(job)) counter.Add(EntryOf(spec));
    shard_of_job.push_back(counter.shard());
  }
  for (const std::string& name : source.assets()) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string content, source.ReadAsset(name));
    counter.BeginBundle(content.size());
    TensorEntry asset;
    asset.name = name;
    asset.shape = Shape{content.size()};
    counter.Add(asset);
    shard_of_asset.push_back(counter.shard());
  }
  const std::vector<uint32_t> part_of_shard = counter.Parts(options.part.count);
  const uint32_t mine = options.part.index - 1;

  PartPlan plan;
  std::vector<uint32_t> part_of_job;
  for (const size_t shard : shard_of_job) part_of_job.push_back(part_of_shard[shard]);
  plan.begin_job = std::ranges::lower_bound(part_of_job, mine) - part_of_job.begin();
  plan.end_job = std::ranges::upper_bound(part_of_job, mine) - part_of_job.begin();
  for (size_t i = 0; i < shard_of_asset.size(); ++i) {
    if (part_of_shard[shard_of_asset[i]] == mine) plan.assets.push_back(source.assets()[i]);
  }
  for (const uint32_t part : PartOfFiles(source, jobs, part_of_job)) {
    plan.hashes_file.push_back(part == mine);
  }
  return plan;
}

std::string PartPath(const std::string& output, const PartOfMany& part) {
  return output + ".part-" + std::to_string(part.index) + "-of-" + std::to_string(part.count);
}

Status DescribeComplete(const std::string& output, ConvertReport* report) {
  OCTAVO_ASSIGN_OR_RETURN(const format::Reader reader, format::Reader::Open(output));
  report->manifest = reader.manifest();
  report->bytes_resumed = report->bytes_source;
  report->files = {output.substr(output.find_last_of('/') + 1)};
  report->bytes_file = reader.header().file_bytes;
  for (const format::ShardEntry& shard : report->manifest.shards) {
    report->files.push_back(shard.name);
    report->bytes_file += shard.bytes;
  }
  return {};
}

Status DescribeCompletePart(const std::string& path, ConvertReport* report) {
  OCTAVO_ASSIGN_OR_RETURN(format::Part part, format::ReadPart(path));
  for (const uint64_t end : part.payload_ends) report->bytes_file += end;
  report->manifest = std::move(part.manifest);
  report->files = {path.substr(path.find_last_of('/') + 1)};
  report->bytes_resumed = report->bytes_source;
  return {};
}

std::vector<std::byte> PartState::Encode() const {
  format::ByteWriter out;
  out.Put(part);
  out.Put(num_modules);
  out.PutVector(module_idx);
  out.PutVector(source_files);
  out.Put(num_source_files);
  out.Put(bytes_source);
  return out.Take();
}

Result<PartState> PartState::Decode(std::span<const std::byte> bytes) {
  format::ByteReader in(bytes);
  PartState state;
  state.part = in.Get<PartOfMany>();
  state.num_modules = in.Get<uint64_t>();
  state.module_idx = in.GetVector<uint64_t>();
  state.source_files = in.GetVector<uint64_t>();
  state.num_source_files = in.Get<uint64_t>();
  state.bytes_source = in.Get<uint64_t>();
  if (!in.AtEnd()) return Status(ErrorCode::kInvalidFile, "it is damaged");
  return state;
}

}  // namespace octavo::quant
