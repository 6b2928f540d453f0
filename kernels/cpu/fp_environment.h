// The floating-point environment of docs/numerics.md, section 1: to nearest, subnormals kept, no
// traps. Whatever the caller had set is restored at the end of the scope. Every function of a
// kernel table opens one, so that it holds on any thread an engine lends us.
//
// In an unnamed namespace on purpose: an instruction-set object may define no symbol that the
// linker could choose for another one (tests/kernels/check_isa_objects.py).
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace octavo::kernels {
namespace {

class [[maybe_unused]] FpEnvironment {
 public:
#if defined(__SSE2__)
  FpEnvironment() : saved_(_mm_getcsr()) {
    _mm_setcsr(0x1f80);  // round to nearest, all exceptions masked, FTZ and DAZ off
    asm volatile("" ::: "memory");
  }
  ~FpEnvironment() {
    asm volatile("" ::: "memory");
    _mm_setcsr(saved_);
  }
#else
  FpEnvironment() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
    asm volatile("" ::: "memory");
  }
  ~FpEnvironment() {
    asm volatile("" ::: "memory");
    std::fesetenv(&saved_);
  }
#endif
  FpEnvironment(const FpEnvironment&) = delete;
  FpEnvironment& operator=(const FpEnvironment&) = delete;

 private:
#if defined(__SSE2__)
  unsigned saved_;
#else
  std::fenv_t saved_;
#endif
};

// Keeps the compiler from computing with `value` on the wrong side of an FpEnvironment: it knows
// nothing of the control register, and only memory accesses are held back by the barriers above.
template <class T>
[[maybe_unused]] inline void PinToEnvironment(T& value) {
  asm volatile("" : "+m"(value));
}

}  // namespace
}  // namespace octavo::kernels
