/* Octavo's C interface: open a .8vo file and multiply with its int8 linears.
 *
 * Every call returns an octavo_status. The text of the last error of a thread is
 * octavo_last_error(): it belongs to the library and is valid until the same thread's next call
 * that returns a status:
 *
 *     octavo_status status = octavo_forward(linear, &x, &y, NULL);
 *     if (status != OCTAVO_OK) printf("%s: %s", octavo_status_name(status), octavo_last_error());
 *
 * Objects are reference-counted: every octavo_…_release undoes one octavo_model_open,
 * octavo_linear_prepare, octavo_quantize or _retain; a failed call sets the object it would have
 * made to null. What depends on another object keeps it alive. All
 * functions are thread-safe; objects are const once made. Pointers that a function returns live as
 * long as their object. Option structs begin with `struct_size`: set it with OCTAVO_INIT, so that a
 * program built with an older header keeps working. Zero in a field is its default; a null options
 * pointer means all defaults. */
#ifndef OCTAVO_OCTAVO_H_
#define OCTAVO_OCTAVO_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define OCTAVO_API
#else
#define OCTAVO_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OCTAVO_ABI_VERSION 1

/* Zeroes an options struct and states its size: octavo_forward_options options =
 * OCTAVO_INIT(octavo_forward_options); */
#ifdef __cplusplus
#define OCTAVO_INIT(type)                    \
  [] {                                       \
    type octavo_value = {};                  \
    octavo_value.struct_size = sizeof(type); \
    return octavo_value;                     \
  }()
#else
#define OCTAVO_INIT(type) ((type){.struct_size = sizeof(type)})
#endif

typedef int32_t octavo_status;
enum {
  OCTAVO_OK = 0,
  OCTAVO_INVALID_ARGUMENT = 1,
  OCTAVO_NOT_FOUND = 2,
  OCTAVO_ALREADY_EXISTS = 3,
  OCTAVO_IO = 4,
  OCTAVO_REFUSED = 5,
  OCTAVO_LIMIT = 6,
  OCTAVO_UNSUPPORTED = 7,
  OCTAVO_CANCELLED = 8,
  OCTAVO_INVALID_FILE = 9,
  OCTAVO_NOT_INTACT = 10,
  OCTAVO_NEWER_FORMAT = 11,
  OCTAVO_OUT_OF_MEMORY = 12
};

typedef int32_t octavo_dtype; /* numbers of octavo::DType */
enum { OCTAVO_F16 = 5, OCTAVO_BF16 = 6, OCTAVO_F32 = 9 };

typedef int32_t octavo_device_type;
enum { OCTAVO_CPU = 0, OCTAVO_CUDA = 1 };

/* Choices that the file states and a call may override; 0 in each is the file's. */
enum { OCTAVO_FROM_FILE = 0 };
typedef int32_t octavo_scope;
enum { OCTAVO_SCOPE_BATCH = 1, OCTAVO_SCOPE_TOKEN = 2 };
typedef int32_t octavo_row_rule;
enum { OCTAVO_INLIER_COLUMNS = 1, OCTAVO_BELOW_THRESHOLD = 2 };
typedef int32_t octavo_activations;
enum { OCTAVO_ASYMMETRIC = 1, OCTAVO_SYMMETRIC = 2 };

/* Which features of a linear one of several ranks has (tensor parallelism). By out_features: y is a
 * block of the whole linear's columns. By in_features (CPU only so far): products are partial, and
 * octavo_forward_row_parallel adds them up. */
typedef int32_t octavo_slice_axis;
enum { OCTAVO_WHOLE = 0, OCTAVO_SLICE_OUT_FEATURES = 1, OCTAVO_SLICE_IN_FEATURES = 2 };

typedef struct octavo_model octavo_model;
typedef struct octavo_linear octavo_linear;       /* prepared for a device */
typedef struct octavo_quantized octavo_quantized; /* quantized activations */

/* [rows, columns], row-major; row_stride in elements. The memory of an x is only read; y must not
 * overlap it. */
