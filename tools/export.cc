// octavo export: a folder that other programs read.
#include "octavo/export.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "tools/command.h"
#include "tools/json.h"
#include "tools/options.h"
#include "tools/run_with_progress.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

using quant::ExportFormat;

constexpr const char* kExamples = R"(Examples:
  octavo export llama.8vo --to safetensors -o llama-16bit         weights back in 16 bit, for anything
  octavo export llama.8vo --to transformers -o llama-octavo       for octavo.transformers in Python
  octavo export llama.8vo --to bitsandbytes -o llama-bnb          for transformers with bitsandbytes
  octavo export llama.8vo --to compressed-tensors -o llama-w8a8   for vLLM and others
  octavo export llama.8vo --to safetensors -o out --max-shard-size 5GB --force)";

constexpr ExportFormat kFormats[] = {ExportFormat::kSafetensors, ExportFormat::kTransformers,
                                     ExportFormat::kBitsandbytes, ExportFormat::kCompressedTensors};

struct ExportCommand {
  std::string file, output, to, max_shard_size;
  ProgressFlags progress;
  bool json = false;
  quant::ExportOptions options;

  void Register(CLI::App& app);
  Status Run();
};

void ExportCommand::Register(CLI::App& app) {
  app.add_option("FILE", file, "A .8vo file or the index of a sharded model")->required();
  std::vector<std::string> names;
  for (const ExportFormat format : kFormats) names.emplace_back(Name(format));
  AddChoice(app, "--to", &to, names,
            "What will read the folder: safetensors, transformers, bitsandbytes or "
            "compressed-tensors");
  app.get_option("--to")->required()->option_text("FORMAT");
  app.add_option("-o,--output", output, "The folder to make")->required()->option_text("DIR");
  app.add_option("--max-shard-size", max_shard_size,
                 "Write shards of at most this size and an index: 5GB, 500MB, 2GiB")
      ->check(ByteSize())
      ->option_text("SIZE");
  AddThreads(app, &options.num_threads);
  app.add_flag("--force", options.overwrite,
               "Replace the folder, if it holds nothing but a model's files");
  app.add_flag("--json", json, "Print the report as JSON");
  progress.Register(app);
  app.footer(kExamples);
}

// What whoever reads the folder must know.
std::string NoteOf(ExportFormat format) {
  if (format != ExportFormat::kTransformers) return "";
  return "read   after \"import octavo.transformers\"; without it transformers takes the codes for "
         "weights\n";
}

std::string ReportText(const std::string& output, ExportFormat format,
                       const quant::ExportReport& report) {
  const double rate = static_cast<double>(report.bytes_weights) / std::max(report.seconds, 1e-3);
  return Escaped(output) + ": written in " + FormatSeconds(report.seconds) + " (" +
         FormatBytes(static_cast<uint64_t>(rate)) + "/s)\n\n" + "size   " +
         FormatBytes(report.bytes_file) + " -> " + FormatBytes(report.bytes_weights) + "\n" +
         "int8   " + Plural(report.int8_modules, "module") + "\n" + "files  " +
         Plural(report.files.size(), "file") + "\n" + NoteOf(format);
}

Json ReportJson(const std::string& output, const quant::ExportReport& report) {
  return {{"output", output},
          {"files", report.files},
          {"int8_modules", report.int8_modules},
          {"bytes_file", report.bytes_file},
          {"bytes_weights", report.bytes_weights},
          {"seconds", report.seconds},
          {"warnings", report.warnings}};
}

Status ExportCommand::Run() {
  options.format = *std::ranges::find(kFormats, to, [](ExportFormat f) { return Name(f); });
  if (!max_shard_size.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(options.max_shard_bytes, ParseByteSize(max_shard_size));
  }
  const Result<quant::ExportReport> report = RunWithProgress(
      progress.mode(), &options.progress, [this] { return quant::Export(file, output, options); });
  if (!report.ok()) return ForceHint(report.status());
  if (!progress.quiet) {
    for (const std::string& warning : report->warnings) PrintWarning(warning);
  }
  if (json) {
    Print(ToText(ReportJson(output, *report)));
  } else if (!progress.quiet) {
    Print(ReportText(output, options.format, *report));
  }
  return Status();
}

}  // namespace

Verb RegisterExport(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("export", "Write a folder that other programs read")->group("Verbs");
  auto command = std::make_shared<ExportCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
