// octavo convert: from a 16-bit checkpoint to a .8vo file.
#include "octavo/convert.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "tools/command.h"
#include "tools/convert_report.h"
#include "tools/options.h"
#include "tools/read_text_file.h"
#include "tools/run_with_progress.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo convert models/gpt2 -o gpt2.8vo
  octavo convert models/gpt2 --dry-run          what would happen, and how large it gets
  octavo convert llama/model.safetensors.index.json -o llama.8vo --skip-modules layers.0,lm_head
  octavo convert models/gpt2 -o gpt2.8vo --compat bitsandbytes --max-shard-size 5GB
  octavo convert models/gpt2 -o gpt2.8vo --resume   go on where it was interrupted)";

struct ConvertCommand {
  std::string source, output;
  std::string method, compat, on_nonfinite, keep_columns, layout, max_shard_size, save_every, part;
  ActivationFlags activations;
  ProgressFlags progress;
  bool compress = false, dry_run = false, explain = false, json = false;
  quant::ConvertOptions options;

  void Register(CLI::App& app);
  void RegisterQuantization(CLI::App& app);
  void RegisterPolicy(CLI::App& app);
  Status Complete();
  Status Run();
  Status RunDry();
  Status RunConversion();
};

void ConvertCommand::Register(CLI::App& app) {
  app.add_option("SRC", source,
                 "Model folder; or a .safetensors, .bin, .pt or .pth file; or the .index.json of "
                 "such files")
      ->required();
  auto* output_option =
      app.add_option("-o,--output", output, "The .8vo file to write")->option_text("OUT.8vo");
  RegisterQuantization(app);
  RegisterPolicy(app);
  AddLayout(app, &layout,
            "How codes are laid out: packed is ready to be mapped by the CPU kernels "
            "(default: plain)");
  app.add_flag("--compress", compress, "Compress chunks with zstd where that makes them smaller");
  app.add_option("--max-shard-size", max_shard_size,
                 "Write shards of at most this size and an index: 5GB, 500MB, 2GiB")
      ->check(ByteSize())
      ->option_text("SIZE");
  app.add_flag("--sha256", options.sha256, "Store the SHA-256 of every source file, too");
  app.add_option("--part", part,
                 "Convert part I of N of a sharded conversion, for octavo join to put together")
      ->check(PartOfMany())
      ->needs("--max-shard-size")
      ->option_text("I/N");
  AddThreads(app, &options.num_threads);
  auto* dry_flag =
      app.add_flag("--dry-run", dry_run, "Print what would be done and the sizes; write nothing");
  app.add_flag("--explain", explain,
               "List every module on its own line, with the reason; in large models, which layers "
               "and experts share a line");
  app.add_flag("--force", options.overwrite, "Overwrite an existing output");
  app.add_flag("--resume", options.resume,
               "Go on where an interrupted conversion to this output stopped, if there is one");
  app.add_option("--save-every", save_every,
                 "How much of the source may be read between two points to resume from (default: a "
                 "fiftieth, at least 16 MiB)")
      ->check(ByteSize())
      ->option_text("SIZE");
  app.add_flag("--json", json, "Print the report as JSON");
  progress.Register(app);
  app.final_callback([dry_flag, output_option] {
    if (dry_flag->empty() && output_option->empty()) throw CLI::RequiredError("--output");
  });
  app.footer(kExamples);
}

void ConvertCommand::RegisterQuantization(CLI::App& app) {
  AddChoice(app, "--method", &method,
            {"vector-wise", "tensor-wise", "row-wise", "zeropoint-tensor", "zeropoint-vector"},
            "What shares a scale (default: vector-wise; the others are for comparison)");
  activations.Register(app);
  AddChoice(app, "--compat", &compat, {"paper", "bitsandbytes"},
            "All of these as the paper or as bitsandbytes has them");
  app.add_flag("--via-fp16", options.via_fp16,
               "Round bf16 and fp32 weights to fp16 first, as bitsandbytes does");
}

