include(CheckCSourceCompiles)
include(CMakePushCheckState)

# hak_objects(TARGET TYPE FLAVOUR standard|minimal|observe TWIN 0|1 DEBUG 0|1 OVERRIDE 0|1): src/
# compiled once with these constants. src/os has two implementations of one contract; TWIN chooses.
function(hak_objects target type)
  cmake_parse_arguments(A "" "FLAVOUR;TWIN;DEBUG;OVERRIDE" "" ${ARGN})
  set(minimal 0)
  set(observe 0)
  set(${A_FLAVOUR} 1)
  set(sources ${HAK_SOURCES})
  if(A_TWIN)
    list(FILTER sources EXCLUDE REGEX "/src/os/os_sys\\.c$")
  else()
    list(FILTER sources EXCLUDE REGEX "/src/os/os_twin\\.c$")
  endif()
  list(FILTER sources EXCLUDE REGEX "/src/(entry/entry_resolver|(entry/entry|os/os)_atfork)\\.c$")
  if(type STREQUAL "OBJECT") # the tests' libraries have it all
    if(NOT observe)
      list(FILTER sources EXCLUDE REGEX "/src/heap/ops\\.c$")
    endif()
    if(minimal)
      list(FILTER sources EXCLUDE REGEX "/src/(view/view_dump|entry/entry_dump)\\.c$")
    endif()
  endif()
  add_library(${target} ${type} ${sources})
  target_link_libraries(${target} PRIVATE hak_flags_src)
  target_compile_definitions(${target} PRIVATE HAK_FLAVOUR_MINIMAL=${minimal}
    HAK_FLAVOUR_OBSERVE=${observe} HAK_DEBUG=${A_DEBUG} HAK_OVERRIDE=${A_OVERRIDE}
    HAK_OS_TWIN=${A_TWIN})
endfunction()

function(hak_public_headers target)
  target_include_directories(${target} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

# What small processes run stands together, apart from the rest. A linker that knows no INSERT does
# without, and lld keeps one segment all the same: the library is the same, its processes larger.
set(HAK_SMALL_PROCESS_SCRIPT "${PROJECT_SOURCE_DIR}/cmake/small_process.ld")
set(HAK_SMALL_PROCESS_OPTION "")
if(HAK_SMALL_PROCESS AND NOT HAK_SANITIZE)
  cmake_push_check_state(RESET)
  separate_arguments(flags NATIVE_COMMAND "${CMAKE_SHARED_LINKER_FLAGS}")
  set(CMAKE_REQUIRED_LINK_OPTIONS -shared ${flags} "LINKER:-T,${HAK_SMALL_PROCESS_SCRIPT}")
  set(CMAKE_REQUIRED_FLAGS "-fPIC -ffunction-sections")
  check_c_source_compiles("int main(void) { return 0; }" HAK_LINKER_ORDERS)
  cmake_pop_check_state()
  if(HAK_LINKER_ORDERS)
    set(HAK_SMALL_PROCESS_OPTION "LINKER:-T,${HAK_SMALL_PROCESS_SCRIPT}")
  endif()
endif()

function(hak_shared target name objects)
  add_library(${target} SHARED $<TARGET_OBJECTS:${objects}>
    "${PROJECT_SOURCE_DIR}/src/entry/entry_resolver.c"
    "${PROJECT_SOURCE_DIR}/src/entry/entry_atfork.c" "${PROJECT_SOURCE_DIR}/src/os/os_atfork.c")
  target_link_libraries(${target} PRIVATE hak_flags_src)
  target_compile_definitions(${target} PRIVATE HAK_FLAVOUR_MINIMAL=0 HAK_FLAVOUR_OBSERVE=0
    HAK_DEBUG=0 HAK_OVERRIDE=1 HAK_OS_TWIN=0) # these files depend on none of them
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} LINKER_LANGUAGE C
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS "${HAK_EXPORTS};${HAK_SMALL_PROCESS_SCRIPT}")
  target_link_options(${target} PRIVATE "LINKER:--version-script=${HAK_EXPORTS}"
    LINKER:-z,nodelete,-z,now,-z,relro,-z,defs,-z,noexecstack
    # Its constructor comes first: entry_init.c.
    LINKER:-z,initfirst
    # Fewer pages a process: code and constants share theirs, and so do small variables
    # (HAK_LARGE_BSS sorts behind .bss). What only tests call is left out.
    LINKER:-z,noseparate-code,--sort-section=name,--gc-sections
    LINKER:-u,entry_resolver_reference
    ${HAK_SMALL_PROCESS_OPTION})
  # Many programs call malloc only through libc. A compiler that drops libraries of which the
  # program's own objects name nothing (some distributions' default) would leave this one out.
  target_link_options(${target} INTERFACE LINKER:--no-as-needed)
  hak_public_headers(${target})
endfunction()

# The archive holds one object whose only global names are those of exports.map, so that no internal
# name can clash with one of the program.
function(hak_archive target name objects)
  set(keep "${PROJECT_BINARY_DIR}/${name}-exports.txt") # one each: they are made at once
  set(object "${PROJECT_BINARY_DIR}/${name}.o")
  add_custom_command(OUTPUT "${object}"
    COMMAND "${CMAKE_COMMAND}" -DMAP=${HAK_EXPORTS} -DOUT=${keep}
            -P "${PROJECT_SOURCE_DIR}/cmake/exports_list.cmake"
    COMMAND "${CMAKE_LINKER}" -r -o "${object}" $<TARGET_OBJECTS:${objects}>
    COMMAND "${CMAKE_OBJCOPY}" --wildcard "--keep-global-symbols=${keep}" "${object}"
    DEPENDS ${objects} $<TARGET_OBJECTS:${objects}> "${HAK_EXPORTS}"
            "${PROJECT_SOURCE_DIR}/cmake/exports_list.cmake"
    COMMAND_EXPAND_LISTS VERBATIM COMMENT "Localising the names of lib${name}.a")
  set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  add_library(${target} STATIC "${object}")
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} LINKER_LANGUAGE C)
  # A program whose own objects name neither malloc nor what throws would leave out the archive's
  # object, and of libstdc++.a what throws std::bad_alloc, or all of libstdc++.so where the compiler
  # drops libraries that look unneeded.
  target_link_options(${target} INTERFACE LINKER:-u,malloc
    $<$<LINK_LANGUAGE:CXX>:LINKER:-u,_ZSt17__throw_bad_allocv,--no-as-needed>)
  hak_public_headers(${target})
endfunction()

# hak_library(TARGET FILE_NAME FLAVOUR ... TWIN 0|1 DEBUG 0|1): TARGET, TARGET-static and aliases.
function(hak_library target name)
  hak_objects(${target}_objects OBJECT ${ARGN} OVERRIDE 1)
  hak_shared(${target} ${name} ${target}_objects)
  hak_archive(${target}-static ${name} ${target}_objects)
  add_library(hakmem::${target} ALIAS ${target})
  add_library(hakmem::${target}-static ALIAS ${target}-static)
endfunction()
