// Whatever rounding mode or flush-to-zero setting a caller has, the results are the same, and it
// finds its setting again afterwards; the same for every thread an engine lends.
#include <gtest/gtest.h>

#include <cfenv>
#include <cstring>
#include <limits>
#include <thread>

#include "octavo/thread_pool.h"
#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

#if defined(__SSE2__)
#include <xmmintrin.h>

namespace octavo::kernels {
namespace {

constexpr unsigned kDefault = 0x1f80, kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
constexpr unsigned kSettings[] = {kDefault | kFlushToZero | kDenormalsAreZero,
                                  kDefault | 0x6000 /* to zero */, kDefault | 0x4000 /* up */,
                                  kDefault | 0x2000 /* down */,
                                  kDefault | 0x4000 | kFlushToZero | kDenormalsAreZero};

class ScopedControl {
 public:
  explicit ScopedControl(unsigned control) : saved_(_mm_getcsr()) { _mm_setcsr(control); }
  ~ScopedControl() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
};

// Lends threads that have the setting in `context`, and checks that tasks leave it alone.
void RunOnLentThreads(void* context, int64_t count, ParallelFor::Task task, void* task_context) {
  const unsigned control = *static_cast<unsigned*>(context);
  for (int64_t i = 0; i < count; ++i) {
    std::thread([=] {
      _mm_setcsr(control);
      task(task_context, i);
      EXPECT_EQ(_mm_getcsr() & 0xffc0u, control);
    }).join();
  }
}

// Rows and weights where flushing or another rounding would show: ties, subnormal values,
// reciprocals and results.
LinearCase SensitiveCase(testing::Random& random) {
  LinearCase c;
  c.x = RandomActivations(random, 40, 70, 0.1);
  c.w = RandomMatrix(random, 70, 70);
  for (size_t k = 0; k < 70; ++k) {
    c.x.at(0, k) = random.Normal(1e-39f);
    c.x.at(1, k) = random.Normal(1e-37f);
    c.x.at(2, k) *= 1e37f;
    c.x.at(3, k) = static_cast<float>(k) * 0.5f;
    c.w.at(0, k) *= 5e37f;  // 1 / absmax is subnormal
    c.w.at(1, k) *= 1e-36f;
    c.w.at(2, k) = static_cast<float>(k % 128) * 0.5f;
  }
  c.x_type = c.w_type = ElementType::kFloat32;
  c.options.threshold = 1e38f;
  return c;
}

struct Results {
  WeightRange range;
  std::vector<int8_t> symmetric, zeropoint;
  ZeropointGrid grid;
  float tiny = 0;
  std::vector<uint8_t> codes;
  std::vector<float> scale, y, y_half;
};

Results Compute(const CpuKernels& table, PreparedCase& prepared, testing::TypedMatrix& w,
                const ParallelFor& parallel) {
  Results r;
  r.range = table.weight_range(w.at(0, 0), ElementType::kFloat32, 70);
  r.grid = MakeZeropointGrid(r.range.lo, r.range.hi);
  r.tiny = StoredAbsmax(127.0f * 0x1p-126f);
  r.symmetric.resize(3 * 70);
  r.zeropoint.resize(70);
  for (size_t n = 0; n < 3; ++n) {
    const float absmax =
        StoredAbsmax(table.weight_range(w.at(n, 0), ElementType::kFloat32, 70).absmax());
    table.encode_symmetric(w.at(n, 0), ElementType::kFloat32, 70, absmax, &r.symmetric[n * 70]);
  }
  table.encode_zeropoint(w.at(0, 0), ElementType::kFloat32, 70, r.grid, r.zeropoint.data());
  const QuantizedCase quantized(table, prepared, parallel);
  const QuantizedActivations& q = *quantized;
  r.codes.assign(q.codes, q.codes + q.x.tokens * q.code_stride);
  r.scale.assign(q.scale, q.scale + q.x.tokens);
  testing::TypedMatrix y = RunMultiply(table, prepared, q, ElementType::kFloat32, 0, parallel);
  testing::TypedMatrix y_half = RunMultiply(table, prepared, q, ElementType::kFloat16, 0, parallel);
  std::vector<float> bits(q.x.tokens * 70);
  std::memcpy(bits.data(), y.data(), bits.size() * sizeof(float));
  r.y = bits;
  r.y_half.resize(bits.size() / 2);
  std::memcpy(r.y_half.data(), y_half.data(), bits.size() * 2);
  return r;
}

template <class T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

class FpEnvironmentOf : public EachTable {};
OCTAVO_FOR_EACH_TABLE(FpEnvironmentOf);

TEST_P(FpEnvironmentOf, CallersSettingChangesNothingAndIsRestored) {
  testing::Random random(testing::TestSeed());
  const LinearCase c = SensitiveCase(random);
  for (const Activations activations : {Activations::kAsymmetric, Activations::kSymmetric}) {
    LinearCase with = c;
    with.options.activations = activations;
    CheckAgainstReference(table(), with);
    PreparedCase prepared(table(), with);
    testing::TypedMatrix w(with.w, ElementType::kFloat32);
    const Results expected = Compute(table(), prepared, w, SerialFor());
    for (unsigned control : kSettings) {
      for (const bool lent : {false, true}) {
        const ParallelFor parallel =
            lent ? ParallelFor{RunOnLentThreads, &control, 3} : SerialFor();
        const ScopedControl scoped(control);
        const Results results = Compute(table(), prepared, w, parallel);
        ASSERT_EQ(_mm_getcsr() & 0xffc0u, control);
        ASSERT_EQ(results.range.lo, expected.range.lo);
        ASSERT_EQ(results.range.hi, expected.range.hi);
        ASSERT_TRUE(SameBits<ZeropointGrid>({results.grid}, {expected.grid}));
        ASSERT_EQ(results.tiny, expected.tiny);
        ASSERT_EQ(results.symmetric, expected.symmetric);
        ASSERT_EQ(results.zeropoint, expected.zeropoint);
        ASSERT_EQ(results.codes, expected.codes) << std::hex << control;
        ASSERT_TRUE(SameBits(results.scale, expected.scale)) << std::hex << control;
        ASSERT_TRUE(SameBits(results.y, expected.y)) << std::hex << control;
        ASSERT_TRUE(SameBits(results.y_half, expected.y_half)) << std::hex << control;
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
#endif