typedef struct octavo_tensor {
  void* data;
  octavo_dtype dtype;
  octavo_device_type device_type;
  int32_t device_index;
  int32_t reserved; /* 0 */
  int64_t rows;
  int64_t columns;
  int64_t row_stride;
} octavo_tensor;

typedef struct octavo_open_options {
  size_t struct_size;
  int32_t verify;      /* 1: check every digest and value (reads the whole file) */
  int32_t num_threads; /* for that; 0: one for each CPU */
} octavo_open_options;

typedef struct octavo_prepare_options {
  size_t struct_size;
  octavo_device_type device_type;
  int32_t device_index;
  const char* cpu; /* backend by name; null or "": OCTAVO_CPU from the environment, else the best */
  int32_t check_digests; /* 1: check this module's digests first */
  int32_t reserved;      /* 0 */
  /* The part of rank slice_rank of slice_world; only that is read from the file. OCTAVO_WHOLE: all
   * of it, with both 0. */
  octavo_slice_axis slice_axis;
  int32_t slice_rank;
  int32_t slice_world;
  int32_t reserved2; /* 0 */
} octavo_prepare_options;

typedef int32_t octavo_scale_convention;
enum { OCTAVO_ABSMAX = 0, OCTAVO_STEP = 1 };
typedef int32_t octavo_method; /* docs/numerics.md section 6 */
enum {
  OCTAVO_VECTOR_WISE = 0,
  OCTAVO_TENSOR_WISE = 1,
  OCTAVO_ROW_WISE = 2,
  OCTAVO_ZEROPOINT_TENSOR = 3,
  OCTAVO_ZEROPOINT_VECTOR = 4
};

/* A linear in the caller's memory instead of a file: an engine's own tensors. All arrays must
 * outlive the octavo_linear on a CPU; a CUDA device has its own copy. */
typedef struct octavo_linear_operands {
  size_t struct_size;
  const char* name; /* for error texts; null: "linear" */
  int64_t in_features;
  int64_t out_features;
  const int8_t* codes;       /* [out_features, in_features] */
  const float* scales;       /* [out_features]: the weight is code * absmax / 127, or code * step */
  const int32_t* code_sum;   /* [out_features]: sums of the rows of codes; null: computed */
  const int32_t* zero_point; /* [out_features], of the zeropoint methods; null: none */
  int64_t num_kept;          /* kept columns: always multiplied in 16 bit */
  const int32_t* kept_index; /* [num_kept], ascending */
  const void* kept_weight;   /* [num_kept, out_features] */
  const void* bias;          /* [out_features]; null: none */
  octavo_dtype kept_dtype;   /* of kept_weight: F16, BF16 or F32; where there are none, 0 */
  octavo_dtype bias_dtype;
  octavo_scale_convention convention;
  int32_t full_range; /* 1: codes may be -128 */
  octavo_method method;
  float threshold;                /* taken as it is: 0 means no outliers */
  octavo_scope scope;             /* 0: batch */
  octavo_row_rule row_rule;       /* 0: inlier_columns */
  octavo_activations activations; /* 0: asymmetric */
  int32_t activations_via_fp16;   /* 1: outliers and codes are those of x rounded to fp16 */
} octavo_linear_operands;

/* Calls task(task_context, i) once for each i in [0, count), on any threads, and returns when all
 * are done. */
typedef void (*octavo_task)(void* task_context, int64_t index);
typedef void (*octavo_parallel_for)(void* context, int64_t count, octavo_task task,
                                    void* task_context);

