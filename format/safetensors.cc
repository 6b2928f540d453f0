#include "octavo/safetensors.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "format/file.h"
#include "format/quote.h"
#include "format/read_ahead.h"
#include "format/safetensors_header.h"

namespace octavo::format {
namespace {

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

// What a file that is not safetensors seems to be; empty if nothing known.
std::string_view ForeignFormat(std::string_view start) {
  using namespace std::string_view_literals;
  if (start.starts_with("version https://git-lfs")) {
    return "it is a git-LFS pointer, not the weights; fetch them with \"git lfs pull\"";
  }
  if (start.starts_with("PK\x03\x04"sv) || start.starts_with("\x80\x02"sv)) {
    return "it holds pickled PyTorch weights; give it a name that ends in .bin or .pt";
  }
  if (start.starts_with("GGUF")) return "it is a GGUF file";
  if (start.starts_with("\x89"
                        "8VO"))
    return "it is a .8vo file";
  if (start.starts_with("{\n") || start.starts_with("{\"") || start.starts_with("{ ")) {
    return "it is JSON; name the model's folder, or a .safetensors.index.json";
  }
  return {};
}

uint64_t LoadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = kSafetensorsLengthBytes; i-- > 0;) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

// The header's text. Nothing is allocated for a length that the file does not have.
Result<std::string> ReadHeaderText(const InputFile& file) {
  std::string start(std::min<uint64_t>(file.size(), 64), '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(start))));
  if (const std::string_view foreign = ForeignFormat(start); !foreign.empty()) {
    return Invalid("not a safetensors file: " + std::string(foreign));
  }
  if (start.size() < kSafetensorsLengthBytes) {
    return Invalid("not a safetensors file: it has only " + std::to_string(start.size()) +
                   " bytes");
  }
  const uint64_t header_bytes = LoadLittleEndian(start);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return Invalid("not a safetensors file: its header would have " + std::to_string(header_bytes) +
                   " bytes; at most 100,000,000 are allowed");
  }
  if (header_bytes > file.size() - kSafetensorsLengthBytes) {
    return Invalid("the header ends at " + std::to_string(kSafetensorsLengthBytes + header_bytes) +
                   ", file has " + std::to_string(file.size()) + " bytes");
  }
  std::string text(header_bytes, '\0');
  OCTAVO_RETURN_IF_ERROR(
      file.ReadAt(kSafetensorsLengthBytes, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace

struct SafetensorsFile::State {
  InputFile file;
  ReadAhead ahead;
  SafetensorsHeader header;
  std::unordered_map<std::string_view, const SafetensorsEntry*> by_name;
};

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  Result<std::string> text = ReadHeaderText(file);
  // Messages of the operating system name the path already.
  if (text.code() == ErrorCode::kInvalidFile) return text.status().WithContext(path);
  if (!text.ok()) return text.status();
  Result<SafetensorsHeader> header = ParseSafetensorsHeader(*text, file.size());
  if (!header.ok()) return header.status().WithContext(path);
  auto state = std::make_unique<State>();
  state->file = std::move(file);
  state->header = std::move(*header);
  state->by_name.reserve(state->header.tensors.size());
  for (const SafetensorsEntry& tensor : state->header.tensors) {
    state->by_name.emplace(tensor.name, &tensor);
  }
  return SafetensorsFile(std::move(state));
}

SafetensorsFile::SafetensorsFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

const std::string& SafetensorsFile::path() const { return state_->file.path(); }
uint64_t SafetensorsFile::file_bytes() const { return state_->file.size(); }
const std::vector<SafetensorsEntry>& SafetensorsFile::tensors() const {
  return state_->header.tensors;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->header.metadata;
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto it = state_->by_name.find(name);
  return it == state_->by_name.end() ? nullptr : it->second;
}

Status SafetensorsFile::ReadAt(uint64_t offset, std::span<std::byte> out) const {
  state_->ahead.Announce(offset, out.size());
  return state_->file.ReadAt(offset, out);
}

void SafetensorsFile::Stream(bool drops_read) const {
  state_->ahead.Start(state_->file.fd(), state_->file.size(), drops_read);
}
void SafetensorsFile::Release(uint64_t offset) const { state_->ahead.Release(offset); }

Result<std::vector<std::byte>> SafetensorsFile::Read(const SafetensorsEntry& entry) const {
  if (entry.offset > file_bytes() || entry.bytes > file_bytes() - entry.offset) {
    return Status(ErrorCode::kInvalidArgument,
                  "tensor " + Quote(entry.name) + " is not one of " + path());
  }
  std::vector<std::byte> bytes(entry.bytes);
  OCTAVO_RETURN_IF_ERROR(ReadAt(entry.offset, bytes));
  return bytes;
}

Status SafetensorsFile::CheckUnchanged() const { return state_->file.CheckUnchanged(); }

}  // namespace octavo::format
