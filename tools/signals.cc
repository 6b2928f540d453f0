#include "tools/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace octavo::tools {
namespace {

std::atomic<bool> cancelled{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

void OnSignal(int /*signal*/) { cancelled.store(true); }

void OnBusError(int /*signal*/) {
  constexpr char kMessage[] =
      "octavo: a file shrank while it was read, or its disk failed (SIGBUS)\n";
  if (write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1) < 0) _exit(1);
  _exit(1);
}

}  // namespace

void CancelOnSignals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    if (sigaction(signal, nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
  }
}

void ExplainBusErrors() {
  struct sigaction action = {};
  action.sa_handler = OnBusError;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

bool Cancelled() { return cancelled.load(); }

void FailWritesWithErrors() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

}  // namespace octavo::tools
