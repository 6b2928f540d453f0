// The row-parallel forward of two processes that talk over sockets, and what one of them is told
// when the other dies.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "octavo/row_parallel.h"
#include "tests/runtime/slices.h"
#include "tests/testing/tolerance.h"

namespace octavo {
namespace {

constexpr int64_t kTokens = 33, kOut = 70, kIn = 300;
constexpr int kTimeoutSeconds = 30;

// One end of a connection between two ranks.
class Peer {
 public:
  Peer(int fd, bool sends_first) : fd_(fd), sends_first_(sends_first) {
    const timeval timeout{kTimeoutSeconds, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  }

  // An AllReduce. One sends while the other receives, so that no buffer has to hold everything.
  static Status Run(void* context, float* data, size_t count, ReduceOp op, void*) {
    auto& peer = *static_cast<Peer*>(context);
    std::vector<float> other(count);
    const size_t bytes = count * sizeof(float);
    if (peer.sends_first_) OCTAVO_RETURN_IF_ERROR(peer.Send(data, bytes));
    OCTAVO_RETURN_IF_ERROR(peer.Receive(other.data(), bytes));
    if (!peer.sends_first_) OCTAVO_RETURN_IF_ERROR(peer.Send(data, bytes));
    for (size_t i = 0; i < count; ++i)
      data[i] = op == ReduceOp::kMax ? std::max(data[i], other[i]) : data[i] + other[i];
    return {};
  }

  Status Send(const void* data, size_t bytes) const {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t sent = send(fd_, at, bytes, MSG_NOSIGNAL);
      if (sent <= 0) return Lost();
      at += sent;
      bytes -= static_cast<size_t>(sent);
    }
    return {};
  }

  Status Receive(void* data, size_t bytes) const {
    auto* at = static_cast<char*>(data);
    while (bytes > 0) {
      const ssize_t received = recv(fd_, at, bytes, 0);
      if (received == 0) return {ErrorCode::kIo, "the other rank has left"};
      if (received < 0) return Lost();
      at += received;
      bytes -= static_cast<size_t>(received);
    }
    return {};
  }

 private:
  static Status Lost() {
    return {ErrorCode::kIo, std::string("the other rank is lost: ") + std::strerror(errno)};
  }

  int fd_;
  bool sends_first_;
};

class TwoRanks : public ::testing::Test {
 protected:
  TwoRanks() {
    testing::Random random(testing::TestSeed());
    testing::LinearSpec linear = testing::RandomLinear(random, "linear", kOut, kIn);
    linear.kept_index = {2, 151, 152, 299};
    linear.biases = {std::vector<float>(kOut)};
    for (float& value : linear.biases[0]) value = random.Normal();
    spec_.linears.push_back(linear);
    testing::WriteModel(path_, spec_);
    x_ = testing::SliceActivations(random, kTokens, kIn);
  }

  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer does not support threads in a forked child";
#endif
  }

  // Opens the file, prepares this rank's slice, and runs.
  Status RunRank(int32_t rank, const AllReduce& all_reduce, const RowParallelOptions& options,
                 std::vector<float>* y) const {
    const PreparedLinear linear = testing::MustPrepareSlice(testing::MustFind(path_, "linear"),
                                                            rank, 2, SliceAxis::kInFeatures);
    const ConstTensorView x{x_.data.data() + linear.linear().part()->begin, DType::kF32, kTokens,
                            linear.in_features(), kIn};
    y->resize(kTokens * kOut);
    return ForwardRowParallel(linear, x, {y->data(), DType::kF32, kTokens, kOut}, all_reduce,
                              options);
  }

