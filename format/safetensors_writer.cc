#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>

#include "format/file.h"
#include "format/names.h"
#include "format/quote.h"
#include "format/safetensors_header.h"
#include "octavo/safetensors.h"

namespace octavo::format {
namespace {

constexpr size_t kDataAlignment = 8;

Status CannotWrite(const std::string& what) { return Status(ErrorCode::kInvalidArgument, what); }

// Requires: valid UTF-8, so that nothing is replaced.
std::string JsonString(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Status CheckTensor(const SafetensorsTensor& tensor) {
  if (const Status status = CheckTensorName(tensor.name); !status.ok()) {
    return CannotWrite(status.message());
  }
  if (tensor.name == kMetadataKey) return CannotWrite("no tensor can be named \"__metadata__\"");
  const std::optional<uint64_t> elements = tensor.shape.NumElements();
  uint64_t bytes = 0;
  if (!elements || __builtin_mul_overflow(*elements, DTypeBytes(tensor.dtype), &bytes) ||
      bytes != tensor.data.size()) {
    return CannotWrite("tensor " + Quote(tensor.name) + ": " +
                       std::string(DTypeName(tensor.dtype)) + " " + tensor.shape.ToString() +
                       " does not take the " + std::to_string(tensor.data.size()) + " bytes given");
  }
  return {};
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

std::string TensorJson(const SafetensorsTensor& tensor, uint64_t begin) {
  std::string extents;
  for (const uint64_t extent : tensor.shape.extents()) {
    extents += (extents.empty() ? "" : ",") + std::to_string(extent);
  }
  return JsonString(tensor.name) + ":{\"dtype\":\"" + std::string(DTypeName(tensor.dtype)) +
         "\",\"shape\":[" + extents + "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(begin + tensor.data.size()) + "]}";
}

// The file's bytes before the data: length, JSON, spaces.
Result<std::string> MakeHeader(std::span<const SafetensorsTensor> tensors,
                               const std::map<std::string, std::string>& metadata) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string metadata_json, MetadataJson(metadata));
  std::string json = "{" + metadata_json;
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    OCTAVO_RETURN_IF_ERROR(CheckTensor(tensor));
    if (!names.insert(tensor.name).second) {
      return CannotWrite("two tensors are named " + Quote(tensor.name));
    }
    if (json.size() > 1) json += ",";
    json += TensorJson(tensor, offset);
    offset += tensor.data.size();
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

Status WriteSafetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                        const std::map<std::string, std::string>& metadata, bool overwrite) {
  const Result<std::string> header = MakeHeader(tensors, metadata);
  if (!header.ok()) return header.status().WithContext(path);
  // Commit decides; asking before saves writing a file that cannot be kept.
  std::error_code error;
  if (!overwrite && std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    return Status(ErrorCode::kAlreadyExists, path + " exists already");
  }
  OCTAVO_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  OCTAVO_RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(*header))));
  uint64_t offset = header->size();
  for (const SafetensorsTensor& tensor : tensors) {
    OCTAVO_RETURN_IF_ERROR(file.WriteAt(offset, tensor.data));
    offset += tensor.data.size();
  }
  return file.Commit(overwrite);
}

}  // namespace octavo::format
