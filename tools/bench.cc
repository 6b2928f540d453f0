// octavo bench: how fast this machine multiplies, beside what it could do at most.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "tools/bench_run.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo bench                                        the linears of Llama-3-8B
  octavo bench --shape 14336x4096 --tokens 1,16 --cold
  octavo bench --model opt-13b --cpu avx2 --threads 1
  octavo bench --device cuda --cold --json | jq '.results[] | [.tokens, .ms]')";

struct BenchCommand {
  BenchSettings settings;
  std::vector<std::string> models, shapes;
  std::string dtype = "f16", device = "cpu";
  ActivationFlags activations;
  bool json = false;

  void Register(CLI::App& app);
  Status Finish();
  Status Run();
};

void BenchCommand::Register(CLI::App& app) {
  settings.tokens = {1, 8, 64, 512};
  settings.outlier_share = 0.0015;
  settings.seconds = 10;
  const CLI::Range share(0.0, 1.0);
  app.add_option("--model", models, "The linears of known models (default: llama-3-8b)")
      ->delimiter(',')
      ->check(CLI::IsMember(BenchModels()))
      ->option_text("{" + CLI::detail::join(BenchModels(), ",") + "}");
  app.add_option("--shape", shapes, "Linears by their features; repeatable")
      ->delimiter(',')
      ->option_text("OUTxIN,…");
  app.add_option("--tokens", settings.tokens, "Rows of X (default: 1,8,64,512)")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->option_text("N,…");
  app.add_option("--outlier-share", settings.outlier_share,
                 "Share of the columns that hold outliers; at least one where it is not 0 "
                 "(default: 0.0015)")
      ->check(share)
      ->option_text("SHARE");
  app.add_option("--kept", settings.kept_share,
                 "Share of the columns that are kept in 16 bit (default: 0)")
      ->check(share)
      ->option_text("SHARE");
  activations.Register(app);
  AddChoice(app, "--dtype", &dtype, {"f16", "bf16", "f32"}, "Type of X and Y (default: f16)");
  app.add_flag("--cold", settings.cold,
               "Rotate through more than 1 GB of weights, so that no cache holds them");
  AddDevice(app, &device);
  app.add_option("--cpu", settings.cpu,
                 "Kernels by name, see octavo devices (default: OCTAVO_CPU, else the best)")
      ->option_text("NAME");
  AddThreads(app, &settings.num_threads);
  app.add_option("--seconds", settings.seconds,
                 "How long to time, all cases together; at least three rounds (default: 10)")
      ->check(CLI::Range(0.0, 86400.0))
      ->option_text("S");
  app.add_flag("--json", json, "Print the figures as JSON");
  app.footer(kExamples);
}

// What the text of the options means.
Status BenchCommand::Finish() {
  if (models.empty() && shapes.empty()) models = {"llama-3-8b"};
  const auto add = [this](const BenchShape& shape) {
    const auto& known = settings.shapes;
    if (std::find(known.begin(), known.end(), shape) == known.end())
      settings.shapes.push_back(shape);
  };
  for (const std::string& model : models) {
    for (const BenchShape& shape : ShapesOfModel(model)) add(shape);
  }
  for (const std::string& text : shapes) {
    OCTAVO_ASSIGN_OR_RETURN(const BenchShape shape, ParseBenchShape(text));
    add(shape);
  }
  settings.device = *DeviceFromName(device);
  if (settings.device != kCpuDevice && !settings.cpu.empty())
    return Status(ErrorCode::kInvalidArgument, "--cpu names kernels of the CPU, not of " + device);
  if (dtype == "bf16") settings.type = kernels::ElementType::kBFloat16;
  if (dtype == "f32") settings.type = kernels::ElementType::kFloat32;

  kernels::ActivationOptions& options = settings.options;
  options.threshold = activations.threshold.value_or(options.threshold);
  if (activations.scope() == format::Scope::kToken) options.scope = kernels::Scope::kToken;
  if (activations.row_rule() == format::RowRule::kBelowThreshold)
    options.row_rule = kernels::RowRule::kBelowThreshold;
  if (activations.activations() == format::Activations::kSymmetric)
    options.activations = kernels::Activations::kSymmetric;
  return Status();
}

Status BenchCommand::Run() {
  OCTAVO_RETURN_IF_ERROR(Finish());
  OCTAVO_ASSIGN_OR_RETURN(const BenchOutcome outcome, RunBench(settings));
  Print(json ? ToText(BenchJson(outcome, settings)) : BenchText(outcome, settings));
  return Status();
}

}  // namespace

Verb RegisterBench(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("bench", "Time linears beside this machine's ceilings")->group("Verbs");
  auto command = std::make_shared<BenchCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
