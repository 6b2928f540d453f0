#include "tools/read_text_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

namespace octavo::tools {

Result<std::string> ReadTextFile(const std::string& path) {
  constexpr size_t kMaxBytes = size_t{256} << 20;
  std::error_code error;  // a FIFO would wait for a writer, a device has no end
  const std::filesystem::file_status kind = std::filesystem::status(path, error);
  if (std::filesystem::exists(kind) && !std::filesystem::is_regular_file(kind)) {
    return Status(ErrorCode::kIo, path + ": not a regular file");
  }
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return Status(code, path + ": " + std::strerror(errno));
  }
  std::string text;
  char buffer[1 << 16];
  errno = 0;
  while (const size_t bytes = std::fread(buffer, 1, sizeof buffer, file.get())) {
    text.append(buffer, bytes);
    if (text.size() > kMaxBytes) return Status(ErrorCode::kLimit, path + ": larger than 256 MiB");
  }
  if (std::ferror(file.get())) return Status(ErrorCode::kIo, path + ": " + std::strerror(errno));
  return text;
}

Status CheckNotInput(const std::string& output, const std::string& input) {
  std::error_code error;
  if (!std::filesystem::equivalent(output, input, error)) return {};
  return Status(ErrorCode::kInvalidArgument, output + ": the output is the input " + input);
}

}  // namespace octavo::tools
