// Fibers: stacks of their own on one OS thread, switched by hand. Known to AddressSanitizer.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

namespace octavo::cuda::simt {

// A stack that ends at an inaccessible page.
class Stack {
 public:
  Stack();
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* top() const;
  const void* bottom() const;
  static size_t size();

 private:
  void* mapped_;
};

// A default one stands for the OS thread's own stack.
struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;
  const void* bottom = nullptr;
  size_t size = 0;
  void* fake_stack = nullptr;
};

// Makes `fiber` begin with entry() when it is first switched to. entry() never returns: it ends
// with a switch. What a fiber left on the stack that it did not end on is forgotten.
void StartFiber(Fiber& fiber, const Stack& stack, void (*entry)());

// Leaves `from`, the running one, for `to`, and returns when someone switches back. ends: no one
// will.
void SwitchFiber(Fiber& from, Fiber& to, bool ends);

}  // namespace octavo::cuda::simt
