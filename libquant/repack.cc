#include "octavo/repack.h"

#include <algorithm>
#include <chrono>

#include "libquant/code_rows.h"
#include "libquant/ordered_run.h"
#include "libquant/out_of_memory.h"
#include "libquant/output_path.h"
#include "libquant/progress_meter.h"
#include "libquant/repack_plan.h"
#include "octavo/kernels.h"
#include "octavo/thread_pool.h"
#include "octavo/writer.h"

namespace octavo::quant {
namespace {

using format::Reader;
using format::TensorEntry;
using format::Writer;

constexpr auto kPacked = kernels::WeightLayout::kVnni16x4;
constexpr uint64_t kPackedRows = 16;

// Rows of one tensor: output features where the layout changes, else rows as they are stored.
struct Item {
  uint32_t tensor = 0;
  uint64_t first_row = 0;
  uint64_t num_rows = 0;
  bool begins_tensor = false;
  bool ends_tensor = false;
};

// Each the work of one chunk of the output.
std::vector<Item> CutItems(const RepackPlan& plan) {
  std::vector<Item> items;
  for (uint32_t i = 0; i < plan.tensors.size(); ++i) {
    const RepackTensor& tensor = plan.tensors[i];
    uint64_t num_rows = tensor.spec.bytes() == 0 ? 0 : *tensor.spec.shape.NumRows();
    uint64_t chunk_rows = tensor.spec.chunk_rows;
    if (tensor.relayout != Relayout::kNone) {
      if (tensor.relayout == Relayout::kPack) {
        const uint64_t stored = LayoutBytes(kPacked, kPackedRows, tensor.in_features) / 4;
        chunk_rows = chunk_rows / stored * kPackedRows;
      }
      num_rows = tensor.out_features;
    }
    if (num_rows == 0) items.push_back({i, 0, 0, true, true});
    const uint64_t group = tensor.spec.matrix_rows == 0 ? num_rows : tensor.spec.matrix_rows;
    for (uint64_t row = 0; row < num_rows;) {
      const uint64_t end = std::min({row + chunk_rows, (row / group + 1) * group, num_rows});
      items.push_back({i, row, end - row, row == 0, end == num_rows});
      row = end;
    }
  }
  return items;
}

class Repacker : public ItemStages {
 public:
  Repacker(const Reader& reader, const RepackPlan& plan, Writer* writer, ProgressMeter* progress,
           int32_t num_threads)
      : reader_(reader),
        plan_(plan),
        items_(CutItems(plan)),
        writer_(*writer),
        progress_(*progress),
        workers_(static_cast<size_t>(num_threads)) {}

  size_t num_items() const { return items_.size(); }

  Status Compute(size_t item_idx, size_t worker_idx) override {
    const Item& item = items_[item_idx];
    Worker& worker = workers_[worker_idx];
    worker.raw.clear();
    if (item.num_rows == 0) return {};
    const RepackTensor& tensor = plan_.tensors[item.tensor];
    OCTAVO_RETURN_IF_ERROR(tensor.relayout == Relayout::kPack     ? Pack(tensor, item, &worker)
                           : tensor.relayout == Relayout::kUnpack ? Unpack(tensor, item, &worker)
                                                                  : Copy(tensor, item, &worker));
    OCTAVO_ASSIGN_OR_RETURN(worker.chunk, writer_.EncodeChunk(worker.raw, &worker.compressed));
    return {};
  }

  Status Commit(size_t item_idx, size_t worker_idx) override {
    const Item& item = items_[item_idx];
    Worker& worker = workers_[worker_idx];
    const RepackTensor& tensor = plan_.tensors[item.tensor];
    const TensorSpec& spec = tensor.spec;
    if (item.begins_tensor) {
      if (tensor.bundle_bytes) {
        OCTAVO_RETURN_IF_ERROR(writer_.BeginBundle(*tensor.bundle_bytes));
      }
      OCTAVO_ASSIGN_OR_RETURN(tensor_idx_, writer_.AddTensor(spec.name, spec.dtype, spec.shape,
                                                             spec.matrix_rows, spec.chunk_rows));
    }
    if (item.num_rows > 0) {
      OCTAVO_ASSIGN_OR_RETURN(worker.place, writer_.PlaceChunk(tensor_idx_, worker.chunk));
    }
    if (item.ends_tensor) OCTAVO_RETURN_IF_ERROR(writer_.FinishTensor(tensor_idx_));
    return progress_.Add(worker.raw.size(), spec.name);
  }

