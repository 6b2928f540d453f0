/* Every function of octavo.h from C: c_api_test MODEL.8vo, written by make_c_model. */
#include <math.h>
#include <pthread.h>

#include "octavo/octavo.h"
#include "tests/runtime/c_check.h"

static octavo_tensor Tensor(void* data, int64_t rows, int64_t columns) {
  octavo_tensor tensor = {data, OCTAVO_F32, OCTAVO_CPU, 0, 0, rows, columns, columns};
  return tensor;
}

static octavo_linear* Prepare(octavo_model* model, const char* name, int64_t expert) {
  octavo_linear* linear = NULL;
  CHECK_OK(octavo_linear_prepare(model, name, expert, NULL, &linear));
  return linear;
}

static void TestVersions(void) {
  CHECK(octavo_abi_version() == OCTAVO_ABI_VERSION);
  CHECK(octavo_version()[0] >= '0' && octavo_version()[0] <= '9');
  CHECK(strcmp(octavo_status_name(OCTAVO_OK), "ok") == 0);
  CHECK(strcmp(octavo_status_name(OCTAVO_INVALID_FILE), "invalid file") == 0);
  CHECK(strcmp(octavo_status_name(OCTAVO_OUT_OF_MEMORY), "out of memory") == 0);
  CHECK(strcmp(octavo_status_name(13), "unknown status") == 0);
  CHECK(strcmp(octavo_status_name(-1), "unknown status") == 0);
}

