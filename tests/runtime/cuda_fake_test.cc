// What only the fake CUDA library can show: that calls neither wait nor allocate, that memory is
// given back, and every way in which a device is absent or fails. Its environment variable is read
// at every call, but the list of devices once in a process, as CTest runs each test in one of its
// own.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/runtime/device_memory.h"
#include "tests/runtime/fake_cuda/fake_cuda.h"
#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

using testing::DeviceMemory;
using testing::HasText;

constexpr Device kCuda{DeviceType::kCuda, 0};

testing::FakeCudaCounters Counters() {
  void* library = dlopen(std::getenv("OCTAVO_CUDA_LIBRARY"), RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) throw std::runtime_error("the fake library is not open");
  const auto counters = reinterpret_cast<decltype(&octavo_fake_cuda_counters)>(
      dlsym(library, "octavo_fake_cuda_counters"));
  const testing::FakeCudaCounters now = counters();
  dlclose(library);
  return now;
}

class FakeCuda : public ::testing::Test {
 protected:
  FakeCuda() {
    testing::Random random(testing::TestSeed());
    testing::ModelSpec spec;
    spec.linears.push_back(testing::RandomLinear(random, "linear", 8, 32));
    testing::WriteModel(path_, spec);
    for (float& value : x_) value = random.Normal(3.0f);
  }

  static void Pretend(const char* words) { setenv("OCTAVO_FAKE_CUDA", words, 1); }

  Result<PreparedLinear> Prepare(Device device = kCuda) {
    return octavo::Prepare(*Model::Open(path_)->linear("linear"), device);
  }

  void ExpectNoDevice(const char* words, const std::string& reason) {
    Pretend(words);
    EXPECT_EQ(Prepare().code(), ErrorCode::kUnsupported);
    EXPECT_TRUE(HasText(Prepare().status(), reason));
    const BackendInfo backend = ListBackends().back();
    EXPECT_EQ(backend.name, "cuda");
    EXPECT_FALSE(backend.usable);
    EXPECT_EQ(backend.reason, reason);
    EXPECT_FALSE(backend.gpu.has_value());
  }

  const std::string path_ = testing::TestPath("fake.8vo");
  std::vector<float> x_ = std::vector<float>(3 * 32);
};

TEST_F(FakeCuda, CallsEnqueueAndNeitherWaitNorAllocate) {
  const Result<PreparedLinear> prepared = Prepare();
  ASSERT_TRUE(prepared.ok()) << prepared.status().message();
  void* stream = nullptr;
  testing::MustCuda(testing::Cuda().stream_create(0, &stream));
  {
    const DeviceMemory x(kCuda, x_.data(), x_.size() * sizeof(float));
    const std::vector<float> before(3 * 8, -7.0f);
    const DeviceMemory y(kCuda, before.data(), before.size() * sizeof(float));
    const DeviceMemory workspace(kCuda, ForwardWorkspaceBytes(*prepared, 3));
    const testing::FakeCudaCounters start = Counters();
    const Status status =
        Forward(*prepared, {x.data(), DType::kF32, 3, 32, 32, kCuda},
                {y.data(), DType::kF32, 3, 8, 8, kCuda}, {}, {{}, workspace.span(), stream});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Counters().waits, start.waits);
    EXPECT_EQ(Counters().allocations, start.allocations);
    EXPECT_EQ(Counters().pending, start.pending + 2);
    std::vector<float> after(3 * 8);
    y.CopyToHost(after.data(), nullptr);  // another stream: y is not there yet
    EXPECT_EQ(after, before);
    y.CopyToHost(after.data(), stream);
    EXPECT_NE(after, before);
    EXPECT_EQ(Counters().pending, start.pending);
  }
  testing::Cuda().stream_destroy(0, stream);
}

TEST_F(FakeCuda, MemoryGoesBackWithItsLinear) {
  {
    const Result<PreparedLinear> prepared = Prepare();
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    EXPECT_EQ(Counters().live_allocations, 1);  // all operands of a linear are in one
  }
  EXPECT_EQ(Counters().live_allocations, 0);
  Pretend("upload-fails");
  const Result<PreparedLinear> failed = Prepare();
  EXPECT_EQ(failed.code(), ErrorCode::kIo);
  EXPECT_TRUE(HasText(failed.status(), "module \"linear\": cuda:0: the fake upload fails"));
  EXPECT_EQ(Counters().allocations, 2);
  EXPECT_EQ(Counters().live_allocations, 0);
}

