/* Octavo's C interface for conversion: from a 16-bit checkpoint to a .8vo file. A library of its
 * own, liboctavo_quant.so; what multiplies is in octavo.h and does not need it.
 *
 * Statuses have the numbers of octavo.h. The text of a thread's last error belongs to the library
 * and is valid until the same thread's next call. Option structs begin with `struct_size`; zero in
 * a field is its default. All functions are thread-safe. */
#ifndef OCTAVO_OCTAVO_QUANT_H_
#define OCTAVO_OCTAVO_QUANT_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define OCTAVO_QUANT_API
#else
#define OCTAVO_QUANT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OCTAVO_QUANT_ABI_VERSION 1

/* Called from one thread at a time, at most about ten times a second, first at the beginning and
 * last when all bytes of the source are done. `tensor` is valid during the call. 0 cancels. */
typedef int32_t (*octavo_quant_progress)(void* context, uint64_t bytes_done, uint64_t bytes_total,
                                         const char* tensor);
/* A sentence for people, valid during the call. */
typedef void (*octavo_quant_warning)(void* context, const char* text);

/* The options of `octavo convert` (docs/cli.md). Choices are named as there; null: what `compat`,
 * then `method`, then Octavo's defaults say. */
typedef struct octavo_convert_options {
  size_t struct_size;
  const char* method;
  const char* compat;
  const char* scope;
  const char* row_rule;
  const char* activations;
  int32_t override_threshold; /* 1: `threshold`; 0: the default, and threshold is 0 */
  float threshold;
  const char* const* skip_modules; /* patterns; null: none */
  size_t num_skip_modules;
  int32_t only_skip; /* 1: instead of the default list */
  int32_t via_fp16;
  int32_t skip_nonfinite;   /* 1: a module with a NaN or infinity stays as it is */
  int32_t compress;         /* 1: zstd */
  const char* keep_columns; /* JSON text of a profile; null: no kept columns */
  double keep_budget;       /* share of all linears' columns; 0: all of the profile */
  uint64_t max_shard_bytes; /* 0: one file */
  int32_t sha256;
  int32_t overwrite;
  int32_t resume;
  int32_t num_threads; /* 0: one for each CPU */
  octavo_quant_progress progress;
  void* progress_context;
  octavo_quant_warning warning;
  void* warning_context;
  const char* layout; /* "plain" (the default), "packed", or as files name it */
} octavo_convert_options;

typedef struct octavo_convert_result {
  uint64_t bytes_source;
  uint64_t bytes_file;
  uint64_t bytes_resumed; /* of the source, that an interrupted run had done */
  double seconds;
} octavo_convert_result;

OCTAVO_QUANT_API int32_t octavo_quant_abi_version(void);
OCTAVO_QUANT_API const char* octavo_quant_last_error(void);

/* `source`: a model's folder, a .safetensors file or an index. `output`: the .8vo file, or the
 * index of shards. `result` may be null. On error the old output is as it was. */
OCTAVO_QUANT_API int32_t octavo_convert(const char* source, const char* output,
                                        const octavo_convert_options* options,
                                        octavo_convert_result* result);

#ifdef __cplusplus
}
#endif

#endif /* OCTAVO_OCTAVO_QUANT_H_ */
