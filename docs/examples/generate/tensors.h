// Tensors that a .8vo file holds as they were: embeddings, norms, biases.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <octavo/model.h>
#include <octavo/result.h>

#include "real.h"

namespace generate {

// The tensor in the mapping: no copy. Where it is compressed: in *owned, decompressed.
// Errors: kNotFound, kUnsupported (not F16, BF16 or F32), kNotIntact.
octavo::Result<std::span<const std::byte>> ReadBytes(const octavo::Model& model,
                                                     const std::string& name,
                                                     std::vector<std::byte>* owned);

// The same widened, whatever they were. Errors besides: kInvalidFile (another number of elements
// than `size`).
octavo::Result<std::vector<Real>> ReadFloats(const octavo::Model& model, const std::string& name,
                                             int64_t size);

}  // namespace generate
