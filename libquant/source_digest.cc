#include "libquant/source_digest.h"

#include <xxhash.h>

#include <algorithm>

namespace octavo::quant {
namespace {

constexpr uint64_t kReadBytes = uint64_t{1} << 20;

std::string Hex(const XXH128_hash_t& hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::string text;
  for (const unsigned char byte : canonical.digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

struct SourceDigest::FileState {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> hash{XXH3_createState()};
  uint64_t done = 0;
};

SourceDigest::SourceDigest(const format::Checkpoint* source) : source_(source) {
  for (size_t i = 0; i < source->files().size(); ++i) {
    files_.push_back(std::make_unique<FileState>());
    XXH3_128bits_reset(files_.back()->hash.get());
  }
}

SourceDigest::~SourceDigest() = default;

uint64_t SourceDigest::done(uint32_t file) const { return files_[file]->done; }

Status SourceDigest::CatchUp(uint32_t file, uint64_t offset) {
  FileState& state = *files_[file];
  buffer_.resize(kReadBytes);
  while (state.done < offset) {
    const std::span<std::byte> part(buffer_.data(), std::min(kReadBytes, offset - state.done));
    OCTAVO_RETURN_IF_ERROR(source_->ReadAt(file, state.done, part));
    XXH3_128bits_update(state.hash.get(), part.data(), part.size());
    state.done += part.size();
    source_->Release(file, state.done);
  }
  return {};
}

Status SourceDigest::Add(uint32_t file, uint64_t offset, std::span<const std::byte> bytes) {
  FileState& state = *files_[file];
  if (offset < state.done) return {};  // was hashed when later bytes came first
  OCTAVO_RETURN_IF_ERROR(CatchUp(file, offset));
  XXH3_128bits_update(state.hash.get(), bytes.data(), bytes.size());
  state.done += bytes.size();
  return {};
}

Result<std::vector<format::SourceFile>> SourceDigest::Finish() {
  std::vector<format::SourceFile> result;
  for (uint32_t file = 0; file < files_.size(); ++file) {
    const format::CheckpointFile& info = source_->files()[file];
    OCTAVO_RETURN_IF_ERROR(CatchUp(file, info.bytes));
    result.push_back({info.name, info.bytes, Hex(XXH3_128bits_digest(files_[file]->hash.get()))});
  }
  return result;
}

}  // namespace octavo::quant
