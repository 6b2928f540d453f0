// Rules R11 to R20, R25, R30 to R34 and the limits, each by one change to a sound manifest.
#include <cmath>

#include "format/layout.h"
#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

using format::Manifest;
using format::ParseManifest;

std::string Text(std::string_view sample) { return ManifestText(SampleBytes(sample)); }

void ExpectBroken(const std::string& text, const std::vector<std::string>& parts) {
  const auto parsed = ParseManifest(text, false);
  ASSERT_FALSE(parsed.ok()) << "accepted: " << parts.back();
  ExpectRefused(parsed.status(), ErrorCode::kInvalidFile, parts);
}

// One replacement in the manifest of a sample.
void ExpectBroken(std::string_view sample, std::string_view from, std::string_view to,
                  const std::vector<std::string>& parts) {
  ExpectBroken(Replaced(Text(sample), from, to), parts);
}

void ExpectBroken(std::string_view sample, const std::function<void(Manifest*)>& change,
                  const std::vector<std::string>& parts) {
  auto manifest = ParseManifest(Text(sample), false);
  ASSERT_TRUE(manifest.ok()) << manifest.status().message();
  change(&*manifest);
  ExpectBroken(format::SerializeManifest(*manifest), parts);
}

TEST(ManifestRules, R11RejectsWhatIsNotOneObject) {
  const std::string text = Text("plain");
  for (const std::string& broken :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), " " + text,
        text + " ", text + text, text.substr(0, text.size() - 1), "\xef\xbb\xbf" + text,
        text + std::string("\0}", 2), "{\"a\":1}" + std::string("\0", 1) + "}"}) {
    ExpectBroken(broken, {"(R11)"});
  }
}

TEST(ManifestRules, R11RejectsTruncationAtEveryByte) {
  const std::string text = Text("plain");
  for (size_t size = 0; size < text.size(); ++size) {
    ASSERT_FALSE(ParseManifest(text.substr(0, size), false).ok()) << size;
  }
}