TEST_F(FakeCuda, TheOtherDeviceIsAsGood) {
  const Device other{DeviceType::kCuda, 1};
  const Result<PreparedLinear> prepared = Prepare(other);
  ASSERT_TRUE(prepared.ok()) << prepared.status().message();
  const DeviceMemory x(other, x_.data(), x_.size() * sizeof(float)), y(other, 3 * 8 * 4);
  const DeviceMemory workspace(other, ForwardWorkspaceBytes(*prepared, 3));
  const ConstTensorView x_view{x.data(), DType::kF32, 3, 32, 32, other};
  const TensorView y_view{y.data(), DType::kF32, 3, 8, 8, other};
  EXPECT_TRUE(Forward(*prepared, x_view, y_view, {}, {{}, workspace.span(), nullptr}).ok());
  // Memory that is elsewhere than its view says is the library's to find.
  const DeviceMemory astray(kCuda, ForwardWorkspaceBytes(*prepared, 3));
  const Status status = Forward(*prepared, x_view, y_view, {}, {{}, astray.span(), nullptr});
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(HasText(status, "cuda:1: workspace is not in memory of fake device 1"));
}

TEST_F(FakeCuda, OverwrittenActivationsAreNoticed) {
  const Result<PreparedLinear> prepared = Prepare();
  const DeviceMemory x(kCuda, x_.data(), x_.size() * sizeof(float)), y(kCuda, 3 * 8 * 4);
  const DeviceMemory workspace(kCuda, QuantizeWorkspaceBytes(*prepared, 3));
  const DeviceMemory scratch(kCuda, MultiplyWorkspaceBytes(*prepared, 3));
  const auto quantized = Quantize(*prepared, {x.data(), DType::kF32, 3, 32, 32, kCuda}, {},
                                  {{}, workspace.span(), nullptr});
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  const std::vector<std::byte> other(workspace.span().size());
  testing::MustCuda(
      testing::Cuda().copy_to_device(0, workspace.data(), other.data(), other.size(), nullptr));
  ASSERT_TRUE(Multiply(*quantized, *prepared, {y.data(), DType::kF32, 3, 8, 8, kCuda},
                       {{}, scratch.span(), nullptr})
                  .ok());
  EXPECT_EQ(testing::Cuda().stream_wait(0, nullptr), kernels::CudaStatus::kFailed);
  EXPECT_NE(std::string(testing::Cuda().last_error()).find("overwritten"), std::string::npos);
  const auto columns = quantized->outlier_columns();
  EXPECT_EQ(columns.code(), ErrorCode::kIo);
  EXPECT_TRUE(HasText(columns.status(), "cuda:0: what quantize left"));
}

TEST_F(FakeCuda, DeviceMemoryThatCannotBeHad) {
  Pretend("no-memory");
  const Result<PreparedLinear> prepared = Prepare();
  EXPECT_EQ(prepared.code(), ErrorCode::kLimit);
  EXPECT_TRUE(HasText(prepared.status(), "cuda:0: the fake device cannot allocate"));
}

TEST_F(FakeCuda, NoDriver) { ExpectNoDevice("no-driver", "no NVIDIA driver is installed"); }

TEST_F(FakeCuda, OldDriver) {
  ExpectNoDevice(
      "old-driver",
      "the NVIDIA driver is too old: it has CUDA 12.2, and CUDA 13.0 or newer is needed");
}

TEST_F(FakeCuda, NoDevice) {
  ExpectNoDevice("no-device",
                 "the NVIDIA driver shows no device; CUDA_VISIBLE_DEVICES may hide it");
}

TEST_F(FakeCuda, DeviceThatIsTooOld) {
  Pretend("old-device");
  EXPECT_TRUE(Prepare().ok());
  const Result<PreparedLinear> old = Prepare({DeviceType::kCuda, 1});
  EXPECT_EQ(old.code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(
      HasText(old.status(),
              "cannot use CUDA device cuda:1: Fake GPU 1, compute capability 7.0; the kernels need "
              "7.5 or more"));
  const BackendInfo backend = ListBackends().back();
  EXPECT_EQ(backend.name, "cuda:1");
  EXPECT_FALSE(backend.usable);
  EXPECT_EQ(backend.gpu->name, "Fake GPU 1");
}

}  // namespace
}  // namespace octavo
