#include "libquant/export_run.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "libquant/code_rows.h"
#include "libquant/dequantize.h"
#include "libquant/ordered_run.h"
#include "octavo/half.h"

namespace octavo::quant {
namespace {

using format::Reader;

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

// Rows of one tensor: of kStored as it is stored, else output features.
struct Item {
  size_t tensor = 0;
  uint64_t first_row = 0;
  uint64_t num_rows = 0;
};

// Whole chunks of what is read, about 1 MiB; not across experts.
std::vector<Item> CutItems(const ExportPlan& plan) {
  std::vector<Item> items;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const ExportTensor& tensor = plan.tensors[i];
    if (tensor.bytes() == 0) continue;
    uint64_t num_rows = 1, piece = 1, group = UINT64_MAX;
    if (tensor.content == Content::kStored) {
      num_rows = *tensor.entry->shape.NumRows();
      piece = tensor.entry->chunk_rows;
      group = tensor.entry->matrix_rows > 0 ? tensor.entry->matrix_rows : group;
    } else if (tensor.content == Content::kCodes || tensor.content == Content::kWeights) {
      const format::Module& module = *tensor.module;
      group = module.out_features;
      num_rows = group * std::max<uint64_t>(module.experts, 1);
      const bool is_plain = module.scheme->layout == format::CodeLayout::kPlain;
      piece = is_plain ? tensor.entry->chunk_rows
                       : std::max<uint64_t>(kPieceBytes / module.in_features / 16, 1) * 16;
    }
    for (uint64_t row = 0; row < num_rows;) {
      const uint64_t end = std::min({row + piece, (row / group + 1) * group, num_rows});
      items.push_back({i, row, end - row});
      row = end;
    }
  }
  return items;
}

// [rows][columns] -> [columns][rows], in tiles so that both sides stay in the cache.
void Transpose(const std::byte* from, size_t rows, size_t columns, size_t element, std::byte* to) {
  constexpr size_t kTile = 32;
  for (size_t row_tile = 0; row_tile < rows; row_tile += kTile) {
    for (size_t column_tile = 0; column_tile < columns; column_tile += kTile) {
      for (size_t row = row_tile; row < std::min(row_tile + kTile, rows); ++row) {
        for (size_t column = column_tile; column < std::min(column_tile + kTile, columns);
             ++column) {
          std::memcpy(to + (column * rows + row) * element,
                      from + (row * columns + column) * element, element);
        }
      }
    }
  }
}

class Exporter : public ItemStages {
 public:
  Exporter(const Reader& reader, const ExportPlan& plan,
           const std::vector<format::SafetensorsWriter>& writers, int32_t num_threads,
           ProgressMeter* progress)
      : reader_(reader),
        plan_(plan),
        items_(CutItems(plan)),
        writers_(writers),
        progress_(*progress),
        workers_(static_cast<size_t>(std::max(num_threads, 1))) {}

  size_t num_items() const { return items_.size(); }

  Status Compute(size_t item_idx, size_t worker_idx) override {
    const Item& item = items_[item_idx];
    const ExportTensor& tensor = plan_.tensors[item.tensor];
    Worker& worker = workers_[worker_idx];
    switch (tensor.content) {
      case Content::kStored:
        return ReadStoredRows(reader_, *tensor.entry, item.first_row, item.num_rows, &worker.out);
      case Content::kCodes:
        return ReadCodes(tensor, item, &worker, &worker.out);
      case Content::kWeights:
        OCTAVO_RETURN_IF_ERROR(ReadCodes(tensor, item, &worker, &worker.plain));
        return ComputeWeights(tensor, item, &worker);
      case Content::kSteps:
        return ComputeSteps(tensor, &worker);
      case Content::kRowFormat:
        worker.out.assign(1, std::byte{0});
        return {};
    }
    return {};
  }

  Status Commit(size_t item_idx, size_t worker_idx) override {
    return progress_.Add(workers_[worker_idx].out.size(),
                         plan_.tensors[items_[item_idx].tensor].spec.name);
  }

  Status Finish(size_t item_idx, size_t worker_idx) override {
    const Item& item = items_[item_idx];
    const ExportTensor& tensor = plan_.tensors[item.tensor];
    const std::vector<std::byte>& out = workers_[worker_idx].out;
    const format::SafetensorsWriter& writer = writers_[tensor.shard];
    if (tensor.transposed) {
      return WriteColumns(tensor, item, out, writer);
    }
    return writer.WriteAt(tensor.position, item.first_row * (out.size() / item.num_rows), out);
  }

