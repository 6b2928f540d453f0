#include "tests/golden/broken_files.h"

#include <zstd.h>

#include <cmath>
#include <cstring>

#include "format/layout.h"

namespace octavo::testing {
namespace {

using format::Manifest;
namespace offset = format::offset;

constexpr ErrorCode kInvalid = ErrorCode::kInvalidFile;
constexpr ErrorCode kDamaged = ErrorCode::kNotIntact;
constexpr ErrorCode kNewer = ErrorCode::kNewerFormat;

template <typename T>
void StoreValue(std::span<std::byte> payload, size_t idx, T value) {
  std::memcpy(payload.data() + idx * sizeof(T), &value, sizeof(T));
}

Bytes Frame(std::string_view raw) {
  Bytes frame(ZSTD_compressBound(raw.size()));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), raw.data(), raw.size(), 3));
  return frame;
}

Bytes Appended(Bytes bytes, std::string_view more) {
  for (const char c : more) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

Bytes WithByte(Bytes bytes, size_t at, std::byte value) {
  bytes[at] = value;
  return bytes;
}

const std::string kManyBytes(4096, 'z');

constexpr BrokenFile kFiles[] = {
    {"R01_bad_magic", kInvalid, "plain",
     [](const Bytes& b) { return WithByte(b, 1, std::byte{'9'}); }},
    {"R01_short", kInvalid, "plain",
     [](const Bytes& b) { return Bytes(b.begin(), b.begin() + 100); }},
    {"R01_empty", kInvalid, "plain", [](const Bytes&) { return Bytes(); }},
    {"R02_version_2", kNewer, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kVersionMajor, 2, 2); }},
    {"R02_version_0", kInvalid, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kVersionMajor, 2, 0); }},
    {"R03_not_committed", kInvalid, "plain",
     [](const Bytes& b) {
       Bytes out = b;
       std::memset(out.data() + offset::kCommit, 0, format::kDigestBytes);
       return out;
     }},
    {"R03_commit_differs", kDamaged, "plain",
     [](const Bytes& b) { return WithByte(b, offset::kOptionalFeatures, std::byte{1}); }},
    {"R04_unknown_feature", kNewer, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kRequiredFeatures, 8, 1u << 6); }},
    {"R05_header_bytes", kInvalid, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kHeaderBytes, 4, 256); }},
    {"R05_reserved", kInvalid, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kReserved + 31, 1, 1); }},
    {"R06_truncated", kInvalid, "plain",
     [](const Bytes& b) { return Bytes(b.begin(), b.end() - 1); }},
    {"R06_appended", kInvalid, "plain", [](const Bytes& b) { return Appended(b, "x"); }},
    {"R07_manifest_offset", kInvalid, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kManifestOffset, 8, 160); }},
    {"R07_manifest_bytes_overflow", kInvalid, "plain",
     [](const Bytes& b) {
       return WithHeaderField(b, offset::kManifestBytes, 8, ~uint64_t{0} - 63);
     }},
    {"R08_manifest_digest", kDamaged, "plain",
     [](const Bytes& b) { return WithByte(b, b.size() - 20, std::byte{'_'}); }},
    {"R09_shard_index", kInvalid, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kShardIndex, 4, 1); }},
    {"R10_feature_not_set", kInvalid, "kept_columns",
     [](const Bytes& b) { return WithHeaderField(b, offset::kRequiredFeatures, 8, 0); }},
    {"R10_feature_not_meant", kInvalid, "plain",
     [](const Bytes& b) { return WithHeaderField(b, offset::kRequiredFeatures, 8, 1); }},
    {"R11_not_json", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"modules\":", "\"modules\"="); }},
    {"R11_after_the_object", kInvalid, "plain",
     [](const Bytes& b) { return WithManifestText(b, ManifestText(b) + "\n"); }},
    {"R11_too_deep", kInvalid, "plain",
     [](const Bytes& b) {
       const std::string deep = std::string(16, '[') + std::string(16, ']');
       return WithReplaced(b, "\"modules\":", "\"x\":" + deep + ",\"modules\":");
     }},
    {"R11_zero_byte", kInvalid, "plain",
     [](const Bytes& b) { return WithManifestText(b, ManifestText(b) + std::string("\0}", 2)); }},
    {"R12_key_twice", kInvalid, "plain",
     [](const Bytes& b) {
       return WithReplaced(b, "\"offset\":128", "\"offset\":128,\"offset\":128");
     }},
    {"R12_unknown_key_twice", kInvalid, "plain",
     [](const Bytes& b) {
       return WithReplaced(b, "\"offset\":128", "\"offset\":128,\"x\":{\"a\":1,\"a\":1}");
     }},
    {"R13_wrong_type", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"offset\":128", "\"offset\":\"128\""); }},
    {"R13_missing_key", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"offset\":128,", ""); }},
    {"R14_fraction", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"offset\":128", "\"offset\":128.0"); }},
    {"R14_negative", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"offset\":128", "\"offset\":-128"); }},
    {"R14_too_large", kInvalid, "plain",
     [](const Bytes& b) {
       return WithReplaced(b, "\"offset\":128", "\"offset\":9223372036854775808");
     }},
    {"R15_tensor_twice", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[1].name = m->tensors[0].name; });
     }},
    {"R15_control_character", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[0].name = "w\x1b[2Jte"; });
     }},
    {"R15_empty_name", kInvalid, "plain",
     [](const Bytes& b) { return WithManifest(b, [](Manifest* m) { m->modules[0].name = ""; }); }},
    {"R16_method", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"vector-wise\"", "\"magic\""); }},
    {"R16_threshold", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"threshold\":6", "\"threshold\":-6"); }},
    {"R16_scope", kInvalid, "tensor_wise",
     [](const Bytes& b) { return WithReplaced(b, "\"scope\":\"batch\"", "\"scope\":\"token\""); }},
    {"R17_dtype", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"dtype\":\"BF16\"", "\"dtype\":\"bf16\""); }},
    {"R17_rank_9", kInvalid, "plain",
     [](const Bytes& b) {
       return WithReplaced(b, "\"shape\":[8,4]", "\"shape\":[8,4,1,1,1,1,1,1,1]");
     }},
    {"R17_overflow", kInvalid, "plain",
     [](const Bytes& b) {
       return WithReplaced(b, "\"shape\":[8,4]", "\"shape\":[4611686018427387904,4]");
     }},
    {"R18_bytes", kInvalid, "plain",
     [](const Bytes& b) { return WithManifest(b, [](Manifest* m) { m->tensors[0].bytes += 1; }); }},
    {"R18_stored_sum", kInvalid, "zstd",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[0].stored[0] -= 1; });
     }},
    {"R18_codec", kInvalid, "zstd",
     [](const Bytes& b) { return WithReplaced(b, "\"codec\":\"zstd\"", "\"codec\":\"lz4\""); }},
    {"R19_chunk_rows_0", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[0].chunk_rows = 0; });
     }},
    {"R19_matrix_rows", kInvalid, "experts",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[0].matrix_rows = 4; });
     }},
    {"R19_digest_missing", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[0].xxh3.pop_back(); });
     }},
    {"R19_digest_not_hex", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"xxh3\":[\"", "\"xxh3\":[\"G"); }},
    {"R20_large_chunk", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) {
         m->tensors[0].shape = Shape{1u << 16, 1u << 16};
         m->tensors[0].chunk_rows = 1u << 16;
         m->tensors[0].bytes = uint64_t{1} << 33;
         m->tensors[0].xxh3 = {0};
       });
     }},
    {"R21_offset", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[1].offset += 64; });
     }},
    {"R21_overlap", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->tensors[1].offset = m->tensors[0].offset; });
     }},
    {"R22_padding", kInvalid, "plain",
     [](const Bytes& b) {
       const size_t manifest = LoadInteger(b, offset::kManifestOffset, 8);
       return WithByte(b, manifest - 1, std::byte{1});
     }},
    {"R23_payload", kDamaged, "plain",
     [](const Bytes& b) { return WithByte(b, 128, b[128] ^ std::byte{1}); }},
    {"R24_shorter", kInvalid, "zstd",
     [](const Bytes& b) { return WithAssetFrame(b, Frame(kManyBytes), kManyBytes.size() + 1); }},
    {"R24_bomb", kInvalid, "zstd",
     [](const Bytes& b) { return WithAssetFrame(b, Frame(kManyBytes), uint64_t{64} << 20); }},
    {"R24_bytes_after", kInvalid, "zstd",
     [](const Bytes& b) {
       return WithAssetFrame(b, Appended(Frame(kManyBytes), "x"), kManyBytes.size());
     }},
    {"R24_not_a_frame", kInvalid, "zstd",
     [](const Bytes& b) { return WithAssetFrame(b, Appended({}, "no frame at all"), 4096); }},
    {"R25_path", kInvalid, "plain",
     [](const Bytes& b) { return WithReplaced(b, "\"config.json\"", "\"../config\""); }},
    {"R25_large", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) {
         m->assets[0].shape = Shape{(uint64_t{1} << 30) + 1};
         m->assets[0].bytes = (uint64_t{1} << 30) + 1;
       });
     }},
    {"R26_scale_nan", kInvalid, "plain",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight_absmax",
                         [](auto payload) { StoreValue(payload, 2, std::nanf("")); });
     }},
    {"R26_scale_subnormal", kInvalid, "plain",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight_absmax",
                         [](auto payload) { StoreValue(payload, 2, 1e-36f); });
     }},
    {"R26_zero_scale", kInvalid, "plain",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight_absmax",
                         [](auto payload) { StoreValue(payload, 2, 0.0f); });
     }},
    {"R27_code_128", kInvalid, "tensor_wise",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight",
                         [](auto payload) { StoreValue(payload, 3, int8_t{-128}); });
     }},
    {"R27_packed_padding", kInvalid, "packed",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight",
                         [](auto payload) { StoreValue(payload, payload.size() - 1, int8_t{1}); });
     }},
    {"R28_code_sum", kInvalid, "plain",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight_code_sum",
                         [](auto payload) { StoreValue(payload, 1, int32_t{12345}); });
     }},
    {"R29_kept_index", kInvalid, "kept_columns",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight_kept_index",
                         [](auto payload) { StoreValue(payload, 1, int32_t{1}); });
     }},
    {"R29_zero_point", kInvalid, "comparison_method",
     [](const Bytes& b) {
       return WithTensor(b, "h.0.mlp.weight_zero_point",
                         [](auto payload) { StoreValue(payload, 1, int32_t{128}); });
     }},
    {"R30_no_tensor", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->modules[0].weight = "nowhere"; });
     }},
    {"R30_shape", kInvalid, "plain",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->modules[1].in_features += 1; });
     }},
    {"R30_layout", kInvalid, "plain",
     [](const Bytes& b) {
       return WithReplaced(b, "\"layout\":\"plain\"", "\"layout\":\"tiled-9\"");
     }},
    {"R32_tied_to_nothing", kInvalid, "tied_head",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->modules[1].tied_to = "nowhere"; });
     }},
    {"R32_tied_twice", kInvalid, "tied_head",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->modules[1].tied_to = "lm_head"; });
     }},
    {"R33_kept_in_a_router", kInvalid, "kept_columns",
     [](const Bytes& b) { return WithReplaced(b, "\"kind\":\"linear\"", "\"kind\":\"router\""); }},
    {"R34_no_zero_point", kInvalid, "plain",
     [](const Bytes& b) {
       return WithHeaderField(WithReplaced(b, "\"vector-wise\"", "\"zeropoint-vector\""),
                              offset::kRequiredFeatures, 8, format::kFeatureComparisonMethod);
     }},
    {"R35_shard_path", kInvalid, "sharded",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->shards[0].name = "../" + m->shards[0].name; });
     }},
    {"R36_missing_shard", ErrorCode::kNotFound, "sharded",
     [](const Bytes& b) {
       return WithManifest(b, [](Manifest* m) { m->shards[0].name = "nowhere.8vo"; });
     }},
    {"R37_index_with_payload", kInvalid, "sharded",
     [](const Bytes& b) {
       const std::string text = ManifestText(b);
       Bytes out(b.begin(), b.begin() + 128);
       out.resize(192);
       return WithManifestText(WithHeaderField(out, offset::kManifestOffset, 8, 192), text);
     }},
    {"R37_shard_number", kInvalid, "sharded",
     [](const Bytes& b) { return WithManifest(b, [](Manifest* m) { m->tensors[0].shard = 2; }); }},
};

}  // namespace

std::span<const BrokenFile> BrokenFiles() { return kFiles; }

std::string RuleOf(std::string_view name) {
  const bool one_digit = name[1] == '0';
  return "(R" + std::string(name.substr(one_digit ? 2 : 1, one_digit ? 1 : 2)) + ")";
}

}  // namespace octavo::testing
