#include "libquant/output_sink.h"

namespace octavo::quant {

Status WriterSink::BeginTensor(const TensorSpec& spec) {
  OCTAVO_ASSIGN_OR_RETURN(tensor_idx_, writer_->AddTensor(spec.name, spec.dtype, spec.shape,
                                                          spec.matrix_rows, spec.chunk_rows));
  return {};
}

Status WriterSink::Prepare(const TensorSpec&, OutputChunk* chunk) {
  OCTAVO_ASSIGN_OR_RETURN(chunk->encoded, writer_->EncodeChunk(chunk->raw, &chunk->buffer));
  return {};
}

Status WriterSink::Place(OutputChunk* chunk) {
  OCTAVO_ASSIGN_OR_RETURN(chunk->place, writer_->PlaceChunk(tensor_idx_, chunk->encoded));
  return {};
}

Status WriterSink::Store(const OutputChunk& chunk) {
  return writer_->WriteChunk(chunk.place, chunk.encoded.data);
}

Status WriterSink::PutTensor(const TensorSpec& spec, std::span<const std::byte> raw) {
  return writer_->AppendTensor(spec.name, spec.dtype, spec.shape, raw);
}

}  // namespace octavo::quant
