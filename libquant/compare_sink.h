// Compares what the pipeline computes with what a file holds.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "libquant/output_sink.h"
#include "octavo/reader.h"

namespace octavo::quant {

// Collects one finding for each tensor that differs: the first index that does. `reader` must
// outlive it.
class CompareSink : public OutputSink {
 public:
  explicit CompareSink(const format::Reader* reader) : reader_(reader) {}
  Status BeginModule(uint64_t) override { return {}; }
  Status BeginTensor(const TensorSpec& spec) override;
  Status Prepare(const TensorSpec& spec, OutputChunk* chunk) override;
  Status Place(OutputChunk* chunk) override;
  Status Store(const OutputChunk&) override { return {}; }
  Status EndTensor() override { return {}; }
  Status PutTensor(const TensorSpec& spec, std::span<const std::byte> raw) override;

  // Names of the tensors that were compared.
  const std::set<std::string>& compared() const { return compared_; }
  std::vector<format::Finding>& findings() { return findings_; }
  // Adds a finding about something in the file that holds it, or the file as a whole.
  void Report(const std::string& subject, const std::string& message);

 private:
  const format::Reader* reader_;
  std::string current_;
  bool has_finding_ = false;  // about the current tensor
  std::set<std::string> compared_;
  std::vector<format::Finding> findings_;
};

}  // namespace octavo::quant
