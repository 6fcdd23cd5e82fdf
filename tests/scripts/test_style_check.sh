#!/bin/bash
# scripts/check_style.py finds each kind of violation in a small tree that has one.
. "$(dirname "$0")/../install/common.sh"
tree=$work/tree

clean() {
  rm -rf "$tree"
  mkdir -p "$tree"/{scripts,src/base,src/rt,src/slab,include,tests/unit,tests/abuse}
  cp "$HAK_SOURCE_DIR/scripts/check_style.py" "$tree/scripts/"
  printf '// good.c: a good file.\nint good(void) { return 1; }\n' >"$tree/src/base/good.c"
  printf '// test.\nint main(void) { return 0; }\n' >"$tree/tests/unit/test_good.c"
  echo 'KNOB(SIZE, bytes, 1, 0, 2, "A size.")' >"$tree/src/rt/knobs.def"
}
finds() { # TEXT
  expect 1 "$tree/scripts/check_style.py"
  grep -qF "$1" "$work/output" || fail "'$1' not found: $(cat "$work/output")"
  clean
}

clean
expect 0 "$tree/scripts/check_style.py"
{ echo '// head.'; yes 'int a;' | head -n 600; } >"$tree/include/long.h"
finds 'long.h:601: 601 lines'
printf '// %0100d\n' 0 >"$tree/include/wide.h"
finds 'wide.h:1: 103 columns'
printf '// head.\n' >"$tree/src/rt/good.h"
finds "the stem 'good' is taken in src/base"
printf '// head.\n#include "good.c"\n' >"$tree/include/bad.h"
finds 'bad.h:2: includes a .c file'
printf '// head.\nsize_t x;\n' >"$tree/include/alone.h"
finds 'include/alone.h: does not compile alone'
printf '// head.\nint f(void) { return *(int *)malloc(4); }\n' >"$tree/src/base/good.c"
finds 'good.c:2: malloc() is banned here'
printf '// head.\nint f(void) { return printf("x"); }\n' >"$tree/src/base/good.c"
finds 'good.c:2: printf() is banned here'
rm "$tree/tests/unit/test_good.c"
finds 'src/base/good.c: no unit test'
printf '// head.\nint f(void);\n' >"$tree/src/slab/bare.h"
finds 'src/slab: 0 asserts in 2 lines'
printf 'int f(void);\n' >"$tree/include/headless.h"
finds 'headless.h:1: no file head'
{ printf '// line\n%.0s' {1..13}; } >"$tree/include/head.h"
finds 'file head of more than 12 lines'
printf '// head.\n\n/* Pops. */\nHAK_HOT int f(void) { return 1; }\n' >"$tree/src/base/hot.h"
finds 'hot.h:4: hot function without a budget'
printf '// head.\nstruct s { char a; } __attribute__((packed));\n' >"$tree/src/base/pack.h"
finds 'packed struct without static_assert'
echo 'KNOB(SIZE, bytes, 3, 0, 2, "A size.")' >"$tree/src/rt/knobs.def"
finds 'default or range of SIZE'
echo 'KNOB(SIZE, byte, 1, 0, 2, "A size.")' >"$tree/src/rt/knobs.def"
finds 'malformed line'
printf '// head.\nint main(void) { return 0; }\n' >"$tree/tests/abuse/lonely.c"
finds 'lonely.c: no list names it'
echo "see /wo""rk/x" >"$tree/notes.md"
finds "notes.md:1: '/wo""rk/'"
printf '#!/usr/bin/env python3\n' >"$tree/scripts/a.py"
finds 'write #!/usr/bin/python3'
