# What tests/*/CMakeLists.txt use:
#   hak_unit_test(NAME [TWIN])       tests/unit/test_NAME.c on cmocka and all of src/ (asserts on)
#   hak_program(NAME source...)      a plain program; its malloc calls are kept by the compiler
#   hak_preload_test(NAME [LABEL short|long] [FLAVOUR standard|minimal|observe|twin]
#                    [TIMEOUT seconds]
#                    [ENV k=v...] [ALONE] [ONE_CORE] COMMAND arg...)
#                                                   COMMAND under LD_PRELOAD of that flavour
#   hak_test(NAME [LABEL ...] [TIMEOUT ...] [ENV ...] [ALONE] [ONE_CORE] [CROSS] COMMAND arg...)
#                                                   the same without preload
# Each test has HAK_BUILD_DIR and HAK_SOURCE_DIR in its environment, and exit status 77 is a skip
# (print `SKIP: why` first). The first word of COMMAND may be a target; no word holds a semicolon.
#
# Sanitizer builds make no library to preload. There a program whose source includes
# hak_test_alloc.h is linked with src/ and compiled with HAK_TEST_DIRECT, its tests of the standard
# flavour run it directly, and every other hak_preload_test and hak_test is left out. A cross build
# leaves out unit tests (no cmocka for the target) and every COMMAND that is not a target, but for a
# script marked CROSS, which runs its programs by the words of HAK_EMULATOR.
#
# Side by side: short tests run one a core, but for those marked ALONE. Long tests run by
# themselves, but for those marked ONE_CORE: mostly one thread, and no bound that a busy machine
# moves.

hak_objects(hakmem_internal STATIC FLAVOUR standard TWIN 0 DEBUG 1 OVERRIDE 0)
hak_objects(hakmem_internal_twin STATIC FLAVOUR standard TWIN 1 DEBUG 1 OVERRIDE 0)
foreach(target hakmem_internal hakmem_internal_twin)
  target_link_libraries(${target} PUBLIC hak_flags_common)
  target_include_directories(${target} PUBLIC ${HAK_INCLUDE_DIRS})
endforeach()
# Unit tests see the constants that the library was built with.
target_compile_definitions(hakmem_internal INTERFACE
  HAK_FLAVOUR_MINIMAL=0 HAK_FLAVOUR_OBSERVE=0 HAK_DEBUG=1 HAK_OVERRIDE=0 HAK_OS_TWIN=0
  HAK_VERSION="${PROJECT_VERSION}")
target_compile_definitions(hakmem_internal_twin INTERFACE
  HAK_FLAVOUR_MINIMAL=0 HAK_FLAVOUR_OBSERVE=0 HAK_DEBUG=1 HAK_OVERRIDE=0 HAK_OS_TWIN=1
  HAK_VERSION="${PROJECT_VERSION}")

if(NOT HAK_SANITIZE)
  hak_objects(hakmem-twin_objects OBJECT FLAVOUR standard TWIN 1 DEBUG 1 OVERRIDE 1)
  hak_shared(hakmem-twin hakmem-twin hakmem-twin_objects)
endif()

set(HAK_UNIT_TESTS ON)
if(CMAKE_CROSSCOMPILING)
  set(HAK_UNIT_TESTS OFF)
else()
  find_library(HAK_CMOCKA cmocka)
  if(NOT HAK_CMOCKA)
    message(FATAL_ERROR "cmocka is missing: run scripts/deps.sh test")
  endif()
endif()

