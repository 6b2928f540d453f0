// octavo forward: one int8 linear of a file on real activations.
#include <CLI/CLI.hpp>
#include <memory>

#include "octavo/model.h"
#include "octavo/safetensors.h"
#include "tools/command.h"
#include "tools/forward_run.h"
#include "tools/options.h"
#include "tools/read_text_file.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo forward gpt2.8vo --module transformer.h.2.attn.c_attn --input x.safetensors --output y.safetensors
  octavo forward gpt2.8vo --module transformer.h.2.attn.c_attn --input x.safetensors --compare models/gpt2
  octavo forward gpt2.8vo --module transformer.h.2.mlp.c_fc --input x.safetensors --threshold 0 --repeat 20
  octavo forward gpt2.8vo --module transformer.h.2.mlp.c_fc --input x.safetensors --device cuda)";

struct ForwardCommand {
  ForwardRequest request;
  std::string path, module, input, output, output_dtype, device_name = "cpu";
  int64_t expert = 0;
  bool force = false, json = false;
  ActivationFlags activations;

  void Register(CLI::App& app);
  Status Run();
  Status Write(const ForwardOutcome& outcome) const;
};

void ForwardCommand::Register(CLI::App& app) {
  app.add_option("FILE", path, "A .8vo file or the index of a sharded model")->required();
  app.add_option("--module", module, "The linear to multiply with")
      ->required()
      ->option_text("NAME");
  app.add_option("--input", input, "Activations: the tensor named like the module, or the only one")
      ->required()
      ->option_text("X.safetensors");
  auto* output_option =
      app.add_option("--output", output, "Where the result goes, under the module's name")
          ->option_text("Y.safetensors");
  AddChoice(app, "--output-dtype", &output_dtype, {"F16", "BF16", "F32"},
            "Type of the result (default: the input's)");
  activations.Register(app);
  AddDevice(app, &device_name);
  app.add_option("--cpu", request.cpu,
                 "Kernels by name, see octavo devices (default: OCTAVO_CPU, else the best)")
      ->option_text("NAME");
  AddThreads(app, &request.num_threads);
  app.add_option("--expert", expert, "Which of the matrices, for a module that holds experts")
      ->check(CLI::NonNegativeNumber)
      ->option_text("N");
  app.add_option("--repeat", request.repeat, "Multiply N times and print the median time")
      ->check(CLI::Range(1, 1000000))
      ->option_text("N");
  app.add_option("--compare", request.compare,
                 "Also print the error against this source's weights, in float64")
      ->option_text("SRC");
  app.add_flag("--force", force, "Overwrite an existing output")->needs(output_option);
  app.add_flag("--json", json, "Print the facts as JSON");
  app.footer(kExamples);
}

Status ForwardCommand::Write(const ForwardOutcome& outcome) const {
  const format::SafetensorsTensor y{module, outcome.y_dtype, outcome.y_shape, outcome.y};
  return ForceHint(format::WriteSafetensors(output, {&y, 1}, {}, force));
}

Status ForwardCommand::Run() {
  request.quantize = {activations.threshold, activations.scope(), activations.row_rule(),
                      activations.activations()};
  request.output_dtype = DTypeFromName(output_dtype);
  request.device = *DeviceFromName(device_name);
  for (const std::string& read : {path, input}) {
    if (!output.empty()) OCTAVO_RETURN_IF_ERROR(CheckNotInput(output, read));
  }
  OCTAVO_ASSIGN_OR_RETURN(const Model model, Model::Open(path));
  OCTAVO_ASSIGN_OR_RETURN(const Linear linear, model.linear(module, expert));
  OCTAVO_ASSIGN_OR_RETURN(const ForwardOutcome outcome, RunForward(linear, expert, input, request));
  if (!output.empty()) OCTAVO_RETURN_IF_ERROR(Write(outcome));
  Print(json ? ToText(OutcomeJson(outcome)) : OutcomeText(outcome));
  if (!json && !output.empty()) {
    Print("  output           " + Escaped(output) + ", " + std::string(DTypeName(outcome.y_dtype)) +
          " " + outcome.y_shape.ToString() + "\n");
  }
  return Status();
}

}  // namespace

Verb RegisterForward(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("forward", "Multiply activations with one int8 linear")->group("Verbs");
  auto command = std::make_shared<ForwardCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
