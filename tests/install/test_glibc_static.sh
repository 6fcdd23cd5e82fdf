#!/bin/bash
# A static program of glibc: libhakmem.a takes the place of glibc's allocator without clashes.
. "$(dirname "$0")/common.sh"

for flavour in standard minimal; do
  suffix=$([ $flavour = minimal ] && echo -minimal || true)
  gcc -static -O1 -fno-builtin -I "$HAK_SOURCE_DIR/include" "$here/consumer/consumer.c" \
    "$HAK_BUILD_DIR/libhakmem$suffix.a" -o "$work/program" || fail "$flavour does not link"
  took_over $flavour "$work/program"
done
