// Pickles: what weights need is read, everything else is an error that names it. Nothing is
// executed: there is nothing that could.
#include "format/torch_pickle.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/format/sources_testing.h"
#include "tests/format/torch_testing.h"

namespace octavo::testing {
namespace {

using format::PickledTensor;
using format::ReadTorchPickle;

const std::string kFloats = Storage("FloatStorage", "0", 24);

void ExpectRefused(const std::string& pickle, std::string_view part) {
  const auto tensors = ReadTorchPickle(pickle);
  ExpectError(tensors.status(), ErrorCode::kInvalidFile, part);
}

TEST(ReadTorchPickle, ReadsAStateDict) {
  const std::string w = Tensor(kFloats, 6, Ints({3, 6}), Ints({6, 1}));
  const auto tensors = ReadTorchPickle(Pickle(Dict({{"w", w}, {"epoch", Int(3)}, {"b", w}})));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 2u);
  const PickledTensor& tensor = (*tensors)[0];
  EXPECT_EQ(tensor.name, "w");
  EXPECT_EQ(tensor.dtype, DType::kF32);
  EXPECT_EQ(tensor.storage, "0");
  EXPECT_EQ(tensor.storage_bytes, 96u);
  EXPECT_EQ(tensor.storage_offset, 6u);
  EXPECT_EQ(tensor.shape, (std::vector<uint64_t>{3, 6}));
  EXPECT_EQ(tensor.strides, (std::vector<uint64_t>{6, 1}));
}

TEST(ReadTorchPickle, FindsTheDictOfATrainingRun) {
  const std::string w = Tensor(kFloats, 0, Ints({24}), Ints({1}));
  for (const char* key : {"state_dict", "model", "module"}) {
    const auto tensors = ReadTorchPickle(Pickle(Dict({{"lr", "N"}, {key, Dict({{"w", w}})}})));
    ASSERT_TRUE(tensors.ok()) << tensors.status().message();
    EXPECT_EQ(tensors->at(0).name, "w");
  }
  ExpectRefused(Pickle(Dict({{"optimizer", Dict({{"w", w}})}})), "no tensors");
  ExpectRefused(Pickle(w), "a tensor, not a dict");
  ExpectRefused(Pickle(Dict({{"w", w}, {"w", w}})), "two tensors are named \"w\"");
}

TEST(ReadTorchPickle, TakesEveryFormThatTorchWrites) {
  const std::string parameter = Global("torch._utils", "_rebuild_parameter") +
                                Tuple({Tensor(kFloats, 0, Ints({4}), Ints({1})), "\x88",
                                       Global("collections", "OrderedDict") + ")R"}) +
                                "R";
  const std::string untyped = Tuple({Str("storage"), Global("torch.storage", "UntypedStorage"),
                                     Str("1"), Str("cuda:0"), Int(8)}) +
                              "Q";
  const std::string v3 = Global("torch._utils", "_rebuild_tensor_v3") +
                         Tuple({untyped, Int(0), Ints({8}), Ints({1}), "\x89", "N",
                                Global("torch", "float8_e4m3fn")}) +
                         "R";
  const std::string old = Global("torch._utils", "_rebuild_tensor") +
                          Tuple({kFloats, "K\x02", "(K\x02t", "(K\x01t"}) + "R";
  const std::string ordered = Global("collections", "OrderedDict") + ")R(" + Str("p") + parameter +
                              Str("f") + v3 + Str("o") + old + "u}" + Str("_metadata") + "}sb";
  const auto tensors = ReadTorchPickle(Pickle(ordered));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 3u);
  EXPECT_EQ(tensors->at(1).dtype, DType::kF8E4M3);
  EXPECT_EQ(tensors->at(1).storage_bytes, 8u);
  EXPECT_EQ(tensors->at(2).storage_offset, 2u);
}

