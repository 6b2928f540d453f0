#include "octavo/export.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "libquant/export_config.h"
#include "libquant/export_plan.h"
#include "libquant/export_run.h"
#include "libquant/out_of_memory.h"
#include "libquant/output_path.h"
#include "octavo/checkpoint.h"
#include "octavo/output_folder.h"
#include "octavo/reader.h"
#include "octavo/thread_pool.h"

namespace octavo::quant {
namespace {

using format::OutputFolder;
using format::Reader;
using format::SafetensorsWriter;

constexpr const char* kConfigName = "config.json";
constexpr const char* kIndexName = "model.safetensors.index.json";

Result<std::string> ReadText(const Reader& reader, const format::TensorEntry& asset) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.ReadAll(asset));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<std::string> ReadConfig(const Reader& reader, ExportFormat format) {
  const format::TensorEntry* asset = reader.FindAsset(kConfigName);
  if (asset != nullptr) return ReadText(reader, *asset);
  if (format == ExportFormat::kSafetensors) return std::string();
  return Status(ErrorCode::kRefused,
                "the file has no embedded config.json, which a folder of the format " +
                    std::string(Name(format)) +
                    " needs; export it to safetensors, or convert a folder that has one");
}

Result<std::vector<SafetensorsWriter>> CreateWriters(const OutputFolder& folder,
                                                     const ExportPlan& plan) {
  std::vector<std::vector<format::SafetensorsSpec>> specs(plan.num_shards);
  for (const ExportTensor& tensor : plan.tensors) specs[tensor.shard].push_back(tensor.spec);
  std::vector<SafetensorsWriter> writers;
  for (uint32_t shard = 0; shard < plan.num_shards; ++shard) {
    OCTAVO_ASSIGN_OR_RETURN(
        SafetensorsWriter writer,
        SafetensorsWriter::Create(folder.PathOf(ShardFileName(plan, shard)), specs[shard],
                                  {{"format", "pt"}}, /*overwrite=*/false));
    writers.push_back(std::move(writer));
  }
  return writers;
}

std::string IndexJson(const ExportPlan& plan) {
  std::map<std::string, std::string> weight_map;
  for (const ExportTensor& tensor : plan.tensors) {
    weight_map.emplace(tensor.spec.name, ShardFileName(plan, tensor.shard));
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", plan.bytes()}}},
                                        {"weight_map", weight_map}};
  return index.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// Index, config.json and the embedded files.
Status WriteSmallFiles(const Reader& reader, const OutputFolder& folder, const ExportPlan& plan,
                       const std::string& config_json, ExportFormat format, ExportReport* report) {
  const auto write = [&](const std::string& name, std::string_view text) {
    report->files.push_back(name);
    return folder.Write(name, std::as_bytes(std::span(text)));
  };
  if (plan.num_shards > 1) OCTAVO_RETURN_IF_ERROR(write(kIndexName, IndexJson(plan)));
  for (const format::TensorEntry& asset : reader.manifest().assets) {
    if (!format::IsAssetName(asset.name)) {
      report->warnings.push_back("the embedded file \"" + asset.name +
                                 "\" is left out: no such file belongs to a model's folder");
      continue;
    }
    OCTAVO_ASSIGN_OR_RETURN(std::string text, ReadText(reader, asset));
    if (asset.name == kConfigName) {
      OCTAVO_ASSIGN_OR_RETURN(text, AdaptConfig(config_json, format, reader.manifest(), plan));
    }
    OCTAVO_RETURN_IF_ERROR(write(asset.name, text));
  }
  return {};
}

Result<ExportReport> ExportChecked(const std::string& file, const std::string& path,
                                   const ExportOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const Reader reader, Reader::Open(file));
  OCTAVO_ASSIGN_OR_RETURN(const std::string config_json, ReadConfig(reader, options.format));
  OCTAVO_ASSIGN_OR_RETURN(const ExportPlan plan,
                          PlanExport(reader, options, WeightsDType(config_json)));
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(path, options.overwrite, format::IsModelFileName));
  OCTAVO_RETURN_IF_ERROR(CheckDiskSpace(folder.PathOf(""), plan.bytes()));
  OCTAVO_ASSIGN_OR_RETURN(std::vector<SafetensorsWriter> writers, CreateWriters(folder, plan));
  ProgressMeter progress(options.progress, plan.bytes());
  const int32_t num_threads =
      options.num_threads > 0 ? options.num_threads : kernels::AvailableCpus();
  OCTAVO_RETURN_IF_ERROR(RunExport(reader, plan, writers, num_threads, &progress));

  ExportReport report;
  report.warnings = plan.warnings;
  for (uint32_t shard = 0; shard < plan.num_shards; ++shard) {
    OCTAVO_RETURN_IF_ERROR(writers[shard].Finish());
    report.bytes_weights += writers[shard].file_bytes();
    report.files.push_back(ShardFileName(plan, shard));
  }
  OCTAVO_RETURN_IF_ERROR(
      WriteSmallFiles(reader, folder, plan, config_json, options.format, &report));
  OCTAVO_RETURN_IF_ERROR(folder.Commit());
  report.bytes_file = reader.total_bytes();
  report.int8_modules = plan.int8_modules.size();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

Result<ExportReport> Export(const std::string& file, const std::string& folder,
                            const ExportOptions& options) {
  return CatchOutOfMemory([&] { return ExportChecked(file, folder, options); });
}

}  // namespace octavo::quant
