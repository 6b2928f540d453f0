#include "libquant/diff_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <span>

#include "libquant/code_rows.h"
#include "libquant/dequantize.h"
#include "libquant/ordered_run.h"
#include "octavo/half.h"

namespace octavo::quant {
namespace {

using format::Module;
using format::TensorEntry;

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
// Of a transposed weight every row is read for each piece: large pieces, few passes.
constexpr uint64_t kTransposedPieceBytes = uint64_t{8} << 20;
constexpr size_t kTile = 512;  // values that stay in the first-level cache

// Rows of one comparison: output features where there are codes, else rows as they are stored.
struct Item {
  size_t comparison = 0;
  uint64_t first_row = 0;
  uint64_t num_rows = 0;
};

const Module* ModuleOf(const Comparison& comparison) {
  return comparison.a.module != nullptr ? comparison.a.module : comparison.b.module;
}

uint64_t RowElements(const Comparison& comparison) {
  const Module* module = ModuleOf(comparison);
  return module != nullptr ? module->in_features : comparison.a.entry->shape.row_elements();
}

uint64_t NumRows(const Comparison& comparison) {
  const Module* module = ModuleOf(comparison);
  if (module == nullptr) return *comparison.a.entry->shape.NumRows();
  return module->out_features * std::max<uint64_t>(module->experts, 1);
}

// Rows of an item: whole chunks of A where it is stored by rows.
uint64_t PieceRows(const Comparison& comparison, uint64_t row_bytes) {
  if (comparison.a.transposed || comparison.b.transposed) {
    return std::max<uint64_t>(kTransposedPieceBytes / row_bytes, 1);
  }
  const Module* module = comparison.a.module;
  if (module != nullptr && module->scheme->layout != format::CodeLayout::kPlain) {
    return std::max<uint64_t>(kPieceBytes / row_bytes / 16, 1) * 16;
  }
  const uint64_t rows = std::min(comparison.a.entry->chunk_rows, NumRows(comparison));
  return rows * std::max<uint64_t>(kPieceBytes / row_bytes / rows, 1);
}

std::vector<Item> CutItems(const std::vector<Comparison>& comparisons) {
  std::vector<Item> items;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const Comparison& comparison = comparisons[i];
    const uint64_t num_rows = NumRows(comparison);
    const uint64_t element =
        ModuleOf(comparison) != nullptr ? 2 : DTypeBytes(comparison.a.entry->dtype);
    const uint64_t row_bytes = RowElements(comparison) * element;
    if (num_rows == 0 || row_bytes == 0) continue;
    const uint64_t piece = PieceRows(comparison, row_bytes);
    const Module* module = ModuleOf(comparison);
    const uint64_t group = module != nullptr ? module->out_features : num_rows;
    for (uint64_t row = 0; row < num_rows;) {
      const uint64_t end = std::min({row + piece, (row / group + 1) * group, num_rows});
      items.push_back({i, row, end - row});
      row = end;
    }
  }
  return items;
}

// Whether values of the type become doubles here.
bool HasNumbers(DType dtype) { return dtype != DType::kF8E4M3 && dtype != DType::kF8E5M2; }

template <typename T, typename Convert>
void Load(const std::byte* from, size_t count, double* to, Convert convert) {
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    to[i] = static_cast<double>(convert(value));
  }
}

void LoadDoubles(DType dtype, const std::byte* from, size_t count, double* to) {
  const auto same = [](auto value) { return value; };
  switch (dtype) {
    case DType::kF16:
      return Load<uint16_t>(from, count, to, kernels::HalfToFloat);
    case DType::kBF16:
      return Load<uint16_t>(from, count, to, kernels::BFloat16ToFloat);
    case DType::kF32:
      return Load<float>(from, count, to, same);
    case DType::kF64:
      return Load<double>(from, count, to, same);
    case DType::kI8:
      return Load<int8_t>(from, count, to, same);
    case DType::kI16:
      return Load<int16_t>(from, count, to, same);
    case DType::kU16:
      return Load<uint16_t>(from, count, to, same);
    case DType::kI32:
      return Load<int32_t>(from, count, to, same);
    case DType::kU32:
      return Load<uint32_t>(from, count, to, same);
    case DType::kI64:
      return Load<int64_t>(from, count, to, same);
    case DType::kU64:
      return Load<uint64_t>(from, count, to, same);
    default:
      return Load<uint8_t>(from, count, to, same);
  }
}

template <typename Bits>
uint64_t CountOtherBits(const std::byte* a, const std::byte* b, size_t count) {
  uint64_t differing = 0;
  for (size_t i = 0; i < count; ++i) {
    Bits left, right;
    std::memcpy(&left, a + i * sizeof(Bits), sizeof(Bits));
    std::memcpy(&right, b + i * sizeof(Bits), sizeof(Bits));
    differing += left != right;
  }
  return differing;
}

