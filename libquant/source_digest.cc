#include "libquant/source_digest.h"

#define XXH_STATIC_LINKING_ONLY  // XXH3_state_t, which has no other way to a file
#if defined(OCTAVO_HAVE_XXH_DISPATCH)
#include <xxh_x86dispatch.h>  // xxhash.h with the XXH3 functions that look at the CPU
#else
#include <xxhash.h>
#endif

#include <algorithm>

#include "libquant/hex.h"
#include "libquant/sha256.h"

namespace octavo::quant {
namespace {

constexpr uint64_t kReadBytes = uint64_t{1} << 20;

std::string CanonicalHex(const XXH128_hash_t& hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  return Hex(std::as_bytes(std::span(canonical.digest)));
}

}  // namespace

struct SourceDigest::FileState {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> hash{XXH3_createState()};
  Sha256 sha256;
  uint64_t done = 0;
  uint64_t put = 0;  // done at the last Put
};

SourceDigest::SourceDigest(const format::Checkpoint* source, std::vector<bool> hashed,
                           bool with_sha256)
    : source_(source), hashed_(std::move(hashed)), with_sha256_(with_sha256) {
  hashed_.resize(source->files().size(), hashed_.empty());
  for (size_t i = 0; i < source->files().size(); ++i) {
    files_.push_back(std::make_unique<FileState>());
    XXH3_128bits_reset(files_.back()->hash.get());
  }
}

SourceDigest::~SourceDigest() = default;

void SourceDigest::Hash(FileState* state, std::span<const std::byte> bytes) const {
  XXH3_128bits_update(state->hash.get(), bytes.data(), bytes.size());
  if (with_sha256_) state->sha256.Add(bytes);
  state->done += bytes.size();
}

uint64_t SourceDigest::done(uint32_t file) const { return files_[file]->done; }

Status SourceDigest::CatchUp(uint32_t file, uint64_t offset) {
  FileState& state = *files_[file];
  buffer_.resize(kReadBytes);
  while (state.done < offset) {
    const std::span<std::byte> part(buffer_.data(), std::min(kReadBytes, offset - state.done));
    OCTAVO_RETURN_IF_ERROR(source_->ReadAt(file, state.done, part));
    Hash(&state, part);
    source_->Release(file, state.done);
  }
  return {};
}

Status SourceDigest::Add(uint32_t file, uint64_t offset, std::span<const std::byte> bytes) {
  FileState& state = *files_[file];
  // Views of a torch.save file have places behind its end.
  if (!hashed_[file] || offset >= source_->files()[file].bytes) return {};
  if (offset < state.done) return {};  // was hashed when later bytes came first
  OCTAVO_RETURN_IF_ERROR(CatchUp(file, offset));
  Hash(&state, bytes);
  return {};
}

void SourceDigest::Put(format::ByteWriter* out) {
  uint64_t num_changed = 0;
  for (const auto& file : files_) num_changed += file->done != file->put;
  out->Put(num_changed);
  for (uint64_t i = 0; i < files_.size(); ++i) {
    FileState& state = *files_[i];
    if (state.done == state.put) continue;
    out->Put(i);
    out->Put(state.done);
    out->Put(*state.hash);
    if (with_sha256_) out->Put(state.sha256.state());
    state.put = state.done;
  }
}

void SourceDigest::Get(format::ByteReader* in) {
  for (auto count = in->Get<uint64_t>(); count > 0 && in->ok(); --count) {
    const auto file = in->Get<uint64_t>();
    if (file >= files_.size()) return;  // then bytes are left over, which the caller finds
    FileState& state = *files_[file];
    state.done = state.put = in->Get<uint64_t>();
    const unsigned char* secret = state.hash->extSecret;  // where this process has it
    *state.hash = in->Get<XXH3_state_t>();
    state.hash->extSecret = secret;
    if (with_sha256_) state.sha256.Restore(in->Get<Sha256::State>());
  }
}

Result<std::vector<format::SourceFile>> SourceDigest::Finish() {
  std::vector<format::SourceFile> result;
  for (uint32_t file = 0; file < files_.size(); ++file) {
    if (!hashed_[file]) continue;
    const format::CheckpointFile& info = source_->files()[file];
    OCTAVO_RETURN_IF_ERROR(CatchUp(file, info.bytes));
    result.push_back({info.name, info.bytes,
                      CanonicalHex(XXH3_128bits_digest(files_[file]->hash.get())),
                      with_sha256_ ? files_[file]->sha256.Finish() : std::string()});
  }
  return result;
}

}  // namespace octavo::quant