typedef struct octavo_forward_options {
  size_t struct_size;
  /* How to quantize: octavo_forward and octavo_quantize. octavo_multiply wants all of it 0. */
  int32_t override_threshold; /* 1: use `threshold` instead of the file's; 0: threshold is 0 */
  float threshold;
  octavo_scope scope;
  octavo_row_rule row_rule;
  octavo_activations activations;
  /* How to run. */
  int32_t num_threads;              /* with parallel_for: how many may run at once, at least 1;
                                     * without it 0 */
  octavo_parallel_for parallel_for; /* null: Octavo's own pool */
  void* parallel_context;
  /* At least what the call's _workspace query says. CPU: 64-byte aligned; null: allocated by the
   * call. CUDA: 256-byte aligned memory of the linear's device, never null. */
  void* workspace;
  size_t workspace_bytes;
  /* CUDA: the cudaStream_t to enqueue on, null the default one. The call returns at once, without
   * an allocation or a wait, and can be captured in a CUDA graph; what it was given must live until
   * the stream has passed. */
  void* stream;
} octavo_forward_options;

OCTAVO_API int32_t octavo_abi_version(void); /* OCTAVO_ABI_VERSION of the library */
OCTAVO_API const char* octavo_version(void); /* "0.1.0" */
/* Of this thread's last call that returned a status; "" if it succeeded. _retain and _release leave
 * it as it is. */
OCTAVO_API const char* octavo_last_error(void);
OCTAVO_API const char* octavo_status_name(octavo_status status); /* "invalid file" */

/* ---- Models ---- */
OCTAVO_API octavo_status octavo_model_open(const char* path, const octavo_open_options* options,
                                           octavo_model** model);
OCTAVO_API void octavo_model_retain(octavo_model* model);
OCTAVO_API void octavo_model_release(octavo_model* model); /* null is fine */

/* The manifest as stored (docs/format.md section 5), not zero-terminated. */
OCTAVO_API octavo_status octavo_model_manifest(const octavo_model* model, const char** json,
                                               size_t* bytes);
/* Number of modules, and the i-th one's name; quantized: 1 if octavo_linear_prepare takes it. */
OCTAVO_API octavo_status octavo_model_module_count(const octavo_model* model, int64_t* count);
OCTAVO_API octavo_status octavo_model_module(const octavo_model* model, int64_t index,
                                             const char** name, int32_t* quantized);
/* An uncompressed tensor in the mapping: no copy. `shape` takes up to 8 extents; dtype, shape and
 * rank may be null. */
OCTAVO_API octavo_status octavo_model_tensor(const octavo_model* model, const char* name,
                                             const void** data, size_t* bytes, octavo_dtype* dtype,
                                             int64_t* shape, int32_t* rank);
/* Copies any tensor, its digests checked, decompressed where needed: *bytes is the buffer's size on
 * entry and the tensor's on return. With buffer null only *bytes is set. */
OCTAVO_API octavo_status octavo_model_read_tensor(const octavo_model* model, const char* name,
                                                  void* buffer, size_t* bytes);
/* Copies an embedded file: *bytes is the buffer's size on entry and the file's on return. With
 * buffer null only *bytes is set. */
OCTAVO_API octavo_status octavo_model_asset(const octavo_model* model, const char* name,
                                            void* buffer, size_t* bytes);

/* ---- Linears ---- */
OCTAVO_API octavo_status octavo_linear_prepare(octavo_model* model, const char* name,
                                               int64_t expert,
                                               const octavo_prepare_options* options,
                                               octavo_linear** linear);
/* Scales, sums, zero points and kept columns are checked; with check_digests every code too. */
OCTAVO_API octavo_status octavo_linear_from_memory(const octavo_linear_operands* operands,
                                                   const octavo_prepare_options* options,
                                                   octavo_linear** linear);
OCTAVO_API void octavo_linear_retain(octavo_linear* linear);
OCTAVO_API void octavo_linear_release(octavo_linear* linear);
/* What preparing touched of the file: pages of what is plain, whole chunks of the rest. */
OCTAVO_API octavo_status octavo_linear_bytes_read(const octavo_linear* linear, uint64_t* bytes);
/* Of a slice: its own. */
OCTAVO_API octavo_status octavo_linear_features(const octavo_linear* linear, int64_t* in_features,
                                                int64_t* out_features);
