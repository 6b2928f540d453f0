// What every kernel of this folder is given: the structs of octavo/cuda_kernels.h reduced to the
// fields that device code reads, by value.
#pragma once

#include <cstdint>

#include "octavo/cuda_kernels.h"

namespace octavo::cuda {

using kernels::ActivationOptions;
using kernels::Activations;
using kernels::ActivationView;
using kernels::CudaActivations;
using kernels::CudaKeptColumns;
using kernels::CudaLinear;
using kernels::CudaStatus;
using kernels::ElementType;
using kernels::OutputView;

// The product's operands. tokens, in_features and out_features fit int32 (operations.cc checks);
// offsets into matrices are computed in int64.
struct ProductOperands {
  int32_t tokens = 0;
  int32_t in_features = 0;
  int32_t out_features = 0;
  int32_t code_stride = 0;  // bytes, of the rows of both code matrices

  const uint8_t* x_codes = nullptr;
  const float* x_scale = nullptr;
  const int32_t* x_zero_point = nullptr;
  const int32_t* x_code_sum = nullptr;

  const int8_t* w_codes = nullptr;
  const float* multiplier = nullptr;
  const int32_t* w_code_sum = nullptr;
  const int32_t* w_zero_point = nullptr;  // null but for the zeropoint methods
  const void* bias = nullptr;             // null: none
  ElementType bias_type = ElementType::kFloat16;

  // Entries of G are read from X itself.
  const void* x = nullptr;
  int64_t x_stride = 0;
  ElementType x_type = ElementType::kFloat16;
  const int32_t* outlier_columns = nullptr;
  const int32_t* num_outlier_columns = nullptr;
  const int32_t* kept_index = nullptr;
  const void* kept_weight = nullptr;  // [num_kept][out_features]
  int32_t num_kept = 0;
  ElementType kept_type = ElementType::kFloat16;

  // Scope token: a row's outlier entries alone are in G.
  bool by_entry = false;
  float threshold = 0;  // as OutlierThreshold gives it
  bool via_fp16 = false;
  bool symmetric = false;

  void* y = nullptr;
  int64_t y_stride = 0;
  ElementType y_type = ElementType::kFloat16;
  int64_t* raw_acc = nullptr;  // for the tests: acc [tokens][out_features] instead of y
};

}  // namespace octavo::cuda
