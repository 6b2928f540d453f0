// The code matrix of a slice, cut from what the file holds.
#pragma once

#include <cstdint>

#include "octavo/kernels.h"
#include "octavo/reader.h"
#include "octavo/result.h"
#include "runtime/payload.h"
#include "runtime/slice.h"

namespace octavo {

// What is cut from a code matrix.
struct CodeSlice {
  uint64_t out_features = 0;  // of the whole matrix
  uint64_t in_features = 0;
  FeatureRange out;
  FeatureRange in;
};

// `request` names the tensor and the expert. *layout: how the file stores the codes on entry, how
// the result does on return: as stored where the slice is made of whole groups, else plain. Errors:
// those of LoadPayload.
Result<Payload> LoadCodeSlice(const format::Reader& reader, PayloadRequest request,
                              const CodeSlice& slice, kernels::WeightLayout* layout);

}  // namespace octavo
