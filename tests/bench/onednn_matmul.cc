// oneDNN's int8 matmul for linear_bench.py, from version 2.6 on. The weights are in the layout that
// the library asks for, reordered before anything is timed; x comes as int8 codes.
//
//   scaled-f16, scaled-bf16: y = codes . weights * row scale * column scale in 16 bit. What can be
//       fused is tried (columns as scales, rows as a binary post-op); a pass of our own does the
//       rest; the fastest is taken.
//   bare: the int32 product alone, of signed or unsigned codes, whichever is faster.

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "linear_worker.h"

namespace linear_bench {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;
constexpr int kTrials = 3;
constexpr size_t kPassColumns = 2048;  // of y, in one task of the pass

dnnl::memory::dim Dim(size_t n) { return static_cast<dnnl::memory::dim>(n); }

uint16_t ToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float FromBits(uint16_t bits, Type type) {
  if (type == Type::bf16) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
  }
  _Float16 half;
  std::memcpy(&half, &bits, sizeof(half));
  return static_cast<float>(half);
}

void RoundRow(const float* from, float scale, size_t count, Type type, uint16_t* to) {
  if (type == Type::bf16) {
    for (size_t i = 0; i < count; ++i) to[i] = ToBf16(from[i] * scale);
    return;
  }
  size_t i = 0;
#if defined(__F16C__)
  const __m256 factor = _mm256_set1_ps(scale);
  for (; i + 8 <= count; i += 8) {
    const __m256 value = _mm256_mul_ps(_mm256_loadu_ps(from + i), factor);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(value, 0));
  }
#endif
  for (; i < count; ++i) {
    const auto half = static_cast<_Float16>(from[i] * scale);
    std::memcpy(to + i, &half, sizeof(half));
  }
}

// One way to make a variant's product.
struct Plan {
  Type x_type = Type::s8;
  Type product_type = Type::s32;  // what the primitive writes
  Type y_type = Type::s32;
  bool scale_columns = false, scale_rows = false;
  dnnl::matmul primitive{};
  dnnl::memory::desc weights{};
  std::string implementation{};

  bool own_pass() const { return product_type != y_type; }
};

class OneDnn : public Peer {
 public:
  std::string Version() const override {
    const dnnl_version_t* v = dnnl_version();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
           std::to_string(v->patch);
  }

  void Load(const Shape& shape) override {
    shape_ = shape;
    codes_ = ReadFile<int8_t>(shape.folder + "/codes.i8");
    column_scales_ = ReadFile<float>(shape.folder + "/scales.f32");
    code_sums_.assign(shape.out_features, 0);
    for (size_t i = 0; i < codes_.size(); ++i) code_sums_[i / shape.in_features] += codes_[i];
    packed_.clear();
  }

  void SetTokens(size_t tokens) override {
    tokens_ = tokens;
    const std::string suffix = "-" + std::to_string(tokens);
    x_signed_ = ReadFile<int8_t>(shape_.folder + "/x-codes" + suffix + ".i8");
    x_unsigned_.resize(x_signed_.size());
    for (size_t i = 0; i < x_signed_.size(); ++i)
      x_unsigned_[i] = static_cast<uint8_t>(x_signed_[i] + 128);
    row_scales_ = ReadFile<float>(shape_.folder + "/x-scales" + suffix + ".f32");
    product_.assign(tokens * shape_.out_features * sizeof(float), 0);
    y_.assign(tokens * shape_.out_features, 0);
    variants_.clear();
    plans_.clear();
    Add({"bare", "int32", "codes", 1, ""},
        {{Type::s8, Type::s32, Type::s32}, {Type::u8, Type::s32, Type::s32}});
    for (const auto& [name, type] : {std::pair("f16", Type::f16), std::pair("bf16", Type::bf16)}) {
      Add({std::string("scaled-") + name, name, "codes", 1, ""},
          {{Type::s8, type, type, true, true},
           {Type::s8, Type::f32, type, true, true},
           {Type::s8, Type::f32, type, true}});
    }
    std::erase_if(packed_, [&](const Packed& packed) {
      return std::none_of(plans_.begin(), plans_.end(),
                          [&](const Plan& plan) { return plan.weights == packed.layout; });
    });
    for (Packed& packed : packed_) Fill(packed, copies());
  }

  const std::vector<Variant>& variants() const override { return variants_; }
  size_t copies() const override {
    return std::max<size_t>(2, (shape_.cold_bytes + codes_.size() - 1) / codes_.size());
  }

  void Call(size_t variant, size_t copy) override {
    const Plan& plan = plans_[variant];
    for (Packed& packed : packed_) {
      if (packed.layout == plan.weights) return Run(plan, packed.copies[copy]);
    }
  }

  double Output(size_t variant, size_t token, size_t feature) const override {
    const Plan& plan = plans_[variant];
    const size_t at = token * shape_.out_features + feature;
    if (plan.y_type != Type::s32) return FromBits(y_[at], plan.y_type);
    const int32_t acc = reinterpret_cast<const int32_t*>(product_.data())[at];
    return acc - (plan.x_type == Type::u8 ? 128.0 * code_sums_[feature] : 0.0);
  }

 private:
  struct Packed {
    dnnl::memory::desc layout;
    std::vector<dnnl::memory> copies;
  };

