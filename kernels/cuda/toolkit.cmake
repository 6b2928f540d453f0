# Whether liboctavo_cuda.so is built: OCTAVO_BUILD_CUDA. Where it is not and OCTAVO_CUDA is AUTO, a status line says why;
# the rest of the build is the same, and a library that is put beside it later is opened at run time.
set(octavo_nvcc_minimum 12.8)  # the first that knows every architecture of kernels/cuda/CMakeLists.txt

if(NOT OCTAVO_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "OCTAVO_CUDA is \"${OCTAVO_CUDA}\"; expected AUTO, ON or OFF")
endif()

set(OCTAVO_BUILD_CUDA OFF)
set(octavo_cuda_lacks "")
if(OCTAVO_CUDA STREQUAL "OFF")
  set(octavo_cuda_lacks "OCTAVO_CUDA is OFF")
elseif(OCTAVO_CUDA STREQUAL "AUTO" AND OCTAVO_SANITIZE)
  set(octavo_cuda_lacks "a build with sanitizers has it only with OCTAVO_CUDA=ON")
else()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(octavo_cuda_lacks "there is no working nvcc on PATH or in CUDACXX")
  else()
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE octavo_nvcc_version)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" octavo_nvcc_version "${octavo_nvcc_version}")
    set(octavo_nvcc_version "${CMAKE_MATCH_1}")
    if(octavo_nvcc_version VERSION_LESS octavo_nvcc_minimum)
      set(octavo_cuda_lacks
        "${CMAKE_CUDA_COMPILER} is of CUDA ${octavo_nvcc_version}; ${octavo_nvcc_minimum} or newer is needed")
    else()
      set(OCTAVO_BUILD_CUDA ON)
    endif()
  endif()
endif()

if(OCTAVO_BUILD_CUDA)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc has it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  message(STATUS "liboctavo_cuda.so is built with CUDA ${CMAKE_CUDA_COMPILER_VERSION}")
elseif(OCTAVO_CUDA STREQUAL "ON")
  message(FATAL_ERROR "OCTAVO_CUDA is ON, but ${octavo_cuda_lacks}")
else()
  message(STATUS "liboctavo_cuda.so is not built: ${octavo_cuda_lacks}")
endif()
