// System calls that a signal interrupts are made again.
#pragma once

#include <cerrno>

namespace octavo::format {

// The result of `call()`, a system call that returns -1 and sets errno on errors.
template <typename Call>
auto RetryInterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace octavo::format
