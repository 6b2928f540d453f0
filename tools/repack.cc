// octavo repack: the same content in another form, without quantizing again.
#include "octavo/repack.h"

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

constexpr const char* kExamples = R"(Examples:
  octavo repack gpt2.8vo -o small.8vo --compress
  octavo repack llama.8vo -o shards.8vo --max-shard-size 5GB
  octavo repack shards.8vo -o one.8vo                 shards into one file
  octavo repack llama.8vo -o packed.8vo --layout packed)";

struct RepackCommand {
  std::string file, output, layout, max_shard_size;
  ProgressFlags progress;
  bool compress = false, json = false;
  quant::RepackOptions options;

  void Register(CLI::App& app);
  Status Run();
};

void RepackCommand::Register(CLI::App& app) {
  app.add_option("FILE", file, "A .8vo file or the index of a sharded model")->required();
  app.add_option("-o,--output", output, "The .8vo file to write")
      ->required()
      ->option_text("OUT.8vo");
  AddLayout(app, &layout, "How codes are laid out (default: as they are in FILE)");
  app.add_flag("--compress", compress, "Compress chunks with zstd where that makes them smaller");
  app.add_option("--max-shard-size", max_shard_size,
                 "Write shards of at most this size and an index: 5GB, 500MB, 2GiB")
      ->check(ByteSize())
      ->option_text("SIZE");
  AddThreads(app, &options.num_threads);
  app.add_flag("--force", options.overwrite, "Overwrite an existing output");
  app.add_flag("--json", json, "Print the report as JSON");
  progress.Register(app);
  app.footer(kExamples);
}

std::string ReportText(const std::string& output, const quant::RepackReport& report) {
  const double rate = static_cast<double>(report.bytes_before) / std::max(report.seconds, 1e-3);
  std::string text = Escaped(output) + ": written in " + FormatSeconds(report.seconds) + " (" +
                     FormatBytes(static_cast<uint64_t>(rate)) + "/s)\n\n" + "size   " +
                     FormatBytes(report.bytes_before) + " -> " + FormatBytes(report.bytes_after) +
                     " (" + FormatShare(report.bytes_after, report.bytes_before) + ")\n";
  if (report.files.size() > 1) {
    text += "files  an index and " + Plural(report.files.size() - 1, "shard") + "\n";
  }
  return text;
}

Json ReportJson(const std::string& output, const quant::RepackReport& report) {
  return {{"output", output},
          {"files", report.files},
          {"seconds", report.seconds},
          {"bytes_before", report.bytes_before},
          {"bytes_after", report.bytes_after}};
}

Status RepackCommand::Run() {
  options.layout = quant::LayoutFromOption(layout);
  options.codec = compress ? format::Codec::kZstd : format::Codec::kNone;
  if (!max_shard_size.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(options.max_shard_bytes, ParseByteSize(max_shard_size));
  }
  const Result<quant::RepackReport> report = RunWithProgress(
      progress.mode(), &options.progress, [this] { return quant::Repack(file, output, options); });
  if (!report.ok()) return ForceHint(report.status());
  if (json) {
    Print(ToText(ReportJson(output, *report)));
  } else if (!progress.quiet) {
    Print(ReportText(output, *report));
  }
  return Status();
}

}  // namespace

Verb RegisterRepack(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("repack", "Write a .8vo file anew: layout, compression, shards")
          ->group("Verbs");
  auto command = std::make_shared<RepackCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
