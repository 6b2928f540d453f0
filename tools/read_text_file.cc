#include "tools/read_text_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace octavo::tools {

Result<std::string> ReadTextFile(const std::string& path) {
  constexpr size_t kMaxBytes = size_t{256} << 20;
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

}  // namespace octavo::tools
