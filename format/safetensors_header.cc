#include "format/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "format/json_walk.h"
#include "format/names.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

// Bytes of a tensor; nothing where the extents other than 0, times the element, reach 2^63: a zero
// must not hide extents that overflow in whoever multiplies some of them.
std::optional<uint64_t> TensorBytes(DType dtype, const Shape& shape) {
  uint64_t product = DTypeBytes(dtype);
  bool empty = false;
  for (const uint64_t extent : shape.extents()) {
    empty |= extent == 0;
    if (extent != 0 && __builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  if (product > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return empty ? 0 : product;
}

// Collects the fields of one tensor after the other; offsets stay relative to the data until a
// tensor is complete.
class HeaderWalker : public JsonWalker {
 public:
  HeaderWalker(uint64_t data_start, uint64_t file_bytes)
      : data_start_(data_start), file_bytes_(file_bytes) {}
  SafetensorsHeader Take() { return std::move(header_); }

 protected:
  Status OnBegin(bool is_array) override;
  Status OnScalar(const JsonScalar& scalar) override;
  Status OnEnd() override;

 private:
  bool in_metadata() const { return !path().empty() && path()[0] == kMetadataKey; }
  Status Fault(const std::string& what) const {
    return Invalid((in_metadata() ? std::string(kMetadataKey) : "tensor " + Quote(path()[0])) +
                   ": " + what);
  }
  Status TakeMetadata(const JsonScalar& scalar);
  Status TakeDType(const JsonScalar& scalar);
  Status TakeElement(const JsonScalar& scalar);
  Status FinishTensor();

  uint64_t data_start_;
  uint64_t file_bytes_;
  SafetensorsHeader header_;
  std::optional<DType> dtype_;
  std::optional<std::vector<uint64_t>> extents_;
  std::optional<std::vector<uint64_t>> offsets_;
};

Status HeaderWalker::OnBegin(bool is_array) {
  if (path().empty()) return {};
  if (path().size() == 1) {
    dtype_.reset();
    extents_.reset();
    offsets_.reset();
    if (is_array) return Fault("an object is expected");
    return in_metadata() ? Status() : CheckTensorName(path()[0]);
  }
  if (in_metadata()) return Fault("values are strings");
  const std::string& field = path()[1];
  if (field == "dtype") return Fault("dtype is a string");
  if (field != "shape" && field != "data_offsets") return {};
  if (!is_array || path().size() > 2) return Fault(field + " is an array of counts");
  (field == "shape" ? extents_ : offsets_).emplace();
  return {};
}

Status HeaderWalker::OnScalar(const JsonScalar& scalar) {
  if (path().size() == 1) return Fault("an object is expected");
  if (in_metadata()) return TakeMetadata(scalar);
  if (path()[1] == "dtype") return TakeDType(scalar);
  if (path()[1] == "shape" || path()[1] == "data_offsets") return TakeElement(scalar);
  return {};  // the reference implementation ignores other fields too
}

Status HeaderWalker::OnEnd() {
  return path().size() == 1 && !in_metadata() ? FinishTensor() : Status();
}

Status HeaderWalker::TakeMetadata(const JsonScalar& scalar) {
  if (!scalar.is_string()) return Fault("values are strings");
  header_.metadata.emplace(path()[1], scalar.text);
  return {};
}

Status HeaderWalker::TakeDType(const JsonScalar& scalar) {
  if (!scalar.is_string()) return Fault("dtype is a string");
  dtype_ = DTypeFromName(scalar.text);
  if (!dtype_) return Fault("dtype " + Quote(scalar.text) + " is not one that this version reads");
  return {};
}

Status HeaderWalker::TakeElement(const JsonScalar& scalar) {
  const bool is_shape = path()[1] == "shape";
  if (path().size() != 3 || !scalar.is_count()) {
    return Fault(path()[1] + " is an array of counts");
  }
  std::vector<uint64_t>& list = is_shape ? *extents_ : *offsets_;
  list.push_back(scalar.count);
  if (is_shape && list.size() > Shape::kMaxRank) {
    return Fault("it has more than " + std::to_string(Shape::kMaxRank) + " dimensions");
  }
  if (!is_shape && list.size() > 2) return Fault("data_offsets is not a begin and an end");
  return {};
}

Status HeaderWalker::FinishTensor() {
  if (!dtype_) return Fault("it has no dtype");
  if (!extents_) return Fault("it has no shape");
  if (!offsets_) return Fault("it has no data_offsets");
  if (offsets_->size() != 2) return Fault("data_offsets is not a begin and an end");
  const uint64_t begin = (*offsets_)[0];
  const uint64_t end = (*offsets_)[1];
  if (begin > end) {
    return Fault("data_offsets end at " + std::to_string(end) + " before they begin at " +
                 std::to_string(begin));
  }
  if (end > file_bytes_ - data_start_) {
    uint64_t end_in_file = 0;
    if (__builtin_add_overflow(data_start_, end, &end_in_file)) end_in_file = ~uint64_t{0};
    return Fault("stored range ends at " + std::to_string(end_in_file) + ", file has " +
                 std::to_string(file_bytes_) + " bytes");
  }
  const Shape shape = *Shape::Make(*extents_);
  const std::optional<uint64_t> bytes = TensorBytes(*dtype_, shape);
  const std::string what = std::string(DTypeName(*dtype_)) + " " + shape.ToString();
  if (!bytes) return Fault(what + " is larger than any file");
  if (*bytes != end - begin) {
    return Fault(what + " takes " + std::to_string(*bytes) + " bytes, its stored range has " +
                 std::to_string(end - begin));
  }
  header_.tensors.push_back({path()[0], *dtype_, shape, data_start_ + begin, *bytes});
  return {};
}

// Sorted by offset, the ranges follow each other from the header's end to the file's without hole
// or overlap.
Status CheckCover(const std::vector<SafetensorsEntry>& tensors, uint64_t data_start,
                  uint64_t file_bytes) {
  uint64_t expected = data_start;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry& tensor : tensors) {
    if (tensor.offset < expected) {
      return Invalid("tensor " + Quote(tensor.name) + ": stored range begins at " +
                     std::to_string(tensor.offset) + ", inside that of tensor " +
                     Quote(previous->name) + ", which ends at " + std::to_string(expected));
    }
    if (tensor.offset > expected) {
      return Invalid("tensor " + Quote(tensor.name) + ": stored range begins at " +
                     std::to_string(tensor.offset) + ", the bytes from " +
                     std::to_string(expected) + " on belong to no tensor");
    }
    expected += tensor.bytes;
    previous = &tensor;
  }
  if (expected == file_bytes) return {};
  return Invalid("the tensors end at " + std::to_string(expected) + ", file has " +
                 std::to_string(file_bytes) + " bytes");
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, uint64_t file_bytes) {
  const uint64_t data_start = kSafetensorsLengthBytes + json.size();
  if (!json.starts_with('{')) return Invalid("the header does not begin with '{'");
  HeaderWalker walker(data_start, file_bytes);
  if (const Status status = walker.Walk(json); !status.ok()) return status.WithContext("header");
  SafetensorsHeader header = walker.Take();
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
            });
  OCTAVO_RETURN_IF_ERROR(CheckCover(header.tensors, data_start, file_bytes));
  return header;
}

}  // namespace octavo::format
