# What an installed Octavo is: a CMake package, a pkg-config file, headers and libraries (and the binary: tools/).
# Included by the top level after all targets exist; a target that this configuration lacks is left out.
include(CMakePackageConfigHelpers)

set(octavo_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/octavo)

foreach(target octavo_format octavo_kernels octavo_quant octavo_quant_c octavo_runtime octavo_c)
  if(TARGET ${target})
    install(TARGETS ${target} EXPORT octavoTargets
      ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
      LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endforeach()
# What the headers need of a consumer's compiler.
foreach(target octavo_format octavo_kernels octavo_quant octavo_runtime)
  if(TARGET ${target})
    target_compile_features(${target} INTERFACE cxx_std_20)
  endif()
endforeach()

foreach(folder format kernels libquant runtime)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")
endforeach()

install(EXPORT octavoTargets NAMESPACE octavo:: DESTINATION ${octavo_package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/octavoConfig.cmake.in
  ${PROJECT_BINARY_DIR}/octavoConfig.cmake INSTALL_DESTINATION ${octavo_package_dir})
# 0.x: a minor version may change the C++ interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/octavoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/octavoConfig.cmake ${PROJECT_BINARY_DIR}/octavoConfigVersion.cmake
  DESTINATION ${octavo_package_dir})

# The .pc file finds its prefix from where it lies, so that an installation can be moved. CMAKE_INSTALL_LIBDIR may have
# several components (lib/x86_64-linux-gnu), or be absolute.
cmake_path(APPEND CMAKE_INSTALL_LIBDIR pkgconfig OUTPUT_VARIABLE octavo_pkgconfig_dir)
if(IS_ABSOLUTE ${octavo_pkgconfig_dir})
  set(octavo_pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH octavo_pc_up "/${octavo_pkgconfig_dir}" "/")
  set(octavo_pc_prefix "\${pcfiledir}/${octavo_pc_up}")
endif()
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_LIBDIR BASE_DIRECTORY "\${prefix}" OUTPUT_VARIABLE octavo_pc_libdir)
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_INCLUDEDIR BASE_DIRECTORY "\${prefix}" OUTPUT_VARIABLE octavo_pc_includedir)
configure_file(${CMAKE_CURRENT_LIST_DIR}/octavo.pc.in ${PROJECT_BINARY_DIR}/octavo.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/octavo.pc DESTINATION ${octavo_pkgconfig_dir})
