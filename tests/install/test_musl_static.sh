#!/bin/bash
# A static program of musl with libhakmem.a in place of musl's allocator.
. "$(dirname "$0")/common.sh"
command -v musl-gcc >/dev/null || skip "musl-gcc is not installed"

for flavour in standard minimal; do
  suffix=$([ $flavour = minimal ] && echo -minimal || true)
  musl-gcc -static -O1 -fno-builtin -I "$HAK_SOURCE_DIR/include" "$here/consumer/consumer.c" \
    "$HAK_BUILD_DIR/libhakmem$suffix.a" -o "$work/program" || fail "$flavour does not link"
  took_over $flavour "$work/program"
done
