#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>

#include "format/file.h"
#include "format/names.h"
#include "format/quote.h"
#include "format/safetensors_header.h"
#include "format/write_behind.h"
#include "octavo/safetensors.h"

namespace octavo::format {
namespace {

constexpr size_t kDataAlignment = 8;

Status CannotWrite(const std::string& what) { return Status(ErrorCode::kInvalidArgument, what); }

// Requires: valid UTF-8, so that nothing is replaced.
std::string JsonString(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Bytes of a tensor's data.
Result<uint64_t> CheckTensor(const SafetensorsSpec& tensor) {
  if (const Status status = CheckTensorName(tensor.name); !status.ok()) {
    return CannotWrite(status.message());
  }
  if (tensor.name == kMetadataKey) return CannotWrite("no tensor can be named \"__metadata__\"");
  const std::optional<uint64_t> elements = tensor.shape.NumElements();
  uint64_t bytes = 0;
  if (!elements || __builtin_mul_overflow(*elements, DTypeBytes(tensor.dtype), &bytes) ||
      bytes > INT64_MAX) {
    return CannotWrite("tensor " + Quote(tensor.name) + ": shape " + tensor.shape.ToString() +
                       " is too large");
  }
  return bytes;
}

Result<std::string> MetadataJson(const std::map<std::string, std::string>& metadata) {
  std::string json;
  for (const auto& [key, value] : metadata) {
    if (!IsUtf8(key) || !IsUtf8(value)) {
      return CannotWrite("metadata " + Quote(key) + " is not UTF-8");
    }
    json += (json.empty() ? "" : ",") + JsonString(key) + ":" + JsonString(value);
  }
  return json.empty() ? json : JsonString(kMetadataKey) + ":{" + json + "}";
}

std::string TensorJson(const SafetensorsSpec& tensor, uint64_t begin, uint64_t end) {
  std::string extents;
  for (const uint64_t extent : tensor.shape.extents()) {
    extents += (extents.empty() ? "" : ",") + std::to_string(extent);
  }
  return JsonString(tensor.name) + ":{\"dtype\":\"" + std::string(DTypeName(tensor.dtype)) +
         "\",\"shape\":[" + extents + "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(end) + "]}";
}

// The file's bytes before the data: length, JSON, spaces. `ends`: of each tensor, from the data's
// start.
Result<std::string> MakeHeader(std::span<const SafetensorsSpec> tensors,
                               const std::map<std::string, std::string>& metadata,
                               std::vector<uint64_t>* ends) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string metadata_json, MetadataJson(metadata));
  std::string json = "{" + metadata_json;
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (const SafetensorsSpec& tensor : tensors) {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t bytes, CheckTensor(tensor));
    if (!names.insert(tensor.name).second) {
      return CannotWrite("two tensors are named " + Quote(tensor.name));
    }
    if (bytes > INT64_MAX - offset) return CannotWrite("the tensors are too large for one file");
    if (json.size() > 1) json += ",";
    json += TensorJson(tensor, offset, offset + bytes);
    offset += bytes;
    ends->push_back(offset);
  }
  json += "}";
  json.append((kDataAlignment - json.size() % kDataAlignment) % kDataAlignment, ' ');
  if (json.size() > kMaxSafetensorsHeaderBytes) {
    return CannotWrite("a safetensors header cannot exceed 100,000,000 bytes, this one has " +
                       std::to_string(json.size()));
  }
  std::string length(kSafetensorsLengthBytes, '\0');
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<char>(json.size() >> (8 * i) & 0xFF);
  }
  return length + json;
}

}  // namespace

struct SafetensorsWriter::State {
  AtomicFile file;
  bool overwrite = false;
  uint64_t data_begin = 0;
  std::vector<uint64_t> ends;  // of the tensors, from data_begin on
  WriteBehind behind;
};

Result<SafetensorsWriter> SafetensorsWriter::Create(
    const std::string& path, std::span<const SafetensorsSpec> tensors,
    const std::map<std::string, std::string>& metadata, bool overwrite) {
  auto state = std::make_unique<State>();
  state->overwrite = overwrite;
  const Result<std::string> header = MakeHeader(tensors, metadata, &state->ends);
  if (!header.ok()) return header.status().WithContext(path);
  // Commit decides; asking before saves writing a file that cannot be kept.
  std::error_code error;
  if (!overwrite && std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    return Status(ErrorCode::kAlreadyExists, path + " exists already");
  }
  OCTAVO_ASSIGN_OR_RETURN(state->file, AtomicFile::Create(path));
  OCTAVO_RETURN_IF_ERROR(state->file.WriteAt(0, std::as_bytes(std::span(*header))));
  state->data_begin = header->size();
  return SafetensorsWriter(std::move(state));
}

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

Status SafetensorsWriter::WriteAt(size_t tensor_idx, uint64_t offset,
                                  std::span<const std::byte> bytes) const {
  const uint64_t tensor_begin = tensor_idx == 0 ? 0 : state_->ends[tensor_idx - 1];
  const uint64_t begin = state_->data_begin + tensor_begin + offset;
  OCTAVO_RETURN_IF_ERROR(state_->file.WriteAt(begin, bytes));
  const int error = state_->behind.Wrote(state_->file.fd(), begin + bytes.size(), false);
  return error == 0 ? Status() : ErrnoStatus(error, "cannot write", state_->file.final_path());
}

uint64_t SafetensorsWriter::file_bytes() const {
  return state_->data_begin + (state_->ends.empty() ? 0 : state_->ends.back());
}

Status SafetensorsWriter::Finish() {
  OCTAVO_RETURN_IF_ERROR(state_->file.CoverUpTo(file_bytes()));
  return state_->file.Commit(state_->overwrite);
}

Status WriteSafetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                        const std::map<std::string, std::string>& metadata, bool overwrite) {
  std::vector<SafetensorsSpec> specs;
  for (const SafetensorsTensor& tensor : tensors) {
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
    const std::optional<uint64_t> elements = tensor.shape.NumElements();
    uint64_t bytes = 0;
    if (!elements || __builtin_mul_overflow(*elements, DTypeBytes(tensor.dtype), &bytes) ||
        bytes != tensor.data.size()) {
      return CannotWrite("tensor " + Quote(tensor.name) + ": " +
                         std::string(DTypeName(tensor.dtype)) + " " + tensor.shape.ToString() +
                         " does not take the " + std::to_string(tensor.data.size()) +
                         " bytes given")
          .WithContext(path);
    }
  }
  OCTAVO_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                          SafetensorsWriter::Create(path, specs, metadata, overwrite));
  for (size_t i = 0; i < tensors.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(writer.WriteAt(i, 0, tensors[i].data));
  }
  return writer.Finish();
}

}  // namespace octavo::format