TEST(ReadTorchPickle, NamesEveryOpcodeThatIsNotOnTheList) {
  const struct {
    uint8_t code;
    const char* name;
  } kCases[] = {{'i', "INST"},
                {'o', "OBJ"},
                {0x81, "NEWOBJ"},
                {0x92, "NEWOBJ_EX"},
                {0x93, "STACK_GLOBAL"},
                {0x82, "EXT1"},
                {0x83, "EXT2"},
                {0x84, "EXT4"},
                {'P', "PERSID"},
                {'2', "DUP"},
                {'0', "POP"},
                {'1', "POP_MARK"},
                {0x94, "MEMOIZE"},
                {0x95, "FRAME"},
                {0x96, "BYTEARRAY8"},
                {0x8f, "EMPTY_SET"},
                {0x90, "ADDITEMS"},
                {0x91, "FROZENSET"},
                {'d', "DICT"},
                {'l', "LIST"},
                {'B', "BINBYTES"},
                {'C', "SHORT_BINBYTES"},
                {0x8b, "LONG4"},
                {'L', "LONG"},
                {'I', "INT"},
                {'S', "STRING"},
                {'V', "UNICODE"},
                {'T', "BINSTRING"},
                {'g', "GET"},
                {'p', "PUT"},
                {0x8c, "SHORT_BINUNICODE"},
                {0x8d, "BINUNICODE8"},
                {0x97, "NEXT_BUFFER"},
                {0x98, "READONLY_BUFFER"},
                {'F', "FLOAT"}};
  for (const auto& c : kCases) {
    ExpectRefused(Pickle(std::string(1, static_cast<char>(c.code)) + "os\nsystem\n"),
                  "the opcode " + std::string(c.name) + " is not one of those");
  }
  ExpectRefused(Pickle("\xff"), "the opcode 0xff");
  ExpectRefused("\x80\x04.", "PROTO 4");
  ExpectRefused(Pickle("\x80\x02}"), "PROTO");
}

TEST(ReadTorchPickle, NamesEveryGlobalThatIsNotOnTheList) {
  const std::pair<const char*, const char*> kCases[] = {
      {"os", "system"},
      {"posix", "system"},
      {"nt", "system"},
      {"builtins", "eval"},
      {"builtins", "exec"},
      {"__builtin__", "eval"},
      {"subprocess", "Popen"},
      {"runpy", "_run_code"},
      {"torch", "load"},
      {"torch.hub", "load"},
      {"torch.serialization", "load"},
      {"pip", "main"},
      {"torch.storage", "_load_from_bytes"},
      {"torch", "device"},
      {"numpy.core.multiarray", "_reconstruct"},
      {"functools", "partial"},
      {"operator", "attrgetter"},
      {"collections", "Counter"},
      {"os", "OrderedDict"},
      {"torch", "_rebuild_tensor_v2"},
      {"evil", "FloatStorage"},
      {"collections", "OrderedDict.__init__"},
      {"torch._utils", "_rebuild_tensor_v2.__globals__"},
      {"torch", "ComplexFloatStorage"},
      {"", ""},
      {"collections", "orderedDict"}};
  for (const auto& [module, name] : kCases) {
    ExpectRefused(Pickle(Global(module, name) + "(" + Str("echo pwned") + "tR"),
                  "the global \"" + std::string(module) + "." + name + "\" is not one of those");
  }
}

