// A .8vo file opened for use: its modules, its linears, its embedded files.
//
//   auto model = octavo::Model::Open("model.8vo");  // maps; checks header and manifest
//   if (!model.ok()) return model.status();         // every step below can fail likewise
//   auto linear = model->linear("transformer.h.2.attn.c_attn");
//   auto prepared = octavo::Prepare(*linear);       // once for each linear and device
//   octavo::ConstTensorView x(x_data, octavo::DType::kF16, tokens, linear->in_features());
//   octavo::TensorView y(y_data, octavo::DType::kF16, tokens, linear->out_features());
//   octavo::Status status = octavo::Forward(*prepared, x, y);
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "octavo/manifest.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo {

class Linear;

struct ModelOptions {
  // Also check every digest and value before Open returns (reads the whole file).
  bool verify = false;
  int32_t num_threads = 0;  // for that; 0: one for each CPU
};

// A file and its mapping. Copies share it (reference-counted). Const and thread-safe.
// Linears and PreparedLinears keep the mapping alive on their own: a Model may be destroyed before
// them.
class Model {
 public:
  // `path`: a .8vo file or the index of a sharded model. Errors: as format::Reader::Open.
  static Result<Model> Open(const std::string& path, const ModelOptions& options = {});

  const format::Manifest& manifest() const;
  const format::Reader& reader() const;

  // A quantized linear by its module name. For kind `experts`, which of the matrices; else `expert`
  // must be 0. Errors: kNotFound (no such module; names near ones), kInvalidArgument (not
  // quantized, with the reason that the file states; expert out of range).
  Result<Linear> linear(std::string_view name, int64_t expert = 0) const;

  // Any tensor without compression, in the mapping: no copy, digest not checked. Errors: kNotFound,
  // kInvalidArgument (compressed).
  Result<std::span<const std::byte>> tensor(std::string_view name) const;
  // An embedded file: config.json, tokenizer.json, …. Checked. Errors: kNotFound, kNotIntact.
  Result<std::string> asset(std::string_view name) const;

 private:
  friend class Linear;
  explicit Model(std::shared_ptr<const format::Reader> reader);
  std::shared_ptr<const format::Reader> reader_;
};

}  // namespace octavo
