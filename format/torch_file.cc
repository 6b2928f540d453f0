#include "format/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "format/file.h"
#include "format/names.h"
#include "format/quote.h"
#include "format/read_ahead.h"
#include "format/torch_pickle.h"
#include "format/torch_zip.h"

namespace octavo::format {
namespace {

constexpr uint64_t kMaxSharing = 16;
constexpr uint64_t kSmallFileBytes = uint64_t{1} << 20;

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

// The CRC of zip, bit by bit: for one small entry.
uint32_t Crc32(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1u) != 0 ? 0xedb88320u : 0);
  }
  return ~crc;
}

Result<std::string> ReadEntry(const InputFile& file, const ZipEntry& entry, uint64_t max_bytes) {
  if (entry.bytes > max_bytes) {
    return Invalid("entry " + Quote(entry.name) + " has " + std::to_string(entry.bytes) + " bytes");
  }
  std::string text(entry.bytes, '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadAt(entry.offset, std::as_writable_bytes(std::span(text))));
  if (entry.crc32 != 0 && Crc32(text) != entry.crc32) {
    return Invalid("entry " + Quote(entry.name) + ": its checksum is wrong");
  }
  return text;
}

// The archive's entries by name behind their common folder.
class Archive {
 public:
  static Result<Archive> Open(const InputFile& file) {
    Archive archive;
    OCTAVO_ASSIGN_OR_RETURN(archive.entries_, ReadZipDirectory(file));
    for (const ZipEntry& entry : archive.entries_) {
      const size_t slash = entry.name.find('/');
      if (slash == std::string::npos || entry.name.substr(slash + 1) != "data.pkl") continue;
      if (!archive.root_.empty())
        return Invalid("the archive has two pickles, " + Quote(archive.root_ + "data.pkl") +
                       " and " + Quote(entry.name));
      archive.root_ = entry.name.substr(0, slash + 1);
    }
    if (archive.root_.empty())
      return Invalid("the archive has no data.pkl: torch.save did not write it");
    for (const ZipEntry& entry : archive.entries_) {
      if (!entry.name.starts_with(archive.root_)) continue;
      const std::string_view name = std::string_view(entry.name).substr(archive.root_.size());
      if (name == "constants.pkl" || name.starts_with("code/")) {
        return Invalid(
            "it is a TorchScript program, not a checkpoint; save the model's state_dict() with "
            "torch.save");
      }
      archive.by_name_.emplace(name, &entry);
    }
    return archive;
  }
  const ZipEntry* Find(const std::string& name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : it->second;
  }

 private:
  std::vector<ZipEntry> entries_;
  std::string root_;
  std::unordered_map<std::string_view, const ZipEntry*> by_name_;
};

// The elements of a tensor that are not one after the other.
struct View {
  uint64_t begin = 0;  // as ReadAt knows it
  uint64_t bytes = 0;
  uint64_t element = 1;
  uint64_t first = 0;  // byte in the file
  std::vector<uint64_t> shape;
  std::vector<uint64_t> strides;  // elements
};

bool IsContiguous(const PickledTensor& tensor) {
  uint64_t expected = 1;
  for (size_t axis = tensor.shape.size(); axis-- > 0;) {
    if (tensor.shape[axis] != 1 && tensor.strides[axis] != expected) return false;
    expected *= tensor.shape[axis];  // the shape's product was checked
  }
  return true;
}

// One past the last element that the tensor reaches in its storage; nothing on overflow. Requires:
// elements.
std::optional<uint64_t> EndElement(const PickledTensor& tensor) {
  uint64_t end = tensor.storage_offset;
  for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    uint64_t reach = 0;
    if (__builtin_mul_overflow(tensor.shape[axis] - 1, tensor.strides[axis], &reach) ||
        __builtin_add_overflow(end, reach, &end)) {
      return std::nullopt;
    }
  }
  return end == UINT64_MAX ? std::nullopt : std::optional(end + 1);
}

}  // namespace

struct TorchFile::State {
  InputFile file;
  ReadAhead ahead;
  MappedFile mapping;  // with views only
  std::vector<SafetensorsEntry> tensors;
  std::vector<View> views;  // by `begin`