static void TestBackends(void) {
  int64_t count = 0;
  int32_t usable = 0, selected = 0, any_selected = 0;
  const char *name = NULL, *reason = NULL;
  CHECK_OK(octavo_backend_count(&count));
  CHECK(count >= 2);
  for (int64_t i = 0; i < count; ++i) {
    CHECK_OK(octavo_backend(i, &name, &usable, &selected, &reason));
    CHECK(*name != '\0' && *reason != '\0' && (usable || !selected));
    any_selected += selected;
  }
  CHECK(any_selected == 1);
  CHECK_ERROR(octavo_backend(count, &name, NULL, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "backend");
  CHECK_ERROR(octavo_backend_count(NULL), OCTAVO_INVALID_ARGUMENT, "count is null");
}

static void TestModel(octavo_model* model, const char* path) {
  const char *json = NULL, *name = NULL;
  size_t bytes = 0;
  int64_t count = 0, shape[8] = {0};
  int32_t quantized = 0, rank = 0, total_quantized = 0;
  octavo_dtype dtype = -1;
  const void* data = NULL;
  char text[64];

  CHECK_OK(octavo_model_manifest(model, &json, &bytes));
  CHECK(bytes > 2 && json[0] == '{' && json[bytes - 1] == '}');
  CHECK_OK(octavo_model_module_count(model, &count));
  CHECK(count == 4);
  for (int64_t i = 0; i < count; ++i) {
    CHECK_OK(octavo_model_module(model, i, &name, &quantized));
    CHECK(quantized == (strcmp(name, "norm") != 0));
    total_quantized += quantized;
  }
  CHECK(total_quantized == 3);
  CHECK_ERROR(octavo_model_module(model, 4, &name, NULL), OCTAVO_INVALID_ARGUMENT, "module 4 of 4");

  CHECK_OK(octavo_model_tensor(model, "pair.weight", &data, &bytes, &dtype, shape, &rank));
  CHECK(bytes == 8 && dtype == 2 && rank == 2 && shape[0] == 2 && shape[1] == 4);
  CHECK(((const int8_t*)data)[3] == 127 && ((const int8_t*)data)[4] == -127);
  CHECK_OK(octavo_model_tensor(model, "norm.weight", &data, &bytes, NULL, NULL, NULL));
  CHECK_ERROR(octavo_model_tensor(model, "x", &data, &bytes, NULL, NULL, NULL), OCTAVO_NOT_FOUND,
              "no tensor \"x\"");

  bytes = 77;
  CHECK_OK(octavo_model_asset(model, "config.json", NULL, &bytes));
  CHECK(bytes == strlen("{\"model_type\":\"test\"}"));
  size_t capacity = bytes - 1;
  CHECK_ERROR(octavo_model_asset(model, "config.json", text, &capacity), OCTAVO_INVALID_ARGUMENT,
              "the buffer");
  CHECK(capacity == bytes);
  capacity = sizeof(text);
  CHECK_OK(octavo_model_asset(model, "config.json", text, &capacity));
  CHECK(capacity == bytes && memcmp(text, "{\"model_type\":\"test\"}", bytes) == 0);
  CHECK_ERROR(octavo_model_asset(model, "y", NULL, &bytes), OCTAVO_NOT_FOUND, "no embedded file");

  octavo_model* again = NULL;
  octavo_open_options options = OCTAVO_INIT(octavo_open_options);
  options.verify = 1;
  options.num_threads = 1;
  CHECK_OK(octavo_model_open(path, &options, &again));
  octavo_model_release(again);
  CHECK_ERROR(octavo_model_open("absent.8vo", NULL, &again), OCTAVO_NOT_FOUND, "absent.8vo");
  CHECK_ERROR(octavo_model_open(NULL, NULL, &again), OCTAVO_INVALID_ARGUMENT, "path is null");
  CHECK_ERROR(octavo_model_open(path, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "model is null");
}

static void TestPrepareErrors(octavo_model* model) {
  octavo_linear* linear = NULL;
  octavo_prepare_options options = OCTAVO_INIT(octavo_prepare_options);
  CHECK_ERROR(octavo_linear_prepare(model, "pai", 0, NULL, &linear), OCTAVO_NOT_FOUND,
              "near: \"pair\"");
  CHECK_ERROR(octavo_linear_prepare(model, "norm", 0, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "not quantized");
  CHECK_ERROR(octavo_linear_prepare(model, "experts", 2, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "no expert 2");
  options.device_type = OCTAVO_CUDA;
  CHECK_ERROR(octavo_linear_prepare(model, "pair", 0, &options, &linear), OCTAVO_UNSUPPORTED,
              "CUDA");
  options.device_type = OCTAVO_CPU;
  options.cpu = "unknown";
  CHECK_ERROR(octavo_linear_prepare(model, "pair", 0, &options, &linear), OCTAVO_UNSUPPORTED,
              "\"unknown\"");
  options.cpu = NULL;
  options.reserved = 1;
  CHECK_ERROR(octavo_linear_prepare(model, "pair", 0, &options, &linear), OCTAVO_INVALID_ARGUMENT,
              "reserved");
  CHECK(linear == NULL);
}

/* docs/numerics.md, section 9, example 2. */
static void TestForward(octavo_model* model) {
  float x[4] = {-1, 0, 2, 3}, y[1] = {0}, two_steps[1] = {0};
  const float expected = (-4032.0f * (4.0f / 255.0f)) * (1.0f / 127.0f);
  octavo_linear* linear = Prepare(model, "tiny", 0);
  octavo_tensor x_tensor = Tensor(x, 1, 4), y_tensor = Tensor(y, 1, 1);
  int64_t in = 0, out = 0, columns[2] = {-1, -1}, count = -1;
  octavo_quantized* quantized = NULL;

  CHECK(*octavo_linear_backend(linear) != '\0');
  CHECK_OK(octavo_linear_features(linear, &in, &out));
  CHECK(in == 4 && out == 1);
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, NULL));
  CHECK(y[0] == expected);

  octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
  options.override_threshold = 1;
  options.threshold = 2.0f; /* columns 2 and 3 */
  CHECK_OK(octavo_quantize(linear, &x_tensor, &options, &quantized));
  CHECK_OK(octavo_outlier_columns(quantized, columns, 1, &count));
  CHECK(count == 2 && columns[0] == 2 && columns[1] == -1);
  CHECK_OK(octavo_outlier_columns(quantized, NULL, 0, &count));
  y_tensor.data = two_steps;
  CHECK_OK(octavo_multiply(quantized, linear, &y_tensor, NULL));
  y_tensor.data = y;
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, &options));
  CHECK(y[0] == two_steps[0] && y[0] != expected);
  octavo_quantized_release(quantized);

  octavo_linear* second = Prepare(model, "experts", 1);
  CHECK_OK(octavo_forward(second, &x_tensor, &y_tensor, &options));
  CHECK(fabsf(y[0] - 3.0f) < 1e-6f); /* column 3 unquantized: 3 * 127 * (1 / 127) */
  octavo_linear_release(second);
  octavo_linear_release(linear);
}

