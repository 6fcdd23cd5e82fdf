# make install: libraries, header, command, man page, CMake package, pkg-config file.
include(CMakePackageConfigHelpers)

install(TARGETS hakmem hakmem-static hakmem-minimal hakmem-minimal-static
  hakmem-observe hakmem-observe-static EXPORT hakmem-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES "${PROJECT_SOURCE_DIR}/include/hakmem.h" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET hakmem-tool)
  install(TARGETS hakmem-tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES "${PROJECT_SOURCE_DIR}/man/hakmem.1" DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

if(TARGET hakmem-trace)
  # The program that it starts stands beside the library.
  install(TARGETS hakmem-trace hakmem-trace-pack
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

set(HAK_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/hakmem)
install(EXPORT hakmem-targets NAMESPACE hakmem:: DESTINATION ${HAK_CMAKE_DIR})
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/hakmem-config.cmake.in"
  "${PROJECT_BINARY_DIR}/hakmem-config.cmake" INSTALL_DESTINATION ${HAK_CMAKE_DIR})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/hakmem-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/hakmem-config.cmake"
  "${PROJECT_BINARY_DIR}/hakmem-config-version.cmake" DESTINATION ${HAK_CMAKE_DIR})

# The prefix is found from the place of the .pc file, so that an installed tree may be moved.
file(RELATIVE_PATH HAK_PREFIX_FROM_PC
  "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/hakmem.pc.in" "${PROJECT_BINARY_DIR}/hakmem.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/hakmem.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
