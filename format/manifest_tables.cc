#include "format/manifest_tables.h"

namespace octavo::format {
namespace {

using json::kOptional;
using json::kRequired;
using json::Member;
using json::Nested;

constexpr json::Field kSourceFileFields[] = {
    Member<&SourceFile::name>("name", kRequired),
    Member<&SourceFile::bytes>("bytes", kRequired),
    Member<&SourceFile::xxh3>("xxh3", kRequired),
    {"sha256", kOptional, [](void* file) { return json::Slot::Text(file, SetSha256); }},
};
constexpr json::Table kSourceFile = {"source file", kSourceFileFields};

constexpr json::Field kSourceFields[] = {
    Member<&SourceJson::format>("format", kRequired),
    Member<&SourceJson::model_type>("model_type", kRequired),
    Member<&SourceJson::architecture>("architecture", kRequired),
    Member<&SourceJson::known_architecture>("known_architecture", kRequired),
    json::Appended<&SourceJson::files, kSourceFile>("files", kRequired),
};
constexpr json::Table kSource = {"source", kSourceFields};

constexpr json::Field kQuantizationFields[] = {
    Member<&QuantizationJson::method>("method", kRequired),
    Member<&QuantizationJson::compat>("compat", kRequired),
    Member<&QuantizationJson::threshold>("threshold", kRequired),
    Member<&QuantizationJson::scope>("scope", kRequired),
    Member<&QuantizationJson::row_rule>("row_rule", kRequired),
    Member<&QuantizationJson::activations>("activations", kRequired),
    Member<&QuantizationJson::weights_via_fp16>("weights_via_fp16", kRequired),
    Member<&QuantizationJson::activations_via_fp16>("activations_via_fp16", kRequired),
};
constexpr json::Table kQuantization = {"quantization", kQuantizationFields};

json::Slot DigestsSlot(void* entry) { return json::Slot::Texts(entry, AddDigest); }

constexpr json::Field kTensorFields[] = {
    Member<&EntryJson::name>("name", kRequired),
    Member<&EntryJson::dtype>("dtype", kRequired),
    Member<&EntryJson::shape>("shape", kRequired),
    Member<&EntryJson::shard>("shard", kOptional),
    Member<&EntryJson::offset>("offset", kRequired),
    Member<&EntryJson::bytes>("bytes", kRequired),
    Member<&EntryJson::chunk_rows>("chunk_rows", kRequired),
    Member<&EntryJson::matrix_rows>("matrix_rows", kOptional),
    Member<&EntryJson::codec>("codec", kOptional),
    Member<&EntryJson::stored>("stored", kOptional),
    {"xxh3", kRequired, DigestsSlot},
};
constexpr json::Table kTensor = {"tensor", kTensorFields};

constexpr json::Field kAssetFields[] = {
    Member<&EntryJson::name>("name", kRequired),
    Member<&EntryJson::size>("size", kRequired),
    Member<&EntryJson::shard>("shard", kOptional),
    Member<&EntryJson::offset>("offset", kRequired),
    Member<&EntryJson::bytes>("bytes", kRequired),
    Member<&EntryJson::codec>("codec", kOptional),
    Member<&EntryJson::stored>("stored", kOptional),
    {"xxh3", kRequired, DigestsSlot},
};
constexpr json::Table kAsset = {"asset", kAssetFields};

constexpr json::Field kCodesFields[] = {
    Member<&CodesJson::tensor>("tensor", kRequired),
    Member<&CodesJson::bits>("bits", kRequired),
    Member<&CodesJson::is_signed>("signed", kRequired),
    Member<&CodesJson::layout>("layout", kRequired),
};
constexpr json::Table kCodes = {"codes", kCodesFields};

constexpr json::Field kScalesFields[] = {
    Member<&ScalesJson::tensor>("tensor", kRequired),
    Member<&ScalesJson::axis>("axis", kRequired),
    Member<&ScalesJson::group_size>("group_size", kRequired),
    Member<&ScalesJson::convention>("convention", kRequired),
    Member<&ScalesJson::dtype>("dtype", kRequired),
    Member<&ScalesJson::source_dtype>("source_dtype", kOptional),
};
constexpr json::Table kScales = {"scales", kScalesFields};

constexpr json::Field kSchemeFields[] = {
    Member<&SchemeJson::name>("name", kRequired),
    Nested<&SchemeJson::codes, kCodes>("codes", kRequired),
    Member<&SchemeJson::full_range>("full_range", kOptional),
    Nested<&SchemeJson::scales, kScales>("scales", kRequired),
    Member<&SchemeJson::code_sum>("code_sum", kRequired),
    Member<&SchemeJson::zero_point>("zero_point", kOptional),
};
constexpr json::Table kScheme = {"scheme", kSchemeFields};

constexpr json::Field kKeptFields[] = {
    Member<&KeptJson::index>("index", kRequired),
    Member<&KeptJson::weight>("weight", kRequired),
};
constexpr json::Table kKept = {"kept", kKeptFields};

constexpr json::Field kErrorFields[] = {
    Member<&ModuleError::snr_db>("snr_db", kRequired),
    Member<&ModuleError::max_abs_error>("max_abs_error", kRequired),
    Member<&ModuleError::saturated_share>("saturated_share", kRequired),
    Member<&ModuleError::absmax_min>("absmax_min", kRequired),
    Member<&ModuleError::absmax_max>("absmax_max", kRequired),
};
constexpr json::Table kError = {"error", kErrorFields};

constexpr json::Field kModuleFields[] = {
    Member<&ModuleJson::name>("name", kRequired),
    Member<&ModuleJson::kind>("kind", kRequired),
    Member<&ModuleJson::quantized>("quantized", kRequired),
    Member<&ModuleJson::reason>("reason", kRequired),
    Member<&ModuleJson::in_features>("in_features", kOptional),
    Member<&ModuleJson::out_features>("out_features", kOptional),
    Member<&ModuleJson::experts>("experts", kOptional),
    Member<&ModuleJson::source_tensor>("source_tensor", kOptional),
    Member<&ModuleJson::source_dtype>("source_dtype", kOptional),
    Member<&ModuleJson::transposed>("transposed", kOptional),
    Member<&ModuleJson::weight>("weight", kOptional),
    Member<&ModuleJson::bias>("bias", kOptional),
    Member<&ModuleJson::tensors>("tensors", kOptional),
    Member<&ModuleJson::tied_to>("tied_to", kOptional),
    Nested<&ModuleJson::scheme, kScheme>("scheme", kOptional),
    Nested<&ModuleJson::kept, kKept>("kept", kOptional),
    Nested<&ModuleJson::error, kError>("error", kOptional),
};
constexpr json::Table kModule = {"module", kModuleFields};

constexpr json::Field kShardFields[] = {
    Member<&ShardEntry::name>("name", kRequired),
    Member<&ShardEntry::bytes>("bytes", kRequired),
    Member<&ShardEntry::manifest_xxh3>("manifest_xxh3", kRequired),
};
constexpr json::Table kShard = {"shard", kShardFields};

// ---- The manifest itself ----

ManifestContext& ContextOf(void* object) { return *static_cast<ManifestContext*>(object); }

// A list whose elements pass through one member of the context.
template <auto kMember>
void* Begin(void* context) {
  auto& element = ContextOf(context).*kMember;
  element = {};
  return &element;
}

constexpr json::Field kManifestFields[] = {
    {"converter", kRequired,
     [](void* object) { return json::SlotFor(&ContextOf(object).manifest.converter); }},
    Nested<&ManifestContext::source, kSource>("source", kRequired),
    Nested<&ManifestContext::quantization, kQuantization>("quantization", kRequired),
    {"modules", kRequired,
     [](void* object) {
       return json::Slot::Objects(object, &kModule, Begin<&ManifestContext::module>, EndModule);
     }},
    {"tensors", kRequired,
     [](void* object) {
       return json::Slot::Objects(object, &kTensor, Begin<&ManifestContext::entry>, EndTensor);
     }},
    {"assets", kRequired,
     [](void* object) {
       return json::Slot::Objects(object, &kAsset, Begin<&ManifestContext::entry>, EndAsset);
     }},
    json::Appended<&ManifestContext::shards, kShard>("shards", kOptional),
};

}  // namespace

const json::Table kManifestTable = {"manifest", kManifestFields};

}  // namespace octavo::format
