// The pickle of a torch.save file, read as data. Nothing in it is executed or looked up: a short list
// of opcodes works on plain values, and a short list of globals are words with a meaning here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/dtype.h"
#include "octavo/result.h"

namespace octavo::format {

// A tensor as the pickle describes it; numbers are not negative, and checked for nothing else.
struct PickledTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::string storage;          // key of the storage
  uint64_t storage_bytes = 0;   // of all of it
  uint64_t storage_offset = 0;  // elements
  std::vector<uint64_t> shape;
  std::vector<uint64_t> strides;  // elements
};

inline constexpr uint64_t kMaxPickleBytes = uint64_t{64} << 20;

// The tensors of a state dict, or of the one under "state_dict", "model" or "module" in a dict that
// has no tensors itself, in their order. Other values are ignored. Memory is bounded by the text's
// size, and nothing recurses. Errors: kInvalidFile: an opcode or global that is not on the lists is
// named, and so is what an operation was applied to.
Result<std::vector<PickledTensor>> ReadTorchPickle(std::string_view pickle);

}  // namespace octavo::format
