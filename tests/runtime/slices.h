// Models whose linears are stored in every way, for the tests of their slices.
#pragma once

#include <string>
#include <vector>

#include "tests/runtime/test_model.h"

namespace octavo::testing {

inline constexpr int32_t kWorlds[] = {1, 2, 3, 5};

// Plain, packed (in whole groups and not), kept columns, biases, experts; plain and compressed;
// chunks that end anywhere.
std::vector<ModelSpec> SliceableModels(Random& random);

// Normal numbers, with outliers in some columns.
reference::Matrix SliceActivations(Random& random, size_t tokens, size_t in_features);

Linear MustFind(const std::string& path, const std::string& name, int64_t expert = 0);
PreparedLinear MustPrepareSlice(const Linear& linear, int32_t rank, int32_t world, SliceAxis axis,
                                const PrepareOptions& options = {}, Device device = kCpuDevice);

// The output features of a slice as a linear of its own. Its codes and scales are the slice's where
// each row of W has its own scale.
LinearSpec CutRows(const LinearSpec& linear, const Slice& part);

}  // namespace octavo::testing
