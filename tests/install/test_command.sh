#!/bin/bash
# The command hakmem: exit statuses, messages, --help, and that it preloads.
. "$(dirname "$0")/common.sh"
tool=$HAK_BUILD_DIR/hakmem

for verb in run check; do
  expect 0 "$tool" $verb --help
  grep -q "hakmem run" "$work/output" || fail "$verb --help prints no help"
done
expect 0 "$tool" --help
cp "$work/output" "$work/help"
sed -n 's/^KNOB(\([A-Z0-9_]*\),.*/\1/p' "$HAK_SOURCE_DIR/src/rt/knobs.def" >"$work/names"
[ -s "$work/names" ] || fail "no options in knobs.def"
while read -r name; do
  grep -q "HAKMEM_$name (" "$work/help" || fail "--help does not have $name"
done <"$work/names"
expect 0 "$tool" --version
grep -q '^hakmem 0\.1\.0$' "$work/output" || fail "--version: $(cat "$work/output")"

grep -q '^  HAKMEM_MEMORY_LIMIT (bytes, off|auto or 1M to 16384G, default auto, live)$' \
  "$work/help" || fail "--help: the values of MEMORY_LIMIT"
grep -q '^  HAKMEM_THP (choice, auto|always|never, default auto, live)$' "$work/help" ||
  fail "--help: the values of THP"
grep -q '^  HAKMEM_HEAPS (count, 0 to 65536, default 0)$' "$work/help" ||
  fail "--help: the values of HEAPS"
grep -q '^  WARM_POOL_BYTES: speed 64M, balanced 16M, lean 1M$' "$work/help" ||
  fail "--help: the values of the profiles"
sed -n 's/^PROFILE_ALIAS(\(.*\), \(.*\))$/\1 is \L\2/p' "$HAK_SOURCE_DIR/src/rt/profiles.def" \
  >"$work/aliases"
[ -s "$work/aliases" ] || fail "no aliases in profiles.def"
while read -r alias; do
  grep -q "^profiles:.* $alias" "$work/help" || fail "--help does not have $alias"
done <"$work/aliases"

one_line() {
  [ "$(wc -l <"$work/output")" = 1 ] || fail "not one line: $(cat "$work/output")"
}
expect 2 "$tool" && one_line
expect 2 "$tool" walk && one_line
expect 2 "$tool" run && one_line
expect 2 "$tool" run --fast true && one_line
expect 2 "$tool" check now && one_line
expect 2 "$tool" run --profile && one_line
expect 2 "$tool" run --profile fast true && one_line
expect 2 "$tool" run --profile lean && one_line
expect 2 "$tool" run --profile= true && one_line
expect 2 "$tool" run --profile=fast true && one_line
expect 2 "$tool" run --profile=lean && one_line
expect 2 "$tool" run --profile lea true && one_line
expect 2 "$tool" run --profile 'lean|' true && one_line
expect 2 "$tool" run --profiled lean true && one_line
expect 7 "$tool" run -- sh -c 'exit 7'
expect 127 "$tool" run "$work/absent" && one_line
expect 126 "$tool" run "$work" && one_line
HAKMEM_LIB=$work/absent.so expect 125 "$tool" run true && one_line
HAKMEM_LIB=$work expect 125 "$tool" run true && one_line
echo no library >"$work/text.so"
HAKMEM_LIB=$work/text.so expect 125 "$tool" run true && one_line
mkdir "$work/bin"
cp "$tool" "$work/bin/hakmem"
expect 125 "$work/bin/hakmem" run true && one_line
HAKMEM_LIB=$HAK_BUILD_DIR/libhakmem.so expect 0 "$work/bin/hakmem" check

expect 0 "$tool" check
expect 0 "$tool" check --minimal
expect 0 "$tool" check --observe
expect 2 "$tool" check --minimal --observe && one_line
# A bad option: the library's line, then whether it works.
HAKMEM_THP=no expect 0 "$tool" check
grep -q ' works here$' "$work/output" || fail "check: $(cat "$work/output")"
HAKMEM_CONF_STRICT=1 HAKMEM_THP=no expect 1 "$tool" check
[ "$(wc -l <"$work/output")" = 2 ] && grep -q '^hakmem: HAKMEM_THP=no: ' "$work/output" &&
  grep -q ' ends programs here: an option is wrong and CONF_STRICT is 1$' "$work/output" ||
  fail "check: $(cat "$work/output")"
took_over standard "$tool" run /usr/bin/perl -e 'my @a = map { "x" x $_ } 1..1000'
took_over minimal "$tool" run --minimal -- /usr/bin/perl -e 'my @a = map { "x" x $_ } 1..1000'
took_over observe "$tool" run --observe -- /usr/bin/perl -e 'my @a = map { "x" x $_ } 1..1000'
took_over minimal "$tool" run --minimal --profile lean -- /usr/bin/perl -e 'my @a = (1..1000)'
expect 0 "$tool" run --profile speed -- sh -c 'echo "$HAKMEM_PROFILE"'
grep -qx speed "$work/output" || fail "--profile: $(cat "$work/output")"
for profile in lean LEAN MIXED_TINYV3_C7_SAFE mixed_tinyv3_c7_balanced; do
  for words in "--profile $profile" "--profile=$profile"; do
    # shellcheck disable=SC2086 # one word, or two
    HAKMEM_CONF_STRICT=1 expect 0 "$tool" run $words -- sh -c 'echo "$HAKMEM_PROFILE"'
    grep -qx "$profile" "$work/output" || fail "$words: $(cat "$work/output")"
  done
done
# What was preloaded stays, after hakmem; HAKMEM_LIB is no option of the library.
expect 0 env LD_PRELOAD=libdl.so.2 HAKMEM_LIB="$HAK_BUILD_DIR/libhakmem.so" "$tool" run -- \
  sh -c 'echo "$LD_PRELOAD ${HAKMEM_LIB-unset}"'
grep -q '/libhakmem\.so[0-9.]*:libdl\.so\.2 unset$' "$work/output" || fail "$(cat "$work/output")"