  void Add(Variant variant, const std::vector<Plan>& candidates) {
    Plan best;
    double least = 0;
    for (Plan plan : candidates) {
      if (!Make(&plan)) continue;
      const double seconds = Trial(plan);
      if (least != 0 && seconds >= least) continue;
      least = seconds;
      best = plan;
    }
    if (least == 0) return;
    variant.note = best.implementation + (best.x_type == Type::u8 ? ", u8" : ", s8");
    if (variant.rule == "codes" && best.y_type != Type::s32)
      variant.note += !best.own_pass()  ? ", all fused"
                      : best.scale_rows ? ", scales fused, rounding in a pass"
                                        : ", columns fused, rows in a pass";
    variants_.push_back(variant);
    plans_.push_back(best);
  }

  // False where the library cannot, or only in its reference loops.
  bool Make(Plan* plan) {
    const auto in = Dim(shape_.in_features), out = Dim(shape_.out_features), rows = Dim(tokens_);
    const dnnl::memory::desc x({rows, in}, plan->x_type, Tag::ab);
    const dnnl::memory::desc w({in, out}, Type::s8, Tag::any);
    const dnnl::memory::desc y({rows, out}, plan->product_type, Tag::ab);
    dnnl::primitive_attr attributes;
    if (plan->scale_columns) {
#if DNNL_VERSION_MAJOR >= 3
      attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
#else
      attributes.set_output_scales(1 << 1, column_scales_);
#endif
    }
    if (plan->scale_rows) {
      dnnl::post_ops after;
      after.append_binary(dnnl::algorithm::binary_mul,
                          dnnl::memory::desc({rows, 1}, Type::f32, Tag::ab));
      attributes.set_post_ops(after);
    }
    try {
#if DNNL_VERSION_MAJOR >= 3
      const dnnl::matmul::primitive_desc described(engine_, x, w, y, attributes);
#else
      const dnnl::matmul::primitive_desc described(dnnl::matmul::desc(x, w, y), attributes,
                                                   engine_);
#endif
      plan->implementation = described.impl_info_str();
      if (plan->implementation.rfind("ref", 0) == 0) return false;
      plan->weights = described.weights_desc();
      plan->primitive = dnnl::matmul(described);
    } catch (const dnnl::error&) {
      return false;
    }
    return true;
  }

  double Trial(const Plan& plan) {
    auto packed = std::find_if(packed_.begin(), packed_.end(),
                               [&](const Packed& p) { return p.layout == plan.weights; });
    if (packed == packed_.end()) packed = packed_.insert(packed_.end(), {plan.weights, {}});
    Fill(*packed, 1);
    double least = 1e9;
    for (int i = 0; i <= kTrials; ++i) {
      const double begin = Now();
      Run(plan, packed->copies[0]);
      if (i > 0) least = std::min(least, Now() - begin);
    }
    return least;
  }

  void Fill(Packed& packed, size_t count) {
    const dnnl::memory::desc plain({Dim(shape_.in_features), Dim(shape_.out_features)}, Type::s8,
                                   Tag::ba);
    dnnl::memory source(plain, engine_, codes_.data());
    while (packed.copies.size() < count) {
      packed.copies.emplace_back(packed.layout, engine_);
      dnnl::reorder(source, packed.copies.back()).execute(stream_, source, packed.copies.back());
      stream_.wait();
    }
  }

  void Run(const Plan& plan, const dnnl::memory& weights) {
    const auto in = Dim(shape_.in_features), out = Dim(shape_.out_features), rows = Dim(tokens_);
    void* x = plan.x_type == Type::u8 ? static_cast<void*>(x_unsigned_.data()) : x_signed_.data();
    const bool direct = !plan.own_pass() && plan.y_type != Type::s32;
    void* y = direct ? static_cast<void*>(y_.data()) : product_.data();
    std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, {{{rows, in}, plan.x_type, Tag::ab}, engine_, x}},
        {DNNL_ARG_WEIGHTS, weights},
        {DNNL_ARG_DST, {{{rows, out}, plan.product_type, Tag::ab}, engine_, y}}};
#if DNNL_VERSION_MAJOR >= 3
    if (plan.scale_columns) {
      arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS,
                        dnnl::memory({{out}, Type::f32, Tag::a}, engine_, column_scales_.data()));
    }
#endif
    if (plan.scale_rows) {
      arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                        dnnl::memory({{rows, 1}, Type::f32, Tag::ab}, engine_, row_scales_.data()));
    }
    plan.primitive.execute(stream_, arguments);
    stream_.wait();
    if (plan.own_pass()) Round(plan);
  }

  void Round(const Plan& plan) {
    const auto* from = reinterpret_cast<const float*>(product_.data());
    const size_t blocks = (shape_.out_features + kPassColumns - 1) / kPassColumns;
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t token = 0; token < tokens_; ++token) {
      for (size_t block = 0; block < blocks; ++block) {
        const size_t first = block * kPassColumns;
        const size_t at = token * shape_.out_features + first;
        RoundRow(from + at, plan.scale_rows ? 1.0F : row_scales_[token],
                 std::min(kPassColumns, shape_.out_features - first), plan.y_type, y_.data() + at);
      }
    }
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  Shape shape_;
  size_t tokens_ = 0;
  std::vector<int8_t> codes_, x_signed_;
  std::vector<uint8_t> x_unsigned_, product_;
  std::vector<float> column_scales_, row_scales_;
  std::vector<int32_t> code_sums_;
  std::vector<uint16_t> y_;
  std::vector<Variant> variants_;
  std::vector<Plan> plans_;  // of each variant
  std::vector<Packed> packed_;
};

}  // namespace
}  // namespace linear_bench

int main() {
  linear_bench::OneDnn peer;
  return linear_bench::Server(&peer).Run();
}
