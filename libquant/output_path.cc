#include "libquant/output_path.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

namespace octavo::quant {
namespace {

std::string MiB(uint64_t bytes) { return std::to_string((bytes + (1u << 20) - 1) >> 20) + " MiB"; }

}  // namespace

const std::string* FindSameFile(const std::string& output, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    std::error_code missing;  // then it is not the same file; other errors show when it is made
    if (std::filesystem::equivalent(output, path, missing)) return &path;
  }
  return nullptr;
}

Status CheckNotSource(const format::Checkpoint& source, const std::string& output) {
  std::vector<std::string> inputs;
  for (const format::CheckpointFile& file : source.files()) inputs.push_back(file.path);
  if (!inputs.empty()) {
    const std::string folder = inputs.front().substr(0, inputs.front().rfind('/') + 1);
    for (const std::string& asset : source.assets()) inputs.push_back(folder + asset);
  }
  const std::string* same = FindSameFile(output, inputs);
  if (same == nullptr) return {};
  return Status(ErrorCode::kInvalidArgument, output + ": the output is the source's file " + *same);
}

Status CheckDiskSpace(const std::string& output, uint64_t bytes) {
  const size_t slash = output.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : output.substr(0, slash + 1);
  struct statvfs info;
  if (statvfs(folder.c_str(), &info) != 0)
    return {};  // the writer says what is wrong with the folder
  const uint64_t available = uint64_t{info.f_bavail} * info.f_frsize;
  if (bytes <= available) return {};
  return Status(ErrorCode::kIo, output + ": needs " + MiB(bytes) + ", but its disk has " +
                                    MiB(available) + " free");
}

bool IsLargeBesideMemory(uint64_t bytes) {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 &&
         bytes > static_cast<uint64_t>(pages) / 4 * static_cast<uint64_t>(page_bytes);
}

}  // namespace octavo::quant
