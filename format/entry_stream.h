// Tensor entries in a journal.
#pragma once

#include "octavo/byte_stream.h"
#include "octavo/manifest.h"

namespace octavo::format {

void PutEntry(const TensorEntry& entry, ByteWriter* out);
// Nonsense reads as an entry without elements and makes in->ok() false, or is caught by the
// caller's checks.
TensorEntry GetEntry(ByteReader* in);

}  // namespace octavo::format