  Status Read();
  Status AddTensor(const Archive& archive, const PickledTensor& tensor, uint64_t* views_end);
  void Gather(const View& view, uint64_t offset, std::span<std::byte> out) const;
};

Status TorchFile::State::AddTensor(const Archive& archive, const PickledTensor& tensor,
                                   uint64_t* views_end) {
  const auto refuse = [&tensor](const std::string& why) {
    return Invalid("tensor " + Quote(tensor.name) + ": " + why);
  };
  OCTAVO_RETURN_IF_ERROR(CheckTensorName(tensor.name));
  const ZipEntry* storage = archive.Find("data/" + tensor.storage);
  if (storage == nullptr) return refuse("the archive has no storage " + Quote(tensor.storage));
  if (storage->bytes != tensor.storage_bytes) {
    return refuse("its storage " + Quote(tensor.storage) + " has " +
                  std::to_string(storage->bytes) + " bytes, the pickle says " +
                  std::to_string(tensor.storage_bytes));
  }
  SafetensorsEntry entry{tensor.name, tensor.dtype, *Shape::Make(tensor.shape), 0, 0};
  const uint64_t element = DTypeBytes(tensor.dtype);
  const std::optional<uint64_t> elements = entry.shape.NumElements();
  if (!elements || __builtin_mul_overflow(*elements, element, &entry.bytes) ||
      entry.bytes > INT64_MAX) {
    return refuse("shape " + entry.shape.ToString() + " is too large");
  }
  entry.offset = storage->offset;
  if (*elements > 0) {
    const std::optional<uint64_t> end = EndElement(tensor);
    if (!end || *end > storage->bytes / element) {
      return refuse("it reaches outside its storage " + Quote(tensor.storage));
    }
    entry.offset = storage->offset + tensor.storage_offset * element;
  }
  if (*elements > 0 && !IsContiguous(tensor)) {
    // A view of few bytes with strides of 0 could claim to be a terabyte.
    if (entry.bytes > storage->bytes)
      return refuse("it repeats its storage's elements, which torch.save does not need");
    views.push_back({*views_end, entry.bytes, element, entry.offset, tensor.shape, tensor.strides});
    if (__builtin_add_overflow(*views_end, entry.bytes, views_end))
      return refuse("it is too large");
    entry.offset = views.back().begin;
  }
  tensors.push_back(std::move(entry));
  return {};
}

Status TorchFile::State::Read() {
  OCTAVO_ASSIGN_OR_RETURN(const Archive archive, Archive::Open(file));
  if (const ZipEntry* order = archive.Find("byteorder"); order != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadEntry(file, *order, 16));
    if (text != "little")
      return Invalid("its byte order is " + Quote(text) + "; only little is read");
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::string pickle,
                          ReadEntry(file, *archive.Find("data.pkl"), kMaxPickleBytes));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<PickledTensor> pickled, ReadTorchPickle(pickle));
  uint64_t views_end = file.size(), total_bytes = 0;
  for (const PickledTensor& tensor : pickled) {
    OCTAVO_RETURN_IF_ERROR(AddTensor(archive, tensor, &views_end));
    total_bytes += std::min(tensors.back().bytes, UINT64_MAX - total_bytes);
  }
  // Tied weights are the same storage twice; a small file could name one a million times.
  if (total_bytes > kMaxSharing * std::max(file.size(), kSmallFileBytes)) {
    return Invalid("its tensors have " + std::to_string(total_bytes) +
                   " bytes in all, though the file has " + std::to_string(file.size()) +
                   ": too many share a storage");
  }
  std::ranges::sort(tensors, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.offset, std::string_view(a.name)) <
           std::pair(b.offset, std::string_view(b.name));
  });
  if (!views.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(mapping, MappedFile::Open(file.path()));
    if (mapping.bytes().size() < file.size())
      return Status(ErrorCode::kIo, "it shrank while it was read");
  }
  return {};
}