TEST(ManifestRules, R11RejectsBytesThatAreNotUtf8) {
  for (const std::string bad :
       {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\\ud800"}) {
    ExpectBroken("plain", "octavo golden", bad, {"(R11)"});
  }
}

TEST(ManifestRules, R11LimitsNesting) {
  const auto nested = [](size_t depth) {
    return "\"x\":" + std::string(depth, '[') + std::string(depth, ']') + ",\"modules\":";
  };
  EXPECT_TRUE(ParseManifest(Replaced(Text("plain"), "\"modules\":", nested(15)), false).ok());
  ExpectBroken("plain", "\"modules\":", nested(16), {"deep", "(R11)"});
  ExpectBroken("plain", "\"modules\":", nested(100'000), {"deep", "(R11)"});
}

TEST(ManifestRules, R12RejectsAKeyThatStandsTwice) {
  ExpectBroken("plain", "\"quantized\":false", "\"quantized\":false,\"quantized\":false",
               {"module \"wte\"", "quantized", "(R12)"});
  ExpectBroken("plain", "\"quantized\":false", "\"x\":1,\"quantized\":false,\"x\":1",
               {"module \"wte\"", "(R12)"});
  ExpectBroken("plain", "\"quantized\":false", "\"quantized\":false,\"\\u0071uantized\":false",
               {"(R12)"});
  ExpectBroken("plain",
               "\"modules\":", "\"x\":[{\"y\":{\"z\":1,\"z\":2}}],\"modules\":", {"(R12)"});
}

TEST(ManifestRules, R13IgnoresUnknownKeysOfAnyShape) {
  const std::string more =
      "\"x\":{\"name\":3,\"y\":[null,1e300,{\"z\":[[]]},-1,\"\\u0000\",true]},\"modules\":";
  EXPECT_TRUE(ParseManifest(Replaced(Text("plain"), "\"modules\":", more), false).ok());
}

TEST(ManifestRules, R13RejectsAWrongTypeAndNamesTheTensor) {
  ExpectBroken("plain", "\"offset\":128", "\"offset\":\"128\"",
               {"tensor \"wte.weight\": offset", "a count", "(R13)"});
  ExpectBroken("plain", "\"shape\":[8,4]", "\"shape\":{\"8\":4}", {"shape", "(R13)"});
  ExpectBroken("plain", "\"shape\":[8,4]", "\"shape\":[8,\"4\"]", {"shape[1]", "(R13)"});
  ExpectBroken("plain", "\"shape\":[8,4]", "\"shape\":null", {"(R13)"});
  ExpectBroken("plain", "\"tensors\":[", "\"tensors\":[7,", {"tensors[0]", "(R13)"});
  ExpectBroken("plain", "\"quantized\":false", "\"quantized\":0", {"(R13)"});
  ExpectBroken("plain", "\"threshold\":6", "\"threshold\":\"6\"", {"threshold", "(R13)"});
  ExpectBroken("plain", "\"scheme\":{", "\"scheme\":[{", {"scheme", "(R13)"});
  ExpectBroken("plain", "\"snr_db\":43.21", "\"snr_db\":\"inf\"", {"snr_db", "(R13)"});
}

TEST(ManifestRules, R13RejectsEveryKeyThatIsMissing) {
  for (const char* key :
       {"converter",   "source", "quantization",  "modules",      "tensors",
        "assets",      "format", "model_type",    "architecture", "known_architecture",
        "files",       "method", "threshold",     "scope",        "row_rule",
        "activations", "kind",   "quantized",     "reason",       "offset",
        "chunk_rows",  "dtype",  "shape",         "size",         "bits",
        "signed",      "layout", "axis",          "group_size",   "convention",
        "code_sum",    "snr_db", "max_abs_error", "absmax_min"}) {
    const std::string quoted = "\"" + std::string(key) + "\":";
    ExpectBroken("plain", quoted, "\"x_" + std::string(key) + "\":", {key, "(R13)"});
  }
  ExpectBroken("plain", "\"error\":", "\"x\":", {"module \"h.0.mlp\"", "\"error\"", "(R13)"});
  ExpectBroken("experts", "\"experts\":3", "\"x\":3", {"experts", "(R13)"});
  ExpectBroken("plain", "\"offset\":128", "\"offset\":128,\"shard\":0", {"shard", "(R13)"});
}

TEST(ManifestRules, R14RejectsNumbersThatAreNoCounts) {
  for (const char* number :
       {"-1", "-0", "1.0", "1e2", "0.5", "9223372036854775808", "18446744073709551615",
        "18446744073709551616", "1e400", "100000000000000000000000000000000"}) {
    ExpectBroken("plain", "\"chunk_rows\":3", "\"chunk_rows\":" + std::string(number),
                 {number == std::string("1e400") ? "(R11)" : "chunk_rows"});
  }
}

TEST(ManifestRules, R15RejectsBadNames) {
  const std::string control = "bad\nname\x1b";
  ExpectBroken("plain", [&](Manifest* m) { m->tensors[0].name = control; }, {"\\x0a", "(R15)"});
  ExpectBroken("plain", [&](Manifest* m) { m->modules[0].name = control; }, {"\\x1b", "(R15)"});
  ExpectBroken("plain", [&](Manifest* m) { m->assets[0].name = "\x7f"; }, {"asset", "(R15)"});
  ExpectBroken("plain", [&](Manifest* m) { m->assets[0].name = std::string("a\0b", 3); },
               {"(R15)"});
  ExpectBroken("plain", [](Manifest* m) { m->tensors[0].name = ""; }, {"(R15)"});
  ExpectBroken("plain", [](Manifest* m) { m->tensors[0].name.assign(1025, 'a'); },
               {"1025", "(R15)"});
  ExpectBroken("plain", [](Manifest* m) { m->modules[1].name = m->modules[0].name; },
               {"twice", "(R15)"});
  ExpectBroken("plain", [](Manifest* m) { m->assets.push_back(m->assets[0]); }, {"twice", "(R15)"});
}

TEST(ManifestRules, R16RejectsUnknownValues) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"method\":\"vector-wise\"", "\"method\":\"Vector-wise\""},
           {"\"compat\":\"none\"", "\"compat\":\"\""},
           {"\"scope\":\"batch\"", "\"scope\":\"rows\""},
           {"\"row_rule\":\"inlier_columns\"", "\"row_rule\":\"x\""},
           {"\"activations\":\"asymmetric\"", "\"activations\":\"x\""},
           {"\"threshold\":6", "\"threshold\":-0.5"},
           {"\"threshold\":6", "\"threshold\":-0.0"},
           {"\"threshold\":6", "\"threshold\":3.5e38"},
           {"\"threshold\":6", "\"threshold\":0.1"}}) {
    ExpectBroken("plain", from, to, {"quantization", "(R16)"});
  }
  EXPECT_TRUE(
      ParseManifest(Replaced(Text("plain"), "\"threshold\":6", "\"threshold\":6.0"), false).ok());
  ExpectBroken("tensor_wise", "\"scope\":\"batch\"", "\"scope\":\"token\"", {"token", "(R16)"});
}

