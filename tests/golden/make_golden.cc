// Writes the golden files: make_golden FOLDER, which has the folders valid and invalid. To be run
// only when one is added; the bytes of the old ones must not change while the format's version
// is 1.
#include <cstdio>
#include <string>

#include "tests/golden/broken_files.h"
#include "tests/golden/sample_file.h"
#include "tests/golden/surgery.h"
#include "tests/golden/worked_example.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--dump") {
    std::printf("%s", octavo::testing::AnnotatedDump(argv[2]).c_str());
    return 0;
  }
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_golden FOLDER | --dump FILE\n");
    return 2;
  }
  const std::string valid = std::string(argv[1]) + "/valid/";
  const std::string invalid = std::string(argv[1]) + "/invalid/";
  for (const octavo::testing::Sample& sample : octavo::testing::Samples()) {
    const std::string path = valid + std::string(sample.name) + ".8vo";
    const octavo::Status status = sample.write(path);
    if (!status.ok()) {
      std::fprintf(stderr, "%s: %s\n", path.c_str(), status.message().c_str());
      return 1;
    }
  }
  for (const octavo::testing::BrokenFile& broken : octavo::testing::BrokenFiles()) {
    const auto bytes = octavo::testing::Load(valid + std::string(broken.sample) + ".8vo");
    octavo::testing::Save(invalid + std::string(broken.name) + ".8vo", broken.make(bytes));
  }
  return 0;
}