// Elements from `offset` bytes into the view on, in row-major order.
void TorchFile::State::Gather(const View& view, uint64_t offset, std::span<std::byte> out) const {
  const size_t rank = view.shape.size();
  std::array<uint64_t, Shape::kMaxRank> index{};
  uint64_t flat = offset / view.element;
  for (size_t axis = rank; axis-- > 0;) {
    index[axis] = flat % view.shape[axis];
    flat /= view.shape[axis];
  }
  uint64_t skip = offset % view.element;  // of the first element
  for (size_t done = 0; done < out.size();) {
    uint64_t at = 0;
    for (size_t axis = 0; axis < rank; ++axis) at += index[axis] * view.strides[axis];
    const uint64_t count = std::min<uint64_t>(view.element - skip, out.size() - done);
    std::memcpy(out.data() + done, mapping.bytes().data() + view.first + at * view.element + skip,
                count);
    done += count;
    skip = 0;
    for (size_t axis = rank; axis-- > 0 && ++index[axis] == view.shape[axis];) index[axis] = 0;
  }
}

bool LooksLikeTorch(std::string_view name, std::string_view start) {
  using namespace std::string_view_literals;
  if (name.ends_with(".safetensors")) return false;
  return start.starts_with("PK\x03\x04"sv) || start.starts_with("\x80\x02"sv) ||
         name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
}

Result<TorchFile> TorchFile::Open(const std::string& path) {
  using namespace std::string_view_literals;
  auto state = std::make_unique<State>();
  OCTAVO_ASSIGN_OR_RETURN(state->file, InputFile::Open(path));
  std::string start(std::min<uint64_t>(state->file.size(), 64), '\0');
  OCTAVO_RETURN_IF_ERROR(state->file.ReadAt(0, std::as_writable_bytes(std::span(start))));
  Status status;
  if (start.starts_with("\x80\x02"sv)) {
    status = Invalid(
        "it is a file of torch before 1.6 (no zip archive); load it with torch.load(FILE, "
        "weights_only=True) and save it again "
        "with torch.save or as safetensors");
  } else if (start.starts_with("version https://git-lfs")) {
    status = Invalid("it is a git-LFS pointer, not the weights; fetch them with \"git lfs pull\"");
  } else if (!start.starts_with("PK\x03\x04"sv)) {
    status = Invalid("it is no file of torch.save: it does not begin with a zip header");
  } else {
    status = state->Read();
  }
  if (status.code() == ErrorCode::kInvalidFile) return status.WithContext(path);
  OCTAVO_RETURN_IF_ERROR(status);
  return TorchFile(std::move(state));
}

TorchFile::TorchFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
TorchFile::TorchFile(TorchFile&&) noexcept = default;
TorchFile& TorchFile::operator=(TorchFile&&) noexcept = default;
TorchFile::~TorchFile() = default;

const std::string& TorchFile::path() const { return state_->file.path(); }
uint64_t TorchFile::file_bytes() const { return state_->file.size(); }
const std::vector<SafetensorsEntry>& TorchFile::tensors() const { return state_->tensors; }

Status TorchFile::ReadAt(uint64_t offset, std::span<std::byte> out) const {
  if (offset < file_bytes()) {
    state_->ahead.Announce(offset, out.size());
    return state_->file.ReadAt(offset, out);
  }
  const auto after = std::ranges::upper_bound(state_->views, offset, {}, &View::begin);
  if (after == state_->views.begin() || offset - (after - 1)->begin > (after - 1)->bytes ||
      out.size() > (after - 1)->bytes - (offset - (after - 1)->begin)) {
    return out.empty() ? Status() : Status(ErrorCode::kInvalidArgument, path() + ": no such range");
  }
  state_->Gather(*(after - 1), offset - (after - 1)->begin, out);
  return {};
}

void TorchFile::Stream(bool drops_read) const {
  state_->ahead.Start(state_->file.fd(), state_->file.size(), drops_read);
}
void TorchFile::Release(uint64_t offset) const { state_->ahead.Release(offset); }
Status TorchFile::CheckUnchanged() const { return state_->file.CheckUnchanged(); }

}  // namespace octavo::format