TEST(ManifestRules, R17RejectsUnknownDType) {
  ExpectBroken("plain", "\"dtype\":\"BF16\"", "\"dtype\":\"FP16\"",
               {"tensor \"wte.weight\"", "FP16", "(R17)"});
}

TEST(ManifestRules, R17RejectsShapesThatOverflow) {
  for (const char* shape :
       {"[9223372036854775807,2]", "[4611686018427387904,4]", "[4294967296,4294967296]",
        "[9223372036854775807,0]", "[2305843009213693952,2305843009213693952,0]",
        "[4611686018427387904,2,0]", "[0,9223372036854775807]", "[1,1,1,1,1,1,1,1,1]"}) {
    const bool is_fine =
        std::string(shape) == "[9223372036854775807,0]";  // no bytes, rows below 2^63
    const std::string text =
        Replaced(Text("plain"), "\"shape\":[8,4]", "\"shape\":" + std::string(shape));
    ExpectBroken(text, {is_fine ? "(R19)" : "(R17)"});
  }
}

TEST(ManifestRules, R18RejectsSizesThatDoNotAgree) {
  const auto wrong = [](const char* sample, const std::function<void(Manifest*)>& change) {
    ExpectBroken(sample, change, {"tensor \"", "(R18)"});
  };
  wrong("plain", [](Manifest* m) { m->tensors[0].bytes = 0; });
  wrong("plain", [](Manifest* m) { m->tensors[0].bytes = (uint64_t{1} << 63) - 1; });
  wrong("zstd", [](Manifest* m) { m->tensors[0].stored[0] = 0; });
  wrong("zstd", [](Manifest* m) { m->tensors[0].stored[0] += 1; });
  wrong("zstd", [](Manifest* m) { m->tensors[0].stored.push_back(1); });
  wrong("zstd", [](Manifest* m) { m->tensors[0].bytes -= 1; });
  ExpectBroken("zstd", "\"codec\":\"zstd\"", "\"codec\":\"none\"", {"codec", "(R18)"});
  ExpectBroken("zstd", "\"codec\":\"zstd\",", "", {"\"stored\" without", "(R18)"});
  ExpectBroken("zstd", "\"stored\":", "\"x\":", {"without \"stored\"", "(R18)"});
}

TEST(ManifestRules, R19RejectsBadChunks) {
  const auto wrong = [](const char* sample, const std::function<void(Manifest*)>& change) {
    ExpectBroken(sample, change, {"tensor \"", "(R19)"});
  };
  wrong("plain", [](Manifest* m) { m->tensors[0].chunk_rows = 0; });
  wrong("plain", [](Manifest* m) { m->tensors[0].chunk_rows = 2; });
  wrong("plain", [](Manifest* m) { m->tensors[0].chunk_rows = (uint64_t{1} << 63) - 1; });
  wrong("plain", [](Manifest* m) { m->tensors[0].xxh3.clear(); });
  wrong("plain", [](Manifest* m) { m->tensors[0].xxh3.push_back(0); });
  wrong("plain", [](Manifest* m) { m->tensors[0].matrix_rows = 3; });
  wrong("plain", [](Manifest* m) { m->tensors[0].matrix_rows = (uint64_t{1} << 63) - 1; });
  ExpectBroken("experts", "\"matrix_rows\":5", "\"matrix_rows\":0", {"(R19)"});
  for (const char* digest :
       {"", "0", "0123456789abcdeF", "0123456789abcdef0", "g123456789abcdef"}) {
    ExpectBroken("plain", "\"xxh3\":[\"", "\"xxh3\":[\"" + std::string(digest) + "\",\"",
                 {"wte.weight", "(R19)"});
  }
}

