// What surrounds the product on a CPU, each beside the memory traffic that it cannot do without:
// quantizing activations and weights, packing codes, and opening files. Each result is compared
// with the portable kernels' first.
//
//   octavo_cpu_parts_bench [--plain=FILE.8vo] [--packed=FILE.8vo] [--benchmark_…]
//
// All CPUs of the process are used. bytes_per_second counts what is read and written; of files it
// counts their codes. The files should be in the page cache: run it twice.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "octavo/half.h"
#include "octavo/kernels.h"
#include "octavo/linear.h"
#include "octavo/model.h"
#include "octavo/thread_pool.h"

namespace octavo {
namespace {

using kernels::ElementType;

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "octavo_cpu_parts_bench: %s\n", message.c_str());
  std::exit(1);
}

template <class T>
T Value(Result<T> result) {
  if (!result.ok()) Die(result.status().message());
  return *std::move(result);
}

void Check(kernels::KernelStatus status) {
  if (status != kernels::KernelStatus::kOk) Die("the kernels refuse a call");
}

const kernels::CpuKernels& Table() {
  std::string why;
  static const kernels::CpuKernels* const table = kernels::SelectCpuKernels(&why);
  if (table == nullptr) Die(why);
  return *table;
}

const kernels::CpuKernels& Portable() { return *kernels::FindCpuKernels("portable", nullptr); }

kernels::ThreadPool& Pool() {
  static kernels::ThreadPool pool;
  return pool;
}

// fp16 numbers between -2 and 2, repeating after a prime number of them.
std::vector<uint16_t> Halves(size_t count) {
  constexpr size_t kPeriod = 65521;
  std::vector<uint16_t> halves(count);
  uint32_t random = 1;
  for (size_t i = 0; i < count; ++i) {
    random = random * 1664525u + 1013904223u;
    halves[i] = i < kPeriod
                    ? kernels::FloatToHalf(static_cast<float>(random >> 8) / (1 << 22) - 2.0f)
                    : halves[i - kPeriod];
  }
  return halves;
}