/* The same operands as the file's "tiny", given by the caller. */
static void TestFromMemory(octavo_model* model) {
  float x[4] = {-1, 0, 2, 3}, y[1] = {0}, from_file[1] = {0};
  size_t bytes = 0;
  octavo_tensor x_tensor = Tensor(x, 1, 4), y_tensor = Tensor(from_file, 1, 1);
  octavo_linear_operands operands = OCTAVO_INIT(octavo_linear_operands);
  octavo_linear* linear = Prepare(model, "tiny", 0);
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, NULL));
  octavo_linear_release(linear);

  operands.in_features = 4;
  operands.out_features = 1;
  operands.threshold = 6;
  CHECK_OK(octavo_model_tensor(model, "tiny.weight", (const void**)&operands.codes, &bytes, NULL,
                               NULL, NULL));
  CHECK_OK(octavo_model_tensor(model, "tiny.weight_absmax", (const void**)&operands.scales, &bytes,
                               NULL, NULL, NULL));
  CHECK_OK(octavo_linear_from_memory(&operands, NULL, &linear));
  y_tensor.data = y;
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, NULL));
  CHECK(y[0] == from_file[0]);
  octavo_linear_release(linear);

  operands.activations = OCTAVO_SYMMETRIC;
  CHECK_OK(octavo_linear_from_memory(&operands, NULL, &linear));
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, NULL));
  CHECK(y[0] != from_file[0]);
  octavo_linear_release(linear);

  operands.method = 5;
  CHECK_ERROR(octavo_linear_from_memory(&operands, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "method is 5");
  operands.method = OCTAVO_VECTOR_WISE;
  operands.convention = -1;
  CHECK_ERROR(octavo_linear_from_memory(&operands, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "convention is -1");
  operands.convention = OCTAVO_ABSMAX;
  operands.scope = 3;
  CHECK_ERROR(octavo_linear_from_memory(&operands, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "scope is 3");
  operands.scope = OCTAVO_FROM_FILE;
  operands.codes = NULL;
  CHECK_ERROR(octavo_linear_from_memory(&operands, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "codes is null");
  operands.struct_size = 0;
  CHECK_ERROR(octavo_linear_from_memory(&operands, NULL, &linear), OCTAVO_INVALID_ARGUMENT,
              "struct_size");
  CHECK(linear == NULL);
}

static void TestOverrides(octavo_model* model) {
  float x[8] = {1, 2, 3, 10, -1, 2, -3, 4}, y[4];
  octavo_linear* linear = Prepare(model, "pair", 0);
  octavo_tensor x_tensor = Tensor(x, 2, 4), y_tensor = Tensor(y, 2, 2);
  float first[8];
  int distinct = 0;
  for (int32_t i = 0; i < 8; ++i) {
    octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
    options.scope = 1 + (i & 1);
    options.row_rule = 1 + (i >> 1 & 1);
    options.activations = 1 + (i >> 2);
    CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, &options));
    first[i] = y[2];
    distinct += i > 0 && first[i] != first[0];
  }
  CHECK(distinct >= 3);
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, NULL));
  CHECK(y[2] == first[0]); /* the file's options are the first ones */

  octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
  options.scope = 3;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "scope is 3");
  options.scope = OCTAVO_FROM_FILE;
  options.activations = -1;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "activations is -1");
  options.activations = OCTAVO_FROM_FILE;
  options.threshold = 3;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "without override_threshold");
  options.threshold = 0;
  options.scope = OCTAVO_SCOPE_TOKEN;
  octavo_quantized* quantized = NULL;
  CHECK_OK(octavo_quantize(linear, &x_tensor, NULL, &quantized));
  CHECK_ERROR(octavo_multiply(quantized, linear, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "no options of quantizing");
  octavo_quantized_release(quantized);
  quantized = (octavo_quantized*)&options;
  options.scope = 3;
  CHECK_ERROR(octavo_quantize(linear, &x_tensor, &options, &quantized), OCTAVO_INVALID_ARGUMENT,
              "scope is 3");
  CHECK(quantized == NULL); /* what a failed call would have made is null */
  octavo_linear_release(linear);
}

