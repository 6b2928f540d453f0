/* A program that was built with an older octavo.h: abi_v1_first MODEL.8vo
 *
 * The declarations below are frozen: they are what such a program was compiled with, when
 * octavo_forward_options ended after `threshold`. Never update them; whatever the library becomes
 * within ABI 1, this must link and run. */
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OCTAVO_OK = 0 };
typedef struct octavo_model octavo_model;
typedef struct octavo_linear octavo_linear;
typedef struct octavo_tensor {
  void* data;
  int32_t dtype;
  int32_t device_type;
  int32_t device_index;
  int32_t reserved;
  int64_t rows;
  int64_t columns;
  int64_t row_stride;
} octavo_tensor;
typedef struct octavo_forward_options {
  size_t struct_size;
  int32_t override_threshold;
  float threshold;
} octavo_forward_options;
int32_t octavo_abi_version(void);
const char* octavo_last_error(void);
int32_t octavo_model_open(const char* path, const void* options, octavo_model** model);
void octavo_model_release(octavo_model* model);
int32_t octavo_linear_prepare(octavo_model* model, const char* name, int64_t expert,
                              const void* options, octavo_linear** linear);
void octavo_linear_release(octavo_linear* linear);
int32_t octavo_forward(const octavo_linear* linear, const octavo_tensor* x, const octavo_tensor* y,
                       const octavo_forward_options* options);
/* End of the frozen declarations. */

#include "tests/runtime/c_check.h"

/* The struct ends where readable memory ends: a library that reads today's size faults. */
static octavo_forward_options* AtEndOfMemory(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char* memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED && mprotect(memory + page, page, PROT_NONE) == 0);
  return (octavo_forward_options*)(memory + page - sizeof(octavo_forward_options));
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  octavo_model* model = NULL;
  octavo_linear* linear = NULL;
  float x[4] = {-1, 0, 2, 3}, y = 0;
  const octavo_tensor x_tensor = {x, 9, 0, 0, 0, 1, 4, 4}, y_tensor = {&y, 9, 0, 0, 0, 1, 1, 1};
  octavo_forward_options* options = AtEndOfMemory();
  options->struct_size = sizeof(*options);
  options->override_threshold = 1;
  options->threshold = 6.0f;
  CHECK(octavo_abi_version() == 1);
  CHECK_OK(octavo_model_open(argv[1], NULL, &model));
  CHECK_OK(octavo_linear_prepare(model, "tiny", 0, NULL, &linear));
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, options));
  CHECK(y == (-4032.0f * (4.0f / 255.0f)) * (1.0f / 127.0f));
  options->threshold = -1.0f;
  CHECK(octavo_forward(linear, &x_tensor, &y_tensor, options) == 1); /* it was read */
  octavo_linear_release(linear);
  octavo_model_release(model);
  return 0;
}
