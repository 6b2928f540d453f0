// One test for each rule of a safetensors header, with the error it gives.
#include "format/safetensors_header.h"

#include <gtest/gtest.h>

#include "tests/format/sources_testing.h"

namespace octavo::format {
namespace {

using ::octavo::testing::ExpectError;

// Parses as a file with `data_bytes` bytes behind the header.
Result<SafetensorsHeader> Parse(std::string_view json, uint64_t data_bytes) {
  return ParseSafetensorsHeader(json, 8 + json.size() + data_bytes);
}

void ExpectInvalid(std::string_view json, uint64_t data_bytes, std::string_view message) {
  const Result<SafetensorsHeader> header = Parse(json, data_bytes);
  ASSERT_FALSE(header.ok()) << "accepted " << json;
  EXPECT_EQ(header.code(), ErrorCode::kInvalidFile);
  EXPECT_EQ(header.status().message(), message);
}

// One tensor "h.0.w" with these fields.
std::string One(const std::string& fields) { return "{\"h.0.w\":{" + fields + "}}"; }
std::string F32(const std::string& shape, const std::string& offsets) {
  return One("\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
}

TEST(SafetensorsHeader, ReadsTensorsInOrderOfTheirOffsets) {
  const std::string json = R"({"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
                           R"("__metadata__":{"format":"pt","note":"\u00e9\n"},)"
                           R"("a":{"shape":[],"data_offsets":[0,4],"dtype":"I32"}}   )";
  const Result<SafetensorsHeader> header = Parse(json, 16);
  ASSERT_TRUE(header.ok()) << header.status().message();
  ASSERT_EQ(header->tensors.size(), 2u);
  const SafetensorsEntry& a = header->tensors[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, DType::kI32);
  EXPECT_EQ(a.shape, Shape());
  EXPECT_EQ(a.offset, 8 + json.size());
  EXPECT_EQ(a.bytes, 4u);
  const SafetensorsEntry& b = header->tensors[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, DType::kF16);
  EXPECT_EQ(b.shape, Shape({2, 3}));
  EXPECT_EQ(b.offset, 8 + json.size() + 4);
  EXPECT_EQ(b.bytes, 12u);
  EXPECT_EQ(header->metadata,
            (std::map<std::string, std::string>{{"format", "pt"}, {"note", "é\n"}}));
}

TEST(SafetensorsHeader, ReadsEveryDType) {
  for (const char* name : {"BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32",
                           "I64", "U64", "F64", "F8_E4M3", "F8_E5M2"}) {
    const uint64_t bytes = DTypeBytes(*DTypeFromName(name));
    const std::string json =
        One("\"dtype\":\"" + std::string(name) + "\",\"shape\":[1],\"data_offsets\":[0," +
            std::to_string(bytes) + "]");
    const Result<SafetensorsHeader> header = Parse(json, bytes);
    ASSERT_TRUE(header.ok()) << header.status().message();
    EXPECT_EQ(DTypeName(header->tensors[0].dtype), name);
  }
}

TEST(SafetensorsHeader, NamesADTypeItDoesNotRead) {
  for (const std::string name :
       {"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "C64", "f32", ""}) {
    ExpectInvalid(
        One("\"dtype\":\"" + name + "\",\"shape\":[0],\"data_offsets\":[0,0]"), 0,
        "header: tensor \"h.0.w\": dtype \"" + name + "\" is not one that this version reads");
  }
}

TEST(SafetensorsHeader, AcceptsNoTensorsAndEmptyOnes) {
  EXPECT_TRUE(Parse("{}", 0).ok());
  const Result<SafetensorsHeader> header =
      Parse(R"({"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
            R"("b":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},)"
            R"("a":{"dtype":"F32","shape":[4,0],"data_offsets":[1,1]}})",
            1);
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[1].name, "c");
  EXPECT_EQ(header->tensors[2].name, "a");
}

TEST(SafetensorsHeader, IgnoresUnknownFields) {
  const Result<SafetensorsHeader> header = Parse(
      One(R"("more":{"dtype":[1]},"dtype":"U8","shape":[1],"x":null,"data_offsets":[0,1])"), 1);
  EXPECT_TRUE(header.ok()) << header.status().message();
}

TEST(SafetensorsHeader, MustBeOneJsonObject) {
  ExpectInvalid("", 0, "the header does not begin with '{'");
  ExpectInvalid(" {}", 0, "the header does not begin with '{'");
  ExpectInvalid("[]", 0, "the header does not begin with '{'");
  ExpectInvalid("\xEF\xBB\xBF{}", 0, "the header does not begin with '{'");
  ExpectInvalid("{", 0, "header: not valid JSON at byte 2");
  ExpectInvalid("{}{}", 0, "header: not valid JSON at byte 3");
  ExpectInvalid("{} x", 0, "header: not valid JSON at byte 4");
  ExpectInvalid("{\"a\xff\":{}}", 0, "header: not valid JSON at byte 4");
  ExpectInvalid(std::string_view("{}\0junk", 7), 0, "header: not valid JSON at byte 3");
}

TEST(SafetensorsHeader, LimitsNesting) {
  const std::string open(100'000, '[');
  ExpectInvalid("{\"h.0.w\":{\"x\":" + open, 0, "header: its JSON is nested too deeply");
  const std::string objects = "{\"a\":";
  std::string deep = "{\"h.0.w\":{\"x\":";
  for (int i = 0; i < 1000; ++i) deep += objects;
  ExpectInvalid(deep, 0, "header: its JSON is nested too deeply");
}

TEST(SafetensorsHeader, NamesAreUnique) {
  const std::string tensor = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  ExpectInvalid("{" + tensor + "," + tensor + "}", 1,
                "header: the key \"a\" occurs twice in one object");
  ExpectInvalid(R"({"__metadata__":{},"__metadata__":{}})", 0,
                "header: the key \"__metadata__\" occurs twice in one object");
  ExpectInvalid(R"({"__metadata__":{"k":"1","k":"2"}})", 0,
                "header: the key \"k\" occurs twice in one object");
  ExpectInvalid(One(R"("dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1])"), 1,
                "header: the key \"dtype\" occurs twice in one object");
}

TEST(SafetensorsHeader, NamesArePrintableUtf8) {
  const auto with_name = [](const std::string& name) {
    return "{\"" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  };
  EXPECT_TRUE(Parse(with_name(std::string(1024, 'x')), 1).ok());
  EXPECT_TRUE(Parse(with_name("\u6a21\u578b.\U0001F600"), 1).ok());
  EXPECT_TRUE(Parse(with_name("\\ud83d\\ude00 a"), 1).ok());
  for (const std::string& bad :
       {std::string(), std::string(1025, 'x'), std::string("a\\u0000b"), std::string("\\u001b[2J"),
        std::string("a\\nb"), std::string("\\u007f"), std::string("\\u009b2J")}) {
    const Result<SafetensorsHeader> header = Parse(with_name(bad), 1);
    ASSERT_FALSE(header.ok()) << bad;
    ExpectError(header.status(), ErrorCode::kInvalidFile, ": its name ");
    const std::string message = header.status().message();
    for (const char c : message) EXPECT_GE(static_cast<uint8_t>(c), 0x20);
    EXPECT_EQ(message.find("\xC2\x9B"), std::string::npos);
  }
  EXPECT_FALSE(Parse(with_name("\\ud800"), 1).ok());  // half a surrogate pair
}

TEST(SafetensorsHeader, EachTensorHasItsFields) {
  const std::string where = "header: tensor \"h.0.w\": ";
  ExpectInvalid(One(R"("shape":[1],"data_offsets":[0,1])"), 1, where + "it has no dtype");
  ExpectInvalid(One(R"("dtype":"U8","data_offsets":[0,1])"), 1, where + "it has no shape");
  ExpectInvalid(One(R"("dtype":"U8","shape":[1])"), 1, where + "it has no data_offsets");
  // Fields of one tensor do not stand in for the next one's.
  const std::string first = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"h.0.w":{)";
  ExpectInvalid(first + R"("shape":[1],"data_offsets":[0,1]}})", 1, where + "it has no dtype");
  ExpectInvalid(first + R"("dtype":"U8","data_offsets":[0,1]}})", 1, where + "it has no shape");
  ExpectInvalid(first + R"("dtype":"U8","shape":[1]}})", 1, where + "it has no data_offsets");
}

TEST(SafetensorsHeader, FieldsHaveTheirTypes) {
  const std::string where = "header: tensor \"h.0.w\": ";
  ExpectInvalid(R"({"h.0.w":1})", 0, where + "an object is expected");
  ExpectInvalid(R"({"h.0.w":[]})", 0, where + "an object is expected");
  ExpectInvalid(One(R"("dtype":1)"), 0, where + "dtype is a string");
  ExpectInvalid(One(R"("dtype":["U8"])"), 0, where + "dtype is a string");
  for (const char* bad :
       {"-1", "1.0", "1e3", "\"1\"", "null", "true", "[1]", "{}", "-0", "18446744073709551616"}) {
    ExpectInvalid(F32("[" + std::string(bad) + "]", "[0,4]"), 4,
                  where + "shape is an array of counts");
    ExpectInvalid(F32("[1]", "[0," + std::string(bad) + "]"), 4,
                  where + "data_offsets is an array of counts");
  }
  ExpectInvalid(F32("1", "[0,4]"), 4, where + "shape is an array of counts");
  ExpectInvalid(F32("{\"a\":1}", "[0,4]"), 4, where + "shape is an array of counts");
  ExpectInvalid(F32("[1]", "[4]"), 4, where + "data_offsets is not a begin and an end");
  ExpectInvalid(F32("[1]", "[]"), 4, where + "data_offsets is not a begin and an end");
  ExpectInvalid(F32("[1]", "[0,4,8]"), 4, where + "data_offsets is not a begin and an end");
  ExpectInvalid(R"({"__metadata__":[]})", 0, "header: __metadata__: an object is expected");
  ExpectInvalid(R"({"__metadata__":{"k":1}})", 0, "header: __metadata__: values are strings");
  ExpectInvalid(R"({"__metadata__":{"k":{}}})", 0, "header: __metadata__: values are strings");
}

TEST(SafetensorsHeader, LimitsTheRank) {
  EXPECT_TRUE(Parse(F32("[1,1,1,1,1,1,1,1]", "[0,4]"), 4).ok());
  ExpectInvalid(F32("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4,
                "header: tensor \"h.0.w\": it has more than 8 dimensions");
}

TEST(SafetensorsHeader, ShapeMatchesTheStoredRange) {
  ExpectInvalid(F32("[2,3]", "[0,20]"), 20,
                "header: tensor \"h.0.w\": F32 [2, 3] takes 24 bytes, its stored range has 20");
  ExpectInvalid(F32("[]", "[0,0]"), 0,
                "header: tensor \"h.0.w\": F32 [] takes 4 bytes, its stored range has 0");
}

TEST(SafetensorsHeader, ShapeProductsDoNotOverflow) {
  for (const char* shape :
       {"[4294967296, 4294967296]", "[9223372036854775807, 2]", "[4, 1073741823, 1073741825]",
        "[4611686018427387904]", "[18446744073709551615]", "[0, 4294967296, 4294967296]",
        "[4294967296, 0, 4294967296]", "[4294967296, 4294967296, 0]",
        "[2147483648, 2147483648, 2147483648, 2147483648, 0]"}) {
    ExpectInvalid(
        F32(shape, "[0,0]"), 0,
        "header: tensor \"h.0.w\": F32 " + std::string(shape) + " is larger than any file");
  }
}

TEST(SafetensorsHeader, RangesLieInTheFile) {
  const std::string json = F32("[2]", "[0,8]");
  ExpectInvalid(json, 4,
                "header: tensor \"h.0.w\": stored range ends at " +
                    std::to_string(16 + json.size()) + ", file has " +
                    std::to_string(12 + json.size()) + " bytes");
  const std::string huge = F32("[2]", "[18446744073709551607,18446744073709551615]");
  ExpectInvalid(huge, 8,
                "header: tensor \"h.0.w\": stored range ends at 18446744073709551615, file has " +
                    std::to_string(16 + huge.size()) + " bytes");
  ExpectInvalid(F32("[2]", "[8,0]"), 8,
                "header: tensor \"h.0.w\": data_offsets end at 0 before they begin at 8");
}

// Two U8 tensors "a" and "b" at these ranges.
std::string Two(const std::string& a, int a_bytes, const std::string& b, int b_bytes) {
  const auto tensor = [](const char* name, const std::string& range, int bytes) {
    return "\"" + std::string(name) + "\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(bytes) +
           "],\"data_offsets\":" + range + "}";
  };
  return "{" + tensor("a", a, a_bytes) + "," + tensor("b", b, b_bytes) + "}";
}

TEST(SafetensorsHeader, RangesCoverTheDataExactly) {
  const auto at = [](const std::string& json, size_t offset) {
    return std::to_string(8 + json.size() + offset);
  };
  const std::string overlap = Two("[0,4]", 4, "[3,8]", 5);
  ExpectInvalid(overlap, 8,
                "tensor \"b\": stored range begins at " + at(overlap, 3) +
                    ", inside that of tensor \"a\", which ends at " + at(overlap, 4));
  const std::string same = Two("[0,4]", 4, "[0,4]", 4);
  ExpectInvalid(same, 4,
                "tensor \"b\": stored range begins at " + at(same, 0) +
                    ", inside that of tensor \"a\", which ends at " + at(same, 4));
  const std::string inside = Two("[0,4]", 4, "[2,2]", 0);
  ExpectInvalid(inside, 4,
                "tensor \"b\": stored range begins at " + at(inside, 2) +
                    ", inside that of tensor \"a\", which ends at " + at(inside, 4));
  const std::string hole = Two("[0,4]", 4, "[5,8]", 3);
  ExpectInvalid(hole, 8,
                "tensor \"b\": stored range begins at " + at(hole, 5) + ", the bytes from " +
                    at(hole, 4) + " on belong to no tensor");
  const std::string late = Two("[1,4]", 3, "[4,8]", 4);
  ExpectInvalid(late, 8,
                "tensor \"a\": stored range begins at " + at(late, 1) + ", the bytes from " +
                    at(late, 0) + " on belong to no tensor");
  const std::string trailing = Two("[0,4]", 4, "[4,8]", 4);
  EXPECT_TRUE(Parse(trailing, 8).ok());
  ExpectInvalid(
      trailing, 9,
      "the tensors end at " + at(trailing, 8) + ", file has " + at(trailing, 9) + " bytes");
  ExpectInvalid("{}", 1, "the tensors end at 10, file has 11 bytes");
}

}  // namespace
}  // namespace octavo::format
