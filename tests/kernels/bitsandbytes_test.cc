// Every table against what the real bitsandbytes made (tests/data/bitsandbytes): weight codes and
// absmax, activation codes, row statistics and outlier columns, bit for bit under
// compat=bitsandbytes.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "octavo/half.h"
#include "octavo/kernels.h"
#include "tests/kernels/tables.h"
#include "tests/testing/guarded_buffer.h"

namespace octavo::kernels {
namespace {

// A safetensors file of known origin: no checks beyond what the test needs.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    if (bytes_.size() < 8) return;
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes_.data(), sizeof(header_bytes));
    header_ = nlohmann::json::parse(bytes_.substr(8, header_bytes), nullptr, false);
    data_ = 8 + header_bytes;
  }

  // Cases of `group` that have a tensor with this ending: "weights/odd/source" -> "weights/odd".
  std::vector<std::string> Cases(const std::string& group, const std::string& ending) const {
    std::vector<std::string> cases;
    for (const auto& [name, entry] : header_.items()) {
      const bool ends = name.size() > ending.size() &&
                        name.compare(name.size() - ending.size(), ending.size(), ending) == 0;
      if (name.rfind(group, 0) == 0 && ends) {
        cases.push_back(name.substr(0, name.size() - ending.size()));
      }
    }
    return cases;
  }

  size_t Dimension(const std::string& name, size_t axis) const {
    return header_.at(name).at("shape").at(axis);
  }
  ElementType Type(const std::string& name) const {
    const std::string type = header_.at(name).at("dtype");
    if (type == "F16") return ElementType::kFloat16;
    return type == "BF16" ? ElementType::kBFloat16 : ElementType::kFloat32;
  }
  template <class T>
  std::vector<T> Values(const std::string& name) const {
    const size_t begin = header_.at(name).at("data_offsets").at(0);
    const size_t end = header_.at(name).at("data_offsets").at(1);
    std::vector<T> values((end - begin) / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes_.data() + data_ + begin, end - begin);
    return values;
  }

 private:
  std::string bytes_;
  nlohmann::json header_;
  size_t data_ = 0;
};

const GoldenFile& Golden() {
  static const GoldenFile file(OCTAVO_TEST_DATA "/bitsandbytes/golden.safetensors");
  return file;
}

class Bitsandbytes : public EachTable {};
OCTAVO_FOR_EACH_TABLE(Bitsandbytes);

TEST_P(Bitsandbytes, WeightCodesAndAbsmax) {
  const std::vector<std::string> cases = Golden().Cases("weights/", "/source");
  ASSERT_GE(cases.size(), 12u);
  for (const std::string& name : cases) {
    SCOPED_TRACE(name);
    const size_t out_features = Golden().Dimension(name + "/source", 0);
    const size_t in_features = Golden().Dimension(name + "/source", 1);
    std::vector<uint16_t> w = Golden().Values<uint16_t>(name + "/source");
    if (Golden().Type(name + "/source") == ElementType::kBFloat16) {
      for (uint16_t& bits : w) bits = FloatToHalf(BFloat16ToFloat(bits));
    }
    std::vector<int8_t> codes(w.size());
    std::vector<float> absmax(out_features);
    for (size_t n = 0; n < out_features; ++n) {
      const uint16_t* row = &w[n * in_features];
      absmax[n] =
          StoredAbsmax(table().weight_range(row, ElementType::kFloat16, in_features).absmax());
      table().encode_symmetric(row, ElementType::kFloat16, in_features, absmax[n],
                               &codes[n * in_features]);
    }
    EXPECT_EQ(absmax, Golden().Values<float>(name + "/absmax"));
    EXPECT_EQ(codes, Golden().Values<int8_t>(name + "/codes"));
  }
}

TEST_P(Bitsandbytes, ActivationCodesRowStatisticsAndOutlierColumns) {
  const std::vector<std::string> cases = Golden().Cases("activations/", "/row_stats");
  ASSERT_GE(cases.size(), 48u);
  for (const std::string& name : cases) {  // activations/<case>/t<threshold>
    SCOPED_TRACE(name);
    const size_t slash = name.rfind("/t");
    const std::string x_name = name.substr(0, slash) + "/x";
    const size_t tokens = Golden().Dimension(x_name, 0),
                 in_features = Golden().Dimension(x_name, 1);
    ActivationOptions options;
    options.threshold = std::strtof(name.c_str() + slash + 2, nullptr);
    options.row_rule = RowRule::kBelowThreshold;
    options.activations = Activations::kSymmetric;
    options.via_fp16 = true;
    const std::vector<unsigned char> x = Golden().Values<unsigned char>(x_name);
    testing::GuardedBuffer workspace(QuantizeWorkspaceBytes(tokens, in_features, options), 64);
    QuantizedActivations q;
    ASSERT_EQ(QuantizeActivations(
                  table(), {x.data(), Golden().Type(x_name), tokens, in_features, in_features},
                  options, {}, SerialFor(), workspace.data(), workspace.size(), &q),
              KernelStatus::kOk);

    const std::vector<int8_t> codes = Golden().Values<int8_t>(name + "/codes");
    const std::vector<float> statistics = Golden().Values<float>(name + "/row_stats");
    for (size_t m = 0; m < tokens; ++m) {
      EXPECT_EQ(q.scale[m], statistics[m] / 127.0f) << "row " << m;
      for (size_t k = 0; k < in_features; ++k) {
        ASSERT_EQ(static_cast<int8_t>(q.codes[m * q.code_stride + k]), codes[m * in_features + k])
            << "row " << m << ", column " << k;
      }
    }
    std::vector<int32_t> columns;
    for (size_t k = 0; k < in_features; ++k) {
      if (((q.outlier_mask[k / 64] >> (k % 64)) & 1u) != 0)
        columns.push_back(static_cast<int32_t>(k));
    }
    EXPECT_EQ(columns, Golden().Values<int32_t>(name + "/outlier_columns"));
  }
}

}  // namespace
}  // namespace octavo::kernels
