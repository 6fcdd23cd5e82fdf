#!/bin/bash
# scripts/run_compare.py (make run): its verdict and exit status in each case.
. "$(dirname "$0")/../install/common.sh"

ends() { # STATUS TEXT CMD
  expect "$1" "$HAK_SOURCE_DIR/scripts/run_compare.py" --build "$HAK_BUILD_DIR" --rounds 1 "$3"
  grep -q "$2" "$work/output" || fail "'$2' not found: $(cat "$work/output")"
}

perl="exec /usr/bin/perl -e 'my @a = map { \"x\" x \$_ } 1..1000; exit shift' --"
ends 0 'took over: yes. perl got at least [1-9]' "$perl 0"
grep -q '^peak memory (RSS)  *[0-9.]* MiB  *[0-9.]* MiB  *[0-9.]*$' "$work/output" ||
  fail "no table: $(cat "$work/output")"
# Shell syntax: the largest of several processes counts.
ends 0 'took over: yes. perl .* more of [1-9][0-9]* processes' "(${perl#exec } 0) | cat | wc -l"
ends 3 'failed on both allocators, status 7: the figures above' "$perl 7"
ends 3 'status 127 (not found). Nothing can be said about hakmem' 'no-such-command-here'
ends 4 'ended differently' "$perl \${LD_PRELOAD:+5}"

echo 'int main(void) { return 0; }' >"$work/static.c"
gcc -static "$work/static.c" -o "$work/static"
ends 1 'took over: unknown. No process reported' "exec $work/static"
gcc -nostartfiles -x c - -o "$work/idle" <<'END'
#include <unistd.h>
void _start(void) { _exit(0); }
END
ends 1 'took over: unknown. No process reported' "exec $work/idle"

expect 2 "$HAK_SOURCE_DIR/scripts/run_compare.py" --build "$work" true
expect 2 "$HAK_SOURCE_DIR/scripts/run_compare.py" --rounds 0 true

# The measuring program does not lend its child a large peak.
expect 0 "$HAK_BUILD_DIR/hak-measure" "$work/measured" "exec $work/static"
peak=$(sed 's/.*"peak_kib":\([0-9]*\).*/\1/' "$work/measured")
[ "$peak" -gt 0 ] && [ "$peak" -lt 4096 ] || fail "peak of an idle program: $peak KiB"
expect 9 "$HAK_BUILD_DIR/hak-measure" "$work/measured" 'exit 9'
expect 137 "$HAK_BUILD_DIR/hak-measure" "$work/measured" 'kill -KILL $$'
expect 125 "$HAK_BUILD_DIR/hak-measure" "$work/measured"
