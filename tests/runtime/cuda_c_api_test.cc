// octavo.h on a CUDA device: prepare, query, forward, two steps. From C++ for the device memory
// alone; of Octavo it sees the C interface and the CUDA library's table.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "octavo/cuda_kernels.h"
#include "octavo/octavo.h"

namespace {

const octavo::kernels::CudaTable& Cuda() {
  void* library = dlopen(std::getenv("OCTAVO_CUDA_LIBRARY"), RTLD_NOW);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return *reinterpret_cast<decltype(&octavo_cuda_table)>(dlsym(library, "octavo_cuda_table"))();
}

// Device memory of one test, never given back.
void* OnDevice(const void* host, size_t bytes) {
  void* memory = nullptr;
  EXPECT_EQ(Cuda().allocate(0, bytes, &memory), octavo::kernels::CudaStatus::kOk);
  if (host != nullptr) {
    EXPECT_EQ(Cuda().copy_to_device(0, memory, host, bytes, nullptr),
              octavo::kernels::CudaStatus::kOk);
  }
  return memory;
}

#define EXPECT_OK(call) EXPECT_EQ((call), OCTAVO_OK) << octavo_last_error()

class CudaCApi : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(octavo_model_open(OCTAVO_C_MODEL, nullptr, &model_), OCTAVO_OK)
        << octavo_last_error();
    octavo_prepare_options options = OCTAVO_INIT(octavo_prepare_options);
    options.device_type = OCTAVO_CUDA;
    const octavo_status status = octavo_linear_prepare(model_, "tiny", 0, &options, &linear_);
    if (status == OCTAVO_UNSUPPORTED) GTEST_SKIP() << octavo_last_error();
    ASSERT_EQ(status, OCTAVO_OK) << octavo_last_error();
  }
  void TearDown() override {
    octavo_linear_release(linear_);
    octavo_model_release(model_);
  }

  static octavo_tensor Tensor(void* data, int64_t columns) {
    return {data, OCTAVO_F32, OCTAVO_CUDA, 0, 0, 1, columns, columns};
  }

  octavo_model* model_ = nullptr;
  octavo_linear* linear_ = nullptr;
};

// docs/numerics.md, section 9, example 2.
TEST_F(CudaCApi, MultipliesOnTheDevice) {
  EXPECT_STREQ(octavo_linear_backend(linear_), "cuda:0");
  const float x[4] = {-1, 0, 2, 3};
  const octavo_tensor x_tensor = Tensor(OnDevice(x, sizeof(x)), 4);
  const octavo_tensor y_tensor = Tensor(OnDevice(nullptr, sizeof(float)), 1);
  octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
  EXPECT_EQ(octavo_forward(linear_, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(octavo_last_error(), "needs a workspace of"), nullptr);
  EXPECT_OK(octavo_forward_workspace(linear_, 1, &options, &options.workspace_bytes));
  options.workspace = OnDevice(nullptr, options.workspace_bytes);
  void* stream = nullptr;
  ASSERT_EQ(Cuda().stream_create(0, &stream), octavo::kernels::CudaStatus::kOk);
  options.stream = stream;
  EXPECT_OK(octavo_forward(linear_, &x_tensor, &y_tensor, &options));
  float y = 0;
  ASSERT_EQ(Cuda().copy_to_host(0, &y, y_tensor.data, sizeof(y), stream),
            octavo::kernels::CudaStatus::kOk);
  const float expected = (-4032.0f * (4.0f / 255.0f)) * (1.0f / 127.0f);
  EXPECT_NEAR(y, expected, 1e-6f);
  Cuda().stream_destroy(0, stream);
}

TEST_F(CudaCApi, TwoStepsAndOutlierColumns) {
  const float x[4] = {-1, 0, 2, 3};
  const octavo_tensor x_tensor = Tensor(OnDevice(x, sizeof(x)), 4);
  const octavo_tensor y_tensor = Tensor(OnDevice(nullptr, sizeof(float)), 1);
  octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
  options.override_threshold = 1;
  options.threshold = 2.0f;  // columns 2 and 3
  EXPECT_OK(octavo_quantize_workspace(linear_, 1, &options, &options.workspace_bytes));
  options.workspace = OnDevice(nullptr, options.workspace_bytes);
  octavo_quantized* quantized = nullptr;
  EXPECT_OK(octavo_quantize(linear_, &x_tensor, &options, &quantized));
  int64_t columns[2] = {-1, -1}, count = -1;
  EXPECT_OK(octavo_outlier_columns(quantized, columns, 2, &count));
  EXPECT_EQ(count, 2);
  EXPECT_EQ(columns[0], 2);
  EXPECT_EQ(columns[1], 3);
  octavo_forward_options multiply = OCTAVO_INIT(octavo_forward_options);
  EXPECT_OK(octavo_multiply_workspace(linear_, 1, &multiply, &multiply.workspace_bytes));
  multiply.workspace = OnDevice(nullptr, multiply.workspace_bytes);
  EXPECT_OK(octavo_multiply(quantized, linear_, &y_tensor, &multiply));
  float y = 0;
  ASSERT_EQ(Cuda().copy_to_host(0, &y, y_tensor.data, sizeof(y), nullptr),
            octavo::kernels::CudaStatus::kOk);
  EXPECT_TRUE(y != 0);
  octavo_quantized_release(quantized);
}

TEST_F(CudaCApi, TensorsOnTheHostAreRefused) {
  float x[4] = {}, y[1] = {};
  octavo_tensor x_tensor = Tensor(x, 4), y_tensor = Tensor(y, 1);
  x_tensor.device_type = OCTAVO_CPU;
  EXPECT_EQ(octavo_forward(linear_, &x_tensor, &y_tensor, nullptr), OCTAVO_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(octavo_last_error(), "x is on device cpu"), nullptr);
}

}  // namespace
