#!/bin/bash
# The archives define exactly the names that the shared libraries export, and no other, but for
# __register_atfork, which a static libc has beside fork.
. "$(dirname "$0")/common.sh"

for name in libhakmem libhakmem-minimal libhakmem-observe; do
  nm -g --defined-only "$HAK_BUILD_DIR/$name.a" | awk 'NF == 3 { print $3 }' | sort >"$work/archive"
  nm -D --defined-only "$HAK_BUILD_DIR/$name.so" | awk 'NF == 3 { sub(/@.*/, "", $3); print $3 }' |
    sort >"$work/all"
  grep -qx __register_atfork "$work/all" || fail "$name.so lets fork handlers pass"
  grep -vx __register_atfork "$work/all" >"$work/shared"
  grep -qx malloc "$work/archive" || fail "$name.a does not define malloc"
  diff "$work/archive" "$work/shared" || fail "$name: archive (<) and shared library (>) differ"
done
