// Forward as an engine runs it on a GPU: captured once in a CUDA graph and replayed with whatever
// activations come, and on several streams at once. Eager calls, one at a time, say what is right.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "octavo/half.h"
#include "tests/runtime/device_memory.h"
#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

using testing::DeviceMemory;
using testing::LinearSpec;

constexpr Device kCuda{DeviceType::kCuda, 0};
constexpr size_t kIn = 200, kOut = 300;
using Matrix16 = std::vector<uint16_t>;  // fp16

void Must(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

// As an engine's own: nothing of the default stream waits for it.
class Stream {
 public:
  Stream() { Must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { Must(cudaStreamDestroy(stream_)); }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// One call with its buffers.
class Call {
 public:
  Call(const PreparedLinear& linear, size_t tokens, const QuantizeOptions& options)
      : linear_(linear),
        options_(options),
        tokens_(tokens),
        x_(kCuda, tokens * kIn * 2),
        y_(kCuda, tokens * kOut * 2),
        workspace_(kCuda, ForwardWorkspaceBytes(linear, static_cast<int64_t>(tokens))) {}

  // Enqueued. X must live until the stream has passed.
  void SetX(const Matrix16& x, cudaStream_t stream) {
    Must(cudaMemcpyAsync(x_.data(), x.data(), tokens_ * kIn * 2, cudaMemcpyHostToDevice, stream));
  }

  void Forward(cudaStream_t stream) {
    const auto rows = static_cast<int64_t>(tokens_);
    const Status status =
        octavo::Forward(linear_, {x_.data(), DType::kF16, rows, kIn, kIn, kCuda},
                        {y_.data(), DType::kF16, rows, kOut, kOut, kCuda}, options_,
                        {.parallel = {}, .workspace = workspace_.span(), .stream = stream});
    ASSERT_TRUE(status.ok()) << status.message();
  }

  Matrix16 Y(cudaStream_t stream) const {
    Matrix16 y(tokens_ * kOut);
    y_.CopyToHost(y.data(), stream);
    return y;
  }

  // What this X gives in a call of its own, in fresh memory.
  Matrix16 Eager(const Matrix16& x) const {
    Call call(linear_, tokens_, options_);
    call.SetX(x, nullptr);
    call.Forward(nullptr);
    return call.Y(nullptr);
  }

 private:
  const PreparedLinear& linear_;
  const QuantizeOptions options_;
  const size_t tokens_;
  const DeviceMemory x_, y_, workspace_;
};

class Graph {
 public:
  template <class Body>
  Graph(cudaStream_t stream, Body&& enqueue) {
    Must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    enqueue();
    Must(cudaStreamEndCapture(stream, &graph_));
    Must(cudaGraphInstantiate(&executable_, graph_, 0));
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    Must(cudaGraphExecDestroy(executable_));
    Must(cudaGraphDestroy(graph_));
  }
  void Replay(cudaStream_t stream) { Must(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

class CudaGraph : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const BackendInfo& backend : ListBackends()) {
      if (backend.type != DeviceType::kCuda) continue;
      if (!backend.usable) GTEST_SKIP() << backend.name << ": " << backend.reason;
      break;
    }
    LinearSpec linear = testing::RandomLinear(random_, "linear", kOut, kIn);
    linear.kept_index = {3, 64};
    linear.biases = {std::vector<float>(kOut, 0.5f)};
    const std::string path = testing::TestPath("cuda_graph.8vo");
    testing::WriteModel(path, {.quantization = {}, .linears = {linear}, .spoil = {}});
    linear_ = std::make_unique<PreparedLinear>(testing::MustPrepare(path, "linear", 0, {}, kCuda));
  }

  // With so many entries beyond the threshold, other ones each time.
  Matrix16 RandomX(size_t tokens, size_t outliers) {
    Matrix16 x(tokens * kIn);
    for (uint16_t& value : x) value = kernels::FloatToHalf(random_.Normal());
    for (size_t i = 0; i < outliers; ++i) x[random_.Below(x.size())] = kernels::FloatToHalf(30.0f);
    return x;
  }

  testing::Random random_{testing::TestSeed()};
  std::unique_ptr<PreparedLinear> linear_;
};

// Both kernels of the activations, the one with them in it, and every way to the set of outliers.
constexpr size_t kTokens[] = {1, 8, 16, 40, 130};
const QuantizeOptions kOptions[] = {
    {.scope = format::Scope::kBatch, .row_rule = format::RowRule::kInlierColumns},
    {.scope = format::Scope::kBatch, .row_rule = format::RowRule::kBelowThreshold},
    {.scope = format::Scope::kToken, .activations = format::Activations::kSymmetric},
};

TEST_F(CudaGraph, SmallCallsReplayWithOtherOutliersEachTime) {
  const Stream stream;
  for (const size_t tokens : kTokens) {
    for (const QuantizeOptions& options : kOptions) {
      Call call(*linear_, tokens, options);
      Graph graph(stream.get(), [&] { call.Forward(stream.get()); });
      for (const size_t outliers : {0, 5, 1, 60, 0}) {
        const Matrix16 x = RandomX(tokens, outliers);
        call.SetX(x, stream.get());
        graph.Replay(stream.get());
        ASSERT_EQ(call.Y(stream.get()), call.Eager(x))
            << tokens << " tokens, " << outliers << " outlier entries";
      }
    }
  }
}

// Several calls in one graph, one workspace after the other's end.
TEST_F(CudaGraph, SmallCallsFollowEachOtherInAGraph) {
  const Stream stream;
  for (const size_t tokens : kTokens) {
    Call first(*linear_, tokens, kOptions[0]), second(*linear_, tokens, kOptions[0]);
    Graph graph(stream.get(), [&] {
      for (int i = 0; i < 3; ++i) {
        first.Forward(stream.get());
        second.Forward(stream.get());
      }
    });
    for (const size_t outliers : {2, 40}) {
      const Matrix16 a = RandomX(tokens, outliers), b = RandomX(tokens, 3);
      first.SetX(a, stream.get());
      second.SetX(b, stream.get());
      graph.Replay(stream.get());
      graph.Replay(stream.get());
      ASSERT_EQ(first.Y(stream.get()), first.Eager(a)) << tokens << " tokens";
      ASSERT_EQ(second.Y(stream.get()), second.Eager(b)) << tokens << " tokens";
    }
  }
}

TEST_F(CudaGraph, SmallCallsOnTwoStreamsAtOnce) {
  const Stream streams[2];
  for (const size_t tokens : kTokens) {
    for (const QuantizeOptions& options : kOptions) {
      const Matrix16 x[2] = {RandomX(tokens, 4), RandomX(tokens, 30)};
      std::vector<std::unique_ptr<Call>> calls[2];
      constexpr size_t kCalls = 8;
      for (size_t s = 0; s < 2; ++s) {
        for (size_t i = 0; i < kCalls; ++i)
          calls[s].push_back(std::make_unique<Call>(*linear_, tokens, options));
      }
      for (size_t i = 0; i < kCalls; ++i) {
        for (size_t s = 0; s < 2; ++s) calls[s][i]->SetX(x[s], streams[s].get());
      }
      for (size_t i = 0; i < kCalls; ++i) {
        for (size_t s = 0; s < 2; ++s) calls[s][i]->Forward(streams[s].get());
      }
      for (size_t s = 0; s < 2; ++s) {
        const Matrix16 expected = calls[s][0]->Eager(x[s]);
        for (const auto& call : calls[s])
          ASSERT_EQ(call->Y(streams[s].get()), expected) << tokens << " tokens, stream " << s;
      }
    }
  }
}

}  // namespace
}  // namespace octavo
