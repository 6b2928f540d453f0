#include "runtime/near_names.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

namespace octavo {
namespace {

constexpr size_t kMaxShown = 3;
constexpr size_t kMaxDistance = 3;
constexpr size_t kMaxLength = 256;  // longer names are not compared letter by letter

// Levenshtein's, or kMaxDistance + 1 as soon as it is certain to be larger.
size_t Distance(std::string_view a, std::string_view b) {
  const size_t shorter = std::min(a.size(), b.size()), longer = std::max(a.size(), b.size());
  if (longer - shorter > kMaxDistance || longer > kMaxLength) return kMaxDistance + 1;
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
    if (*std::min_element(row.begin(), row.end()) > kMaxDistance) return kMaxDistance + 1;
  }
  return row[b.size()];
}

// "h.0.attn" is a part of "transformer.h.0.attn" and of "h.0.attn.weight".
bool IsDottedPart(std::string_view part, std::string_view whole) {
  if (part.empty() || part.size() >= whole.size()) return false;
  return (whole.ends_with(part) && whole[whole.size() - part.size() - 1] == '.') ||
         (whole.starts_with(part) && whole[part.size()] == '.');
}

}  // namespace

std::string NearNames(std::string_view wanted, std::span<const std::string* const> names) {
  std::vector<std::pair<size_t, const std::string*>> found;
  for (const std::string* name : names) {
    const bool is_part = IsDottedPart(wanted, *name) || IsDottedPart(*name, wanted);
    const size_t distance = is_part ? 0 : Distance(wanted, *name);
    if (distance <= kMaxDistance) found.emplace_back(distance, name);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  if (found.size() > kMaxShown) found.resize(kMaxShown);
  std::string text;
  for (const auto& [distance, name] : found)
    text += (text.empty() ? " (near: \"" : ", \"") + *name + "\"";
  return text.empty() ? text : text + ")";
}

}  // namespace octavo
