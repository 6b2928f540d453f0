# Fails unless PAGE is what PROGRAM prints.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE printed RESULT_VARIABLE result)
file(READ ${PAGE} page)
if(NOT result EQUAL 0 OR NOT printed STREQUAL page)
  message(FATAL_ERROR "${PAGE} differs from the table of architectures; renew it with ${PROGRAM} > ${PAGE}")
endif()