  Status Finish(size_t item_idx, size_t worker_idx) override {
    const Worker& worker = workers_[worker_idx];
    if (items_[item_idx].num_rows == 0) return {};
    return writer_.WriteChunk(worker.place, worker.chunk.data);
  }

 private:
  // One thread's memory, reused from item to item.
  struct Worker {
    CodeBuffers codes;
    std::vector<std::byte> raw, compressed;
    format::EncodedChunk chunk;
    Writer::Place place;
  };

  Status Copy(const RepackTensor& tensor, const Item& item, Worker* worker) const {
    return ReadStoredRows(reader_, *tensor.entry, item.first_row, item.num_rows, &worker->raw);
  }

  // Whole groups of 16 output features but for the last.
  Status Pack(const RepackTensor& tensor, const Item& item, Worker* worker) const {
    OCTAVO_RETURN_IF_ERROR(
        ReadStoredRows(reader_, *tensor.entry, item.first_row, item.num_rows, &worker->codes.read));
    worker->raw.resize(LayoutBytes(kPacked, item.num_rows, tensor.in_features));
    PackCodes(kPacked, reinterpret_cast<const int8_t*>(worker->codes.read.data()), item.num_rows,
              tensor.in_features, reinterpret_cast<int8_t*>(worker->raw.data()));
    return {};
  }

  Status Unpack(const RepackTensor& tensor, const Item& item, Worker* worker) const {
    return UnpackCodeRows(reader_, *tensor.entry, tensor.out_features, tensor.in_features,
                          item.first_row, item.num_rows, &worker->codes, &worker->raw);
  }

  const Reader& reader_;
  const RepackPlan& plan_;
  const std::vector<Item> items_;
  Writer& writer_;
  ProgressMeter& progress_;
  std::vector<Worker> workers_;
  uint32_t tensor_idx_ = 0;
};

uint64_t RawBytes(const RepackPlan& plan) {
  uint64_t bytes = 0;
  for (const RepackTensor& tensor : plan.tensors) bytes += tensor.spec.bytes();
  return bytes;
}

Status CheckNotItself(const Reader& reader, const std::string& file, const std::string& output) {
  std::vector<std::string> inputs = {file};
  for (const format::ShardEntry& shard : reader.manifest().shards) {
    inputs.push_back(file.substr(0, file.rfind('/') + 1) + shard.name);
  }
  if (FindSameFile(output, inputs) == nullptr) return {};
  return Status(ErrorCode::kInvalidArgument, output + ": the output is the file that is repacked");
}

Result<RepackReport> RepackChecked(const std::string& file, const std::string& output,
                                   const RepackOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const Reader reader, Reader::Open(file));
  OCTAVO_RETURN_IF_ERROR(CheckNotItself(reader, file, output));
  OCTAVO_ASSIGN_OR_RETURN(RepackPlan plan, PlanRepack(reader, options));
  const uint64_t raw_bytes = RawBytes(plan);
  OCTAVO_ASSIGN_OR_RETURN(
      Writer writer, Writer::Create(output, {.overwrite = options.overwrite,
                                             .codec = options.codec,
                                             .max_shard_bytes = options.max_shard_bytes,
                                             .drops_written = IsLargeBesideMemory(2 * raw_bytes)}));
  if (options.codec == format::Codec::kNone) {
    OCTAVO_RETURN_IF_ERROR(CheckDiskSpace(output, raw_bytes));
  }
  ProgressMeter progress(options.progress, raw_bytes);
  const int32_t num_threads =
      options.num_threads > 0 ? options.num_threads : kernels::AvailableCpus();
  Repacker repacker(reader, plan, &writer, &progress, num_threads);
  OCTAVO_RETURN_IF_ERROR(RunOrdered(repacker.num_items(), num_threads, &repacker));
  for (const TensorEntry& asset : reader.manifest().assets) {
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> content, reader.ReadAll(asset));
    OCTAVO_RETURN_IF_ERROR(writer.AppendAsset(asset.name, content));
  }
  format::Manifest manifest;
  manifest.converter = reader.manifest().converter;
  manifest.source = reader.manifest().source;
  manifest.quantization = reader.manifest().quantization;
  manifest.modules = std::move(plan.modules);
  OCTAVO_RETURN_IF_ERROR(writer.Finish(std::move(manifest)));

  RepackReport report;
  report.manifest = writer.manifest();
  report.files = writer.files();
  report.bytes_before = reader.total_bytes();
  report.bytes_after = writer.total_bytes();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

Result<RepackReport> Repack(const std::string& file, const std::string& output,
                            const RepackOptions& options) {
  return CatchOutOfMemory([&] { return RepackChecked(file, output, options); });
}

}  // namespace octavo::quant
