# What the Python package carries (runtime/python/pyproject.toml): the shared libraries, beside its modules, each as one file.
# Included by the top level, in place of the installation, when pip builds.
set(octavo_python_libraries octavo_c)
if(TARGET octavo_quant_c)
  list(APPEND octavo_python_libraries octavo_quant_c)
endif()
if(TARGET octavo_cuda)
  list(APPEND octavo_python_libraries octavo_cuda)
endif()
add_custom_target(octavo_python DEPENDS ${octavo_python_libraries})
foreach(library ${octavo_python_libraries})
  get_target_property(soversion ${library} SOVERSION)
  if(soversion)
    set_target_properties(${library} PROPERTIES VERSION ${soversion})  # no links: a wheel has none
  endif()
  install(TARGETS ${library} LIBRARY DESTINATION octavo COMPONENT python NAMELINK_SKIP)
endforeach()
