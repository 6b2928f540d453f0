#include "libquant/kept_columns.h"

#include <gtest/gtest.h>

namespace octavo::quant {
namespace {

std::vector<Decision> Model() {
  std::vector<Decision> decisions(3);
  decisions[0].module = "a";
  decisions[0].in_features = 100;
  decisions[0].out_features = 10;
  decisions[1].module = "b";
  decisions[1].in_features = 50;
  decisions[1].out_features = 40;
  for (Decision& decision : decisions) {
    decision.kind = format::ModuleKind::kLinear;
    decision.action = Action::kQuantize;
  }
  decisions[2].module = "head";
  decisions[2].action = Action::kKeep;
  return decisions;
}

Result<KeptColumns> Choose(const std::string& modules, std::optional<double> budget = {}) {
  std::vector<std::string> warnings;
  return ChooseKeptColumns(R"({"octavo_profile": 1, "modules": )" + modules + "}", budget, Model(),
                           &warnings);
}

constexpr char kTwoModules[] =
    R"({"a": {"in_features": 100, "features": [{"index": 41, "max_abs": 39.5, "share": 0.8},
                                               {"index": 7, "max_abs": 8}]},
        "b": {"in_features": 50, "features": [{"index": 3, "max_abs": 20.0},
                                              {"index": 2, "max_abs": 20.0}]}})";

TEST(ChooseKeptColumns, KeepsAllInAscendingOrderWithoutABudget) {
  const Result<KeptColumns> kept = Choose(kTwoModules);
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  EXPECT_EQ(*kept, (KeptColumns{{"a", {7, 41}}, {"b", {2, 3}}}));
}

// All multiplications: 100 * 10 + 50 * 40 = 3000. The features cost 10 (39.5), 40, 40 (20.0, index
// 2 first), 10 (8).
TEST(ChooseKeptColumns, SpendsTheBudgetOnTheLargestOverTheWholeModel) {
  EXPECT_EQ(*Choose(kTwoModules, 49.0 / 3000), (KeptColumns{{"a", {41}}}));
  EXPECT_EQ(*Choose(kTwoModules, 50.0 / 3000), (KeptColumns{{"a", {41}}, {"b", {2}}}));
  EXPECT_EQ(*Choose(kTwoModules, 99.0 / 3000), (KeptColumns{{"a", {41}}, {"b", {2, 3}}}));
  EXPECT_EQ(*Choose(kTwoModules, 1.0), *Choose(kTwoModules));
  EXPECT_TRUE(Choose(kTwoModules, 1e-9)->empty());
}

TEST(ChooseKeptColumns, SaysWhatIsWrong) {
  const auto message = [](const std::string& modules) {
    const Result<KeptColumns> kept = Choose(modules);
    EXPECT_EQ(kept.code(), ErrorCode::kInvalidArgument) << modules;
    return kept.status().message();
  };
  const auto of_a = [](const std::string& features) {
    return R"({"a": {"in_features": 100, "features": )" + features + "}}";
  };
  EXPECT_NE(message(R"({"c": {}})").find("no module \"c\""), std::string::npos);
  EXPECT_NE(message(R"({"a": {"in_features": 100, "features": []}, "a": {}})")
                .find("the key \"a\" stands twice"),
            std::string::npos);
  EXPECT_NE(message(of_a(R"([{"index": 1, "max_abs": 1, "index": 2}])"))
                .find("the key \"index\" stands twice"),
            std::string::npos);
  EXPECT_NE(message(R"({"a": {"in_features": 99, "features": []}})").find("in_features"),
            std::string::npos);
  EXPECT_NE(message(of_a(R"([{"index": 100, "max_abs": 1}])")).find("index 100"),
            std::string::npos);
  EXPECT_NE(
      message(of_a(R"([{"index": 5, "max_abs": 1}, {"index": 5, "max_abs": 2}])")).find("twice"),
      std::string::npos);
  message(of_a(R"([{"index": -1, "max_abs": 1}])"));
  message(of_a(R"([{"index": 1.5, "max_abs": 1}])"));
  message(of_a(R"([{"index": 1, "max_abs": -1}])"));
  message(of_a(R"([{"index": 1}])"));
  message(of_a("[3]"));
  message(of_a("{}"));
  message("[]");
}

TEST(ChooseKeptColumns, RefusesOtherVersionsAndTexts) {
  std::vector<std::string> warnings;
  for (const std::string text :
       {"", "[]", R"({"modules": {}})", R"({"octavo_profile": 2, "modules": {}})",
        R"({"octavo_profile": "1", "modules": {}})", R"({"octavo_profile": 1})"}) {
    EXPECT_EQ(ChooseKeptColumns(text, {}, Model(), &warnings).code(), ErrorCode::kInvalidArgument)
        << text;
  }
}

TEST(ChooseKeptColumns, LeavesModulesThatAreNotQuantized) {
  std::vector<std::string> warnings;
  const Result<KeptColumns> kept = ChooseKeptColumns(
      R"({"octavo_profile": 1, "modules": {"head": {}}})", {}, Model(), &warnings);
  ASSERT_TRUE(kept.ok());
  EXPECT_TRUE(kept->empty());
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].find("\"head\""), std::string::npos);
}

TEST(ChooseKeptColumns, AScoreRanksInPlaceOfTheLargestValue) {
  const std::string modules =
      R"({"a": {"in_features": 100, "features": [{"index": 41, "max_abs": 39.5, "score": 1},
                                                 {"index": 7, "max_abs": 8, "score": 9}]}})";
  const Result<KeptColumns> kept = Choose(modules, 0.006);
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  EXPECT_EQ(kept->at("a"), std::vector<int32_t>{7});
  const auto message = [](const std::string& features) {
    return Choose(R"({"a": {"in_features": 100, "features": )" + features + "}}")
        .status()
        .message();
  };
  EXPECT_NE(message(R"([{"index": 1, "max_abs": 1, "score": -1}])").find("score"),
            std::string::npos);
  EXPECT_NE(message(R"([{"index": 1, "max_abs": 1, "score": 1}, {"index": 2, "max_abs": 1}])")
                .find("some have none"),
            std::string::npos);
}

}  // namespace
}  // namespace octavo::quant
