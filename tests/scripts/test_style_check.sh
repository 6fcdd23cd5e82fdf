#!/bin/bash
# scripts/check_style.py finds each kind of violation in a small tree that has one.
. "$(dirname "$0")/../install/common.sh"
tree=$work/tree

clean() {
  rm -rf "$tree"
  mkdir -p "$tree"/{scripts,src/base,src/heap,src/rt,src/slab,cmake,include,tests/unit,tests/abuse}
  cp "$HAK_SOURCE_DIR"/scripts/{check_style,quiet_pipe}.py "$tree/scripts/"
  printf '// good.c: a good file.\nint good(void) { return 1; }\n' >"$tree/src/base/good.c"
  printf '// test.\nint main(void) { return 0; }\n' >"$tree/tests/unit/test_good.c"
  echo 'KNOB(SIZE, bytes, 1, 0, 2, live, "", "A size.")' >"$tree/src/rt/knobs.def"
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
hot='// head.\n\n/* Pops. budget: 9 instructions */\nHAK_HOT int f(void) {%b  return 1;\n}\n'
printf "$hot" '\n' >"$tree/src/base/hot.h"
finds 'hot.h:4: hot function outside the headers of heap/ and entry/'
printf "$hot" '\n' >"$tree/src/heap/hot.c"
finds 'hot.c:4: hot function outside the headers of heap/ and entry/'
printf "$hot" '\n#if HAK_DEBUG\n#endif\n' >"$tree/src/heap/hot.h"
finds 'hot.h:5: #if in a hot function'
mkdir -p "$tree/src/entry" "$tree/tests/golden"
echo '{"limits": {"standard": {"malloc": 8}}}' >"$tree/tests/golden/hits.json"
printf "${hot/int f(/int entry_malloc(}" '\n' >"$tree/src/entry/hot.h"
finds 'hot.h:4: budget is not 8 instructions'

# What the preprocessor is asked, and where.
asks() { # FILE NAME
  printf '// head.\n#if \\\n    %s\n#endif\n' "$2" >"$tree/src/$1"
  echo "// test." >"$tree/tests/unit/test_${1##*/}"
}
asks rt/ask.c 'defined(__linux__)'
finds 'ask.c:2: #if asks for __linux__'
asks base/ask.c 'defined(__linux__)'
finds 'ask.c:2: #if asks for __linux__'
asks rt/ask.c 'defined(__x86_64__)'
finds 'ask.c:2: #if asks for __x86_64__'
asks slab/ask.c '__has_attribute(copy) && defined(MAP_STACK)'
finds 'ask.c:2: #if asks for MAP_STACK'
mkdir "$tree/src/os"
asks base/ask.c 'defined(__x86_64__)'
asks os/reply.c 'defined(__linux__) && defined(MAP_STACK)'
asks rt/more.c '__has_attribute(copy)'
expect 0 "$tree/scripts/check_style.py"
clean

# Results that may be dropped.
drops() { # DECLARATION
  printf '// head.\n#include <stdbool.h>\n#define HAK_INLINE static inline\n%s\n' "$1" \
    >"$tree/src/base/drop.h"
}
for kind in 'bool ' 'int ' 'long ' 'void *' 'struct x *' 'char **'; do
  drops "struct x; ${kind}f(void);"
  sed -i 's/; /;\n/' "$tree/src/base/drop.h"
  finds 'drop.h:5: the result of f may be dropped'
done
drops 'HAK_INLINE bool f(void) { return true; }'
finds 'drop.h:4: the result of f may be dropped'
for fine in 'bool f_is_full(void);' 'void f(void);' 'unsigned long f(void);' \
  'HAK_INLINE void *f(char *p) { return p + 1; }' 'bool size_class_split(void);'; do
  drops "$fine"
  expect 0 "$tree/scripts/check_style.py"
done
clean

# Build constants and their combinations.
echo 'HAK_EXTRA=0' >"$tree/cmake/HakLibrary.cmake"
finds 'cmake/HakLibrary.cmake:1: HAK_EXTRA is in no static_assert of base_attr.h'
asks base/ask.c HAK_OTHER
finds 'ask.c:2: HAK_OTHER is in no static_assert of base_attr.h'
asks base/ask.c HAK_DEBUG
printf '// head.\n_Static_assert(HAK_DEBUG == 0 || HAK_DEBUG == 1, "0 or 1");\n' \
  >"$tree/src/base/base_attr.h"
expect 0 "$tree/scripts/check_style.py"

# x_is_valid() is asserted and tested.
valid='// head.\nbool a_is_valid(int a) {\n  return a;\n}\n'
printf "$valid" >"$tree/src/slab/a.c"
echo "// test." >"$tree/tests/unit/test_a.c"
finds 'a.c:2: no ASSERT calls a_is_valid'
printf "$valid// ASSERT\nvoid f(void) { ASSERT(1 && a_is_valid(1)); }\n" >"$tree/src/slab/a.c"
echo "// test." >"$tree/tests/unit/test_a.c"
finds 'a.c:2: no unit test calls a_is_valid'
printf '// head.\nstruct s { char a; } __attribute__((packed));\n' >"$tree/src/base/pack.h"
finds 'packed struct without static_assert'
echo 'KNOB(SIZE, bytes, 3, 0, 2, live, "", "A size.")' >"$tree/src/rt/knobs.def"
finds 'default or range of SIZE'
echo 'KNOB(SIZE, byte, 1, 0, 2, live, "", "A size.")' >"$tree/src/rt/knobs.def"
finds 'malformed line'
echo 'KNOB(SIZE, choice, 1, 0, 2, live, "off|on", "A size.")' >"$tree/src/rt/knobs.def"
finds 'words of SIZE'
echo 'KNOB(SIZE, bytes, 1, 0, 2, live, "off|on|yes", "A size.")' >"$tree/src/rt/knobs.def"
finds 'words of SIZE'
printf '// head.\nint main(void) { return 0; }\n' >"$tree/tests/abuse/lonely.c"
finds 'lonely.c: no list names it'
echo "see /wo""rk/x" >"$tree/notes.md"
finds "notes.md:1: '/wo""rk/'"
printf '#!/usr/bin/env python3\n' >"$tree/scripts/a.py"
finds 'write #!/usr/bin/python3'
