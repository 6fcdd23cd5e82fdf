#!/bin/bash
# add_subdirectory: builds with the parent's settings, links, brings no tests, needs no Ninja.
. "$(dirname "$0")/common.sh"

cmake -S "$here/parent" -B "$work/build" -G "Unix Makefiles" -DHAKMEM_SOURCE="$HAK_SOURCE_DIR" \
  >"$work/log" 2>&1 && cmake --build "$work/build" -j 2 >>"$work/log" 2>&1 ||
  fail "$(cat "$work/log")"
took_over standard "$work/build/with-hakmem"
took_over standard "$work/build/with-hakmem-static"
