#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define OCTAVO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OCTAVO_ASAN 1
#endif
#endif
#if defined(OCTAVO_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace octavo::cuda::simt {
namespace {

namespace context = boost::context::detail;

#if defined(OCTAVO_ASAN)
constexpr size_t kStackBytes = 512 * 1024;  // frames are padded
#else
constexpr size_t kStackBytes = 128 * 1024;
#endif

size_t GuardBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// What a fiber that was just switched to does first: it notes where the one before it stopped.
void Arrive(context::transfer_t transfer, [[maybe_unused]] void* fake_stack) {
  auto* const previous = static_cast<Fiber*>(transfer.data);
  previous->context = transfer.fctx;
#if defined(OCTAVO_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, &previous->bottom, &previous->size);
#endif
}

thread_local void (*started_entry)() = nullptr;

void Begin(context::transfer_t transfer) {
  Arrive(transfer, nullptr);
  started_entry();
}

}  // namespace

Stack::Stack()
    : mapped_(mmap(nullptr, GuardBytes() + kStackBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
  if (mapped_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapped_, GuardBytes(), PROT_NONE);
}

Stack::~Stack() { munmap(mapped_, GuardBytes() + kStackBytes); }

void* Stack::top() const { return static_cast<char*>(mapped_) + GuardBytes() + kStackBytes; }

const void* Stack::bottom() const { return static_cast<char*>(mapped_) + GuardBytes(); }

size_t Stack::size() { return kStackBytes; }

void StartFiber(Fiber& fiber, const Stack& stack, void (*entry)()) {
#if defined(OCTAVO_ASAN)
  ASAN_UNPOISON_MEMORY_REGION(stack.bottom(), Stack::size());
#endif
  started_entry = entry;
  fiber.context = context::make_fcontext(stack.top(), Stack::size(), Begin);
  fiber.bottom = stack.bottom();
  fiber.size = Stack::size();
  fiber.fake_stack = nullptr;
}

void SwitchFiber(Fiber& from, Fiber& to, [[maybe_unused]] bool ends) {
#if defined(OCTAVO_ASAN)
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, to.bottom, to.size);
#endif
  const context::transfer_t transfer = context::jump_fcontext(to.context, &from);
  Arrive(transfer, from.fake_stack);
}

}  // namespace octavo::cuda::simt
