#include "format/torch_pickle.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "format/quote.h"
#include "octavo/shape.h"

namespace octavo::format {
namespace {

constexpr size_t kMaxValues = 4'000'000;  // a tensor takes about 25
constexpr size_t kMaxMarks = 1000;        // torch nests about five deep
constexpr size_t kMaxLongBytes = 8;
constexpr size_t kMaxStorageKeyBytes = 256;  // torch: a number
constexpr size_t kMaxArguments = 8;

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

// ---- What globals mean here
// -----------------------------------------------------------------------
enum class Meaning : uint8_t {
  kOrderedDict,
  kRebuildTensor,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kSize,
  kStorage,         // of elements of `dtype`
  kUntypedStorage,  // of bytes
  kDType,
};
struct Global {
  std::string_view module;
  std::string_view name;
  Meaning meaning;
  DType dtype = DType::kU8;
};
constexpr Global kGlobals[] = {
    {"collections", "OrderedDict", Meaning::kOrderedDict},
    {"torch._utils", "_rebuild_tensor", Meaning::kRebuildTensor},
    {"torch._utils", "_rebuild_tensor_v2", Meaning::kRebuildTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", Meaning::kRebuildTensorV3},
    {"torch._utils", "_rebuild_parameter", Meaning::kRebuildParameter},
    {"torch", "Size", Meaning::kSize},
    {"torch", "DoubleStorage", Meaning::kStorage, DType::kF64},
    {"torch", "FloatStorage", Meaning::kStorage, DType::kF32},
    {"torch", "HalfStorage", Meaning::kStorage, DType::kF16},
    {"torch", "BFloat16Storage", Meaning::kStorage, DType::kBF16},
    {"torch", "LongStorage", Meaning::kStorage, DType::kI64},
    {"torch", "IntStorage", Meaning::kStorage, DType::kI32},
    {"torch", "ShortStorage", Meaning::kStorage, DType::kI16},
    {"torch", "CharStorage", Meaning::kStorage, DType::kI8},
    {"torch", "ByteStorage", Meaning::kStorage, DType::kU8},
    {"torch", "BoolStorage", Meaning::kStorage, DType::kBool},
    {"torch.storage", "UntypedStorage", Meaning::kUntypedStorage},
    {"torch", "float8_e4m3fn", Meaning::kDType, DType::kF8E4M3},
    {"torch", "float8_e5m2", Meaning::kDType, DType::kF8E5M2},
    {"torch", "uint16", Meaning::kDType, DType::kU16},
    {"torch", "uint32", Meaning::kDType, DType::kU32},
    {"torch", "uint64", Meaning::kDType, DType::kU64},
};

// ---- Opcodes
// --------------------------------------------------------------------------------------
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kBinFloat = 'G',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
};

// All that Python knows and this does not take, for messages.
struct OpcodeName {
  uint8_t code;
  std::string_view name;
};
constexpr OpcodeName kRefusedOpcodes[] = {
    {'0', "POP"},          {'1', "POP_MARK"},    {'2', "DUP"},           {'F', "FLOAT"},
    {'I', "INT"},          {'L', "LONG"},        {'P', "PERSID"},        {'S', "STRING"},
    {'T', "BINSTRING"},    {'V', "UNICODE"},     {'B', "BINBYTES"},      {'C', "SHORT_BINBYTES"},
    {'d', "DICT"},         {'g', "GET"},         {'i', "INST"},          {'l', "LIST"},
    {'o', "OBJ"},          {'p', "PUT"},         {0x81, "NEWOBJ"},       {0x82, "EXT1"},
    {0x83, "EXT2"},        {0x84, "EXT4"},       {0x8b, "LONG4"},        {0x8c, "SHORT_BINUNICODE"},
    {0x8d, "BINUNICODE8"}, {0x8e, "BINBYTES8"},  {0x8f, "EMPTY_SET"},    {0x90, "ADDITEMS"},
    {0x91, "FROZENSET"},   {0x92, "NEWOBJ_EX"},  {0x93, "STACK_GLOBAL"}, {0x94, "MEMOIZE"},
    {0x95, "FRAME"},       {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"},  {0x98, "READONLY_BUFFER"},
};

std::string DescribeOpcode(uint8_t code) {
  for (const OpcodeName& opcode : kRefusedOpcodes) {
    if (opcode.code == code) return std::string(opcode.name);
  }
  char text[8];
  std::snprintf(text, sizeof(text), "0x%02x", code);
  return text;
}

// ---- Values
// ---------------------------------------------------------------------------------------
enum class Kind : uint8_t {
  kNone,
  kBool,
  kInteger,
  kFloat,
  kString,
  kTuple,
  kList,
  kDict,
  kGlobal,
  kStorage,
  kTensor,
};
constexpr std::string_view kKindNames[] = {"None",     "a bool",    "an integer", "a float",
                                           "a string", "a tuple",   "a list",     "a dict",
                                           "a global", "a storage", "a tensor"};

// Values are shared by their numbers, never copied.
using Id = uint32_t;
struct Value {
  Kind kind = Kind::kNone;
  const Global* global = nullptr;  // kGlobal, kStorage (its type), kTensor with a type of its own
  int64_t integer = 0;             // kBool, kInteger, kStorage (elements), kTensor (offset)
  std::string_view text = {};      // kString, kStorage (key): within the pickle
  std::vector<Id> items =
      {};  // kTuple, kList; kDict: key, value, …; kTensor: storage, size, stride
};

class Machine {
 public:
  explicit Machine(std::string_view pickle) : pickle_(pickle) {}

  // The value that the pickle stands for.
  Result<Id> Run() {
    if (pickle_.size() < 2 || static_cast<uint8_t>(pickle_[0]) != kProto) {
      return Invalid("it does not begin with PROTO");
    }
    for (;;) {
      const size_t at = at_;
      OCTAVO_ASSIGN_OR_RETURN(const uint64_t opcode, Number(1));
      if (opcode == kStop) break;
      const Status status = Step(static_cast<uint8_t>(opcode));
      if (!status.ok()) {
        return Status(status.code(),
                      "byte " + std::to_string(at) + " of the pickle: " + status.message());
      }
    }
    if (at_ != pickle_.size()) return Invalid("something follows the end of the pickle");
    if (stack_.size() != 1 || !marks_.empty())
      return Invalid("the pickle ends with values left over");
    return stack_.back();
  }
  const Value& value(Id id) const { return values_[id]; }

 private:
  // ---- Reading
  Result<uint64_t> Number(size_t bytes) {
    if (pickle_.size() - at_ < bytes) return Invalid("the pickle ends within an opcode");
    uint64_t number = 0;
    for (size_t i = bytes; i-- > 0;) number = number << 8 | static_cast<uint8_t>(pickle_[at_ + i]);
    at_ += bytes;
    return number;
  }
  Result<std::string_view> Text(size_t length_bytes) {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t bytes, Number(length_bytes));
    if (pickle_.size() - at_ < bytes) return Invalid("a string ends behind the pickle");
    at_ += bytes;
    return pickle_.substr(at_ - bytes, bytes);
  }
  Result<std::string_view> Line() {
    const size_t end = pickle_.find('\n', at_);
    if (end == std::string_view::npos) return Invalid("the pickle ends within an opcode");
    const std::string_view line = pickle_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }

  // ---- The stack
  Status Push(Value value) {
    if (values_.size() >= kMaxValues) return Invalid("it makes more than 4,000,000 values");
    values_.push_back(std::move(value));
    stack_.push_back(static_cast<Id>(values_.size() - 1));
    return {};
  }
  // Values above the last mark.
  size_t Height() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  Result<Id> Pop() {
    if (Height() == 0) return Invalid("an operation on an empty stack");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Result<std::vector<Id>> PopToMark() {
    if (marks_.empty()) return Invalid("there is no mark on the stack");
    std::vector<Id> ids(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return ids;
  }
  Status PushTuple(size_t count) {
    if (Height() < count) return Invalid("a tuple of more than the stack has");
    Value tuple{.kind = Kind::kTuple};
    tuple.items.assign(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return Push(std::move(tuple));
  }
  // What items are put into: on top of the stack, and of that kind.
  Result<Value*> Target(Kind kind, const char* opcode) {
    if (Height() == 0) return Invalid(std::string(opcode) + " on an empty stack");
    Value& value = values_[stack_.back()];
    if (value.kind == kind) return &value;
    return Invalid(std::string(opcode) + " on " + Describe(value));
  }
  static std::string Describe(const Value& value) {
    if (value.kind != Kind::kGlobal)
      return std::string(kKindNames[static_cast<size_t>(value.kind)]);
    return "the global " + std::string(value.global->module) + "." +
           std::string(value.global->name);
  }

  // ---- Operations
  Status Step(uint8_t opcode) {
    switch (opcode) {
      case kProto: {
        OCTAVO_ASSIGN_OR_RETURN(const uint64_t version, Number(1));
        if (version == 2 && at_ == 2) return {};
        return Invalid("PROTO " + std::to_string(version) +
                       "; torch.save writes protocol 2, unless told otherwise");
      }
      case kNone:
        return Push({.kind = Kind::kNone});
      case kNewTrue:
      case kNewFalse:
        return Push({.kind = Kind::kBool, .integer = opcode == kNewTrue});
      case kBinInt1:
        return PushNumber(1);
      case kBinInt2:
        return PushNumber(2);
      case kBinInt: {
        OCTAVO_ASSIGN_OR_RETURN(const uint64_t number, Number(4));
        return Push({.kind = Kind::kInteger, .integer = static_cast<int32_t>(number)});
      }
      case kLong1:
        return PushLong();
      case kBinFloat:
        OCTAVO_RETURN_IF_ERROR(Number(8).status());
        return Push({.kind = Kind::kFloat});
      case kBinUnicode:
      case kShortBinString: {
        OCTAVO_ASSIGN_OR_RETURN(const std::string_view text, Text(opcode == kBinUnicode ? 4 : 1));
        return Push({.kind = Kind::kString, .text = text});
      }
      case kMark:
        if (marks_.size() >= kMaxMarks) return Invalid("more than 1000 marks on the stack");
        marks_.push_back(stack_.size());
        return {};
      case kEmptyTuple:
        return Push({.kind = Kind::kTuple});
      case kEmptyList:
        return Push({.kind = Kind::kList});
      case kEmptyDict:
        return Push({.kind = Kind::kDict});
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return PushTuple(opcode - kTuple1 + size_t{1});
      case kTuple: {
        OCTAVO_ASSIGN_OR_RETURN(std::vector<Id> items, PopToMark());
        return Push({.kind = Kind::kTuple, .items = std::move(items)});
      }
      case kAppend:
      case kAppends:
      case kSetItem:
      case kSetItems:
        return PutItems(opcode);
      case kBinPut:
      case kLongBinPut: {
        OCTAVO_ASSIGN_OR_RETURN(const uint64_t index, Number(opcode == kBinPut ? 1 : 4));
        if (Height() == 0) return Invalid("BINPUT on an empty stack");
        memo_[static_cast<uint32_t>(index)] = stack_.back();
        return {};
      }
      case kBinGet:
      case kLongBinGet: {
        OCTAVO_ASSIGN_OR_RETURN(const uint64_t index, Number(opcode == kBinGet ? 1 : 4));
        const auto it = memo_.find(static_cast<uint32_t>(index));
        if (it == memo_.end())
          return Invalid("BINGET of " + std::to_string(index) + ", which was not put");
        stack_.push_back(it->second);
        return {};
      }
      case kGlobal:
        return PushGlobal();
      case kBinPersId:
        return PushStorage();
      case kReduce:
        return Reduce();
      case kBuild: {  // an OrderedDict's attributes, which hold versions of modules
        OCTAVO_RETURN_IF_ERROR(Pop().status());
        return Target(Kind::kDict, "BUILD").status();
      }
      default:
        return Invalid("the opcode " + DescribeOpcode(opcode) +
                       " is not one of those that weights need; nothing was executed");
    }
  }

  Status PushNumber(size_t bytes) {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t number, Number(bytes));
    return Push({.kind = Kind::kInteger, .integer = static_cast<int64_t>(number)});
  }

  Status PushLong() {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t bytes, Number(1));
    if (bytes > kMaxLongBytes) return Invalid("an integer of " + std::to_string(bytes) + " bytes");
    OCTAVO_ASSIGN_OR_RETURN(uint64_t number, Number(bytes));
    const bool is_negative = bytes > 0 && (number >> (8 * bytes - 1) & 1) != 0;
    if (is_negative && bytes < 8) number |= ~uint64_t{0} << (8 * bytes);
    return Push({.kind = Kind::kInteger, .integer = static_cast<int64_t>(number)});
  }

  Status PutItems(uint8_t opcode) {
    const bool is_dict = opcode == kSetItem || opcode == kSetItems;
    std::vector<Id> items;
    if (opcode == kSetItems || opcode == kAppends) {
      OCTAVO_ASSIGN_OR_RETURN(items, PopToMark());
    } else {
      for (int i = 0; i < (is_dict ? 2 : 1); ++i) {
        OCTAVO_ASSIGN_OR_RETURN(const Id id, Pop());
        items.insert(items.begin(), id);
      }
    }
    if (is_dict && items.size() % 2 != 0) return Invalid("SETITEMS with a key without a value");
    OCTAVO_ASSIGN_OR_RETURN(Value * target, Target(is_dict ? Kind::kDict : Kind::kList,
                                                   is_dict ? "SETITEMS" : "APPENDS"));
    target->items.insert(target->items.end(), items.begin(), items.end());
    return {};
  }

  Status PushGlobal() {
    OCTAVO_ASSIGN_OR_RETURN(const std::string_view module, Line());
    OCTAVO_ASSIGN_OR_RETURN(const std::string_view name, Line());
    for (const Global& global : kGlobals) {
      if (global.module == module && global.name == name) {
        return Push({.kind = Kind::kGlobal, .global = &global});
      }
    }
    return Invalid("the global " + Quote(std::string(module) + "." + std::string(name)) +
                   " is not one of those that weights need; nothing was executed. Of a model that "
                   "was saved whole, save its state_dict() instead");
  }

  // ('storage', torch.FloatStorage, key, location, elements)
  Status PushStorage() {
    OCTAVO_ASSIGN_OR_RETURN(const Id id, Pop());
    const std::vector<Id>& items = values_[id].items;
    const auto item = [&](size_t i) -> const Value& { return values_[items[i]]; };
    const bool is_storage = values_[id].kind == Kind::kTuple && items.size() == 5 &&
                            item(0).kind == Kind::kString && item(0).text == "storage" &&
                            item(1).kind == Kind::kGlobal &&
                            (item(1).global->meaning == Meaning::kStorage ||
                             item(1).global->meaning == Meaning::kUntypedStorage) &&
                            item(2).kind == Kind::kString && item(3).kind == Kind::kString &&
                            item(4).kind == Kind::kInteger && item(4).integer >= 0;
    if (!is_storage) return Invalid("a persistent id that describes no storage");
    // Every tensor carries its storage's key.
    if (item(2).text.size() > kMaxStorageKeyBytes)
      return Invalid("a storage whose key has " + std::to_string(item(2).text.size()) + " bytes");
    return Push({.kind = Kind::kStorage,
                 .global = item(1).global,
                 .integer = item(4).integer,
                 .text = item(2).text});
  }

  Status Reduce() {
    OCTAVO_ASSIGN_OR_RETURN(const Id arguments_id, Pop());
    OCTAVO_ASSIGN_OR_RETURN(const Id callable_id, Pop());
    const Value& callable = values_[callable_id];
    if (callable.kind != Kind::kGlobal) return Invalid("REDUCE of " + Describe(callable));
    if (values_[arguments_id].kind != Kind::kTuple)
      return Invalid("REDUCE without a tuple of arguments");
    // Long lists are refused before they are looked at: a pickle can name one of them many times.
    if (values_[arguments_id].items.size() > kMaxArguments)
      return Invalid("REDUCE with too many arguments");
    const std::vector<Id> arguments = values_[arguments_id].items;
    switch (callable.global->meaning) {
      case Meaning::kOrderedDict:
        if (arguments.empty()) return Push({.kind = Kind::kDict});
        break;
      case Meaning::kSize:
        if (arguments.size() == 1 && values_[arguments[0]].kind == Kind::kTuple) {
          stack_.push_back(arguments[0]);
          return {};
        }
        break;
      case Meaning::kRebuildParameter:
        if (arguments.size() == 3 && values_[arguments[0]].kind == Kind::kTensor) {
          stack_.push_back(arguments[0]);
          return {};
        }
        break;
      case Meaning::kRebuildTensor:
        if (arguments.size() == 4) return PushTensor(arguments, nullptr);
        break;
      case Meaning::kRebuildTensorV2:
        if (arguments.size() == 6) return PushTensor(arguments, nullptr);
        if (arguments.size() == 7)
          return Invalid("a tensor that is conjugated or negated when it is read");
        break;
      case Meaning::kRebuildTensorV3:
        if (arguments.size() == 7 && values_[arguments[6]].kind == Kind::kGlobal &&
            values_[arguments[6]].global->meaning == Meaning::kDType) {
          return PushTensor(arguments, values_[arguments[6]].global);
        }
        break;
      default:
        return Invalid("REDUCE of " + Describe(callable));
    }
    return Invalid(Describe(callable) + " with other arguments than torch gives it");
  }

  bool IsExtents(Id id) const {
    const Value& value = values_[id];
    return value.kind == Kind::kTuple && value.items.size() <= Shape::kMaxRank &&
           std::ranges::all_of(value.items, [this](Id item) {
             return values_[item].kind == Kind::kInteger && values_[item].integer >= 0;
           });
  }

  // storage, offset, size, stride, …
  Status PushTensor(const std::vector<Id>& arguments, const Global* dtype) {
    const Value& storage = values_[arguments[0]];
    const Value& offset = values_[arguments[1]];
    if (storage.kind != Kind::kStorage || offset.kind != Kind::kInteger || offset.integer < 0 ||
        !IsExtents(arguments[2]) || !IsExtents(arguments[3]) ||
        values_[arguments[2]].items.size() != values_[arguments[3]].items.size()) {
      return Invalid("a tensor that is not described as torch does it");
    }
    if ((storage.global->meaning == Meaning::kUntypedStorage) != (dtype != nullptr)) {
      return Invalid("a tensor whose storage does not fit its type");
    }
    return Push({.kind = Kind::kTensor,
                 .global = dtype != nullptr ? dtype : storage.global,
                 .integer = offset.integer,
                 .items = {arguments[0], arguments[2], arguments[3]}});
  }

  std::string_view pickle_;
  size_t at_ = 0;
  std::vector<Value> values_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, Id> memo_;  // as many as were put, whatever their numbers
};

// The dict itself, or one level below under a name that training programs use.
Result<const Value*> FindStateDict(const Machine& machine, Id root) {
  const Value* dict = &machine.value(root);
  if (dict->kind != Kind::kDict) {
    return Invalid("it holds " + std::string(kKindNames[static_cast<size_t>(dict->kind)]) +
                   ", not a dict of tensors");
  }
  const auto has_tensors = [&machine](const Value& value) {
    for (size_t i = 1; i < value.items.size(); i += 2) {
      if (machine.value(value.items[i]).kind == Kind::kTensor) return true;
    }
    return false;
  };
  if (has_tensors(*dict)) return dict;
  for (const std::string_view key : {"state_dict", "model", "module"}) {
    for (size_t i = 0; i < dict->items.size(); i += 2) {
      const Value& name = machine.value(dict->items[i]);
      const Value& value = machine.value(dict->items[i + 1]);
      if (name.kind != Kind::kString || name.text != key) continue;
      if (value.kind == Kind::kDict && has_tensors(value)) return &value;
      break;
    }
  }
  return Invalid(
      "there are no tensors in it, nor in a \"state_dict\", \"model\" or \"module\" of it");
}

Result<PickledTensor> Describe(const Machine& machine, std::string_view name, const Value& value) {
  PickledTensor tensor;
  tensor.name = name;
  tensor.dtype = value.global->dtype;
  const Value& storage = machine.value(value.items[0]);
  tensor.storage = storage.text;
  tensor.storage_offset = static_cast<uint64_t>(value.integer);
  const uint64_t element =
      storage.global->meaning == Meaning::kUntypedStorage ? 1 : DTypeBytes(storage.global->dtype);
  if (__builtin_mul_overflow(static_cast<uint64_t>(storage.integer), element,
                             &tensor.storage_bytes)) {
    return Invalid("tensor " + Quote(name) + ": its storage is too large");
  }
  for (const Id id : machine.value(value.items[1]).items) {
    tensor.shape.push_back(static_cast<uint64_t>(machine.value(id).integer));
  }
  for (const Id id : machine.value(value.items[2]).items) {
    tensor.strides.push_back(static_cast<uint64_t>(machine.value(id).integer));
  }
  return tensor;
}

}  // namespace

Result<std::vector<PickledTensor>> ReadTorchPickle(std::string_view pickle) {
  if (pickle.size() > kMaxPickleBytes) return Invalid("its pickle is larger than 64 MiB");
  Machine machine(pickle);
  OCTAVO_ASSIGN_OR_RETURN(const Id root, machine.Run());
  OCTAVO_ASSIGN_OR_RETURN(const Value* dict, FindStateDict(machine, root));
  std::vector<PickledTensor> tensors;
  std::unordered_set<std::string_view> names;
  for (size_t i = 0; i < dict->items.size(); i += 2) {
    const Value& name = machine.value(dict->items[i]);
    const Value& value = machine.value(dict->items[i + 1]);
    if (value.kind != Kind::kTensor) continue;
    if (name.kind != Kind::kString) return Invalid("a tensor whose name is no string");
    if (!names.insert(name.text).second)
      return Invalid("two tensors are named " + Quote(name.text));
    OCTAVO_ASSIGN_OR_RETURN(PickledTensor tensor, Describe(machine, name.text, value));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace octavo::format