OCTAVO_API const char* octavo_linear_backend(const octavo_linear* linear); /* "avx2", "cuda:0" */

/* Workspace for the call of that name with up to `tokens` rows; of `options` only the threads
 * count. OCTAVO_LIMIT where no address space could hold it. */
OCTAVO_API octavo_status octavo_quantize_workspace(const octavo_linear* linear, int64_t tokens,
                                                   const octavo_forward_options* options,
                                                   size_t* bytes);
OCTAVO_API octavo_status octavo_multiply_workspace(const octavo_linear* linear, int64_t tokens,
                                                   const octavo_forward_options* options,
                                                   size_t* bytes);
OCTAVO_API octavo_status octavo_forward_workspace(const octavo_linear* linear, int64_t tokens,
                                                  const octavo_forward_options* options,
                                                  size_t* bytes);

/* y = x W^T + bias: x [tokens, in_features], y [tokens, out_features]. */
OCTAVO_API octavo_status octavo_forward(const octavo_linear* linear, const octavo_tensor* x,
                                        const octavo_tensor* y,
                                        const octavo_forward_options* options);
/* The same in two steps: one quantization serves every linear with the same input. Refers to x and
 * to the workspace. */
OCTAVO_API octavo_status octavo_quantize(const octavo_linear* linear, const octavo_tensor* x,
                                         const octavo_forward_options* options,
                                         octavo_quantized** quantized);
OCTAVO_API void octavo_quantized_release(octavo_quantized* quantized);
OCTAVO_API octavo_status octavo_multiply(const octavo_quantized* quantized,
                                         const octavo_linear* linear, const octavo_tensor* y,
                                         const octavo_forward_options* options);
/* Outlier columns, ascending: up to `capacity` into `columns` (may be null), all of them counted in
 * *count. On a CUDA device it waits for the stream that octavo_quantize was given. */
OCTAVO_API octavo_status octavo_outlier_columns(const octavo_quantized* quantized, int64_t* columns,
                                                int64_t capacity, int64_t* count);

/* ---- A linear whose in_features are split over several ranks ---- */
typedef int32_t octavo_reduce_op;
enum { OCTAVO_REDUCE_MAX = 0, OCTAVO_REDUCE_SUM = 1 };

/* Replaces data[i] by the largest, or the sum, of data[i] on all ranks, with the same bits on every
 * rank, and returns when that is done; OCTAVO_OK, or an error that ends the call and is its result:
 * it must return one, and not wait for ever, where a rank has left. `stream`: the call's. */
typedef octavo_status (*octavo_all_reduce)(void* context, float* data, size_t count,
                                           octavo_reduce_op op, void* stream);

typedef struct octavo_row_parallel {
  size_t struct_size;
  octavo_all_reduce all_reduce;
  void* context;
  int32_t local_range; /* 1: each rank quantizes by its own columns' range: another definition */
  int32_t reserved;    /* 0 */
} octavo_row_parallel;

/* y on every rank, from each rank's columns of x: x [tokens, in_features of the slice], y [tokens,
 * out_features]. Every rank calls it with as many rows and the same options. docs/numerics.md
 * section 10. */
OCTAVO_API octavo_status octavo_forward_row_parallel(const octavo_linear* linear,
                                                     const octavo_tensor* x, const octavo_tensor* y,
                                                     const octavo_row_parallel* ranks,
                                                     const octavo_forward_options* options);
OCTAVO_API octavo_status octavo_row_parallel_workspace(const octavo_linear* linear, int64_t tokens,
                                                       const octavo_forward_options* options,
                                                       size_t* bytes);

/* ---- This machine: the CPU's kernels and the CUDA devices ---- */
OCTAVO_API octavo_status octavo_backend_count(int64_t* count);
OCTAVO_API octavo_status octavo_backend(int64_t index, const char** name, int32_t* usable,
                                        int32_t* selected, const char** reason);

#ifdef __cplusplus
}
#endif

#endif /* OCTAVO_OCTAVO_H_ */
