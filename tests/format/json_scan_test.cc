#include "format/json_scan.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/testing/random.h"

namespace octavo::format {
namespace {

// Writes the events down; says stop at the string "stop".
class Recorder : public JsonEvents {
 public:
  std::string log;
  bool Null() override { return Note("null"); }
  bool Bool(bool value) override { return Note(value ? "true" : "false"); }
  bool Count(uint64_t value) override { return Note("count " + std::to_string(value)); }
  bool Number(double value) override {
    char text[64];
    std::snprintf(text, sizeof(text), "number %.17g", value);
    return Note(text);
  }
  bool String(std::string_view value) override {
    return Note("string " + std::string(value)) && value != "stop";
  }
  bool Key(std::string_view key) override {
    keys.push_back(key);
    return Note("key " + std::string(key));
  }
  bool Begin(bool is_array) override { return Note(is_array ? "[" : "{"); }
  bool End(bool is_array) override {
    keys_at_the_end.assign(keys.begin(), keys.end());
    return Note(is_array ? "]" : "}");
  }
  std::vector<std::string_view> keys;  // theirs until the scan returns
  std::vector<std::string> keys_at_the_end;

 private:
  bool Note(const std::string& what) {
    log += (log.empty() ? "" : ", ") + what;
    return true;
  }
};

std::string EventsOf(std::string_view text) {
  Recorder recorder;
  const JsonScan scan = ScanJson(text, &recorder);
  if (scan.malformed_at != 0) return "malformed at " + std::to_string(scan.malformed_at);
  return scan.is_whole ? recorder.log : recorder.log + " (stopped)";
}

TEST(ScanJson, TellsEveryKindOfValue) {
  EXPECT_EQ(
      EventsOf(R"( {"a" : [ 1 , -2.5e3,true,false,null,"x",{}, [] ] , "b":{"c":"d"}} )"),
      "{, key a, [, count 1, number -2500, true, false, null, string x, {, }, [, ], ], key b, "
      "{, key c, string d, }, }");
  EXPECT_EQ(EventsOf("17"), "count 17");
  EXPECT_EQ(EventsOf("\t\"\"\r\n"), "string ");
}

TEST(ScanJson, TellsCountsFromOtherNumbers) {
  EXPECT_EQ(EventsOf("18446744073709551615"), "count 18446744073709551615");
  EXPECT_EQ(EventsOf("18446744073709551616"), "number 1.8446744073709552e+19");
  EXPECT_EQ(EventsOf("-0"), "number -0");
  EXPECT_EQ(EventsOf("1.0"), "number 1");
  EXPECT_EQ(EventsOf("1e2"), "number 100");
  EXPECT_EQ(EventsOf("4.9e-324"), "number 4.9406564584124654e-324");
  EXPECT_EQ(EventsOf("1.7976931348623157e308"), "number 1.7976931348623157e+308");
}

TEST(ScanJson, TakesTooSmallNumbersForZeroAndRefusesTooLargeOnes) {
  EXPECT_EQ(EventsOf("1e-400"), "number 0");
  EXPECT_EQ(EventsOf("0." + std::string(400, '0') + "1"), "number 0");
  EXPECT_EQ(EventsOf("1e-99999999999999999999"), "number 0");
  EXPECT_EQ(EventsOf("0e99999999999999999999"), "number 0");
  EXPECT_EQ(EventsOf("1e400"), "malformed at 6");
  EXPECT_EQ(EventsOf("1e99999999999999999999"), "malformed at 23");
  EXPECT_EQ(EventsOf("1" + std::string(400, '0')), "malformed at 402");
}

TEST(ScanJson, DecodesStrings) {
  EXPECT_EQ(EventsOf(R"("\"\\\/\b\f\n\r\t")"), "string \"\\/\b\f\n\r\t");
  EXPECT_EQ(EventsOf(R"("a\u00e9b\u20ac\ud834\udd1E")"), "string aéb€𝄞");
  EXPECT_EQ(EventsOf(R"("\u0000")"), std::string("string \0", 8));
  EXPECT_EQ(EventsOf("\"é€𝄞 and a tail of more than eight bytes\""),
            "string é€𝄞 and a tail of more than eight bytes");
}

TEST(ScanJson, KeepsKeysUntilTheEnd) {
  Recorder recorder;
  EXPECT_TRUE(ScanJson(R"({"\u0061":"\u0062","\u0063":{"d":"\u0065\u0065"}})", &recorder).is_whole);
  EXPECT_EQ(recorder.keys_at_the_end, (std::vector<std::string>{"a", "c", "d"}));
}

TEST(ScanJson, SaysWhereTheTextIsNoJson) {
  const std::pair<std::string, size_t> cases[] = {{"", 1},
                                                  {" ", 2},
                                                  {"{", 2},
                                                  {"[1", 3},
                                                  {"{}{}", 3},
                                                  {"{} x", 4},
                                                  {"{\"a\":1,}", 8},
                                                  {"[1,]", 4},
                                                  {"[1 2]", 4},
                                                  {"{\"a\" 1}", 6},
                                                  {"{1:2}", 2},
                                                  {"[}", 2},
                                                  {"{]", 2},
                                                  {"01", 2},
                                                  {"-", 2},
                                                  {"+1", 1},
                                                  {"1.", 3},
                                                  {"1.e1", 3},
                                                  {".5", 1},
                                                  {"1e", 3},
                                                  {"1e+", 4},
                                                  {"tru", 4},
                                                  {"trux", 4},
                                                  {"nul", 4},
                                                  {"NaN", 1},
                                                  {"\"", 2},
                                                  {"\"a\nb\"", 3},
                                                  {"\"a\x1f\"", 3},
                                                  {"\"\\x\"", 3},
                                                  {"\"\\u12g4\"", 6},
                                                  {"\"\\u12", 6},
                                                  {"'a'", 1},
                                                  {"\"\\", 3},
                                                  {"// c\n1", 1},
                                                  {"\"\\ud800\"", 8},
                                                  {"\"\\udc00\"", 8},
                                                  {"\"\\ud800\\n\"", 9},
                                                  {"\"\\ud800\\ud800\"", 14},
                                                  {"\"\xff\"", 2},
                                                  {"\"a\xc3\"", 3},
                                                  {"\"\xc0\x80\"", 2},
                                                  {"\"\xed\xa0\x80\"", 2},
                                                  {"\"\xf4\x90\x80\x80\"", 2},
                                                  {"\"12345678\xc3(\"", 10}};
  for (const auto& [text, at] : cases) {
    EXPECT_EQ(EventsOf(text), "malformed at " + std::to_string(at)) << text;
  }
}

TEST(ScanJson, StopsWhereItIsTold) {
  EXPECT_EQ(EventsOf(R"(["a","stop","b)"), "[, string a, string stop (stopped)");
}

// A million levels cost a bit each, no stack.
TEST(ScanJson, DoesNotRecurse) {
  EXPECT_EQ(EventsOf(std::string(1'000'000, '[')), "malformed at 1000001");
}

// Another parser and this one must take and refuse the same texts.
TEST(ScanJson, AgreesWithASecondParser) {
  const std::string original =
      R"({"k\u00e9y":[0,-1,2.5e-3,1E5,true,false,null],"long name.without.any.escape":"\ud834\udd1e é\\",)"
      R"("o":{"p":{},"q":[]},"n":-0.0})";
  constexpr std::string_view kBytes = "{}[]:,\"\\0129.eE+-tfnu \n\xc3\xa9\xff";
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  testing::Random random(seed);
  size_t num_good = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::string text = original;
    for (uint64_t edits = 1 + random.Below(2); edits > 0; --edits) {
      const size_t at = random.Below(text.size());
      const char byte = kBytes[random.Below(kBytes.size())];
      switch (random.Below(3)) {
        case 0:
          text[at] = byte;
          break;
        case 1:
          text.insert(at, 1, byte);
          break;
        default:
          text.erase(at, 1);
      }
    }
    const bool is_good = nlohmann::json::accept(text);
    num_good += is_good;
    Recorder recorder;
    ASSERT_EQ(ScanJson(text, &recorder).is_whole, is_good) << text;
  }
  EXPECT_GT(num_good, 1000u);
}

}  // namespace
}  // namespace octavo::format
