// Writes the small model of the C programs: make_c_model OUT.8vo
#include <cstdio>
#include <exception>

#include "tests/runtime/test_model.h"

namespace {

octavo::testing::LinearSpec Linear(const char* name, size_t out, std::vector<float> weights) {
  octavo::testing::LinearSpec linear;
  linear.name = name;
  octavo::reference::Matrix w(out, weights.size() / out);
  w.data = std::move(weights);
  linear.weights.push_back(w);
  return linear;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  octavo::testing::ModelSpec spec;
  spec.linears.push_back(Linear("tiny", 1, {1, -0.5f, 0.25f, 0}));  // docs/numerics.md, section 9
  spec.linears.push_back(Linear("pair", 2, {1, 2, 3, 4, -4, 3, -2, 1}));
  octavo::testing::LinearSpec experts = Linear("experts", 1, {1, 0, 0, 0});
  experts.experts = true;
  experts.weights.push_back(Linear("", 1, {0, 0, 0, 1}).weights[0]);
  spec.linears.push_back(experts);
  try {
    octavo::testing::WriteModel(argv[1], spec);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