uint64_t CountOtherBits(DType dtype, const std::byte* a, const std::byte* b, size_t count) {
  const uint32_t element = DTypeBytes(dtype);
  if (std::memcmp(a, b, count * element) == 0) return 0;
  if (element == 1) return CountOtherBits<uint8_t>(a, b, count);
  if (element == 2) return CountOtherBits<uint16_t>(a, b, count);
  return element == 4 ? CountOtherBits<uint32_t>(a, b, count)
                      : CountOtherBits<uint64_t>(a, b, count);
}

// Elements of one side, in one piece of memory.
struct Elements {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
};

// `by_bits`: both are of one type, and zeros of another sign are another value.
void AddElements(const Elements& a, const Elements& b, size_t count, bool by_bits,
                 ValueSums* sums) {
  sums->elements += count;
  if (by_bits) sums->differing += CountOtherBits(a.dtype, a.data, b.data, count);
  if (!HasNumbers(a.dtype) || !HasNumbers(b.dtype)) return;
  double left[kTile];
  double right[kTile];
  for (size_t first = 0; first < count; first += kTile) {
    const size_t tile = std::min(kTile, count - first);
    LoadDoubles(a.dtype, a.data + first * DTypeBytes(a.dtype), tile, left);
    LoadDoubles(b.dtype, b.data + first * DTypeBytes(b.dtype), tile, right);
    for (size_t i = 0; i < tile; ++i) {
      const bool is_same = left[i] == right[i];
      const double error = is_same ? 0 : right[i] - left[i];  // equal infinities have no distance
      if (!by_bits) sums->differing += !is_same;
      sums->a_squares += left[i] * left[i];
      sums->error_squares += error * error;
      sums->largest = std::max(sums->largest, std::abs(error));
    }
  }
}

class Comparer : public ItemStages {
 public:
  Comparer(std::vector<Comparison>* comparisons, int32_t num_threads, ProgressMeter* progress)
      : comparisons_(*comparisons),
        items_(CutItems(*comparisons)),
        progress_(*progress),
        workers_(static_cast<size_t>(std::max(num_threads, 1))) {}

  size_t num_items() const { return items_.size(); }

  Status Compute(size_t item_idx, size_t worker_idx) override {
    const Item& item = items_[item_idx];
    const Comparison& comparison = comparisons_[item.comparison];
    Worker& worker = workers_[worker_idx];
    worker.sums = {};
    OCTAVO_RETURN_IF_ERROR(Read(comparison.a, item, RowElements(comparison), &worker.a));
    OCTAVO_RETURN_IF_ERROR(Read(comparison.b, item, RowElements(comparison), &worker.b));
    if (ModuleOf(comparison) == nullptr) {
      const DType type = comparison.a.entry->dtype;
      const DType other = comparison.b.entry->dtype;
      AddElements({type, worker.a.rows.data()}, {other, worker.b.rows.data()},
                  item.num_rows * RowElements(comparison), type == other, &worker.sums);
      return {};
    }
    if (comparison.a.module != nullptr && comparison.b.module != nullptr) AddCodes(&worker);
    AddWeights(comparison, item, &worker);
    return {};
  }

  Status Commit(size_t item_idx, size_t worker_idx) override {
    const Item& item = items_[item_idx];
    const Worker& worker = workers_[worker_idx];
    Comparison& comparison = comparisons_[item.comparison];
    comparison.sums.Add(worker.sums);
    return progress_.Add(worker.a.rows.size() + worker.b.rows.size(), comparison.a.entry->name);
  }

  Status Finish(size_t, size_t) override { return {}; }

 private:
  // One side's memory of one thread, reused from item to item.
  struct Side {
    std::vector<std::byte> rows;  // [num_rows][row_elements], codes or as they are stored
    std::vector<std::byte> weights;
    std::vector<std::byte> read;
    CodeBuffers codes;
    const Module* module = nullptr;
    std::optional<ModuleScales> scales;  // of `module`
  };
  struct Worker {
    Side a, b;
    ValueSums sums;
  };

  static Status Read(const Operand& operand, const Item& item, uint64_t row_elements, Side* side) {
    if (operand.transposed) return ReadColumns(operand, item, row_elements, side);
    const Module* module = operand.module;
    if (module != nullptr) {
      OCTAVO_RETURN_IF_ERROR(LoadScales(operand, side));
      if (module->scheme->layout != format::CodeLayout::kPlain) {
        return UnpackCodeRows(*operand.reader, *operand.entry, module->out_features,
                              module->in_features, item.first_row, item.num_rows, &side->codes,
                              &side->rows);
      }
    }
    return ReadStoredRows(*operand.reader, *operand.entry, item.first_row, item.num_rows,
                          &side->rows);
  }

