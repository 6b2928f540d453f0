// One linear with its input, run through a table and compared with the reference at every step.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "kernels/reference/llm_int8.h"
#include "octavo/kernels.h"
#include "tests/testing/random.h"
#include "tests/testing/typed_matrix.h"

namespace octavo::kernels {

struct LinearCase {
  reference::Matrix x;  // rounded to x_type when it is run
  reference::Matrix w;
  ElementType x_type = ElementType::kFloat16;
  ElementType w_type = ElementType::kFloat16;
  ElementType y_type = ElementType::kFloat32;
  reference::Method method = reference::Method::kVectorWise;
  ActivationOptions options;
  std::vector<int32_t> kept_index;
  ElementType kept_type = ElementType::kFloat16;
  std::vector<float> bias;  // empty: none
  ElementType bias_type = ElementType::kFloat16;
  size_t x_extra_stride = 0;
  size_t y_extra_stride = 0;

  std::string Describe() const;
};

// The operands in the forms that the table and the reference want.
class PreparedCase {
 public:
  PreparedCase(const CpuKernels& table, const LinearCase& linear_case);

  const reference::Matrix& x() const { return x_values_; }
  const ActivationOptions& options() const { return options_; }
  const reference::QuantizedWeights& weights() const { return weights_; }
  const reference::KeptColumns& kept() const { return kept_; }
  const std::vector<float>& bias() const { return bias_values_; }
  ActivationView x_view();
  LinearView linear_view();

  // Encodes the weights with the table and compares ranges, codes and sums with the reference.
  void CheckWeights(const CpuKernels& table);

 private:
  const LinearCase& case_;
  WeightLayout layout_;
  ActivationOptions options_;
  testing::TypedMatrix x_, w_, kept_weight_, bias_;
  reference::Matrix x_values_;
  std::vector<float> bias_values_;
  reference::QuantizedWeights weights_;
  reference::KeptColumns kept_;
  std::vector<float> multiplier_;
  std::vector<int8_t> packed_;
};

// Quantized activations with the memory they point into.
class QuantizedCase {
 public:
  QuantizedCase(const CpuKernels& table, PreparedCase& prepared,
                const ParallelFor& parallel = SerialFor());
  const QuantizedActivations& operator*() const { return quantized_; }
  bool Intact() const { return workspace_.Intact(); }

 private:
  testing::GuardedBuffer workspace_;
  QuantizedActivations quantized_;
};

// y [tokens][out_features] in y_type.
testing::TypedMatrix RunMultiply(const CpuKernels& table, PreparedCase& prepared,
                                 const QuantizedActivations& q, ElementType y_type,
                                 size_t y_extra_stride = 0,
                                 const ParallelFor& parallel = SerialFor());

// Everything: weights, codes, scales, zero points, sums, masks and acc bit for bit, y within the
// bound.
void CheckAgainstReference(const CpuKernels& table, const LinearCase& linear_case);

// Acc alone.
void CheckAccAgainstReference(const CpuKernels& table, const LinearCase& linear_case);

// Normal numbers, with some entries of some columns beyond any usual threshold.
reference::Matrix RandomActivations(testing::Random& random, size_t tokens, size_t in_features,
                                    double outlier_columns = 0.03);
reference::Matrix RandomMatrix(testing::Random& random, size_t rows, size_t cols,
                               float deviation = 1.0f);

// What cases are drawn from.
inline constexpr ElementType kTypes[] = {ElementType::kFloat16, ElementType::kBFloat16,
                                         ElementType::kFloat32};
inline constexpr reference::Method kMethods[] = {
    reference::Method::kVectorWise, reference::Method::kRowWise, reference::Method::kTensorWise,
    reference::Method::kZeropointTensor, reference::Method::kZeropointVector};
inline constexpr Scope kScopes[] = {Scope::kBatch, Scope::kToken};
inline constexpr RowRule kRules[] = {RowRule::kInlierColumns, RowRule::kBelowThreshold};
inline constexpr Activations kActivations[] = {Activations::kAsymmetric, Activations::kSymmetric};
inline constexpr size_t kSizes[] = {1, 2, 3, 15, 16, 17, 63, 64, 65, 97, 127};
inline constexpr float kThresholds[] = {0.0f, 1e-30f, 3.0f,
                                        6.0f, 1e30f,  std::numeric_limits<float>::infinity()};

// The method's range of X spans all rows, which scope token excludes.
bool SpansRows(reference::Method method);

// A case whose options are drawn at random; `random` decides everything.
LinearCase RandomCase(testing::Random& random, size_t tokens, size_t in_features,
                      size_t out_features);
// The same with small sizes that are multiples of nothing, drawn too.
LinearCase RandomCase(testing::Random& random);

// Rows of zeros, of outliers alone, of numbers so small that their scale would be subnormal, and so
// large that the range or 1 / absmax is not a normal float; weights likewise. All fp32.
LinearCase ExtremeCase(testing::Random& random, const ActivationOptions& options);

}  // namespace octavo::kernels
