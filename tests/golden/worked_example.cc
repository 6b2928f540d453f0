#include "tests/golden/worked_example.h"

#include <algorithm>

#include "format/layout.h"
#include "octavo/reader.h"
#include "tests/golden/surgery.h"

namespace octavo::testing {
namespace {

namespace offset = format::offset;

std::string Hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    if (!text.empty()) text += ' ';
    text += kDigits[std::to_integer<size_t>(byte >> 4)];
    text += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

class Dump {
 public:
  explicit Dump(const Bytes& bytes) : bytes_(bytes) {}

  // At most 16 bytes on a line; the note stands on the first.
  void Field(uint64_t begin, uint64_t size, const std::string& note) {
    for (uint64_t at = begin; at < begin + size; at += 16) {
      const uint64_t count = std::min<uint64_t>(16, begin + size - at);
      Line(at, Hex(std::span(bytes_).subspan(at, count)), at == begin ? note : "");
    }
  }
  void Zeros(uint64_t begin, uint64_t end, const std::string& note) {
    if (end > begin) Line(begin, "00 … (" + std::to_string(end - begin) + " bytes)", note);
  }
  void Text(uint64_t begin, const std::string& text, const std::string& note) {
    Line(begin, "", note);
    constexpr size_t kColumns = 92;
    for (size_t at = 0; at < text.size(); at += kColumns)
      text_ += "      " + text.substr(at, kColumns) + "\n";
  }
  std::string Take() && { return std::move(text_); }

 private:
  void Line(uint64_t at, std::string what, const std::string& note) {
    std::string line = std::to_string(at);
    line.insert(0, 4 - std::min<size_t>(4, line.size()), ' ');
    if (!note.empty() && !what.empty()) {
      size_t width = 0;  // in characters: "…" has three bytes
      for (const char c : what) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      what.append(width < 47 ? 47 - width : 0, ' ');
    }
    text_ += line + "  " + what + (note.empty() || what.empty() ? "" : "  ") + note + "\n";
  }

  const Bytes& bytes_;
  std::string text_;
};

void DumpHeader(Dump& dump, const format::FileHeader& header) {
  dump.Field(0, 8, "magic");
  dump.Field(offset::kVersionMajor, 4, "version 1.0");
  dump.Field(offset::kHeaderBytes, 4, "header_bytes");
  dump.Field(offset::kRequiredFeatures, 8, "required_features: none");
  dump.Field(offset::kOptionalFeatures, 8, "optional_features: none");
  dump.Field(offset::kFileBytes, 8, "file_bytes " + std::to_string(header.file_bytes));
  dump.Field(offset::kManifestOffset, 8,
             "manifest_offset " + std::to_string(header.manifest_offset));
  dump.Field(offset::kManifestBytes, 8, "manifest_bytes " + std::to_string(header.manifest_bytes));
  dump.Field(offset::kShardIndex, 8, "shard 0 of 1");
  dump.Field(offset::kManifestXxh3, 16, "manifest_xxh3");
  dump.Zeros(offset::kReserved, offset::kCommit, "reserved");
  dump.Field(offset::kCommit, 16, "commit");
}

}  // namespace

std::string AnnotatedDump(const std::string& path) {
  const auto reader = format::Reader::Open(path);
  if (!reader.ok()) return reader.status().message();
  const Bytes bytes = Load(path);
  Dump dump(bytes);
  DumpHeader(dump, reader->header());
  uint64_t end = format::kHeaderBytes;
  for (const format::TensorEntry& entry : reader->manifest().tensors) {
    dump.Zeros(end, entry.offset, "padding");
    dump.Field(
        entry.offset, entry.bytes,
        entry.name + " " + std::string(DTypeName(entry.dtype)) + " " + entry.shape.ToString());
    end = entry.offset + entry.bytes;
  }
  dump.Zeros(end, reader->header().manifest_offset, "padding");
  dump.Text(reader->header().manifest_offset, std::string(reader->manifest_text()),
            "the manifest, one line in the file:");
  return std::move(dump).Take();
}

}  // namespace octavo::testing
