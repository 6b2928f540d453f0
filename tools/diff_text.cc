#include "tools/diff_text.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "tools/module_groups.h"
#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

using format::Module;
using quant::ContentDifference;
using quant::Difference;
using quant::DiffReport;
using quant::ValueDifference;

constexpr size_t kMaxLines = 100;  // of one table, before a person stops reading

std::string OrDash(const std::string& text) { return text.empty() ? "-" : Escaped(text); }

// A headed table of which at most kMaxLines are shown.
class Lines {
 public:
  Lines(const std::string& alignment, std::vector<std::string> header) : table_(alignment) {
    table_.AddRow(std::move(header));
  }
  void Add(std::vector<std::string> cells) {
    if (count_++ < kMaxLines) table_.AddRow(std::move(cells));
  }
  // Empty without lines.
  std::string ToString(const std::string& title) const {
    if (count_ == 0) return "";
    std::string text = "\n" + title + "\n" + table_.ToString();
    if (count_ > kMaxLines) {
      text += "  … and " + Plural(count_ - kMaxLines, "more line") + " (--json has all)\n";
    }
    return text;
  }

 private:
  Table table_;
  size_t count_ = 0;
};

std::string StatedTable(const std::string& title, const std::vector<Difference>& differences) {
  Lines lines("lll", {"", "A", "B"});
  for (const Difference& difference : differences) {
    lines.Add({Escaped(difference.what), OrDash(difference.a), OrDash(difference.b)});
  }
  return lines.ToString(title);
}

// ---- Tables of modules; those that differ in the same way share a line

// What a line is about, besides its module.
struct Subject {
  const ContentDifference* content = nullptr;
  const Difference* stated = nullptr;
  const ValueDifference* value = nullptr;
};

ModuleLine LineOf(const ContentDifference& content, const std::string& key) {
  ModuleLine line;
  line.name = content.name;
  line.reason = key;
  if (content.a != nullptr) {
    line.in_features = content.a->in_features;
    line.out_features = content.a->out_features;
    line.experts = content.a->experts;
  }
  return line;
}

std::string StatedModules(const std::string& title, std::span<const Subject> subjects) {
  std::vector<ModuleLine> module_lines;
  for (const Subject& subject : subjects) {
    const Difference& stated = *subject.stated;
    module_lines.push_back(
        LineOf(*subject.content, stated.what + '\0' + stated.a + '\0' + stated.b));
  }
  Lines lines("lrlll", {"module", "count", "what", "A", "B"});
  for (const ModuleGroup& group : GroupForPeople(module_lines)) {
    const Difference& stated = *subjects[group.members.front()].stated;
    lines.Add({group.pattern, FormatCount(group.count), Escaped(stated.what), OrDash(stated.a),
               OrDash(stated.b)});
  }
  return lines.ToString(title);
}

std::string OneSideTable(const char* side, const std::vector<const Module*>& modules) {
  std::vector<ModuleLine> module_lines;
  for (const Module* module : modules) module_lines.push_back(tools::LineOf(*module, 0));
  Lines lines("lrlll", {"module", "count", "in -> out", "stored as", "why"});
  for (const ModuleGroup& group : GroupForPeople(module_lines)) {
    lines.Add({group.pattern, FormatCount(group.count), Features(group.first),
               group.first.quantized ? "int8" : "it was", Escaped(group.first.reason)});
  }
  return lines.ToString(std::string("only in ") + side + ": " + Plural(modules.size(), "module"));
}

const ValueDifference* Find(const ContentDifference& content, std::string_view what) {
  const auto found = std::ranges::find(content.values, what, &ValueDifference::what);
  return found == content.values.end() ? nullptr : &*found;
}

bool IsQuantizedInBoth(const ContentDifference& content) {
  return content.a != nullptr && content.a->scheme && content.b->scheme;
}

// What the table of int8 weights shows.
bool IsWeightValue(const ValueDifference& value) {
  return value.what == "codes" || value.what == "scales" || value.what == "weight";
}

