#include "tools/near_names.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace octavo::tools {
namespace {

constexpr size_t kMaxSuggestions = 3;
constexpr size_t kMaxListed = 8;

// Levenshtein's distance.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string Quoted(const std::string& name) { return "\"" + name + "\""; }

}  // namespace

std::string SuggestNames(std::string_view wanted, std::span<const std::string> names) {
  std::vector<std::pair<size_t, size_t>> ranked;  // distance, index
  for (size_t i = 0; i < names.size(); ++i) {
    // The tail of a name is what people remember: "c_attn" of "transformer.h.0.attn.c_attn".
    const bool tail = !wanted.empty() && names[i].ends_with("." + std::string(wanted));
    const size_t near = std::max<size_t>(2, wanted.size() / 4);
    // Lengths that differ by more already say that it is far; models have millions of names.
    if (!tail && names[i].size() > wanted.size() + near) continue;
    if (!tail && names[i].size() + near < wanted.size()) continue;
    const size_t distance = tail ? 0 : Distance(wanted, names[i]);
    if (distance <= near) ranked.emplace_back(distance, i);
  }
  std::sort(ranked.begin(), ranked.end());
  ranked.resize(std::min(ranked.size(), kMaxSuggestions));
  std::string text;
  for (size_t i = 0; i < ranked.size(); ++i) {
    if (i > 0) text += i + 1 == ranked.size() ? " or " : ", ";
    text += Quoted(names[ranked[i].second]);
  }
  return text.empty() ? text : "; did you mean " + text + "?";
}

std::string ListNames(std::span<const std::string> names) {
  if (names.empty()) return "; there are none";
  std::string text = "; there are: ";
  for (size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) {
    text += (i > 0 ? ", " : "") + Quoted(names[i]);
  }
  return names.size() > kMaxListed ? text + ", …" : text;
}

}  // namespace octavo::tools
