// The devices that a test of the CUDA kernels runs on. Two sources define them: emulated_devices.cc
// (several kinds of GPU, on the CPU) and real_devices.cc (the first GPU of this machine).
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/cuda_kernels.h"

namespace octavo::kernels {

std::vector<std::string> TestDeviceNames();

// Makes the device of that name the one that tests run on. Null with *why where there is none.
const CudaTable* SelectTestDevice(const std::string& name, int32_t* device, std::string* why);

// A GPU does not mind sizes at which the emulation takes minutes.
bool IsEmulated();

class EachDevice : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string why;
    table_ = SelectTestDevice(GetParam(), &device_, &why);
    if (table_ == nullptr) GTEST_SKIP() << why;
  }
  const CudaTable& table() const { return *table_; }
  int32_t device() const { return device_; }

 private:
  const CudaTable* table_ = nullptr;
  int32_t device_ = 0;
};

inline std::string DeviceName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

#define OCTAVO_FOR_EACH_DEVICE(suite) \
  INSTANTIATE_TEST_SUITE_P(Devices, suite, ::testing::ValuesIn(TestDeviceNames()), DeviceName)

}  // namespace octavo::kernels