TEST(ManifestRules, R20LimitsChunks) {
  const auto resize = [](uint64_t rows, uint64_t columns, uint64_t chunk_rows, uint64_t stored) {
    return [=](Manifest* m) {
      format::TensorEntry& entry = m->tensors[0];
      entry.dtype = DType::kU8;
      entry.shape = Shape{rows, columns};
      entry.chunk_rows = chunk_rows;
      entry.xxh3.assign(format::NumChunks(entry), 0);
      entry.bytes = stored == 0 ? entry.raw_bytes() : stored * entry.xxh3.size();
      entry.codec = stored == 0 ? format::Codec::kNone : format::Codec::kZstd;
      if (stored != 0) entry.stored.assign(entry.xxh3.size(), stored);
    };
  };
  const uint64_t limit = uint64_t{64} << 20;
  ExpectBroken("plain", resize(3, limit / 2 + 1, 2, 0), {"(R20)"});
  ExpectBroken("plain", resize(3, limit / 2 + 1, uint64_t{1} << 62, 0), {"(R20)"});
  ExpectBroken("plain", resize(1, limit + 1, 1, 5), {"(R20)"});
  for (const auto& fine : {resize(2, limit / 2, 2, 0), resize(2, limit + 1, 1, 0),
                           resize(1, limit, 1, 5), resize(1, limit + 1, 1, limit + 1)}) {
    auto manifest = ParseManifest(Text("plain"), false);
    fine(&*manifest);
    const auto parsed = ParseManifest(format::SerializeManifest(*manifest), false);
    EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  }
}

TEST(ManifestRules, R25RejectsAssetsWithPaths) {
  for (const char* name : {"a/b", "/a", "..", ".", "a\\\\b", "../x"}) {
    ExpectBroken("plain", "\"config.json\"", "\"" + std::string(name) + "\"", {"asset", "(R25)"});
  }
}

TEST(ManifestRules, R30RejectsTensorsThatAreNotThereOrDoNotFit) {
  const auto wrong = [](const char* sample, const std::function<void(Manifest*)>& change) {
    ExpectBroken(sample, change, {"module \"h.0", "(R30)"});
  };
  wrong("plain", [](Manifest* m) { m->modules[1].scheme->codes = "none"; });
  wrong("plain", [](Manifest* m) { m->modules[1].scheme->scales = "wte.weight"; });
  wrong("plain",
        [](Manifest* m) { m->modules[1].scheme->code_sum = m->modules[1].scheme->scales; });
  wrong("plain", [](Manifest* m) { m->modules[1].bias = "none"; });
  wrong("plain", [](Manifest* m) { m->modules[1].bias = "wte.weight"; });
  wrong("plain", [](Manifest* m) { m->modules[1].tensors = {"ln_f.weight", "none"}; });
  wrong("plain", [](Manifest* m) { m->modules[1].out_features -= 1; });
  wrong("packed", [](Manifest* m) { m->modules[0].in_features = 1; });
  wrong("packed", [](Manifest* m) { m->modules[0].scheme->layout = format::CodeLayout::kPlain; });
  wrong("experts", [](Manifest* m) { m->modules[0].experts = 2; });
  wrong("kept_columns", [](Manifest* m) { m->modules[0].kept_index = "none"; });
  wrong("kept_columns", [](Manifest* m) { m->modules[0].kept_weight = m->modules[0].kept_index; });
  wrong("comparison_method",
        [](Manifest* m) { m->modules[0].scheme->zero_point = m->modules[0].scheme->scales; });
  ExpectBroken("plain", "\"name\":\"int8-rows\"", "\"name\":\"int4-rows\"", {"int4-rows", "(R30)"});
  ExpectBroken("plain", "\"bits\":8", "\"bits\":4", {"(R30)"});
  ExpectBroken("plain", "\"axis\":0", "\"axis\":1", {"(R30)"});
  ExpectBroken("plain", "\"convention\":\"absmax\"", "\"convention\":\"max\"", {"(R30)"});
  ExpectBroken("plain", "\"scheme\":", "\"x\":", {"without a scheme", "(R30)"});
  ExpectBroken("plain", "\"quantized\":true", "\"quantized\":false", {"not quantized", "(R30)"});
}

