#include "format/opened_file.h"

#include "format/manifest_rules.h"

namespace octavo::format {
namespace {

Status ExamineManifest(OpenedFile* file) {
  const FileHeader& header = file->header.values;
  const std::string_view text = file->manifest_text();
  const Digest128 digest = Xxh3Wide(std::as_bytes(std::span(text)));
  if (digest != file->header.manifest_xxh3) {
    return Status(ErrorCode::kNotIntact, "manifest: its digest is " + Hex(digest) +
                                             ", the header says " + header.manifest_xxh3 + " (R8)");
  }
  OCTAVO_ASSIGN_OR_RETURN(file->manifest, ParseManifest(text, file->is_index()));
  const uint64_t demanded = file->manifest.RequiredFeatures();
  if (demanded != header.required_features) {
    return Status(ErrorCode::kInvalidFile, "manifest: it demands the required features " +
                                               std::to_string(demanded) + ", the header has " +
                                               std::to_string(header.required_features) + " (R10)");
  }
  if (file->is_index() && header.shard_count != file->manifest.shards.size()) {
    return Status(ErrorCode::kInvalidFile,
                  "manifest: it names " + std::to_string(file->manifest.shards.size()) +
                      " shards, the header counts " + std::to_string(header.shard_count) + " (R9)");
  }
  return CheckPlaces(file->manifest, file->is_index(), header.manifest_offset);
}

}  // namespace

std::string_view OpenedFile::manifest_text() const {
  const auto text = bytes().subspan(header.values.manifest_offset, header.values.manifest_bytes);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

std::string OpenedFile::name() const { return BaseNameOf(path); }

Status Examine(OpenedFile* file, std::string* subject) {
  *subject = "header";
  const std::span<const std::byte> bytes = file->bytes();
  OCTAVO_ASSIGN_OR_RETURN(file->header, DecodeHeader(bytes, bytes.size()));
  *subject = "manifest";
  return ExamineManifest(file);
}

Result<OpenedFile> OpenFile(const std::string& path) {
  OpenedFile file;
  file.path = path;
  OCTAVO_ASSIGN_OR_RETURN(file.mapping, MappedFile::Open(path));
  std::string subject;
  const Status status = Examine(&file, &subject);
  if (!status.ok()) return status.WithContext(subject == "header" ? path + ": header" : path);
  return file;
}

}  // namespace octavo::format
