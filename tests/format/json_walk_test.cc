#include "format/json_walk.h"

#include <gtest/gtest.h>

namespace octavo::format {
namespace {

// Writes down what it is told.
class Recorder : public JsonWalker {
 public:
  std::string log;

 protected:
  Status OnBegin(bool is_array) override { return Note(is_array ? "[" : "{"); }
  Status OnEnd() override { return Note("end"); }
  Status OnScalar(const JsonScalar& scalar) override {
    constexpr std::string_view kTypes[] = {"null", "bool", "count", "number", "string"};
    if (scalar.text == "stop") return Status(ErrorCode::kRefused, "stopped");
    std::string value(kTypes[static_cast<size_t>(scalar.type)]);
    if (scalar.is_count()) value += " " + std::to_string(scalar.count);
    if (scalar.is_string()) value += " " + std::string(scalar.text);
    return Note(value);
  }

 private:
  Status Note(std::string_view what) {
    for (const std::string& key : path()) log += "/" + key;
    log += " " + std::string(what) + "\n";
    return {};
  }
};

TEST(JsonWalker, TellsValuesWithTheirPaths) {
  Recorder recorder;
  const Status status = recorder.Walk(
      R"( {"a":{"b":"\u00e9","c":[1,{"d":-1}]},"e":null,"f":[true,0.5],"g":18446744073709551615} )");
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(recorder.log,
            " {\n/a {\n/a/b string é\n/a/c [\n/a/c/ count 1\n/a/c/ {\n/a/c//d number\n/a/c/ end\n"
            "/a/c end\n/a end\n/e null\n/f [\n/f/ bool\n/f/ number\n/f end\n"
            "/g count 18446744073709551615\n end\n");
}

TEST(JsonWalker, StopsAtTheFirstError) {
  Recorder recorder;
  const Status status = recorder.Walk(R"({"a":"stop","b":1,"a":2)");
  EXPECT_EQ(status.code(), ErrorCode::kRefused);
  EXPECT_EQ(status.message(), "stopped");
  EXPECT_EQ(recorder.log, " {\n");
}

TEST(JsonWalker, LimitsTheKeysOfTheWholeText) {
  EXPECT_TRUE(JsonWalker().Walk(R"({"x":[{"y":0},{"y":0}]})", 3).ok());
  const Status status = JsonWalker().Walk(R"({"x":[{"y":0},{"y":0},{"y":0}]})", 3);
  EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
  EXPECT_EQ(status.message(), "it has more than 3 keys");
}

TEST(JsonWalker, LimitsTheDepth) {
  const auto nested = [](size_t depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_TRUE(JsonWalker().Walk(nested(JsonWalker::kMaxDepth)).ok());
  EXPECT_EQ(JsonWalker().Walk(nested(JsonWalker::kMaxDepth + 1)).message(),
            "its JSON is nested too deeply");
}

TEST(JsonWalker, NumbersMustBeFinite) {
  for (const std::string bad : {"NaN", "Infinity", "-Infinity", "1e999", "01", ".5", "+1", "0x1"}) {
    EXPECT_EQ(JsonWalker().Walk("{\"a\":" + bad + "}").code(), ErrorCode::kInvalidFile) << bad;
  }
}

}  // namespace
}  // namespace octavo::format