static void TestReadTensor(octavo_model* model) {
  const void* data = NULL;
  size_t bytes = 0, copied = 0;
  char buffer[4096];
  CHECK_OK(octavo_model_tensor(model, "tiny.weight", &data, &bytes, NULL, NULL, NULL));
  CHECK_OK(octavo_model_read_tensor(model, "tiny.weight", NULL, &copied));
  CHECK(copied == bytes && bytes > 0 && bytes <= sizeof buffer);
  CHECK_OK(octavo_model_read_tensor(model, "tiny.weight", buffer, &copied));
  CHECK(memcmp(buffer, data, bytes) == 0);
  copied = bytes - 1;
  CHECK_ERROR(octavo_model_read_tensor(model, "tiny.weight", buffer, &copied),
              OCTAVO_INVALID_ARGUMENT, "the buffer");
  CHECK_ERROR(octavo_model_read_tensor(model, "none", buffer, &copied), OCTAVO_NOT_FOUND, "none");
}

static void TestTensorErrors(octavo_model* model) {
  float x[4] = {0}, y[2] = {0};
  octavo_linear* linear = Prepare(model, "pair", 0);
  octavo_tensor x_tensor = Tensor(x, 1, 4), y_tensor = Tensor(y, 1, 2);
  CHECK_ERROR(octavo_forward(NULL, &x_tensor, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT,
              "linear is null");
  CHECK_ERROR(octavo_forward(linear, NULL, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT, "x is null");
  CHECK_ERROR(octavo_forward(linear, &x_tensor, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "y is null");
  x_tensor.dtype = 2;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT,
              "x has dtype I8");
  x_tensor.dtype = 1000;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT,
              "x has dtype 1000");
  x_tensor = Tensor(x, 1, 4);
  x_tensor.reserved = 9;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT,
              "x.reserved");
  x_tensor = Tensor(x, 1, 3);
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT,
              "x has 3 columns");
  x_tensor = Tensor(x, 1, 4);
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, NULL)); /* clears the error */
  octavo_linear_release(linear);
}

static void RunSerially(void* context, int64_t count, octavo_task task, void* task_context) {
  *(int64_t*)context += count;
  for (int64_t i = 0; i < count; ++i) task(task_context, i);
}

static void TestWorkspaceAndThreads(octavo_model* model) {
  float x[40 * 4], y[40 * 2];
  for (int i = 0; i < 40 * 4; ++i) x[i] = (float)(i % 11) - 5;
  octavo_linear* linear = Prepare(model, "pair", 0);
  octavo_tensor x_tensor = Tensor(x, 40, 4), y_tensor = Tensor(y, 40, 2);
  int64_t tasks = 0;
  octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
  options.parallel_for = RunSerially;
  options.parallel_context = &tasks;
  options.num_threads = 3;

  size_t bytes = 0, quantize_bytes = 0, multiply_bytes = 0;
  CHECK_OK(octavo_forward_workspace(linear, 40, &options, &bytes));
  CHECK_OK(octavo_quantize_workspace(linear, 40, &options, &quantize_bytes));
  CHECK_OK(octavo_multiply_workspace(linear, 40, &options, &multiply_bytes));
  CHECK(bytes >= quantize_bytes + multiply_bytes && bytes < quantize_bytes + multiply_bytes + 64);
  bytes = (bytes + 63) / 64 * 64;
  options.workspace = aligned_alloc(64, bytes);
  options.workspace_bytes = bytes;
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, &options));
  CHECK(tasks > 0);
  options.workspace_bytes = 64;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "the call needs");
  options.workspace_bytes = 0; /* memory of no size is not "allocate it for me" */
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "the call needs");
  options.workspace_bytes = bytes;
  options.num_threads = 0;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &options), OCTAVO_INVALID_ARGUMENT,
              "num_threads is 0");
  free(options.workspace);

  CHECK_ERROR(octavo_forward_workspace(linear, -1, NULL, &bytes), OCTAVO_INVALID_ARGUMENT, "-1");
  CHECK_ERROR(octavo_forward_workspace(linear, INT64_MAX, NULL, &bytes), OCTAVO_LIMIT, "tokens");
  CHECK_ERROR(octavo_quantize_workspace(linear, INT64_MAX, NULL, &bytes), OCTAVO_LIMIT, "tokens");
  octavo_linear_release(linear);
}

