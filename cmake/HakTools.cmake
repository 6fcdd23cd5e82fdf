# The commands: hakmem (installed) and hak-measure (used by make run).
file(RELATIVE_PATH HAK_LIBDIR_FROM_BINDIR
  "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")

add_executable(hakmem-tool "${PROJECT_SOURCE_DIR}/tools/hakmem.c")
set_target_properties(hakmem-tool PROPERTIES OUTPUT_NAME hakmem)
target_link_libraries(hakmem-tool PRIVATE hak_flags_common)
target_include_directories(hakmem-tool PRIVATE "${PROJECT_SOURCE_DIR}/src/rt")
target_compile_definitions(hakmem-tool PRIVATE
  HAK_VERSION="${PROJECT_VERSION}" HAK_LIBDIR="${HAK_LIBDIR_FROM_BINDIR}")

add_executable(hak-measure "${PROJECT_SOURCE_DIR}/tools/measure.c")
target_link_libraries(hak-measure PRIVATE hak_flags_common)
