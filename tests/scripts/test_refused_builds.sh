#!/bin/bash
# Machines, systems and combinations of build constants that hakmem does not support fail to
# compile, with the words that say why.
. "$(dirname "$0")/../install/common.sh"

compile() { # FLAG...: the constants of a release, then these
  printf '#include "base_attr.h"\nint x;\n' >"$work/source.c"
  gcc -std=gnu17 -fsyntax-only -Wno-builtin-macro-redefined -I"$HAK_SOURCE_DIR/src/base" \
    -DHAK_FLAVOUR_MINIMAL=0 -DHAK_FLAVOUR_OBSERVE=0 -DHAK_DEBUG=0 -DHAK_OVERRIDE=1 -DHAK_OS_TWIN=0 \
    "$@" "$work/source.c"
}
refuses() { # TEXT FLAG...
  local text=$1
  shift
  expect 1 compile "$@"
  grep -q "error: .*$text" "$work/output" || fail "$*: '$text' not found: $(cat "$work/output")"
}
combines() { # STATUS MINIMAL OBSERVE DEBUG OVERRIDE TWIN
  expect "$1" compile -UHAK_FLAVOUR_MINIMAL -UHAK_FLAVOUR_OBSERVE -UHAK_DEBUG -UHAK_OVERRIDE \
    -UHAK_OS_TWIN "-DHAK_FLAVOUR_MINIMAL=$2" "-DHAK_FLAVOUR_OBSERVE=$3" "-DHAK_DEBUG=$4" \
    "-DHAK_OVERRIDE=$5" "-DHAK_OS_TWIN=$6"
}

expect 0 compile
refuses 'hakmem supports x86-64 and aarch64 only' -U__x86_64__
expect 0 compile -U__x86_64__ -D__aarch64__
refuses 'hakmem supports 64-bit little-endian Linux only' -U__linux__
refuses 'hakmem supports 64-bit little-endian Linux only' -U__LP64__
refuses 'hakmem supports 64-bit little-endian Linux only' -U__BYTE_ORDER__ -D__BYTE_ORDER__=4321
for constant in FLAVOUR_MINIMAL FLAVOUR_OBSERVE DEBUG OVERRIDE OS_TWIN; do
  refuses 'the build must define HAK_FLAVOUR_{MINIMAL,OBSERVE}, HAK_{DEBUG,OVERRIDE,OS_TWIN}' \
    "-UHAK_$constant"
  refuses "HAK_$constant: 0" "-UHAK_$constant" "-DHAK_$constant=2"
done
for override in 0 1; do
  for debug in 0 1; do
    combines 0 0 0 $debug $override 0
    combines 0 1 0 $debug $override 0
    combines 0 0 1 $debug $override 0
    combines 1 1 1 $debug $override 0
    combines 1 1 0 $debug $override 1
    combines 1 0 1 $debug $override 1
  done
  combines 0 0 0 1 $override 1
  combines 1 0 0 0 $override 1
done
refuses 'HAK_OS_TWIN: 0, or 1 in the standard flavour with HAK_DEBUG' -UHAK_OS_TWIN -DHAK_OS_TWIN=1
