#!/bin/bash
# scripts/check_layers.py finds each kind of violation in a copy of src/ that has one.
. "$(dirname "$0")/../install/common.sh"

copy() {
  rm -rf "$work/tree"
  mkdir -p "$work/tree/scripts"
  cp -r "$HAK_SOURCE_DIR/src" "$work/tree/src"
  cp "$HAK_SOURCE_DIR"/scripts/{check_layers,quiet_pipe}.py "$work/tree/scripts/"
}
check() {
  "$work/tree/scripts/check_layers.py" "$@"
}
finds() { # TEXT [ARGUMENT...]
  local text=$1
  shift
  expect 1 check "$@"
  grep -q "$text" "$work/output" || fail "'$text' not found: $(cat "$work/output")"
}

copy
expect 0 check
grep -q 'symbols not checked' "$work/output" || fail "does not say that no symbol was checked"
echo '#include "os_mem.h"' >>"$work/tree/src/base/base_size.h"
finds 'base_size.h:[0-9]*: base (rank 0) includes os_mem.h of os (rank 1)'
copy
echo '#include <sys/mman.h>' >>"$work/tree/src/base/base_size.h"
finds 'system header <sys/mman.h> outside src/os'
copy
mkdir "$work/tree/src/extra"
finds 'src/extra: folder has no rank'
copy
echo '11 nothing' >>"$work/tree/src/LAYERS"
finds "'nothing' holds no source"

# The symbols of objects: base calls what only os defines, and what only libc has.
copy
objects=$work/tree/build/CMakeFiles/x.dir/src
mkdir -p "$objects/base" "$objects/os"
echo 'void up_call(void); int puts(const char *); void f(void) { up_call(); puts("x"); }' \
  >"$work/tree/src/base/bad_low.c"
echo 'void up_call(void) {}' >"$work/tree/src/os/bad_high.c"
gcc -fno-builtin -c "$work/tree/src/base/bad_low.c" -o "$objects/base/bad_low.c.o"
gcc -c "$work/tree/src/os/bad_high.c" -o "$objects/os/bad_high.c.o"
finds 'src/base/bad_low.c: calls up_call of os (rank 1)'
finds 'src/base/bad_low.c: calls puts of the C library'
