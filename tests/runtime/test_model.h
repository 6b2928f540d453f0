// Small .8vo files written for a test, with the reference's form of every linear beside them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/reference/llm_int8.h"
#include "octavo/linear.h"
#include "octavo/model.h"
#include "octavo/writer.h"
#include "tests/testing/random.h"

namespace octavo::testing {

// One linear, or several matrices of kind experts.
struct LinearSpec {
  std::string name;
  std::vector<reference::Matrix> weights;  // [out_features][in_features] each
  bool experts = false;
  std::vector<std::vector<float>> biases;  // one for each matrix; empty: none
  DType bias_dtype = DType::kF16;
  std::vector<int32_t> kept_index;
  DType kept_dtype = DType::kF16;
  format::CodeLayout layout = format::CodeLayout::kPlain;
  uint64_t chunk_rows = 0;  // of the codes; 0: the writer's own choice
};

LinearSpec RandomLinear(Random& random, std::string name, size_t out_features, size_t in_features);

struct ModelSpec {
  format::Quantization quantization;
  std::vector<LinearSpec> linears;
  format::WriterOptions writer = {.overwrite = true};
  // Sees each tensor's bytes before they are written: how tests make files that break rules of
  // values.
  std::function<void(const std::string& tensor, std::vector<std::byte>& raw)> spoil;
};

// Writes the file, together with a module "norm" that is not quantized and an asset "config.json".
// Fails the test on error.
void WriteModel(const std::string& path, const ModelSpec& spec);

// A path of this test's own in the system's folder for temporary files.
std::string TestPath(const std::string& name);

reference::Method ToReference(format::Method method);
kernels::ElementType ToElement(DType dtype);

// What the file holds of one matrix, in the reference's form.
reference::QuantizedWeights ReferenceWeights(const ModelSpec& spec, const LinearSpec& linear,
                                             size_t matrix = 0);
reference::KeptColumns ReferenceKept(const LinearSpec& linear);
std::vector<float> ReferenceBias(const LinearSpec& linear, size_t matrix = 0);

// The reference's result for x with the file's options and the call's overrides.
struct ReferenceResult {
  reference::QuantizedRows rows;
  std::vector<reference::ExactOutput> y;  // [tokens][out_features]
};
ReferenceResult RunReference(const ModelSpec& spec, const LinearSpec& linear, size_t matrix,
                             const reference::Matrix& x, const QuantizeOptions& overrides);

// Prepares one matrix of the file and fails the test where that is an error.
PreparedLinear MustPrepare(const std::string& path, const std::string& name, int64_t expert = 0,
                           const PrepareOptions& options = {}, Device device = kCpuDevice);

// The message contains the text; a failure prints both.
::testing::AssertionResult HasText(const Status& status, const std::string& text);

// Forward against the reference, every output within the bound of docs/numerics.md; nothing written
// beside y. On a CUDA device x and y are copied there and back, and the workspace is of `execution`
// only if it has one.
void CheckForward(const PreparedLinear& prepared, const ModelSpec& spec, const LinearSpec& linear,
                  size_t matrix, const reference::Matrix& x, DType x_dtype, DType y_dtype,
                  const QuantizeOptions& overrides = {}, const Execution& execution = {});

}  // namespace octavo::testing
