#include "octavo/reader.h"

#include <algorithm>
#include <cstring>

#include "format/by_name.h"
#include "format/opened_file.h"
#include "format/payload.h"
#include "format/quote.h"

namespace octavo::format {

struct Reader::State {
  OpenedFile main;
  std::vector<MappedFile> shards;  // of an index
  uint64_t total_bytes = 0;
  ByName<TensorEntry> tensors{main.manifest.tensors}, assets{main.manifest.assets};
  ByName<Module> modules{main.manifest.modules};

  Status OpenShards();
  // The file that holds the payload; empty for a shard that is not there.
  std::span<const std::byte> FileOf(const TensorEntry& entry) const {
    if (!main.is_index()) return main.bytes();
    return entry.shard < shards.size() ? shards[entry.shard].bytes() : std::span<const std::byte>();
  }
};

Status Reader::State::OpenShards() {
  std::vector<OpenedFile> files;
  for (size_t i = 0; i < main.manifest.shards.size(); ++i) {
    const std::string path = ShardPath(main, i);
    Result<OpenedFile> shard = OpenFile(path);
    if (shard.code() == ErrorCode::kNotFound) {
      return Status(
          ErrorCode::kNotFound,
          main.path + ": shard " + Quote(main.manifest.shards[i].name) + " is not beside it (R36)");
    }
    if (!shard.ok()) return shard.status();
    OCTAVO_RETURN_IF_ERROR(CheckShard(main, i, *shard).WithContext(main.path));
    files.push_back(std::move(shard).value());
  }
  OCTAVO_RETURN_IF_ERROR(CheckShardContent(main, files).WithContext(main.path));
  for (OpenedFile& file : files) {
    total_bytes += file.bytes().size();
    shards.push_back(std::move(file.mapping));
  }
  return {};
}

namespace {

// A finding in `path` or a shard beside it, as an error of Open.
Status StatusOf(const Finding& finding, const std::string& path) {
  const std::string folder = FolderPrefix(path);
  return finding.status.WithContext(folder + finding.file + ": " + finding.subject);
}

}  // namespace

Result<Reader> Reader::Open(const std::string& path, const ReaderOptions& options) {
  auto state = std::make_unique<State>();
  OCTAVO_ASSIGN_OR_RETURN(state->main, OpenFile(path));
  state->total_bytes = state->main.bytes().size();
  if (state->main.is_index()) OCTAVO_RETURN_IF_ERROR(state->OpenShards());
  if (options.verify) {
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<Finding> findings, Verify(path, options));
    if (!findings.empty()) return StatusOf(findings.front(), path);
  }
  return Reader(std::move(state));
}

Reader::Reader(std::unique_ptr<State> state) : state_(std::move(state)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

const std::string& Reader::path() const { return state_->main.path; }
const FileHeader& Reader::header() const { return state_->main.header.values; }
const Manifest& Reader::manifest() const { return state_->main.manifest; }
uint64_t Reader::total_bytes() const { return state_->total_bytes; }
std::string_view Reader::manifest_text() const { return state_->main.manifest_text(); }

const TensorEntry* Reader::FindTensor(std::string_view name) const {
  return state_->tensors.Find(name);
}
const Module* Reader::FindModule(std::string_view name) const { return state_->modules.Find(name); }
const TensorEntry* Reader::FindAsset(std::string_view name) const {
  return state_->assets.Find(name);
}

std::span<const std::byte> Reader::Bytes(const TensorEntry& entry) const {
  const std::span<const std::byte> file = state_->FileOf(entry);
  if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset) return {};
  return file.subspan(entry.offset, entry.bytes);
}

Status Reader::ReadRows(const TensorEntry& entry, uint64_t first_row, uint64_t num_rows,
                        std::span<std::byte> out, bool check) const {
  const std::string where = path() + ": " + Quote(entry.name);
  Result<Payload> made = Payload::Make(state_->FileOf(entry), entry);
  if (!made.ok()) return made.status().WithContext(path());
  const Payload& payload = *made;
  const Cut& cut = payload.cut();
  if (first_row > cut.num_rows || num_rows > cut.num_rows - first_row ||
      out.size() != num_rows * cut.row_bytes) {
    return Status(ErrorCode::kInvalidArgument,
                  where + " has " + std::to_string(cut.num_rows) + " rows of " +
                      std::to_string(cut.row_bytes) + " bytes; rows " + std::to_string(first_row) +
                      " to " + std::to_string(first_row + num_rows) + " were asked for, into " +
                      std::to_string(out.size()) + " bytes");
  }
  std::vector<std::byte> buffer;
  const uint64_t end_row = first_row + num_rows;
  for (uint64_t row = first_row; row < end_row && cut.row_bytes > 0;) {
    const uint64_t chunk_idx = cut.ChunkOf(row);
    const ChunkExtent chunk = cut.At(chunk_idx);
    const auto raw = payload.RawChunk(chunk_idx, check, &buffer);
    if (!raw.ok()) return raw.status().WithContext(where + ": chunk " + std::to_string(chunk_idx));
    const uint64_t rows = std::min(end_row, chunk.first_row + chunk.rows) - row;
    std::memcpy(out.data() + (row - first_row) * cut.row_bytes,
                raw->data() + (row - chunk.first_row) * cut.row_bytes, rows * cut.row_bytes);
    row += rows;
  }
  return {};
}

Result<std::vector<std::byte>> Reader::ReadAll(const TensorEntry& entry) const {
  // Checks the entry against the file before anything is allocated for it.
  OCTAVO_RETURN_IF_ERROR(ReadRows(entry, 0, 0, {}));
  std::vector<std::byte> bytes(entry.raw_bytes());
  OCTAVO_RETURN_IF_ERROR(ReadRows(entry, 0, *entry.shape.NumRows(), bytes));
  return bytes;
}

}  // namespace octavo::format
