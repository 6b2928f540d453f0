#include "format/entry_stream.h"

namespace octavo::format {

void PutEntry(const TensorEntry& entry, ByteWriter* out) {
  const auto extents = entry.shape.extents();
  out->PutString(entry.name);
  out->Put(entry.dtype);
  out->PutVector(std::vector<uint64_t>(extents.begin(), extents.end()));
  out->Put(entry.shard);
  out->Put(entry.offset);
  out->Put(entry.bytes);
  out->Put(entry.chunk_rows);
  out->Put(entry.matrix_rows);
  out->Put(entry.codec);
  out->PutVector(entry.stored);
  out->PutVector(entry.xxh3);
}

TensorEntry GetEntry(ByteReader* in) {
  TensorEntry entry;
  entry.name = in->GetString();
  entry.dtype = in->Get<DType>();
  entry.shape = Shape::Make(in->GetVector<uint64_t>()).value_or(Shape{0});
  entry.shard = in->Get<uint32_t>();
  entry.offset = in->Get<uint64_t>();
  entry.bytes = in->Get<uint64_t>();
  entry.chunk_rows = in->Get<uint64_t>();
  entry.matrix_rows = in->Get<uint64_t>();
  entry.codec = in->Get<Codec>();
  entry.stored = in->GetVector<uint64_t>();
  entry.xxh3 = in->GetVector<uint64_t>();
  return entry;
}

}  // namespace octavo::format
