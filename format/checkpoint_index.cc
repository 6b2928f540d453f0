#include "format/checkpoint_index.h"

#include <utility>

#include "format/json_walk.h"
#include "format/names.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

constexpr std::string_view kWeightMap = "weight_map";

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

class IndexWalker : public JsonWalker {
 public:
  explicit IndexWalker(bool is_torch) : is_torch_(is_torch) {}
  CheckpointIndex Take() { return std::move(index_); }
  bool has_weight_map() const { return has_weight_map_; }

 protected:
  Status OnBegin(bool is_array) override {
    if (path().empty() || path()[0] != kWeightMap) return {};
    if (path().size() > 1 || is_array) return NotAMap();
    has_weight_map_ = true;
    return {};
  }

  Status OnScalar(const JsonScalar& scalar) override {
    if (path().size() == 2 && path()[0] == "metadata" && path()[1] == "total_size") {
      if (scalar.is_count()) index_.total_size = static_cast<double>(scalar.count);
      if (scalar.type == JsonScalar::Type::kNumber) index_.total_size = scalar.number;
    }
    if (path()[0] != kWeightMap) return {};
    if (path().size() != 2 || !scalar.is_string()) return NotAMap();
    return Add(path()[1], std::string(scalar.text));
  }

 private:
  static Status NotAMap() { return Invalid("weight_map is not an object of strings"); }

  Status Add(const std::string& tensor, std::string shard) {
    OCTAVO_RETURN_IF_ERROR(CheckTensorName(tensor));
    const Status status = CheckBaseName(shard);
    if (!status.ok()) return status.WithContext("tensor " + Quote(tensor));
    if (!shard.ends_with(is_torch_ ? ".bin" : ".safetensors")) {
      return Invalid("tensor " + Quote(tensor) + ": " + Quote(shard) + " is not a " +
                     (is_torch_ ? ".bin" : "safetensors") + " file");
    }
    index_.weight_map.emplace(tensor, std::move(shard));
    return {};
  }

  const bool is_torch_;
  CheckpointIndex index_;
  bool has_weight_map_ = false;
};

}  // namespace

std::set<std::string_view> CheckpointIndex::shards() const {
  std::set<std::string_view> names;
  for (const auto& [tensor, shard] : weight_map) names.insert(shard);
  return names;
}

Result<CheckpointIndex> ParseCheckpointIndex(std::string_view json, bool is_torch) {
  IndexWalker walker(is_torch);
  OCTAVO_RETURN_IF_ERROR(walker.Walk(json));
  if (!walker.has_weight_map()) return Invalid("it has no weight_map");
  CheckpointIndex index = walker.Take();
  if (index.weight_map.empty()) return Invalid("its weight_map is empty");
  return index;
}

}  // namespace octavo::format
