// Presets, defaults and contradictions.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "octavo/convert.h"

namespace octavo::quant {
namespace {

using format::Activations;
using format::Compat;
using format::Method;
using format::Quantization;
using format::RowRule;
using format::Scope;

TEST(ResolveQuantization, HasDefaults) {
  const Result<Quantization> values = ResolveQuantization({});
  ASSERT_TRUE(values.ok());
  EXPECT_EQ(values->method, Method::kVectorWise);
  EXPECT_EQ(values->threshold, 6.0f);
  EXPECT_EQ(values->scope, Scope::kBatch);
  EXPECT_EQ(values->row_rule, RowRule::kInlierColumns);
  EXPECT_EQ(values->activations, Activations::kAsymmetric);
  EXPECT_FALSE(values->weights_via_fp16);
}

TEST(ResolveQuantization, KnowsThePresets) {
  ConvertOptions options;
  options.compat = Compat::kPaper;
  EXPECT_EQ(ResolveQuantization(options)->activations, Activations::kSymmetric);
  EXPECT_EQ(ResolveQuantization(options)->row_rule, RowRule::kInlierColumns);
  EXPECT_FALSE(ResolveQuantization(options)->weights_via_fp16);

  options.compat = Compat::kBitsandbytes;
  options.threshold = 6.0001f;
  const Result<Quantization> values = ResolveQuantization(options);
  EXPECT_EQ(values->row_rule, RowRule::kBelowThreshold);
  EXPECT_EQ(values->activations, Activations::kSymmetric);
  EXPECT_EQ(values->threshold, 6.0f);  // rounded to fp16
  EXPECT_TRUE(values->weights_via_fp16);
  EXPECT_TRUE(values->activations_via_fp16);
}

TEST(ResolveQuantization, GivesMethodsTheirActivations) {
  const auto activations = [](Method method) {
    ConvertOptions options;
    options.method = method;
    return ResolveQuantization(options)->activations;
  };
  EXPECT_EQ(activations(Method::kTensorWise), Activations::kSymmetric);
  EXPECT_EQ(activations(Method::kRowWise), Activations::kSymmetric);
  EXPECT_EQ(activations(Method::kZeropointTensor), Activations::kAsymmetric);
  EXPECT_EQ(activations(Method::kZeropointVector), Activations::kAsymmetric);
}

TEST(ResolveQuantization, RefusesContradictions) {
  const auto code = [](auto change) {
    ConvertOptions options;
    change(options);
    return ResolveQuantization(options).code();
  };
  constexpr auto kInvalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code([](auto& o) { o.threshold = -1.0f; }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.threshold = std::nanf(""); }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.threshold = std::numeric_limits<float>::infinity(); }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.threshold = 0.0f; }), ErrorCode::kOk);
  EXPECT_EQ(code([](auto& o) {
              o.compat = Compat::kBitsandbytes;
              o.threshold = 1e6f;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.compat = Compat::kPaper;
              o.scope = Scope::kToken;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.compat = Compat::kPaper;
              o.method = Method::kRowWise;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.compat = Compat::kBitsandbytes;
              o.row_rule = RowRule::kInlierColumns;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.compat = Compat::kPaper;
              o.scope = Scope::kBatch;
            }),
            ErrorCode::kOk);
  EXPECT_EQ(code([](auto& o) {
              o.method = Method::kTensorWise;
              o.scope = Scope::kToken;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.method = Method::kRowWise;
              o.scope = Scope::kToken;
            }),
            ErrorCode::kOk);
  EXPECT_EQ(code([](auto& o) {
              o.method = Method::kZeropointVector;
              o.activations = Activations::kSymmetric;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.method = Method::kRowWise;
              o.keep_columns = "{}";
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.compat = Compat::kBitsandbytes;
              o.keep_columns = "{}";
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) { o.keep_budget = 0.1; }), kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.keep_columns = "{}";
              o.keep_budget = 0.0;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) {
              o.keep_columns = "{}";
              o.keep_budget = 1.5;
            }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) { o.num_threads = -1; }), kInvalid);
}

}  // namespace
}  // namespace octavo::quant