// Groups with the smallest signal-to-noise ratio first, those without one last.
std::vector<ModuleGroup> WorstFirst(std::span<const ModuleLine> lines) {
  std::vector<ModuleGroup> groups = GroupForPeople(lines);
  std::ranges::stable_sort(
      groups, {}, [](const ModuleGroup& group) { return group.worst_snr_db.value_or(HUGE_VAL); });
  return groups;
}

std::string Snr(const std::optional<double>& snr_db) {
  return snr_db ? Format("%.2f dB", *snr_db) : "";
}

// Sums over the values of a group.
struct Total {
  uint64_t elements = 0;
  uint64_t differing = 0;
  std::optional<double> largest;

  void Add(const ValueDifference* value) {
    if (value == nullptr) return;
    elements += value->elements;
    differing += value->differing;
    if (value->largest) largest = std::max(largest.value_or(0), *value->largest);
  }
  std::string Share(uint64_t of) const { return differing == 0 ? "" : FormatShare(differing, of); }
  std::string Largest() const { return largest ? Format("%.3g", *largest) : ""; }
};

std::string QuantizedValues(const DiffReport& report) {
  std::vector<const ContentDifference*> contents;
  std::vector<ModuleLine> module_lines;
  for (const ContentDifference& content : report.modules) {
    if (!IsQuantizedInBoth(content) || std::ranges::none_of(content.values, IsWeightValue))
      continue;
    const ValueDifference* weight = Find(content, "weight");
    contents.push_back(&content);
    module_lines.push_back(LineOf(content, ""));
    if (weight != nullptr) module_lines.back().snr_db = SnrDb(weight->relative_error);
  }
  Lines lines("lrlrrrr",
              {"module", "count", "in -> out", "codes", "by up to", "scales", "SNR of B"});
  for (const ModuleGroup& group : WorstFirst(module_lines)) {
    Total codes, scales;
    uint64_t num_codes = 0, num_scales = 0;
    for (const size_t member : group.members) {
      const Module& module = *contents[member]->a;
      const uint64_t rows = module.out_features * std::max<uint64_t>(module.experts, 1);
      num_scales += rows;
      num_codes += rows * module.in_features;
      codes.Add(Find(*contents[member], "codes"));
      scales.Add(Find(*contents[member], "scales"));
    }
    lines.Add({group.pattern, FormatCount(group.count), Features(group.first),
               codes.Share(num_codes), codes.Largest(), scales.Share(num_scales),
               Snr(group.worst_snr_db)});
  }
  return lines.ToString("other int8 weights: " + Plural(contents.size(), "module"));
}

std::string OtherValues(const DiffReport& report) {
  std::vector<Subject> subjects;
  std::vector<ModuleLine> module_lines;
  uint64_t contents = 0;
  const auto add = [&](const ContentDifference& content) {
    const size_t before = subjects.size();
    for (const ValueDifference& value : content.values) {
      if (IsQuantizedInBoth(content) && IsWeightValue(value)) continue;
      // Other codes have other sums.
      if (value.what == "code_sum" && Find(content, "codes") != nullptr) continue;
      // A module's further tensors go by their names, which are as many as the modules'.
      const bool is_further = value.what.starts_with(content.name + ".");
      subjects.push_back({&content, nullptr, &value});
      module_lines.push_back(LineOf(content, is_further ? "tensor" : value.what));
      if (is_further) module_lines.back().name = value.what;
      module_lines.back().snr_db = SnrDb(value.relative_error);
    }
    contents += subjects.size() > before;
  };
  std::ranges::for_each(report.modules, add);
  std::ranges::for_each(report.tensors, add);
  Lines lines("lrlrrr", {"module", "count", "what", "differing", "by up to", "SNR of B"});
  for (const ModuleGroup& group : WorstFirst(module_lines)) {
    Total total;
    for (const size_t member : group.members) total.Add(subjects[member].value);
    lines.Add({group.pattern, FormatCount(group.count), Escaped(group.first.reason),
               total.Share(total.elements), total.Largest(), Snr(group.worst_snr_db)});
  }
  return lines.ToString("other values: " + Plural(contents, "module"));
}

