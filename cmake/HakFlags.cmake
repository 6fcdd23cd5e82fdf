# Compiler flags, as two interface targets: hak_flags_src for src/ and hak_flags_common for all.

# Without these a compiler may drop a malloc/free pair, or turn malloc + memset inside calloc into a
# call of calloc.
set(HAK_NO_BUILTIN -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
    -fno-builtin-aligned_alloc -fno-builtin-memalign -fno-builtin-posix_memalign)

add_library(hak_flags_common INTERFACE)
target_compile_options(hak_flags_common INTERFACE
  -g "-ffile-prefix-map=${PROJECT_SOURCE_DIR}=." -Wall -Wextra -Wshadow -Wundef -Wpointer-arith
  -Wwrite-strings -Wimplicit-fallthrough ${HAK_NO_BUILTIN}
  $<$<COMPILE_LANGUAGE:C>:-std=gnu17 -Wstrict-prototypes -Wvla>
  $<$<BOOL:${HAK_WERROR}>:-Werror>)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  # A release names x_is_valid() only inside the sizeof that an ASSERT becomes.
  # Debian 12's valgrind gives up on the DWARF 5 that clang 14 writes.
  target_compile_options(hak_flags_common INTERFACE
    -Wno-unneeded-internal-declaration -gdwarf-4)
endif()
if(HAK_SANITIZE)
  target_compile_options(hak_flags_common INTERFACE
    -O1 -fsanitize=${HAK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(hak_flags_common INTERFACE -fsanitize=${HAK_SANITIZE})
  if(HAK_SANITIZE MATCHES "thread" AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # GCC warns that TSan does not model atomic_thread_fence; the fences stay right without it.
    target_compile_options(hak_flags_common INTERFACE -Wno-tsan)
  endif()
else()
  target_compile_options(hak_flags_common INTERFACE -O2)
endif()

add_library(hak_flags_src INTERFACE)
target_link_libraries(hak_flags_src INTERFACE hak_flags_common)
target_compile_options(hak_flags_src INTERFACE
  -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-plt
  -ffunction-sections # for cmake/small_process.ld
  -Wmissing-prototypes -Wold-style-definition
  # Only api_cxx.c throws, and asks for its tables. Without the others a process is 70 KiB smaller.
  -fno-asynchronous-unwind-tables)
target_compile_definitions(hak_flags_src INTERFACE HAK_VERSION="${PROJECT_VERSION}")

# File names are unique in src/, so that a header is included by its bare name.
set(HAK_INCLUDE_DIRS "${PROJECT_SOURCE_DIR}/include")
file(GLOB headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/*/*.h")
foreach(source IN LISTS HAK_SOURCES headers)
  cmake_path(GET source PARENT_PATH folder)
  list(APPEND HAK_INCLUDE_DIRS "${folder}")
endforeach()
list(REMOVE_DUPLICATES HAK_INCLUDE_DIRS)
target_include_directories(hak_flags_src INTERFACE ${HAK_INCLUDE_DIRS})