// 64-byte aligned.
class Memory {
 public:
  explicit Memory(size_t bytes)
      : data_(std::aligned_alloc(64, (bytes + 64) / 64 * 64)), bytes_(bytes) {
    if (data_ == nullptr) Die("not enough memory");
    std::memset(data_, 0, bytes);
  }
  ~Memory() { std::free(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  unsigned char* data() { return static_cast<unsigned char*>(data_); }
  size_t size() const { return bytes_; }

 private:
  void* data_;
  size_t bytes_;
};

template <class Body>
void OnAll(size_t count, const Body& body) {
  const auto task = [](void* context, int64_t i) {
    (*static_cast<const Body*>(context))(static_cast<size_t>(i));
  };
  const kernels::ParallelFor parallel = Pool().parallel_for();
  parallel.run(parallel.context, static_cast<int64_t>(count), task, const_cast<Body*>(&body));
}

void CountBytes(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

// ---- Activations ------------------------------------------------------------------------------

// The same bytes in and out as quantizing has, and nothing else: the limit.
void ReadTwoWriteOne(benchmark::State& state) {
  const auto tokens = static_cast<size_t>(state.range(0)), in = static_cast<size_t>(state.range(1));
  const std::vector<uint16_t> x = Halves(tokens * in);
  Memory codes(tokens * in);
  for (auto _ : state) {
    OnAll(tokens, [&](size_t m) {
      const uint16_t* from = x.data() + m * in;
      std::memcpy(codes.data() + m * in, from, in);
      uint16_t rest = 0;
      for (size_t k = in / 2; k < in; ++k) rest = static_cast<uint16_t>(rest | from[k]);
      benchmark::DoNotOptimize(rest);
    });
    benchmark::ClobberMemory();
  }
  CountBytes(state, tokens * in * 3);
}

void QuantizeActivations(benchmark::State& state, kernels::ActivationOptions options) {
  const auto tokens = static_cast<size_t>(state.range(0)), in = static_cast<size_t>(state.range(1));
  std::vector<uint16_t> x = Halves(tokens * in);
  for (size_t m = 0; m < tokens; ++m) x[m * in + in / 3] = kernels::FloatToHalf(20.0f);
  const kernels::ActivationView view{x.data(), ElementType::kFloat16, tokens, in, in};
  Memory workspace(kernels::QuantizeWorkspaceBytes(tokens, in, options));
  kernels::QuantizedActivations q, expected;
  const auto quantize = [&](const kernels::CpuKernels& table, Memory& memory,
                            kernels::QuantizedActivations* result) {
    Check(kernels::QuantizeActivations(table, view, options, {}, Pool().parallel_for(),
                                       memory.data(), memory.size(), result));
  };
  Memory portable(workspace.size());
  quantize(Portable(), portable, &expected);
  quantize(Table(), workspace, &q);
  for (size_t m = 0; m < tokens; ++m) {
    if (std::memcmp(q.codes + m * q.code_stride, expected.codes + m * q.code_stride, in) != 0)
      Die("codes of activations are wrong");
  }
  for (auto _ : state) quantize(Table(), workspace, &q);
  CountBytes(state, tokens * in * 3);
}

// ---- Weights ----------------------------------------------------------------------------------

// fp16 to codes and scales with the errors that a conversion reports, from memory to memory.
void QuantizeWeights(benchmark::State& state) {
  const auto out = static_cast<size_t>(state.range(0)), in = static_cast<size_t>(state.range(1));
  const std::vector<uint16_t> weights = Halves(out * in);
  Memory codes(out * in), expected(in);
  const auto encode = [&](const kernels::CpuKernels& table, size_t row, unsigned char* to) {
    const uint16_t* from = weights.data() + row * in;
    const float absmax =
        kernels::StoredAbsmax(table.weight_range(from, ElementType::kFloat16, in).absmax());
    kernels::WeightError error;
    auto* result = reinterpret_cast<int8_t*>(to);
    if (table.encode_measured != nullptr) {
      table.encode_measured(from, ElementType::kFloat16, in, absmax, result, &error);
    } else {
      table.encode_symmetric(from, ElementType::kFloat16, in, absmax, result);
    }
  };
  encode(Table(), 0, codes.data());
  encode(Portable(), 0, expected.data());
  if (std::memcmp(codes.data(), expected.data(), in) != 0) Die("codes of weights are wrong");
  for (auto _ : state) {
    OnAll(out, [&](size_t row) { encode(Table(), row, codes.data() + row * in); });
    benchmark::ClobberMemory();
  }
  CountBytes(state, out * in * 2);  // of input alone
}

void PackCodes(benchmark::State& state) {
  const auto out = static_cast<size_t>(state.range(0)), in = static_cast<size_t>(state.range(1));
  std::vector<int8_t> codes(out * in), back(out * in);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<int8_t>(i * 37 >> 3);
  Memory packed(kernels::LayoutBytes(Table().layout, out, in));
  auto* to = reinterpret_cast<int8_t*>(packed.data());
  const auto pack = [&] {
    kernels::PackCodes(Table().layout, codes.data(), out, in, to, Pool().parallel_for());
  };
  pack();
  kernels::UnpackCodes(Table().layout, to, out, in, back.data());
  if (back != codes) Die("packed codes are wrong");
  for (auto _ : state) pack();
  CountBytes(state, out * in);
}

// ---- Files ------------------------------------------------------------------------------------

std::vector<std::string> LinearsOf(const Model& model) {
  std::vector<std::string> names;
  for (const format::Module& module : model.manifest().modules) {
    if (module.kind == format::ModuleKind::kLinear && model.linear(module.name).ok())
      names.emplace_back(module.name);
  }
  if (names.empty()) Die("the file has no int8 linear");
  return names;
}

// From the path to the first finished product of one token.
void OpenToFirstProduct(benchmark::State& state, const std::string& path) {
  const std::string name = LinearsOf(Value(Model::Open(path))).back();
  for (auto _ : state) {
    const Model model = Value(Model::Open(path));
    PrepareOptions options;
    options.parallel = Pool().parallel_for();
    const PreparedLinear linear = Value(Prepare(Value(model.linear(name)), kCpuDevice, options));
    const std::vector<uint16_t> x(static_cast<size_t>(linear.in_features()), 0x3c00);
    std::vector<uint16_t> y(static_cast<size_t>(linear.out_features()));
    const Status status =
        Forward(linear, ConstTensorView(x.data(), DType::kF16, 1, linear.in_features()),
                TensorView(y.data(), DType::kF16, 1, linear.out_features()));
    if (!status.ok()) Die(status.message());
    benchmark::DoNotOptimize(y.data());
  }
}

// Every linear of the file, ready to multiply.
void PrepareAll(benchmark::State& state, const std::string& path) {
  size_t bytes = 0;
  for (auto _ : state) {
    const Model model = Value(Model::Open(path));
    PrepareOptions options;
    options.parallel = Pool().parallel_for();
    std::vector<PreparedLinear> linears;
    bytes = 0;
    for (const std::string& name : LinearsOf(model)) {
      linears.push_back(Value(Prepare(Value(model.linear(name)), kCpuDevice, options)));
      bytes += static_cast<size_t>(linears.back().in_features() * linears.back().out_features());
    }
    state.PauseTiming();  // giving the memory back is not loading
    linears.clear();
    state.ResumeTiming();
  }
  CountBytes(state, bytes);
}

void Register(const std::string& name, void (*body)(benchmark::State&, const std::string&),
              const std::string& path) {
  benchmark::RegisterBenchmark(name.c_str(), body, path)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::string plain, packed;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--plain=")) {
      plain = argument.substr(8);
    } else if (argument.starts_with("--packed=")) {
      packed = argument.substr(9);
    } else {
      Die("unknown option " + argument);
    }
  }
  const auto add = [](const char* name, auto body, std::vector<std::vector<int64_t>> sizes) {
    auto* registered = benchmark::RegisterBenchmark(name, body)->UseRealTime();
    for (const std::vector<int64_t>& size : sizes) registered->Args(size);
  };
  const std::vector<std::vector<int64_t>> rows = {{1, 4096}, {512, 4096}, {4096, 14336}};
  kernels::ActivationOptions paper;
  paper.activations = kernels::Activations::kSymmetric;
  kernels::ActivationOptions token;
  token.scope = kernels::Scope::kToken;
  add("activations: read and write alone", ReadTwoWriteOne, rows);
  const auto quantize = [&](kernels::ActivationOptions options) {
    return [options](benchmark::State& state) { QuantizeActivations(state, options); };
  };
  add("activations: default", quantize({}), rows);
  add("activations: paper", quantize(paper), rows);
  add("activations: scope token", quantize(token), rows);
  add("weights: quantize", QuantizeWeights, {{4096, 4096}, {14336, 4096}});
  add("weights: pack", PackCodes, {{4096, 4096}, {14336, 4096}});
  for (const auto& [name, path] : {std::pair{"plain", plain}, {"packed", packed}}) {
    if (path.empty()) continue;
    Register(std::string(name) + ": open to first product", OpenToFirstProduct, path);
    Register(std::string(name) + ": prepare all", PrepareAll, path);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace octavo

int main(int argc, char** argv) { return octavo::Main(argc, argv); }