  // Columns of [experts][in_features][out_features], turned around.
  static Status ReadColumns(const Operand& operand, const Item& item, uint64_t in_features,
                            Side* side) {
    const TensorEntry& entry = *operand.entry;
    const uint64_t out_features = entry.shape.row_elements();
    const uint64_t element = DTypeBytes(entry.dtype);
    const uint64_t row_bytes = out_features * element;
    const uint64_t first_input = item.first_row / out_features * in_features;
    const uint64_t first_output = item.first_row % out_features;
    side->rows.resize(item.num_rows * in_features * element);
    for (uint64_t k = 0; k < in_features;) {
      const uint64_t rows = std::min(entry.chunk_rows, in_features - k);
      OCTAVO_RETURN_IF_ERROR(
          ReadStoredRows(*operand.reader, entry, first_input + k, rows, &side->read));
      for (uint64_t n = 0; n < item.num_rows; ++n) {
        std::byte* to = side->rows.data() + (n * in_features + k) * element;
        const std::byte* from = side->read.data() + (first_output + n) * element;
        for (uint64_t i = 0; i < rows; ++i) {
          std::memcpy(to + i * element, from + i * row_bytes, element);
        }
      }
      k += rows;
    }
    return {};
  }

  static Status LoadScales(const Operand& operand, Side* side) {
    if (side->module == operand.module) return {};
    side->module = nullptr;
    Result<ModuleScales> scales = ModuleScales::Read(*operand.reader, *operand.module);
    if (!scales.ok()) {
      const bool is_named = scales.status().message().starts_with(operand.reader->path());
      return is_named ? scales.status() : scales.status().WithContext(operand.reader->path());
    }
    side->scales = std::move(scales).value();
    side->module = operand.module;
    return {};
  }

  static void AddCodes(Worker* worker) {
    const auto* a = reinterpret_cast<const int8_t*>(worker->a.rows.data());
    const auto* b = reinterpret_cast<const int8_t*>(worker->b.rows.data());
    for (size_t i = 0; i < worker->a.rows.size(); ++i) {
      const int32_t distance = std::abs(a[i] - b[i]);
      worker->sums.codes_differing += distance != 0;
      worker->sums.largest_of_codes = std::max(worker->sums.largest_of_codes, distance);
    }
  }

  // A row of weights, dequantized where they are codes.
  static Elements WeightRow(const Operand& operand, const Item& item, uint64_t row,
                            uint64_t in_features, Side* side) {
    const uint64_t bytes = in_features * DTypeBytes(operand.entry->dtype);
    const std::byte* stored = side->rows.data() + row * bytes;
    if (operand.module == nullptr) return {operand.entry->dtype, stored};
    // Float32 holds every weight that docs/format.md defines; one that overflows is infinite.
    static_cast<void>(side->scales->Dequantize({stored, bytes}, item.first_row + row, 1,
                                               DType::kF32, &side->weights));
    return {DType::kF32, side->weights.data()};
  }

  static void AddWeights(const Comparison& comparison, const Item& item, Worker* worker) {
    const uint64_t in_features = RowElements(comparison);
    const bool by_bits = comparison.a.module != nullptr && comparison.b.module != nullptr;
    for (uint64_t row = 0; row < item.num_rows; ++row) {
      const Elements a = WeightRow(comparison.a, item, row, in_features, &worker->a);
      const Elements b = WeightRow(comparison.b, item, row, in_features, &worker->b);
      AddElements(a, b, in_features, by_bits, &worker->sums);
    }
  }

  std::vector<Comparison>& comparisons_;
  const std::vector<Item> items_;
  ProgressMeter& progress_;
  std::vector<Worker> workers_;
};

}  // namespace

uint64_t Operand::bytes() const {
  if (module == nullptr) return entry->raw_bytes();
  return std::max<uint64_t>(module->experts, 1) * module->out_features * module->in_features;
}

void ValueSums::Add(const ValueSums& rows) {
  elements += rows.elements;
  differing += rows.differing;
  largest = std::max(largest, rows.largest);
  a_squares += rows.a_squares;
  error_squares += rows.error_squares;
  codes_differing += rows.codes_differing;
  largest_of_codes = std::max(largest_of_codes, rows.largest_of_codes);
}

bool Comparison::has_numbers() const {
  return HasNumbers(a.entry->dtype) && HasNumbers(b.entry->dtype);
}

bool Comparison::is_real() const {
  const auto is_real = [](const Operand& operand) {
    const DType dtype = operand.entry->dtype;
    return operand.module != nullptr || IsQuantizable(dtype) || dtype == DType::kF64;
  };
  return is_real(a) && is_real(b);
}

Status CompareValues(std::vector<Comparison>* comparisons, int32_t num_threads,
                     ProgressMeter* progress) {
  Comparer comparer(comparisons, num_threads, progress);
  return RunOrdered(comparer.num_items(), num_threads, &comparer);
}

}  // namespace octavo::quant