  // The unsliced result by the reference, with what two partial sums add to its bound: |acc| of the
  // parts is more than that of the whole.
  std::vector<reference::ExactOutput> Unsliced(const QuantizeOptions& options) const {
    testing::ReferenceResult result =
        testing::RunReference(spec_, spec_.linears[0], 0, x_, options);
    const reference::QuantizedWeights weights = testing::ReferenceWeights(spec_, spec_.linears[0]);
    const int64_t split = SplitFeatures(kIn, 0, 2, SliceAxis::kInFeatures).end;
    for (size_t i = 0; i < result.y.size(); ++i) {
      const size_t m = i / kOut, n = i % kOut;
      int64_t acc[2] = {};
      for (size_t k = 0; k < kIn; ++k)
        acc[k < static_cast<size_t>(split) ? 0 : 1] +=
            (result.rows.codes[m * kIn + k] - result.rows.zero_point[m]) *
            weights.code_less_zero_point(n, k);
      const int64_t more = std::abs(acc[0]) + std::abs(acc[1]) - std::abs(acc[0] + acc[1]);
      result.y[i].magnitude +=
          static_cast<double>(more) * result.rows.exact_scale[m] * weights.exact_multiplier(n);
    }
    return result.y;
  }

  // Rank 1 in a process of its own, which ends with what `body` returns.
  void Fork(const std::function<int(Peer&)>& body) {
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds_), 0);
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      alarm(2 * kTimeoutSeconds);
      close(fds_[0]);
      Peer peer(fds_[1], false);
      _exit(body(peer));
    }
    close(fds_[1]);
  }

  int Join() const {
    close(fds_[0]);
    int status = 0;
    EXPECT_EQ(waitpid(child_, &status, 0), child_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  testing::ModelSpec spec_;
  std::string path_ = testing::TestPath("two_ranks.8vo");
  reference::Matrix x_;
  int fds_[2] = {-1, -1};
  pid_t child_ = -1;
};

TEST_F(TwoRanks, GiveTheUnslicedResult) {
  testing::BackendArithmetic arithmetic;
  arithmetic.ranks = 2;
  for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
    RowParallelOptions options;
    options.quantize.scope = scope;
    // The child's y comes back over the same socket.
    Fork([&](Peer& peer) {
      std::vector<float> y;
      if (!RunRank(1, {Peer::Run, &peer}, options, &y).ok()) return 1;
      return peer.Send(y.data(), y.size() * sizeof(float)).ok() ? 0 : 2;
    });
    Peer peer(fds_[0], true);
    std::vector<float> y, other(kTokens * kOut);
    const Status status = RunRank(0, {Peer::Run, &peer}, options, &y);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(peer.Receive(other.data(), other.size() * sizeof(float)).ok());
    EXPECT_EQ(Join(), 0);
    EXPECT_EQ(y, other);
    const std::vector<reference::ExactOutput> expected = Unsliced(options.quantize);
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_TRUE(
          testing::IsWithinBound(y[i], kernels::ElementType::kFloat32, expected[i], arithmetic))
          << i << ": " << testing::DescribeOutput(y[i], expected[i]);
  }
}

// A rank that dies between the ranges and the sums.
Status DieAtSums(void* context, float* data, size_t count, ReduceOp op, void* stream) {
  if (op == ReduceOp::kSum) _exit(9);
  return Peer::Run(context, data, count, op, stream);
}

TEST_F(TwoRanks, ADeadRankIsAnErrorOfTheOther) {
  Fork([&](Peer& peer) {
    std::vector<float> y;
    return RunRank(1, {DieAtSums, &peer}, {}, &y).ok() ? 0 : 1;
  });
  Peer peer(fds_[0], true);
  std::vector<float> y;
  const Status status = RunRank(0, {Peer::Run, &peer}, {}, &y);
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_TRUE(testing::HasText(status, "all-reduce of the sums: the other rank"));
  EXPECT_EQ(Join(), 9);
}

TEST_F(TwoRanks, ARankThatNeverCallsIsAnErrorOfTheOther) {
  Fork([](Peer&) { return 3; });
  Peer peer(fds_[0], true);
  std::vector<float> y;
  const Status status = RunRank(0, {Peer::Run, &peer}, {}, &y);
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_TRUE(testing::HasText(status, "all-reduce of the ranges: the other rank"));
  EXPECT_EQ(Join(), 3);
}

}  // namespace
}  // namespace octavo
