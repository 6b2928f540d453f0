// Opens a model, multiplies with its first linear, and shows that each installed library links:
// consumer MODEL.8vo
#include <octavo/convert.h>
#include <octavo/linear.h>
#include <octavo/model.h>
#include <octavo/reader.h>
#include <octavo/thread_pool.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto findings = octavo::format::Reader::Verify(argv[1]);
  if (!findings.ok() || !findings->empty()) return 1;
  const auto quantization = octavo::quant::ResolveQuantization({});
  if (!quantization.ok() || quantization->threshold != 6.0f) return 1;
  if (octavo::kernels::AvailableCpus() < 1) return 1;

  const auto model = octavo::Model::Open(argv[1]);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().message().c_str());
    return 1;
  }
  for (const octavo::format::Module& module : model->manifest().modules) {
    if (!module.quantized) continue;
    const auto linear = model->linear(module.name);
    const auto prepared = octavo::Prepare(*linear);
    if (!prepared.ok()) return 1;
    const int64_t in = prepared->in_features(), out = prepared->out_features();
    std::vector<float> x(static_cast<size_t>(in), 1.0f), y(static_cast<size_t>(out), NAN);
    const octavo::Status status = octavo::Forward(*prepared, {x.data(), octavo::DType::kF32, 1, in},
                                                  {y.data(), octavo::DType::kF32, 1, out});
    if (!status.ok() || (out > 0 && !std::isfinite(y[0]))) return 1;
    std::printf("%s [%lld, %lld]\n", module.name.c_str(), static_cast<long long>(out),
                static_cast<long long>(in));
    return 0;
  }
  return 1;
}
