// What a quantized module has besides its codes, gathered row after row while it is converted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "libquant/module_job.h"
#include "libquant/output_sink.h"
#include "libquant/quantize_rows.h"
#include "octavo/byte_stream.h"

namespace octavo::quant {

class ModuleResults {
 public:
  // Forgets the module before.
  void Begin(const ModuleJob& job);
  // The next rows, in order.
  void Add(const ModuleJob& job, const RowResults& rows);
  // What is gathered so far, for a save point.
  void Put(format::ByteWriter* out) const;
  void Get(format::ByteReader* in);
  // All rows are in: stores scales, sums, zero points and kept columns, and fills the module's
  // `error`.
  Status Store(ModuleJob* job, OutputSink* sink);

 private:
  Status StoreKept(const ModuleJob& job, const std::vector<TensorSpec>& specs, OutputSink* sink);

  std::vector<float> scale_;
  std::vector<int32_t> code_sum_;
  std::vector<int32_t> zero_point_;
  std::vector<std::byte> kept_;  // [kept][out_features], elements of the source's type
  ErrorSums error_;
  bool full_range_ = false;  // a code that was taken over is -128
};

}  // namespace octavo::quant