void ConvertCommand::RegisterPolicy(CLI::App& app) {
  auto* skip = app.add_option("--skip-modules", options.policy.skip_modules,
                              "Keep these modules as they are, besides the defaults: whole dotted "
                              "components, * for any one; repeatable")
                   ->delimiter(',')
                   ->allow_extra_args(false)
                   ->option_text("NAME,…");
  app.add_flag("--only-skip", options.policy.only_skip, "--skip-modules replaces the defaults")
      ->needs(skip);
  AddChoice(app, "--on-nonfinite", &on_nonfinite, {"error", "skip"},
            "A weight with NaN or infinity ends the conversion, or its module is kept as it is");
  auto* keep = app.add_option("--keep-columns", keep_columns,
                              "Multiply the columns that this profile names always in 16 bit")
                   ->check([](const std::string& path) {
                     return path.empty() ? std::string("names no file") : std::string();
                   })
                   ->option_text("PROFILE.json");
  app.add_option("--keep-budget", options.keep_budget,
                 "Of those, at most this share of all linears' columns")
      ->check(Share())
      ->needs(keep)
      ->option_text("SHARE");
}

// The options that are not plain values yet.
Status ConvertCommand::Complete() {
  for (std::string& pattern : options.policy.skip_modules) {  // "q_proj, k_proj"
    pattern.erase(0, pattern.find_first_not_of(' '));
    pattern.erase(pattern.find_last_not_of(' ') + 1);
  }
  options.method = format::MethodFromName(method);
  options.compat = format::CompatFromName(compat).value_or(format::Compat::kNone);
  options.threshold = activations.threshold;
  options.scope = activations.scope();
  options.row_rule = activations.row_rule();
  options.activations = activations.activations();
  options.layout = quant::LayoutFromOption(layout).value_or(format::CodeLayout::kPlain);
  options.codec = compress ? format::Codec::kZstd : format::Codec::kNone;
  if (on_nonfinite == "skip") options.on_nonfinite = quant::OnNonfinite::kSkip;
  if (!max_shard_size.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(options.max_shard_bytes, ParseByteSize(max_shard_size));
  }
  if (!part.empty()) options.part = *ParsePartOfMany(part);
  if (!save_every.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(options.save_interval_bytes, ParseByteSize(save_every));
  }
  if (!keep_columns.empty()) {
    OCTAVO_RETURN_IF_ERROR(CheckNotInput(output, keep_columns));
    OCTAVO_ASSIGN_OR_RETURN(options.keep_columns, ReadTextFile(keep_columns));
    if (options.keep_columns.empty()) {
      return Status(ErrorCode::kInvalidArgument, keep_columns + ": the profile is empty");
    }
  }
  return Status();
}

Status ConvertCommand::Run() {
  OCTAVO_RETURN_IF_ERROR(Complete());
  return dry_run ? RunDry() : RunConversion();
}

constexpr size_t kMaxWarnings = 20;

void PrintWarnings(const std::vector<std::string>& warnings, bool quiet) {
  if (quiet) return;
  const size_t shown = std::min(warnings.size(), kMaxWarnings);
  for (size_t i = 0; i < shown; ++i) PrintWarning(warnings[i]);
  if (shown < warnings.size()) {
    PrintWarning(Plural(warnings.size() - shown, "further warning") + " (--json lists all)");
  }
}

Status ConvertCommand::RunDry() {
  OCTAVO_ASSIGN_OR_RETURN(const format::Checkpoint checkpoint, format::Checkpoint::Open(source));
  OCTAVO_ASSIGN_OR_RETURN(const quant::Plan plan, quant::PlanConversion(checkpoint, options));
  PrintWarnings(plan.warnings, progress.quiet);
  Print(json ? ToText(PlanJson(plan)) : PlanText(source, plan, explain));
  return Status();
}

Status ConvertCommand::RunConversion() {
  Result<quant::ConvertReport> report = RunWithProgress(progress.mode(), &options.progress, [this] {
    return quant::Convert(source, output, options);
  });
  if (!report.ok()) return ForceHint(report.status());
  PrintWarnings(report->warnings, progress.quiet);
  const std::string written = output.substr(0, output.rfind('/') + 1) + report->files.front();
  if (json) {
    Print(ToText(ReportJson(written, *report)));
  } else if (!progress.quiet) {
    Print(ReportText(written, *report, explain));
  }
  return Status();
}

}  // namespace

Verb RegisterConvert(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("convert", "Quantize a 16-bit model into a .8vo file")->group("Verbs");
  auto command = std::make_shared<ConvertCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
