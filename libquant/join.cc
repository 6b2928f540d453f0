// The parts of a conversion put together: checked against each other, then finished as one machine
// would have.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "libquant/out_of_memory.h"
#include "libquant/parts.h"
#include "octavo/convert.h"
#include "octavo/writer.h"

namespace octavo::quant {
namespace {

using format::Part;

struct Parts {
  std::vector<Part> parts;  // in their order
  std::vector<PartState> states;
};

Status NotAllThere(const std::string& output, const std::string& what) {
  return Status(ErrorCode::kNotFound, output + ": " + what);
}

// The N of the names OUT.part-I-of-N beside the output; 0: there are none. Errors:
// kInvalidArgument, if they differ.
Result<uint32_t> CountParts(const std::string& output) {
  const size_t name_at = output.find_last_of('/') + 1;
  const std::string folder = name_at == 0 ? "." : output.substr(0, name_at);
  const std::string prefix = output.substr(name_at) + ".part-";
  uint32_t count = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    unsigned index = 0, of = 0;
    if (!name.starts_with(prefix) ||
        std::sscanf(name.c_str() + prefix.size(), "%u-of-%u", &index, &of) != 2 || of == 0) {
      continue;
    }
    if (count != 0 && of != count) {
      return Status(ErrorCode::kInvalidArgument,
                    output + ": there are parts of " + std::to_string(std::min(count, of)) +
                        " and of " + std::to_string(std::max(count, of)) +
                        "; remove those that do not belong together");
    }
    count = of;
  }
  if (error)
    return Status(ErrorCode::kIo, "cannot read the folder " + folder + ": " + error.message());
  return count;
}

Result<Parts> ReadParts(const std::string& output, uint32_t count) {
  Parts all;
  std::string missing;
  for (uint32_t i = 1; i <= count; ++i) {
    const std::string path = PartPath(output, {i, count});
    Result<Part> part = format::ReadPart(path);
    if (part.code() == ErrorCode::kNotFound) {
      missing += (missing.empty() ? "" : ", ") + std::to_string(i);
      continue;
    }
    if (!part.ok()) return part.status();
    Result<PartState> state = PartState::Decode(part->state);
    if (!state.ok()) return state.status().WithContext(path);
    if (state->part.index != i || state->part.count != count) {
      return Status(ErrorCode::kInvalidArgument, path + " holds part " +
                                                     std::to_string(state->part.index) + " of " +
                                                     std::to_string(state->part.count));
    }
    all.parts.push_back(std::move(*part));
    all.states.push_back(std::move(*state));
  }
  if (!missing.empty()) {
    return NotAllThere(output,
                       "of " + std::to_string(count) + " parts these are missing: " + missing);
  }
  for (const Part& part : all.parts) {
    const std::string difference =
        format::DescribeDifference(all.parts.front().fingerprint, part.fingerprint);
    if (difference.empty()) continue;
    return Status(ErrorCode::kInvalidArgument,
                  part.path + " does not belong to " + all.parts.front().path + ": " + difference);
  }
  return all;
}

// Puts values into their places in a list; false if one has no place, or two have the same.
template <typename T>
bool Place(const std::vector<T>& values, const std::vector<uint64_t>& places,
           std::vector<T>* whole) {
  if (values.size() != places.size()) return false;
  for (size_t i = 0; i < values.size(); ++i) {
    if (places[i] >= whole->size() || !(*whole)[places[i]].name.empty()) return false;
    (*whole)[places[i]] = values[i];
  }
  return true;
}

// What Finish takes of the manifest. Errors: kInvalidFile.
Result<format::Manifest> Merge(const Parts& all) {
  format::Manifest whole;
  whole.converter = all.parts.front().manifest.converter;
  whole.quantization = all.parts.front().manifest.quantization;
  whole.source = all.parts.front().manifest.source;
  whole.source.files.assign(all.states.front().num_source_files, {});
  whole.modules.resize(all.states.front().num_modules);
  for (size_t i = 0; i < all.parts.size(); ++i) {
    const format::Manifest& manifest = all.parts[i].manifest;
    const PartState& state = all.states[i];
    if (Place(manifest.modules, state.module_idx, &whole.modules) &&
        Place(manifest.source.files, state.source_files, &whole.source.files)) {
      continue;
    }
    return Status(ErrorCode::kInvalidFile, all.parts[i].path + ": it is damaged");
  }
  const auto is_empty = [](const auto& value) { return value.name.empty(); };
  if (std::ranges::any_of(whole.modules, is_empty) ||
      std::ranges::any_of(whole.source.files, is_empty)) {
    return Status(ErrorCode::kInvalidFile,
                  all.parts.front().path + ": the parts are not all of it");
  }
  return whole;
}

Result<ConvertReport> JoinChecked(const std::string& output, bool overwrite) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const uint32_t count, CountParts(output));
  Parts all;
  // Where files were taking their names when a join was killed, the writer knows more than this
  // folder shows.
  if (count > 0) {
    OCTAVO_ASSIGN_OR_RETURN(all, ReadParts(output, count));
  }
  OCTAVO_ASSIGN_OR_RETURN(format::Writer writer,
                          format::Writer::Join(output, overwrite, all.parts));
  ConvertReport report;
  if (writer.is_complete()) {
    OCTAVO_RETURN_IF_ERROR(DescribeComplete(output, &report));
  } else {
    if (count == 0) {
      return NotAllThere(output, "there are no parts " + PartPath(output, {1, 2}) +
                                     " and so on beside it; octavo convert --part makes them");
    }
    OCTAVO_ASSIGN_OR_RETURN(format::Manifest manifest, Merge(all));
    OCTAVO_RETURN_IF_ERROR(writer.Finish(std::move(manifest)));
    report.manifest = writer.manifest();
    report.files = writer.files();
    report.bytes_file = writer.total_bytes();
    report.bytes_source = all.states.front().bytes_source;
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

Result<ConvertReport> Join(const std::string& output, bool overwrite) {
  return CatchOutOfMemory([&] { return JoinChecked(output, overwrite); });
}

}  // namespace octavo::quant