TEST(ReadTorchPickle, NothingIsDoneToWhatItIsNotMeantFor) {
  const std::string ordered = Global("collections", "OrderedDict");
  const std::string rebuild = Global("torch._utils", "_rebuild_tensor_v2");
  const std::pair<std::string, const char*> kCases[] = {
      {"](K\x01K\x02u", "SETITEMS on a list"},
      {"NK\x01K\x02s", "SETITEMS on None"},
      {"}K\x01"
       "a",
       "APPENDS on a dict"},
      {ordered + "K\x01K\x02s", "SETITEMS on the global"},
      {kFloats + "K\x01K\x02s", "SETITEMS on a storage"},
      {"}(K\x01u", "without a value"},
      {"]}b", "BUILD on a list"},
      {rebuild + "}b", "BUILD on the global"},
      {"K\x01)R", "REDUCE of an integer"},
      {"])R", "REDUCE of a list"},
      {ordered + "]R", "without a tuple"},
      {ordered + Tuple({"]"}) + "R", "other arguments"},
      {Global("torch", "FloatStorage") + ")R", "REDUCE of the global torch.FloatStorage"},
      {Global("torch", "float8_e4m3fn") + ")R", "REDUCE of the global"},
      {rebuild + ")R", "other arguments"},
      {Storage("FloatStorage", std::string(257, '0'), 24), "a storage whose key has 257 bytes"},
      {rebuild + Tuple({"N", "N", "N", "N", "N", "N"}) + "R", "not described as torch does it"},
      {rebuild + Tuple({kFloats, Int(-1), Ints({1}), Ints({1}), "N", "N"}) + "R", "not described"},
      {rebuild + Tuple({kFloats, Int(0), Ints({-1}), Ints({1}), "N", "N"}) + "R", "not described"},
      {rebuild + Tuple({kFloats, Int(0), Ints({1}), Ints({-1}), "N", "N"}) + "R", "not described"},
      {rebuild + Tuple({kFloats, Int(0), Ints({1, 1}), Ints({1}), "N", "N"}) + "R",
       "not described"},
      {rebuild +
           Tuple({kFloats, Int(0), Ints({1, 1, 1, 1, 1, 1, 1, 1, 1}),
                  Ints({1, 1, 1, 1, 1, 1, 1, 1, 1}), "N", "N"}) +
           "R",
       "not described"},
      {rebuild +
           Tuple({kFloats, Int(0), Ints({1}), Ints({1}), "N", "N", Dict({{"conj", "\x88"}})}) + "R",
       "conjugated"},
      {"NQ", "describes no storage"},
      {Str("storage") + "Q", "describes no storage"},
      {Tuple({Str("storage"), ordered, Str("0"), Str("cpu"), Int(1)}) + "Q",
       "describes no storage"},
      {Tuple({Str("module"), Global("torch", "FloatStorage"), Str("0"), Str("cpu"), Int(1)}) + "Q",
       "describes no storage"},
      {Tuple({Str("storage"), Global("torch", "FloatStorage"), Str("0"), Str("cpu"), Int(-1)}) +
           "Q",
       "describes no storage"},
      {Tuple({Str("storage"), Global("torch", "FloatStorage"), Str("0"), Str("cpu"), Int(1), "N"}) +
           "Q",
       "describes no storage"},
      {"t", "no mark"},
      {"R", "empty stack"},
      {"(R", "empty stack"},
      {"Q", "empty stack"},
      {"N(s", "empty stack"},
      {"\x85", "more than the stack has"},
      {"N\x86", "more than the stack has"},
      {"q\x01", "empty stack"},
      {"h\x07", "BINGET of 7"},
      {"r\xff\xff\xff\xff", "empty stack"},
      {"Nr\xff\xff\xff\xffj\xff\xff\xff\x7f", "BINGET of 2147483647"},
      {"X\xff\xff\xff\xff"
       "abc",
       "ends behind the pickle"},
      {"U\xff"
       "abc",
       "ends behind the pickle"},
      {"\x8a\xff"
       "abc",
       "an integer of 255 bytes"},
      {"ccollections", "ends within an opcode"},
      {"J\x01", "ends within an opcode"},
      {"NN", "values left over"},
      {"(N", "values left over"},
      {"", "left over"}};
  for (const auto& [body, part] : kCases) {
    SCOPED_TRACE(part);
    ExpectRefused(Pickle(body), part);
  }
  ExpectRefused(Pickle("N") + "N", "something follows");
  ExpectRefused("", "PROTO");
  ExpectRefused("\x80", "PROTO");
}

TEST(ReadTorchPickle, EveryTruncationIsAnError) {
  const std::string whole = Pickle(Dict({{"w", Tensor(kFloats, 0, Ints({24}), Ints({1}))}}));
  ASSERT_TRUE(ReadTorchPickle(whole).ok());
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(ReadTorchPickle(whole.substr(0, i)).code(), ErrorCode::kInvalidFile) << i;
  }
}

// Each would take gigabytes, minutes or the stack if values were copied, walked or nested.
TEST(ReadTorchPickle, WhatGrowsDoesNotHurt) {
  const auto start = std::chrono::steady_clock::now();
  std::string laughs = "]q\x01";
  for (int i = 0; i < 1000; ++i) laughs += "(h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01tq\x01";
  ExpectRefused(Pickle(laughs), "left over");
  std::string itself = "]q\x01";
  for (int i = 0; i < 1000; ++i)
    itself +=
        "h\x01"
        "a";
  ExpectRefused(Pickle(itself), "a list, not a dict");
  ExpectRefused(Pickle(std::string(1'000'000, '(')), "more than 1000 marks");
  std::string deep = "N";
  for (int i = 0; i < 1'000'000; ++i) deep += "\x85";
  ExpectRefused(Pickle(deep), "a tuple, not a dict");
  ExpectRefused(Pickle(std::string(5'000'000, '}')), "4,000,000 values");
  // A tuple of a million numbers as the size of a hundred thousand tensors.
  std::string extents = "(";
  for (int i = 0; i < 1'000'000; ++i) extents += "K\x01";
  extents += "tq\x01";
  std::string tensors;
  for (int i = 0; i < 100'000; ++i) tensors += "h\x01";
  ExpectRefused(Pickle(extents + Global("torch._utils", "_rebuild_tensor_v2") +
                       Tuple({kFloats, Int(0), "h\x01", "h\x01", "N", "N"}) + "R"),
                "not described");
  ExpectRefused(Pickle(extents + Global("collections", "OrderedDict") + "h\x01R"),
                "too many arguments");
  std::string dict = "}(";
  for (int i = 0; i < 100'000; ++i) dict += Str("state_dict") + "}";
  ExpectRefused(Pickle(dict + "u"), "no tensors");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

}  // namespace
}  // namespace octavo::testing