/* Options from an uninitialized, an older and a newer program. */
static void TestStructSizes(octavo_model* model) {
  struct {
    octavo_forward_options known;
    int64_t unknown;
  } newer;
  float x[4] = {0, 1, 2, 3}, y[2];
  octavo_linear* linear = Prepare(model, "pair", 0);
  octavo_tensor x_tensor = Tensor(x, 1, 4), y_tensor = Tensor(y, 1, 2);
  memset(&newer, 0, sizeof(newer));
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &newer.known), OCTAVO_INVALID_ARGUMENT,
              "OCTAVO_INIT");
  newer.known.struct_size = (size_t)-1;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &newer.known), OCTAVO_INVALID_ARGUMENT,
              "OCTAVO_INIT");
  newer.known.struct_size = sizeof(newer);
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, &newer.known));
  newer.unknown = 1;
  CHECK_ERROR(octavo_forward(linear, &x_tensor, &y_tensor, &newer.known), OCTAVO_INVALID_ARGUMENT,
              "does not know");
  /* Older: what lies behind the size that it states is not read. */
  newer.known.struct_size = sizeof(size_t);
  newer.known.scope = 99;
  CHECK_OK(octavo_forward(linear, &x_tensor, &y_tensor, &newer.known));
  octavo_linear_release(linear);
}

/* The second of two ranks, as the first one sees it: it has what `data` has. */
static octavo_status SameOnBoth(void* context, float* data, size_t count, octavo_reduce_op op,
                                void* stream) {
  CHECK(stream == NULL);
  ++*(int*)context;
  if (op == OCTAVO_REDUCE_SUM)
    for (size_t i = 0; i < count; ++i) data[i] *= 2;
  return OCTAVO_OK;
}

static octavo_status Lost(void* context, float* data, size_t count, octavo_reduce_op op,
                          void* stream) {
  (void)context, (void)data, (void)count, (void)op, (void)stream;
  return OCTAVO_IO;
}

static void TestSlices(octavo_model* model) {
  int calls = 0;
  int64_t in = 0, out = 0;
  uint64_t bytes_read = 0;
  size_t bytes = 0;
  float x[4] = {1, 1, 1, 1}, y[2] = {0, 0};
  octavo_tensor x_tensor = Tensor(x, 1, 4), y_tensor = Tensor(y, 1, 1);
  octavo_prepare_options options = OCTAVO_INIT(octavo_prepare_options);
  octavo_row_parallel ranks = OCTAVO_INIT(octavo_row_parallel);
  octavo_linear *column = NULL, *row = NULL;

  options.slice_axis = OCTAVO_SLICE_OUT_FEATURES;
  options.slice_rank = 1;
  options.slice_world = 2;
  CHECK_OK(octavo_linear_prepare(model, "pair", 0, &options, &column));
  CHECK_OK(octavo_linear_features(column, &in, &out));
  CHECK(in == 4 && out == 1);
  CHECK_OK(octavo_forward(column, &x_tensor, &y_tensor, NULL));
  CHECK(y[0] > -2.1f && y[0] < -1.9f);
  CHECK_OK(octavo_linear_bytes_read(column, &bytes_read));
  CHECK(bytes_read >= 4096 && bytes_read % 4096 == 0);
  CHECK_ERROR(octavo_linear_bytes_read(column, NULL), OCTAVO_INVALID_ARGUMENT, "bytes is null");

  options.slice_axis = OCTAVO_SLICE_IN_FEATURES;
  CHECK_OK(octavo_linear_prepare(model, "pair", 0, &options, &row));
  CHECK_OK(octavo_linear_features(row, &in, &out));
  CHECK(in == 2 && out == 2);
  x_tensor = Tensor(x, 1, 2);
  y_tensor = Tensor(y, 1, 2);
  CHECK_ERROR(octavo_forward(row, &x_tensor, &y_tensor, NULL), OCTAVO_INVALID_ARGUMENT, "partial");
  ranks.all_reduce = SameOnBoth;
  ranks.context = &calls;
  CHECK_OK(octavo_forward_row_parallel(row, &x_tensor, &y_tensor, &ranks, NULL));
  CHECK(calls == 2 && y[0] > 13.9f && y[0] < 14.1f && y[1] > -2.1f && y[1] < -1.9f);
  ranks.local_range = 1;
  CHECK_OK(octavo_forward_row_parallel(row, &x_tensor, &y_tensor, &ranks, NULL));
  CHECK(calls == 3);
  ranks.all_reduce = Lost;
  CHECK_ERROR(octavo_forward_row_parallel(row, &x_tensor, &y_tensor, &ranks, NULL), OCTAVO_IO,
              "all-reduce of the sums: the caller's function returned 4 (input/output error)");
  CHECK_ERROR(octavo_forward_row_parallel(row, &x_tensor, &y_tensor, NULL, NULL),
              OCTAVO_INVALID_ARGUMENT, "all_reduce");
  ranks.local_range = 2;
  CHECK_ERROR(octavo_forward_row_parallel(row, &x_tensor, &y_tensor, &ranks, NULL),
              OCTAVO_INVALID_ARGUMENT, "local_range");
  CHECK_ERROR(octavo_forward_row_parallel(column, &x_tensor, &y_tensor, NULL, NULL),
              OCTAVO_INVALID_ARGUMENT, "no slice of in_features");
  CHECK_OK(octavo_row_parallel_workspace(row, 1, NULL, &bytes));
  CHECK(bytes > 0);
  octavo_linear_release(row);
  octavo_linear_release(column);

  options.slice_rank = 2;
  CHECK_ERROR(octavo_linear_prepare(model, "pair", 0, &options, &row), OCTAVO_INVALID_ARGUMENT,
              "no rank 2 of 2");
  options.slice_axis = OCTAVO_WHOLE;
  CHECK_ERROR(octavo_linear_prepare(model, "pair", 0, &options, &row), OCTAVO_INVALID_ARGUMENT,
              "without slice_axis");
  options.slice_axis = 3;
  CHECK_ERROR(octavo_linear_prepare(model, "pair", 0, &options, &row), OCTAVO_INVALID_ARGUMENT,
              "slice_axis is 3");
}

