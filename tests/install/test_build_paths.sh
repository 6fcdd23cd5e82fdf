#!/bin/bash
# No path of the build machine in what gets installed; the loader flags that the library relies on.
. "$(dirname "$0")/common.sh"

for name in libhakmem libhakmem-minimal libhakmem-observe; do
  for file in "$HAK_BUILD_DIR/$name.so" "$HAK_BUILD_DIR/$name.a"; do
    if grep -qaF "$HAK_SOURCE_DIR/" "$file"; then
      fail "$file names the folder it was built in"
    fi
  done
  readelf -d "$HAK_BUILD_DIR/$name.so" >"$work/dynamic"
  grep -q "SONAME.*\[$name\.so\.0\]" "$work/dynamic" || fail "$name: SONAME"
  # The library must stay once loaded, and never bind lazily: the resolver may allocate.
  grep -q 'FLAGS_1.*NOW.*NODELETE' "$work/dynamic" || fail "$name: not NOW and NODELETE"
  grep -q TEXTREL "$work/dynamic" && fail "$name: text relocations"
  [ "$(grep -c NEEDED "$work/dynamic")" = 1 ] ||
    fail "$name needs more than libc: $(cat "$work/dynamic")"
  # Static TLS is short when a library is loaded late: one pointer is all that hakmem takes.
  tls=$(readelf -lW "$HAK_BUILD_DIR/$name.so" | awk '$1 == "TLS" { print $6 }')
  [ $((tls)) = 8 ] || fail "$name: $tls bytes of TLS, not 8"
done
