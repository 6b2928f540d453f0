// llama.cpp's product with Q8_0 weights (blocks of 32 with an fp16 scale) for linear_bench.py: a
// graph of one ggml_mul_mat, the weights in the first of the CPU's buffer types that takes them
// (AMX tiles, repacked rows), as llama.cpp chooses it. x and y are float.

#include <algorithm>
#include <memory>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "linear_worker.h"

namespace linear_bench {
namespace {

constexpr ggml_type kType = GGML_TYPE_Q8_0;
constexpr size_t kContextBytes = 16 << 20;  // descriptions only

struct FreeContext {
  void operator()(ggml_context* context) const { ggml_free(context); }
};
struct FreeBuffer {
  void operator()(ggml_backend_buffer* buffer) const { ggml_backend_buffer_free(buffer); }
};
using Context = std::unique_ptr<ggml_context, FreeContext>;
using Buffer = std::unique_ptr<ggml_backend_buffer, FreeBuffer>;

Context NewContext() { return Context(ggml_init({kContextBytes, nullptr, true})); }

class Ggml : public Peer {
 public:
  explicit Ggml(int threads) : backend_(ggml_backend_cpu_init()) {
    ggml_backend_cpu_set_n_threads(backend_, threads);
  }

  std::string Version() const override {
    return std::string("ggml ") + ggml_version() + " (" + ggml_commit() + ")";
  }

  void Load(const Shape& shape) override {
    shape_ = shape;
    Clear();
    const auto codes = ReadFile<int8_t>(shape.folder + "/codes.i8");
    const auto scales = ReadFile<float>(shape.folder + "/scales.f32");
    std::vector<float> weights(codes.size());
    for (size_t i = 0; i < codes.size(); ++i)
      weights[i] = static_cast<float>(codes[i]) * scales[i / shape.in_features];
    row_bytes_ = ggml_row_size(kType, In());
    quantized_.resize(row_bytes_ * shape.out_features);
    ggml_quantize_chunk(kType, weights.data(), quantized_.data(), 0, Out(), In(), nullptr);
  }

  void SetTokens(size_t tokens) override {
    Clear();
    tokens_ = tokens;
    context_ = NewContext();
    ggml_tensor* x = ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, In(), Dim(tokens));
    y_ = ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, Out(), Dim(tokens));
    activations_.reset(ggml_backend_alloc_ctx_tensors(context_.get(), backend_));
    const auto values = ReadFile<float>(shape_.folder + "/x-" + std::to_string(tokens) + ".f32");
    ggml_backend_tensor_set(x, values.data(), 0, values.size() * sizeof(float));

    weights_context_ = NewContext();
    graph_context_ = NewContext();
    const size_t count =
        std::max<size_t>(2, (shape_.cold_bytes + quantized_.size() - 1) / quantized_.size());
    std::vector<ggml_tensor*> weights;
    for (size_t i = 0; i < count; ++i) {
      weights.push_back(ggml_new_tensor_2d(weights_context_.get(), kType, In(), Out()));
      ggml_tensor* y = ggml_mul_mat(graph_context_.get(), weights.back(), x);
      y->data = y_->data;
      y->buffer = y_->buffer;
      ggml_cgraph* graph = ggml_new_graph_custom(graph_context_.get(), 8, false);
      ggml_build_forward_expand(graph, y);
      graphs_.push_back(graph);
    }
    ggml_backend_buffer_type_t type = ChooseBufferType(weights[0], ggml_graph_node(graphs_[0], 0));
    weights_.reset(ggml_backend_alloc_ctx_tensors_from_buft(weights_context_.get(), type));
    if (weights_ == nullptr) throw std::runtime_error("no memory for the weights");
    ggml_backend_buffer_set_usage(weights_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    for (ggml_tensor* copy : weights)
      ggml_backend_tensor_set(copy, quantized_.data(), 0, quantized_.size());
    variants_ = {{"q8_0", "f32", "blocks", 34.0 / 32, ggml_backend_buft_name(type)}};
  }

  const std::vector<Variant>& variants() const override { return variants_; }
  size_t copies() const override { return graphs_.size(); }

  void Call(size_t, size_t copy) override {
    if (ggml_backend_graph_compute(backend_, graphs_[copy]) != GGML_STATUS_SUCCESS)
      throw std::runtime_error("ggml_backend_graph_compute failed");
  }

  double Output(size_t, size_t token, size_t feature) const override {
    return static_cast<const float*>(y_->data)[token * shape_.out_features + feature];
  }

  std::vector<double> Weights(const std::vector<int64_t>& features) const override {
    std::vector<double> all;
    std::vector<float> row(shape_.in_features);
    for (int64_t feature : features) {
      const uint8_t* from = quantized_.data() + static_cast<size_t>(feature) * row_bytes_;
      ggml_get_type_traits(kType)->to_float(from, row.data(), In());
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

 private:
  static int64_t Dim(size_t n) { return static_cast<int64_t>(n); }
  int64_t In() const { return Dim(shape_.in_features); }
  int64_t Out() const { return Dim(shape_.out_features); }

  void Clear() {
    graphs_.clear();
    weights_.reset();
    activations_.reset();
    graph_context_.reset();
    weights_context_.reset();
    context_.reset();
  }

  ggml_backend_buffer_type_t ChooseBufferType(ggml_tensor* weights, ggml_tensor* product) const {
    ggml_backend_dev_t device = ggml_backend_get_device(backend_);
    const auto extra =
        reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
    for (ggml_backend_buffer_type_t* type = extra ? extra(device) : nullptr; type && *type;
         ++type) {
      // Whether it takes the product is asked of a tensor that is in such a buffer.
      Buffer empty(ggml_backend_buft_alloc_buffer(*type, 0));
      weights->buffer = empty.get();
      const bool takes = ggml_backend_dev_supports_op(device, product);
      weights->buffer = nullptr;
      if (takes) return *type;
    }
    return ggml_backend_cpu_buffer_type();
  }

  ggml_backend_t backend_;
  Shape shape_;
  size_t tokens_ = 0, row_bytes_ = 0;
  std::vector<uint8_t> quantized_;
  Context context_, weights_context_, graph_context_;
  Buffer activations_, weights_;
  ggml_tensor* y_ = nullptr;
  std::vector<ggml_cgraph*> graphs_;  // of each copy
  std::vector<Variant> variants_;
};

}  // namespace
}  // namespace linear_bench

int main(int argc, char** argv) {
  linear_bench::Ggml peer(argc > 1 ? std::stoi(argv[1]) : 1);
  return linear_bench::Server(&peer).Run();
}