 private:
  // One thread's memory, reused from item to item.
  struct Worker {
    CodeBuffers codes;
    std::vector<std::byte> plain, weights, out;
    const format::Module* module = nullptr;
    std::optional<ModuleScales> scales;  // of `module`
  };

  Status ReadCodes(const ExportTensor& tensor, const Item& item, Worker* worker,
                   std::vector<std::byte>* codes) const {
    const format::Module& module = *tensor.module;
    if (module.scheme->layout != format::CodeLayout::kPlain) {
      return UnpackCodeRows(reader_, *tensor.entry, module.out_features, module.in_features,
                            item.first_row, item.num_rows, &worker->codes, codes);
    }
    return ReadStoredRows(reader_, *tensor.entry, item.first_row, item.num_rows, codes);
  }

  Status LoadScales(const format::Module& module, Worker* worker) const {
    if (worker->module == &module) return {};
    worker->module = nullptr;
    OCTAVO_ASSIGN_OR_RETURN(worker->scales, ModuleScales::Read(reader_, module));
    worker->module = &module;
    return {};
  }

  Status ComputeWeights(const ExportTensor& tensor, const Item& item, Worker* worker) const {
    const format::Module& module = *tensor.module;
    OCTAVO_RETURN_IF_ERROR(LoadScales(module, worker));
    std::vector<std::byte>* rows = tensor.transposed ? &worker->weights : &worker->out;
    if (!worker->scales->Dequantize(worker->plain, item.first_row, item.num_rows, tensor.spec.dtype,
                                    rows)) {
      return Status(ErrorCode::kRefused, "tensor \"" + tensor.spec.name +
                                             "\": a weight overflows in " +
                                             std::string(DTypeName(tensor.spec.dtype)));
    }
    if (tensor.transposed) {
      worker->out.resize(rows->size());
      Transpose(rows->data(), item.num_rows, module.in_features, DTypeBytes(tensor.spec.dtype),
                worker->out.data());
    }
    return {};
  }

  Status ComputeSteps(const ExportTensor& tensor, Worker* worker) const {
    OCTAVO_RETURN_IF_ERROR(LoadScales(*tensor.module, worker));
    const DType dtype = tensor.spec.dtype;
    worker->out.resize(tensor.bytes());
    for (uint64_t row = 0; row < tensor.module->out_features; ++row) {
      const float step = worker->scales->Step(row);
      std::byte* out = worker->out.data() + row * DTypeBytes(dtype);
      if (dtype == DType::kF32) {
        std::memcpy(out, &step, sizeof(step));
      } else {
        const uint16_t bits =
            dtype == DType::kF16 ? kernels::FloatToHalf(step) : kernels::FloatToBFloat16(step);
        std::memcpy(out, &bits, sizeof(bits));
      }
    }
    return {};
  }

  // A block of columns of [in_features, out_features], one piece for each input feature.
  static Status WriteColumns(const ExportTensor& tensor, const Item& item,
                             const std::vector<std::byte>& out,
                             const format::SafetensorsWriter& writer) {
    const format::Module& module = *tensor.module;
    const uint64_t element = DTypeBytes(tensor.spec.dtype);
    const uint64_t row_bytes = module.out_features * element;
    const uint64_t piece = item.num_rows * element;
    const uint64_t expert = item.first_row / module.out_features;
    const uint64_t begin =
        expert * module.in_features * row_bytes + item.first_row % module.out_features * element;
    if (piece == row_bytes) return writer.WriteAt(tensor.position, begin, out);
    for (uint64_t k = 0; k < module.in_features; ++k) {
      OCTAVO_RETURN_IF_ERROR(writer.WriteAt(tensor.position, begin + k * row_bytes,
                                            std::span(out).subspan(k * piece, piece)));
    }
    return {};
  }

  const Reader& reader_;
  const ExportPlan& plan_;
  const std::vector<Item> items_;
  const std::vector<format::SafetensorsWriter>& writers_;
  ProgressMeter& progress_;
  std::vector<Worker> workers_;
};

}  // namespace

Status RunExport(const Reader& reader, const ExportPlan& plan,
                 const std::vector<format::SafetensorsWriter>& writers, int32_t num_threads,
                 ProgressMeter* progress) {
  Exporter exporter(reader, plan, writers, num_threads, progress);
  return RunOrdered(exporter.num_items(), num_threads, &exporter);
}

}  // namespace octavo::quant