TEST(ManifestRules, R31TakesAnUnknownKindForOther) {
  const auto parsed =
      ParseManifest(Replaced(Text("plain"), "\"kind\":\"norm\"", "\"kind\":\"future\""), false);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->modules[2].kind, format::ModuleKind::kOther);
}

TEST(ManifestRules, R32RejectsTiesToNothingAndToTiedModules) {
  ExpectBroken("tied_head", [](Manifest* m) { m->modules[1].tied_to = "x"; }, {"lm_head", "(R32)"});
  ExpectBroken("tied_head", [](Manifest* m) { m->modules[0].tied_to = "lm_head"; }, {"(R32)"});
  ExpectBroken("tied_head", "\"tied_to\":\"wte\"", "\"tied_to\":\"\"", {"(R32)"});
}

TEST(ManifestRules, R33RejectsKeptColumnsWhereTheyCannotBe) {
  ExpectBroken("kept_columns", "\"convention\":\"absmax\"", "\"convention\":\"step\"", {"(R33)"});
  ExpectBroken("kept_columns", "\"kind\":\"linear\"", "\"kind\":\"head\"", {"(R33)"});
  const auto resize = [](uint64_t kept) {
    return [kept](Manifest* m) {
      for (format::TensorEntry& entry : m->tensors) {
        if (entry.name != m->modules[0].kept_index) continue;
        entry.shape = Shape{kept};
        entry.bytes = 4 * kept;
        entry.xxh3.resize(kept == 0 ? 0 : 1);
      }
    };
  };
  ExpectBroken("kept_columns", resize(0), {"0 kept", "(R33)"});
  ExpectBroken("kept_columns", resize(9), {"9 kept", "(R33)"});
}

TEST(ManifestRules, R34RejectsMethodsThatDoNotAgreeWithTheScheme) {
  ExpectBroken("plain", "\"vector-wise\"", "\"zeropoint-tensor\"", {"(R34)"});
  ExpectBroken("comparison_method", "\"zeropoint-vector\"", "\"vector-wise\"", {"(R34)"});
  ExpectBroken("comparison_method", "\"convention\":\"step\"", "\"convention\":\"absmax\"",
               {"(R34)"});
  ExpectBroken("tensor_wise", "\"convention\":\"absmax\"", "\"convention\":\"step\"", {"(R34)"});
}

TEST(ManifestRules, LimitsOfSection10) {
  ExpectBroken("plain", "octavo golden 1", std::string(65'537, 'x'), {"(section 10)"});
  ExpectBroken("plain", "\"modules\":", "\"" + std::string(65'537, 'k') + "\":1,\"modules\":",
               {"(section 10)"});
  ExpectBroken("plain", [](Manifest* m) { m->modules[1].in_features = (1u << 23) + 1; },
               {"(section 10)"});
}

TEST(ManifestRules, AHundredThousandTensorsParse) {
  auto manifest = ParseManifest(Text("plain"), false);
  ASSERT_TRUE(manifest.ok());
  const format::TensorEntry tensor = manifest->tensors[0];
  const format::Module module = manifest->modules[0];
  for (int i = 0; i < 100'000; ++i) {
    manifest->tensors.push_back(tensor);
    manifest->tensors.back().name = "t" + std::to_string(i);
    manifest->modules.push_back(module);
    manifest->modules.back().name = "m" + std::to_string(i);
    manifest->modules.back().weight = "t" + std::to_string(99'999 - i);
  }
  const std::string text = format::SerializeManifest(*manifest);
  const auto parsed = ParseManifest(text, false);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(format::SerializeManifest(*parsed), text);
}

}  // namespace
}  // namespace octavo::testing