static void* UseAndFail(void* model) {
  CHECK(*octavo_last_error() == '\0'); /* errors belong to their thread */
  octavo_linear* linear = NULL;
  CHECK_ERROR(octavo_linear_prepare(model, "nobody", 0, NULL, &linear), OCTAVO_NOT_FOUND, "nobody");
  octavo_model_release(model);
  return NULL;
}

static void TestLifetimes(const char* path) {
  octavo_model* model = NULL;
  float x[4] = {1, 1, 1, 1}, y[2] = {0, 0};
  octavo_tensor x_tensor = Tensor(x, 1, 4), y_tensor = Tensor(y, 1, 2);
  octavo_quantized* quantized = NULL;
  CHECK_OK(octavo_model_open(path, NULL, &model));
  octavo_linear* linear = Prepare(model, "pair", 0);
  octavo_linear* other = Prepare(model, "pair", 0);
  octavo_model_retain(model);
  pthread_t thread;
  CHECK_ERROR(octavo_model_module(model, -1, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "name is null");
  CHECK(pthread_create(&thread, NULL, UseAndFail, model) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strstr(octavo_last_error(), "name is null") != NULL);
  octavo_model_release(model); /* the linears keep the mapping */
  CHECK_OK(octavo_quantize(linear, &x_tensor, NULL, &quantized));
  octavo_linear_retain(linear);
  octavo_linear_release(linear);
  octavo_linear_release(linear); /* the activations do not need it */
  CHECK_OK(octavo_multiply(quantized, other, &y_tensor, NULL));
  CHECK(y[0] > 9.9f && y[0] < 10.1f && y[1] > -2.1f && y[1] < -1.9f);
  octavo_linear_release(other);
  octavo_quantized_release(quantized);
  octavo_model_release(NULL);
  octavo_linear_release(NULL);
  octavo_quantized_release(NULL);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  octavo_model* model = NULL;
  TestVersions();
  TestBackends();
  CHECK_OK(octavo_model_open(argv[1], NULL, &model));
  TestModel(model, argv[1]);
  TestPrepareErrors(model);
  TestForward(model);
  TestFromMemory(model);
  TestOverrides(model);
  TestReadTensor(model);
  TestTensorErrors(model);
  TestWorkspaceAndThreads(model);
  TestStructSizes(model);
  TestSlices(model);
  octavo_model_release(model);
  TestLifetimes(argv[1]);
  return 0;
}
