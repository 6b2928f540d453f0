// Where the pipeline's tensors go: into a new file, or against an existing one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libquant/module_job.h"
#include "octavo/writer.h"

namespace octavo::quant {

// One chunk on its way: rows of a tensor of the output. Belongs to one worker, reused.
struct OutputChunk {
  std::span<const std::byte> raw;
  uint64_t first_row = 0;  // rows of the tensor as the output has it
  uint64_t num_rows = 0;
  // A sink's own state between its calls.
  format::EncodedChunk encoded;
  format::Writer::Place place;
  std::vector<std::byte> buffer;
  std::string difference;
};

// Prepare and Store run on any thread, the others one at a time in the order of the file.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // The next tensors, `raw_bytes` together, belong to one module, or to one and those tied to it.
  virtual Status BeginModule(uint64_t raw_bytes) = 0;
  virtual Status BeginTensor(const TensorSpec& spec) = 0;
  // Before the chunk's turn: what can be done without knowing its place.
  virtual Status Prepare(const TensorSpec& spec, OutputChunk* chunk) = 0;
  virtual Status Place(OutputChunk* chunk) = 0;
  virtual Status Store(const OutputChunk& chunk) = 0;
  virtual Status EndTensor() = 0;
  // A tensor that is whole in memory.
  virtual Status PutTensor(const TensorSpec& spec, std::span<const std::byte> raw) = 0;
};

// Into a writer, which must outlive the sink.
class WriterSink : public OutputSink {
 public:
  // Goes on within the tensor that a resumed writer stands in.
  explicit WriterSink(format::Writer* writer)
      : writer_(writer), tensor_idx_(std::max(writer->num_tensors(), 1u) - 1) {}
  Status BeginModule(uint64_t raw_bytes) override { return writer_->BeginBundle(raw_bytes); }
  Status BeginTensor(const TensorSpec& spec) override;
  Status Prepare(const TensorSpec& spec, OutputChunk* chunk) override;
  Status Place(OutputChunk* chunk) override;
  Status Store(const OutputChunk& chunk) override;
  Status EndTensor() override { return writer_->FinishTensor(tensor_idx_); }
  Status PutTensor(const TensorSpec& spec, std::span<const std::byte> raw) override;

 private:
  format::Writer* writer_;
  uint32_t tensor_idx_;
};

}  // namespace octavo::quant