function(hak_test_properties name label timeout env)
  set(environment "HAK_BUILD_DIR=${PROJECT_BINARY_DIR}" "HAK_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
  if(CMAKE_CROSSCOMPILING)
    list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
    list(APPEND environment "HAK_EMULATOR=${emulator}")
  endif()
  if(HAK_SANITIZE MATCHES "address")
    list(APPEND environment "ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1")
  endif()
  get_filename_component(folder "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${timeout}
    LABELS "${label};part-${folder}" ENVIRONMENT "${environment};${env}")
endfunction()

function(hak_unit_test name)
  if(NOT HAK_UNIT_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "TWIN" "" "" ${ARGN})
  add_executable(test_${name} "${PROJECT_SOURCE_DIR}/tests/unit/test_${name}.c")
  if(A_TWIN)
    target_link_libraries(test_${name} PRIVATE hakmem_internal_twin)
  else()
    target_link_libraries(test_${name} PRIVATE hakmem_internal)
  endif()
  target_link_libraries(test_${name} PRIVATE "${HAK_CMOCKA}" pthread)
  add_test(NAME unit.${name} COMMAND test_${name})
  hak_test_properties(unit.${name} short 120 "")
endfunction()

function(hak_program name)
  set(direct OFF)
  foreach(source IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    file(STRINGS "${source}" include_line REGEX "hak_test_alloc\\.h")
    if(HAK_SANITIZE AND include_line)
      set(direct ON)
    endif()
  endforeach()
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE hak_flags_common pthread)
  target_include_directories(${name} PRIVATE
    "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/tests")
  if(direct)
    target_compile_definitions(${name} PRIVATE HAK_TEST_DIRECT)
    target_link_libraries(${name} PRIVATE hakmem_internal)
    set_target_properties(${name} PROPERTIES HAK_DIRECT ON)
  endif()
endfunction()

# Sets `runs` to whether this build can run COMMAND, see the head of this file.
function(hak_command_runs runs flavour command cross)
  set(${runs} ON PARENT_SCOPE)
  if(HAK_SANITIZE)
    set(${runs} OFF PARENT_SCOPE)
    if(TARGET "${command}" AND flavour STREQUAL "standard")
      get_target_property(direct ${command} HAK_DIRECT)
      if(direct)
        set(${runs} ON PARENT_SCOPE)
      endif()
    endif()
  elseif(CMAKE_CROSSCOMPILING AND NOT TARGET "${command}" AND NOT cross)
    set(${runs} OFF PARENT_SCOPE)
  endif()
endfunction()

function(hak_add_test name preload)
  cmake_parse_arguments(A "ALONE;ONE_CORE;CROSS" "LABEL;FLAVOUR;TIMEOUT" "ENV;COMMAND" ${ARGN})
  if(NOT A_COMMAND OR A_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${name}: no COMMAND, or unknown words: ${A_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT A_LABEL)
    set(A_LABEL short)
  endif()
  if(NOT A_LABEL MATCHES "^(short|long)$")
    message(FATAL_ERROR "${name}: LABEL ${A_LABEL}: must be short or long")
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  if(NOT A_FLAVOUR)
    set(A_FLAVOUR standard)
  endif()
  list(GET A_COMMAND 0 command)
  hak_command_runs(runs ${A_FLAVOUR} "${command}" ${A_CROSS})
  if(NOT runs)
    return()
  endif()
  if(preload AND NOT HAK_SANITIZE)
    set(library_standard libhakmem.so)
    set(library_minimal libhakmem-minimal.so)
    set(library_observe libhakmem-observe.so)
    set(library_twin libhakmem-twin.so)
    if(NOT DEFINED library_${A_FLAVOUR})
      message(FATAL_ERROR "${name}: FLAVOUR ${A_FLAVOUR}: standard, minimal, observe or twin")
    endif()
    set(variable "LD_PRELOAD=${PROJECT_BINARY_DIR}/${library_${A_FLAVOUR}}")
    if(CMAKE_CROSSCOMPILING)
      set(variable "QEMU_SET_ENV=${variable}")
    endif()
    list(APPEND A_ENV "${variable}")
  endif()
  add_test(NAME ${name} COMMAND ${A_COMMAND})
  set(labels ${A_LABEL})
  if(A_ONE_CORE)
    list(APPEND labels one-core)
  endif()
  hak_test_properties(${name} "${labels}" ${A_TIMEOUT} "${A_ENV}")
  set_tests_properties(${name} PROPERTIES RUN_SERIAL ${A_ALONE})
endfunction()

function(hak_preload_test name)
  hak_add_test(${name} ON ${ARGN})
endfunction()

function(hak_test name)
  hak_add_test(${name} OFF ${ARGN})
endfunction()
