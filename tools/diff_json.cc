#include <cmath>

#include "tools/diff_text.h"

namespace octavo::tools {
namespace {

Json OrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

template <typename Value>
Json OrNull(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json FileJson(const format::Reader& reader) {
  return {{"path", reader.path()},
          {"bytes", reader.total_bytes()},
          {"manifest_xxh3", reader.header().manifest_xxh3},
          {"modules", reader.manifest().modules.size()}};
}

Json StatedJson(const std::vector<quant::Difference>& differences) {
  Json array = Json::array();
  for (const quant::Difference& difference : differences) {
    array.push_back(
        {{"what", difference.what}, {"a", OrNull(difference.a)}, {"b", OrNull(difference.b)}});
  }
  return array;
}

Json ValuesJson(const std::vector<quant::ValueDifference>& differences) {
  Json array = Json::array();
  for (const quant::ValueDifference& difference : differences) {
    array.push_back({{"what", difference.what},
                     {"elements", difference.elements},
                     {"differing", difference.differing},
                     {"largest", OrNull(difference.largest)},
                     {"relative_error", OrNull(difference.relative_error)},
                     {"snr_db", OrNull(SnrDb(difference.relative_error))}});
  }
  return array;
}

Json OneSideJson(const std::vector<const format::Module*>& modules) {
  Json array = Json::array();
  for (const format::Module* module : modules) {
    array.push_back({{"name", module->name},
                     {"kind", format::Name(module->kind)},
                     {"in_features", module->in_features},
                     {"out_features", module->out_features},
                     {"experts", module->experts},
                     {"quantized", module->quantized},
                     {"reason", module->reason}});
  }
  return array;
}

Json ContentsJson(const std::vector<quant::ContentDifference>& contents) {
  Json array = Json::array();
  for (const quant::ContentDifference& content : contents) {
    array.push_back({{"name", content.name},
                     {"differs", content.differs()},
                     {"stated", StatedJson(content.stated)},
                     {"values", ValuesJson(content.values)},
                     {"origin", StatedJson(content.origin)}});
  }
  return array;
}

Json AssetsJson(const std::vector<quant::AssetDifference>& assets) {
  Json array = Json::array();
  for (const quant::AssetDifference& asset : assets) {
    array.push_back({{"name", asset.name},
                     {"bytes_a", OrNull(asset.bytes_a)},
                     {"bytes_b", OrNull(asset.bytes_b)}});
  }
  return array;
}

}  // namespace

std::optional<double> SnrDb(const std::optional<double>& relative_error) {
  if (!relative_error || *relative_error == 0) return std::nullopt;
  return -20 * std::log10(*relative_error);
}

Json DiffJson(const format::Reader& a, const format::Reader& b, const quant::DiffReport& report) {
  return {{"equal", report.equal()},
          {"a", FileJson(a)},
          {"b", FileJson(b)},
          {"settings", StatedJson(report.settings)},
          {"modules_in_both", report.modules_in_both},
          {"modules_differing", report.differing_modules()},
          {"only_in_a", OneSideJson(report.only_in_a)},
          {"only_in_b", OneSideJson(report.only_in_b)},
          {"modules", ContentsJson(report.modules)},
          {"tensors", ContentsJson(report.tensors)},
          {"assets", AssetsJson(report.assets)},
          {"storage", StatedJson(report.storage)},
          {"origin", StatedJson(report.origin)}};
}

}  // namespace octavo::tools
