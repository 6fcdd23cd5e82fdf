#!/bin/bash
# make install, then move the installed tree: find_package, pkg-config and the command still work.
. "$(dirname "$0")/common.sh"

cmake --install "$HAK_BUILD_DIR" --prefix "$work/first" >"$work/log" || fail "$(cat "$work/log")"
mv "$work/first" "$work/moved"
prefix=$work/moved

cmake -S "$here/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 &&
  cmake --build "$work/build" >>"$work/log" 2>&1 || fail "$(cat "$work/log")"
took_over standard "$work/build/with-hakmem"
took_over standard "$work/build/with-hakmem-static"
took_over minimal "$work/build/with-hakmem-minimal"
took_over minimal "$work/build/with-hakmem-minimal-static"
took_over observe "$work/build/with-hakmem-observe"
took_over observe "$work/build/with-hakmem-observe-static"
took_over standard "$work/build/quiet"
took_over standard "$work/build/quiet-static"
for throws in throws-static throws-shared-cxx; do
  took_over standard "$work/build/$throws"
  grep -qx caught "$work/output" || fail "$throws: $(cat "$work/output")"
done
readelf -d "$work/build/with-hakmem" | grep -q 'NEEDED.*\[libhakmem\.so\.0\]' ||
  fail "the program does not need libhakmem.so.0"

pc=$(dirname "$(find "$prefix" -name hakmem.pc)")
export PKG_CONFIG_PATH=$pc
libdir=$(pkg-config --variable=libdir hakmem)
# The flags are words by design.
# shellcheck disable=SC2046
gcc "$here/consumer/consumer.c" -o "$work/by-pc" $(pkg-config --cflags --libs hakmem) \
  -Wl,-rpath,"$libdir" || fail "pkg-config: $(pkg-config --cflags --libs hakmem)"
took_over standard "$work/by-pc"
# shellcheck disable=SC2046
gcc -Wl,--as-needed "$here/consumer/quiet.c" -o "$work/quiet-by-pc" \
  $(pkg-config --cflags --libs hakmem) -Wl,-rpath,"$libdir" || fail "quiet by pkg-config"
took_over standard "$work/quiet-by-pc"

took_over standard "$prefix/bin/hakmem" run -- /usr/bin/perl -e 'my @a = map { "x" x $_ } 1..1000'
HAKMEM_TRACE=$work/true.hkt LD_PRELOAD=$libdir/libhakmem-trace.so expect 0 /usr/bin/true
[ -s "$work/true.hkt" ] && [ ! -s "$work/output" ] || fail "no trace: $(cat "$work/output")"
[ -f "$prefix/share/man/man1/hakmem.1" ] || fail "no man page"
