/* Checks of the C test programs: the first one that fails ends the program. */
#ifndef TESTS_RUNTIME_C_CHECK_H_
#define TESTS_RUNTIME_C_CHECK_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                 \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      fprintf(stderr, "%s:%d: %s; last error: \"%s\"\n", __FILE__, __LINE__, #condition, \
              octavo_last_error());                                                      \
      exit(1);                                                                           \
    }                                                                                    \
  } while (0)

#define CHECK_OK(call) CHECK((call) == OCTAVO_OK && *octavo_last_error() == '\0')
#define CHECK_ERROR(call, status, text) \
  CHECK((call) == (status) && strstr(octavo_last_error(), (text)) != NULL)

#endif