std::vector<Subject> StatedSubjects(const DiffReport& report) {
  std::vector<Subject> subjects;
  for (const auto* contents : {&report.modules, &report.tensors}) {
    for (const ContentDifference& content : *contents) {
      for (const Difference& stated : content.stated) subjects.push_back({&content, &stated});
    }
  }
  return subjects;
}

// The measured errors follow from the values, and are as many as the modules.
std::vector<Subject> Reasons(const DiffReport& report) {
  std::vector<Subject> subjects;
  for (const ContentDifference& content : report.modules) {
    for (const Difference& origin : content.origin) {
      if (origin.what == "reason") subjects.push_back({&content, &origin});
    }
  }
  return subjects;
}

uint64_t CountContents(std::span<const Subject> subjects) {
  uint64_t count = 0;
  const ContentDifference* last = nullptr;
  for (const Subject& subject : subjects) {
    count += subject.content != last;
    last = subject.content;
  }
  return count;
}

// ---- The rest

std::string AssetTable(const DiffReport& report) {
  const auto size = [](const std::optional<uint64_t>& bytes) {
    return bytes ? FormatBytes(*bytes) : std::string("-");
  };
  Lines lines("lrr", {"", "A", "B"});
  for (const quant::AssetDifference& asset : report.assets) {
    lines.Add({Escaped(asset.name), size(asset.bytes_a), size(asset.bytes_b)});
  }
  return lines.ToString("embedded files that differ");
}

std::string Verdict(const DiffReport& report) {
  if (report.equal()) {
    return report.storage.empty() ? "the models are equal"
                                  : "the models are equal, stored differently";
  }
  std::string text;
  const auto add = [&text](uint64_t count, const std::string& part) {
    if (count > 0) text += (text.empty() ? "" : ", ") + part;
  };
  add(report.settings.size(), Plural(report.settings.size(), "setting"));
  const uint64_t differing = report.differing_modules();
  add(differing,
      FormatCount(differing) + " of " + Plural(report.modules_in_both, "module") + " in both");
  add(report.only_in_a.size(), Plural(report.only_in_a.size(), "module") + " only in A");
  add(report.only_in_b.size(), Plural(report.only_in_b.size(), "module") + " only in B");
  add(report.tensors.size(), Plural(report.tensors.size(), "tensor") + " of no module");
  add(report.assets.size(), Plural(report.assets.size(), "embedded file"));
  return "the models differ: " + text;
}

std::string Head(const format::Reader& a, const format::Reader& b) {
  Table table("llrr");
  for (const auto& [letter, reader] : {std::pair("A", &a), std::pair("B", &b)}) {
    table.AddRow({letter, Escaped(reader->path()), FormatBytes(reader->total_bytes()),
                  Plural(reader->manifest().modules.size(), "module")});
  }
  return table.ToString(0);
}

}  // namespace

std::string DiffText(const format::Reader& a, const format::Reader& b, const DiffReport& report) {
  const std::vector<Subject> stated = StatedSubjects(report);
  const std::vector<Subject> reasons = Reasons(report);
  return Head(a, b) + Verdict(report) + "\n" + StatedTable("settings", report.settings) +
         OneSideTable("A", report.only_in_a) + OneSideTable("B", report.only_in_b) +
         StatedModules("described differently: " + Plural(CountContents(stated), "module"),
                       stated) +
         QuantizedValues(report) + OtherValues(report) + AssetTable(report) +
         StatedTable("stored differently, which is no difference of the models", report.storage) +
         StatedTable("made differently, which is no difference of the models", report.origin) +
         StatedModules("decided differently: " + Plural(CountContents(reasons), "module"), reasons);
}

}  // namespace octavo::tools
