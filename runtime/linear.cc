// Accessors of the objects of linear.h. What they do is in prepare.cc and forward.cc.
#include "octavo/linear.h"

#include <utility>

#include "runtime/operands.h"
#include "runtime/slice.h"
#include "runtime/state.h"

namespace octavo {

Linear::Linear(Model model, const format::Module* module, int64_t expert)
    : model_(std::move(model)), module_(module), expert_(expert) {}
Linear::Linear(std::shared_ptr<const InMemory> in_memory)
    : model_(nullptr), in_memory_(std::move(in_memory)), module_(&in_memory_->module) {}

const std::string& Linear::name() const { return module_->name; }
int64_t Linear::in_features() const { return static_cast<int64_t>(InRange(*this).count()); }
int64_t Linear::out_features() const { return static_cast<int64_t>(OutRange(*this).count()); }
const std::optional<Slice>& Linear::part() const { return part_; }
bool Linear::has_bias() const { return !module_->bias.empty(); }
const format::Module& Linear::module() const { return *module_; }
const format::Quantization& Linear::quantization() const {
  return in_memory_ == nullptr ? model_.manifest().quantization : in_memory_->operands.quantization;
}

int64_t Linear::num_kept_columns() const {
  if (module_->kept_index.empty()) return 0;
  if (in_memory_ != nullptr) return in_memory_->operands.num_kept;
  const format::TensorEntry* index = model_.reader().FindTensor(module_->kept_index);
  return index == nullptr ? 0 : static_cast<int64_t>(index->shape.NumElements().value_or(0));
}

PreparedLinear::PreparedLinear(std::unique_ptr<State> state) : state_(std::move(state)) {}
PreparedLinear::PreparedLinear(PreparedLinear&&) noexcept = default;
PreparedLinear& PreparedLinear::operator=(PreparedLinear&&) noexcept = default;
PreparedLinear::~PreparedLinear() = default;

const Linear& PreparedLinear::linear() const { return state_->linear; }
Device PreparedLinear::device() const { return state_->device; }
int64_t PreparedLinear::in_features() const { return state_->linear.in_features(); }
int64_t PreparedLinear::out_features() const { return state_->linear.out_features(); }
const char* PreparedLinear::backend() const { return state_->backend_name.c_str(); }

size_t PreparedLinear::owned_bytes() const {
  size_t bytes = state_->kept_index->size() * sizeof(int32_t);
  for (const AlignedBuffer& buffer : state_->owned) bytes += buffer.bytes();
  if (state_->device_memory != nullptr) bytes += state_->device_memory->bytes();
  return bytes;
}

uint64_t PreparedLinear::bytes_read() const { return state_->bytes_read; }

QuantizedActivations::QuantizedActivations(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
QuantizedActivations::QuantizedActivations(QuantizedActivations&&) noexcept = default;
QuantizedActivations& QuantizedActivations::operator=(QuantizedActivations&&) noexcept = default;
QuantizedActivations::~QuantizedActivations() = default;

int64_t QuantizedActivations::tokens() const {
  return static_cast<int64_t>(state_->quantized.x.tokens);
}

int64_t QuantizedActivations::in_features() const {
  return static_cast<int64_t>(state_->quantized.x.in_features);
}

Result<std::vector<int64_t>> QuantizedActivations::outlier_columns() const {
  if (tokens() == 0) return std::vector<int64_t>();
  return state_->backend->OutlierColumns(*state_);
}

Result<int64_t> QuantizedActivations::outlier_entries() const {
  if (tokens() == 0) return int64_t{0};
  return state_->backend->OutlierEntries(*state_);
}

}  // namespace octavo
