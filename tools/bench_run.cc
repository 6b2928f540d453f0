#include "tools/bench_run.h"

#include <algorithm>
#include <chrono>
#include <deque>

#include "octavo/product_check.h"

namespace octavo::tools {
namespace {

constexpr size_t kMaxCopies = 1024;  // of a linear; enough for cold ones from 1 MB on
constexpr size_t kMinRounds = 3;
constexpr size_t kMaxRounds = 1000;
constexpr size_t kCheckedRows = 8;
constexpr size_t kCheckedFeatures = 16;

// Up to `count` of [0, all), the first and the last among them.
std::vector<size_t> Spread(size_t count, size_t all) {
  std::vector<size_t> chosen;
  const size_t picks = std::min(count, all);
  for (size_t i = 0; i < picks; ++i) chosen.push_back(picks == 1 ? 0 : i * (all - 1) / (picks - 1));
  return chosen;
}

Status CheckCase(const BenchTarget& target, const BenchSettings& settings,
                 const BenchWeights& weights, const BenchActivations& x, const void* y,
                 size_t* checked) {
  const kernels::LinearView linear = weights.view();
  const std::vector<size_t> rows = Spread(kCheckedRows, x.view.tokens);
  const std::vector<size_t> features = Spread(kCheckedFeatures, linear.out_features);
  const kernels::OutputView output{const_cast<void*>(y), x.view.type, linear.out_features};
  const kernels::ProductCheck check =
      kernels::CheckProduct(x.view, settings.options, linear, weights.absmax(), output, rows,
                            features, target.arithmetic());
  *checked += check.compared;
  if (check.beyond_bound == 0) return Status();
  return Status(
      ErrorCode::kUnsupported,
      target.backend() +
          " multiplies wrongly, so nothing was timed: " + std::to_string(x.view.tokens) +
          " tokens by " + std::to_string(linear.out_features) + "x" +
          std::to_string(linear.in_features) + ", " + std::to_string(check.beyond_bound) + " of " +
          std::to_string(check.compared) + " outputs are beyond the bound of docs/numerics.md, y[" +
          std::to_string(check.worst_row) + "][" + std::to_string(check.worst_feature) + "] most");
}

// Cold: between two uses of a copy, kColdBytes of weights pass. On the CPU every linear comes up in
// turn, so all of them together do it; on a device each graph rotates through its own.
size_t CopiesOf(const BenchSettings& settings, const BenchShape& shape) {
  if (!settings.cold) return 1;
  size_t bytes = 0;
  for (const BenchShape& each : settings.shapes) bytes += each.weights();
  if (settings.device != kCpuDevice) bytes = shape.weights();
  return std::clamp<size_t>((kColdBytes + bytes - 1) / bytes, 2, kMaxCopies);
}

Status TimeInRounds(BenchTarget& target, double seconds, std::vector<BenchResult>* results) {
  const auto begin = std::chrono::steady_clock::now();
  for (size_t round = 0; round < kMaxRounds; ++round) {
    for (size_t i = 0; i < results->size(); ++i) {
      OCTAVO_ASSIGN_OR_RETURN(const double time, target.Time(i));
      (*results)[i].seconds.push_back(time);
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    if (round + 1 >= kMinRounds && spent.count() >= seconds) break;
  }
  for (BenchResult& result : *results) std::sort(result.seconds.begin(), result.seconds.end());
  return Status();
}

}  // namespace

double BenchResult::median() const {
  const size_t half = seconds.size() / 2;
  return seconds.size() % 2 == 1 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2;
}

double BenchResult::spread() const {
  return (seconds[3 * seconds.size() / 4] - seconds[seconds.size() / 4]) / median();
}

Result<BenchOutcome> RunBench(const BenchSettings& settings) {
  OCTAVO_ASSIGN_OR_RETURN(
      const std::unique_ptr<BenchTarget> target,
      settings.device == kCpuDevice ? MakeCpuTarget(settings) : MakeCudaTarget(settings));
  BenchOutcome outcome;
  outcome.backend = target->backend();
  outcome.device_name = target->device_name();
  outcome.num_threads = target->num_threads();
  OCTAVO_ASSIGN_OR_RETURN(outcome.ceilings, target->MeasureCeilings());

  std::deque<BenchWeights> weights;
  std::deque<BenchActivations> activations;
  for (const BenchShape& shape : settings.shapes) {
    weights.emplace_back(shape, settings, target->parallel());
    OCTAVO_RETURN_IF_ERROR(target->AddLinear(weights.back(), CopiesOf(settings, shape)));
  }
  for (const size_t tokens : settings.tokens) {
    for (size_t i = 0; i < settings.shapes.size(); ++i) {
      const BenchShape& shape = settings.shapes[i];
      activations.push_back(
          MakeActivations(tokens, shape.in_features, weights[i].kept_index(), settings));
      const BenchActivations& x = activations.back();
      OCTAVO_ASSIGN_OR_RETURN(const void* y, target->AddCase(i, x.view));
      OCTAVO_RETURN_IF_ERROR(
          CheckCase(*target, settings, weights[i], x, y, &outcome.checked_outputs));
      outcome.results.push_back({shape,
                                 tokens,
                                 x.outlier_columns,
                                 weights[i].kept_index().size(),
                                 target->product(outcome.results.size()),
                                 {}});
    }
  }
  OCTAVO_RETURN_IF_ERROR(TimeInRounds(*target, settings.seconds, &outcome.results));
  return outcome;
}

}  // namespace octavo::tools
