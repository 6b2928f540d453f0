#include "libquant/fingerprint.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <cstdio>

#include "libquant/plan.h"
#include "octavo/byte_stream.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;

std::string Digest(const void* data, size_t bytes) {
  char text[24];
  std::snprintf(text, sizeof(text), "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(data, bytes)));
  return text;
}

// Names from files may hold tabs and line ends.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  }
  return text;
}

class Lines {
 public:
  void Add(const std::string& key, const std::string& value) {
    text_ += OneLine(key) + "\t" + OneLine(value) + "\n";
  }
  void Add(const std::string& key, std::string_view value) { Add(key, std::string(value)); }
  void Add(const std::string& key, uint64_t value) { Add(key, std::to_string(value)); }
  void AddFile(const std::string& key, const std::string& path) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return Add(key, std::string_view("not there"));
    char time[48];
    std::snprintf(time, sizeof(time), "%lld.%09ld", static_cast<long long>(info.st_mtim.tv_sec),
                  info.st_mtim.tv_nsec);
    Add(key, std::to_string(info.st_size) + " bytes of " + time);
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

void AddSource(const Checkpoint& source, Lines* lines) {
  for (const format::CheckpointFile& file : source.files()) {
    lines->AddFile("source file " + file.name, file.path);
  }
  const std::string& first = source.files().front().path;
  const std::string folder = first.substr(0, first.rfind('/') + 1);
  for (const std::string& name : source.assets()) {
    lines->AddFile("source file " + name, folder + name);
  }
  format::ByteWriter tensors;
  for (const format::SourceTensor& tensor : source.tensors()) {
    tensors.PutString(tensor.name);
    tensors.Put(tensor.dtype);
    tensors.PutString(tensor.shape.ToString());
    tensors.Put(tensor.file);
    tensors.Put(tensor.offset);
  }
  lines->Add("source tensors", Digest(tensors.bytes().data(), tensors.bytes().size()));
}

void AddOptions(const ConvertOptions& options, const format::Quantization& quantization,
                Lines* lines) {
  lines->Add("method", Name(quantization.method));
  lines->Add("compat", Name(quantization.compat));
  lines->Add("threshold", std::to_string(quantization.threshold));
  lines->Add("scope", Name(quantization.scope));
  lines->Add("row rule", Name(quantization.row_rule));
  lines->Add("activations", Name(quantization.activations));
  lines->Add("via fp16", uint64_t{quantization.weights_via_fp16});
  lines->Add("on nonfinite", static_cast<uint64_t>(options.on_nonfinite));
  std::string skipped;
  for (const std::string& pattern : options.policy.skip_modules) skipped += pattern + " ";
  lines->Add("skipped modules", skipped);
  lines->Add("only skip", uint64_t{options.policy.only_skip});
  lines->Add("kept columns", Digest(options.keep_columns.data(), options.keep_columns.size()));
  lines->Add("keep budget", options.keep_budget ? std::to_string(*options.keep_budget) : "none");
  lines->Add("codec", Name(options.codec));
  lines->Add("layout", Name(options.layout));
  lines->Add("sha256", uint64_t{options.sha256});
  lines->Add("max shard size", options.max_shard_bytes);
}

// Whatever else an option may change shows here.
std::string PlanDigest(const std::vector<ModuleJob>& jobs) {
  format::ByteWriter plan;
  for (const ModuleJob& job : jobs) {
    plan.PutString(job.module.name);
    plan.Put<uint64_t>(job.module_idx);
    plan.PutVector(job.kept_index);
    for (const TensorSpec& spec : AllSpecs(job)) {
      plan.PutString(spec.name);
      plan.Put(spec.dtype);
      plan.PutString(spec.shape.ToString());
      plan.Put(spec.chunk_rows);
      plan.Put(spec.matrix_rows);
    }
  }
  return Digest(plan.bytes().data(), plan.bytes().size());
}

}  // namespace

std::string Fingerprint(const Checkpoint& source, const ConvertOptions& options,
                        const format::Quantization& quantization,
                        const std::vector<ModuleJob>& jobs) {
  Lines lines;
  // A save point holds states of XXH3, whose form is xxHash's own.
  lines.Add("octavo", OCTAVO_VERSION " with xxHash " + std::to_string(XXH_versionNumber()));
  AddSource(source, &lines);
  AddOptions(options, quantization, &lines);
  lines.Add("plan", PlanDigest(jobs));
  return lines.Take();
}

}  // namespace octavo::quant
