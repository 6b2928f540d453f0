// What two manifests state differently, as text; nothing is read but them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/diff.h"
#include "octavo/manifest.h"
#include "octavo/reader.h"

namespace octavo::quant {

// "F16 [768]"; empty for a tensor that is not there.
std::string TensorText(const format::TensorEntry* tensor);
// Adds the difference, if it is one.
void Compare(const std::string& what, std::string a, std::string b, std::vector<Difference>* out);

std::vector<Difference> CompareSettings(const format::Manifest& a, const format::Manifest& b);
std::vector<Difference> CompareOrigin(const format::Manifest& a, const format::Manifest& b);
std::vector<Difference> CompareStorage(const format::Reader& a, const format::Reader& b);
// Where models of the same modules first have another one.
void CompareOrder(const format::Manifest& a, const format::Manifest& b,
                  std::vector<Difference>* out);

// How many kept columns a module has.
uint64_t NumKept(const format::Reader& reader, const format::Module& module);
// Into `stated` and `origin` of a module that both have; tensors are not looked at.
void CompareStated(const format::Reader& a_reader, const format::Reader& b_reader,
                   ContentDifference* module);

}  // namespace octavo::quant
