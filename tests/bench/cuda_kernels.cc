// Times the CUDA kernels one by one on the first GPU, each tile by itself: for whoever tunes them.
// What users compare is `octavo bench --device cuda` and tests/gpu/bench_peers.py.
//
//   octavo_cuda_kernels_bench [quantize] [few] [tiles] [forward]     all of them without arguments
//   octavo_cuda_kernels_bench profile                                a few calls, for a profiler
//
// Times are medians of graph replays; weights rotate through more memory than the L2 cache holds.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/products.h"
#include "octavo/half.h"

namespace octavo::cuda {
namespace {

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
void Check(CudaStatus status) {
  if (status == CudaStatus::kOk) return;
  std::fprintf(stderr, "%s\n", LastError());
  std::exit(1);
}

template <class T>
void Allocate(T** memory, size_t bytes, const char* what) {
  Check(cudaMalloc(reinterpret_cast<void**>(memory), bytes), what);
}

constexpr size_t kPoolBytes = size_t{1} << 30;

struct Machine {
  cudaStream_t stream = nullptr;
  unsigned char* pool = nullptr;  // random bytes
  unsigned char* x = nullptr;     // random fp16
  unsigned char* y = nullptr;
  unsigned char* workspace = nullptr;
  float* ones = nullptr;
  int32_t* zeros = nullptr;
};

Machine Prepare() {
  Machine m;
  Check(cudaStreamCreateWithFlags(&m.stream, cudaStreamNonBlocking), "stream");
  const size_t x_bytes = size_t{2} << 28, y_bytes = size_t{2} << 28;
  Allocate(&m.pool, kPoolBytes, "weights");
  Allocate(&m.x, x_bytes, "x");
  Allocate(&m.y, y_bytes, "y");
  Allocate(&m.workspace, x_bytes, "workspace");
  Allocate(&m.ones, 1 << 20, "ones");
  Allocate(&m.zeros, 1 << 20, "zeros");
  std::mt19937 engine(1);
  std::vector<uint32_t> random((16 << 20) / 4);
  for (uint32_t& word : random) word = engine();
  for (size_t at = 0; at < kPoolBytes; at += 16 << 20)
    Check(cudaMemcpy(m.pool + at, random.data(), 16 << 20, cudaMemcpyHostToDevice), "weights");
  std::normal_distribution<float> normal;
  std::vector<uint16_t> halves((16 << 20) / 2);
  for (uint16_t& half : halves)
    half = kernels::FloatToHalf(std::min(5.0f, std::max(-5.0f, normal(engine))));
  for (size_t at = 0; at < x_bytes; at += 16 << 20)
    Check(cudaMemcpy(m.x + at, halves.data(), 16 << 20, cudaMemcpyHostToDevice), "x");
  const std::vector<float> ones((1 << 20) / 4, 1.0f);
  Check(cudaMemcpy(m.ones, ones.data(), 1 << 20, cudaMemcpyHostToDevice), "ones");
  Check(cudaMemset(m.zeros, 0, 1 << 20), "zeros");
  return m;
}

// Some columns of x become fp16 numbers of twice this byte: 0x4d4d is 21, 0x3c3c is 1. For one
// shape.
void PlantColumns(const Machine& m, size_t tokens, size_t in, size_t count, int byte) {
  for (size_t i = 0; i < count; ++i) {
    const size_t k = (2 * i + 1) * in / (2 * count);
    Check(cudaMemset2D(m.x + 2 * k, 2 * in, byte, 2, tokens), "outliers");
  }
}

// Median seconds of one call out of a graph of `calls` (index in the graph as argument).
double Time(const Machine& m, int calls, const std::function<void(int)>& call) {
  call(0);  // attributes are set outside of the capture
  Check(cudaStreamSynchronize(m.stream), "warm-up");
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  Check(cudaStreamBeginCapture(m.stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < calls; ++i) call(i);
  Check(cudaStreamEndCapture(m.stream, &graph), "capture");
  Check(cudaGraphInstantiate(&exec, graph, 0), "graph");
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin), "event");
  Check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 6; ++i) {
    Check(cudaEventRecord(begin, m.stream), "event");
    Check(cudaGraphLaunch(exec, m.stream), "replay");
    Check(cudaEventRecord(end, m.stream), "event");
    Check(cudaStreamSynchronize(m.stream), "replay");
    float ms = 0;
    Check(cudaEventElapsedTime(&ms, begin, end), "time");
    if (i > 0) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  Check(cudaGraphExecDestroy(exec), "graph");
  Check(cudaGraphDestroy(graph), "graph");
  return times[times.size() / 2] * 1e-3 / calls;
}

struct Sizes {
  size_t tokens, out, in;
};

CudaLinear LinearOf(const Machine& m, const Sizes& s, int copy) {
  CudaLinear linear;
  linear.out_features = s.out;
  linear.in_features = s.in;
  const size_t bytes = s.out * kernels::CudaCodeStride(s.in);
  const size_t copies = std::max<size_t>(1, kPoolBytes / bytes);
  linear.codes =
      reinterpret_cast<int8_t*>(m.pool + static_cast<size_t>(copy) % copies * bytes / 256 * 256);
  linear.multiplier = m.ones;
  linear.code_sum = m.zeros;
  return linear;
}

ActivationView XOf(const Machine& m, const Sizes& s) {
  return {m.x, ElementType::kFloat16, s.tokens, s.in, s.in};
}

CudaActivations QuantizeOnce(const Machine& m, const Sizes& s) {
  CudaActivations q;
  Check(Quantize(0, XOf(m, s), {}, {}, m.workspace, QuantizeWorkspaceBytes(s.tokens, s.in),
                 m.stream, &q));
  return q;
}

// Enough calls that the weights of all together are ten times the L2 cache, within reason.
int CallsOf(const Sizes& s) {
  const size_t bytes = s.out * s.in;
  return static_cast<int>(std::clamp<size_t>((size_t{600} << 20) / bytes, 4, 64));
}

void BenchQuantize(const Machine& m) {
  std::printf("\nquantize               us     GB/s (x read once, codes written)\n");
  for (const size_t in : {4096, 14336}) {
    for (const size_t tokens : {1, 8, 16, 64, 128, 256, 512, 1024, 2048, 4096}) {
      const Sizes s{tokens, 0, in};
      const double t = Time(m, 20, [&](int) { QuantizeOnce(m, s); });
      std::printf("%5zu x %-6zu    %9.2f %8.0f\n", tokens, in, t * 1e6, 3e-9 * tokens * in / t);
    }
  }
}

// For a profiler: a few calls of one shape.
void ProfileQuantize(const Machine& m) {
  for (int i = 0; i < 3; ++i) QuantizeOnce(m, {4096, 0, 4096});
  Check(cudaStreamSynchronize(m.stream), "quantize");
}

ProductOperands OperandsInto(const Machine& m, const CudaActivations& q, const CudaLinear& linear) {
  ProductOperands o = OperandsOf(q, linear);
  o.y = m.y;
  o.y_stride = o.out_features;
  return o;
}

void ForwardOnce(const Machine& m, const Sizes& s, int copy) {
  Check(Forward(0, XOf(m, s), {}, LinearOf(m, s, copy), {m.y, ElementType::kFloat16, s.out},
                m.workspace, QuantizeWorkspaceBytes(s.tokens, s.in), m.stream));
}

// 0.15 % of the columns have outliers, as in tests/gpu/bench_peers.py.
void BenchFew(const Machine& m, const DeviceTraits& device) {
  std::printf("\nfew tokens, us              kernel for few   GB/s   by plan   forward\n");
  for (const auto& [out, in] : {std::pair<size_t, size_t>{4096, 4096},
                                {14336, 4096},
                                {4096, 14336},
                                {20480, 5120},
                                {5120, 20480},
                                {8192, 28672},
                                {28672, 8192}}) {
    const size_t outliers = in * 15 / 10000;
    for (const size_t tokens : {1, 2, 4, 8, 12, 16}) {
      const Sizes s{tokens, out, in};
      PlantColumns(m, tokens, in, outliers, 0x4d);
      const CudaActivations q = QuantizeOnce(m, s);
      const double few = Time(m, CallsOf(s), [&](int i) {
        Check(LaunchFewTokens(OperandsInto(m, q, LinearOf(m, s, i)), device, m.stream));
      });
      const double planned = Time(m, CallsOf(s), [&](int i) {
        Check(Multiply(0, q, LinearOf(m, s, i), {m.y, ElementType::kFloat16, out}, nullptr, 0,
                       m.stream));
      });
      const double forward = Time(m, CallsOf(s), [&](int i) { ForwardOnce(m, s, i); });
      PlantColumns(m, tokens, in, outliers, 0x3c);
      std::printf("%3zu %6zu x %-6zu           %9.2f %8.0f %9.2f %9.2f\n", tokens, out, in,
                  few * 1e6, 1e-9 * out * in / few, planned * 1e6, forward * 1e6);
    }
    std::fflush(stdout);
  }
}

void BenchTiles(const Machine& m) {
  const WgmmaTile tiles[] = {{256, 2, 1}, {256, 1, 1}, {224, 1, 1}, {192, 1, 1}, {160, 1, 1},
                             {128, 1, 1}, {128, 1, 2}, {96, 1, 1},  {64, 1, 1},  {64, 1, 2}};
  std::printf("\ntiles: us with 6 outlier columns   ");
  for (const WgmmaTile& tile : tiles)
    std::printf(" %3d/%d/%d", tile.tile_cols, tile.cluster, tile.splits);
  std::printf("  mma  (plan)\n");
  for (const Sizes& s :
       {Sizes{17, 4096, 4096}, {64, 4096, 4096},    {128, 4096, 4096},   {256, 4096, 4096},
        {512, 4096, 4096},     {1024, 4096, 4096},  {4096, 4096, 4096},  {17, 14336, 4096},
        {128, 14336, 4096},    {64, 4096, 14336},   {128, 4096, 14336},  {256, 4096, 14336},
        {64, 1024, 1024},      {32, 1024, 4096},    {128, 1024, 4096},   {256, 1024, 4096},
        {512, 1024, 4096},     {1024, 1024, 4096},  {2048, 1024, 4096},  {128, 5120, 5120},
        {256, 5120, 5120},     {512, 5120, 5120},   {1024, 5120, 5120},  {128, 5120, 20480},
        {256, 5120, 20480},    {1024, 5120, 20480}, {256, 4096, 1024},   {2048, 4096, 1024},
        {256, 20480, 5120},    {512, 20480, 5120},  {256, 12288, 12288}, {256, 14336, 4096},
        {512, 14336, 4096},    {1024, 14336, 4096}, {1024, 4096, 14336}, {4096, 8192, 8192},
        {8192, 8192, 8192}}) {
    PlantColumns(m, s.tokens, s.in, 6, 0x4d);
    const CudaActivations q = QuantizeOnce(m, s);
    PlantColumns(m, s.tokens, s.in, 6, 0x3c);
    std::printf("%5zu %6zu x %-6zu                 ", s.tokens, s.out, s.in);
    const double work = 2e-12 * static_cast<double>(s.tokens) * s.out * s.in;
    const int calls = std::min(CallsOf(s), std::max(4, static_cast<int>(40 / work)));
    for (const WgmmaTile& tile : tiles) {
      const double t = Time(m, calls, [&](int i) {
        Check(LaunchProductWgmma(OperandsInto(m, q, LinearOf(m, s, i)), tile, m.stream));
      });
      std::printf(" %7.2f", 1e6 * t);
    }
    const double t = Time(m, calls, [&](int i) {
      Check(LaunchProductMma(OperandsInto(m, q, LinearOf(m, s, i)), m.stream));
    });
    std::printf(" %7.2f  %s\n", 1e6 * t, ProductName(0, s.tokens, LinearOf(m, s, 0)));
    std::fflush(stdout);
  }
}

void BenchForward(const Machine& m) {
  std::printf("\nforward (quantize and multiply), us   6 outlier columns      none\n");
  for (const size_t tokens : {1, 16, 64, 128, 256, 512, 1024, 2048, 4096}) {
    for (const auto& [out, in] :
         {std::pair<size_t, size_t>{1024, 1024}, {4096, 4096}, {14336, 4096}, {4096, 14336}}) {
      const Sizes s{tokens, out, in};
      std::printf("%5zu %6zu x %-6zu               ", tokens, out, in);
      for (const bool planted : {true, false}) {
        PlantColumns(m, tokens, in, 6, planted ? 0x4d : 0x3c);
        const double t = Time(m, CallsOf(s), [&](int i) { ForwardOnce(m, s, i); });
        std::printf(" %11.2f", t * 1e6);
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }
}

int Main(int argc, char** argv) {
  const auto wanted = [&](const std::string& name) {
    for (int i = 1; i < argc; ++i) {
      if (name == argv[i]) return true;
    }
    return argc == 1;
  };
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr, "this machine has no GPU\n");
    return 1;
  }
  const Machine m = Prepare();
  if (argc == 2 && std::string(argv[1]) == "profile") {
    ProfileQuantize(m);
    return 0;
  }
  DeviceTraits device;
  Check(GetDeviceTraits(0, &device));
  if (wanted("quantize")) BenchQuantize(m);
  if (wanted("few")) BenchFew(m, device);
  if (wanted("tiles")) BenchTiles(m);
  if (wanted("forward")) BenchForward(m);
  return 0;
}

}  // namespace
}  // namespace octavo::cuda

int main(int argc, char** argv) { return octavo::cuda::Main(argc, argv); }
