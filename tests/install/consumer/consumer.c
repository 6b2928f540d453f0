/* The same through the C interface: consumer MODEL.8vo */
#include <octavo/octavo.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  octavo_model* model = NULL;
  octavo_linear* linear = NULL;
  int64_t count = 0, in = 0, out = 0;
  if (octavo_model_open(argv[1], NULL, &model) != OCTAVO_OK ||
      octavo_model_module_count(model, &count) != OCTAVO_OK) {
    fprintf(stderr, "%s\n", octavo_last_error());
    return 1;
  }
  for (int64_t i = 0; i < count && linear == NULL; ++i) {
    const char* name = NULL;
    int32_t quantized = 0;
    octavo_model_module(model, i, &name, &quantized);
    if (quantized && octavo_linear_prepare(model, name, 0, NULL, &linear) == OCTAVO_OK)
      printf("%s\n", name);
  }
  if (linear == NULL || octavo_linear_features(linear, &in, &out) != OCTAVO_OK) return 1;
  float* x = calloc((size_t)in + 1, sizeof(float));
  float* y = calloc((size_t)out + 1, sizeof(float));
  const octavo_tensor x_tensor = {x, OCTAVO_F32, OCTAVO_CPU, 0, 0, 1, in, in};
  const octavo_tensor y_tensor = {y, OCTAVO_F32, OCTAVO_CPU, 0, 0, 1, out, out};
  octavo_forward_options options = OCTAVO_INIT(octavo_forward_options);
  const octavo_status status = octavo_forward(linear, &x_tensor, &y_tensor, &options);
  if (status != OCTAVO_OK) fprintf(stderr, "%s\n", octavo_last_error());
  free(x);
  free(y);
  octavo_linear_release(linear);
  octavo_model_release(model);
  return status == OCTAVO_OK ? 0 : 1;
}
