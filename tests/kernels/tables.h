// Runs a test on every table of kernels, by name. One that this machine cannot run is emulated;
// where that cannot be either, it says why and skips.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "octavo/kernels.h"
#include "tests/kernels/emulated/tables.h"

namespace octavo::kernels {

inline std::vector<std::string> TableNames() {
  std::vector<std::string> names;
  for (const CpuKernelsInfo& info : ListCpuKernels()) names.push_back(info.name);
  return names;
}

class EachTable : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string why;
    table_ = FindCpuKernels(GetParam().c_str(), &why);
    is_emulated_ = table_ == nullptr;
    if (is_emulated_) table_ = EmulatedCpuKernels(GetParam());
    if (table_ == nullptr) GTEST_SKIP() << why;
    ASSERT_EQ(table_->name, GetParam());
  }
  const CpuKernels& table() const { return *table_; }
  bool is_emulated() const { return is_emulated_; }

 private:
  const CpuKernels* table_ = nullptr;
  bool is_emulated_ = false;
};

// In a parametrised suite's name: the table.
inline std::string TableName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

#define OCTAVO_FOR_EACH_TABLE(suite) \
  INSTANTIATE_TEST_SUITE_P(Tables, suite, ::testing::ValuesIn(TableNames()), TableName)

}  // namespace octavo::kernels
