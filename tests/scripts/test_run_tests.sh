#!/bin/bash
# scripts/run_tests.py long: result files, failures, resuming, in a small tree of its own.
. "$(dirname "$0")/../install/common.sh"
tree=$work/tree
results=$tree/docs/results
mkdir -p "$tree/scripts"
cp "$HAK_SOURCE_DIR"/scripts/{run_tests,quiet_pipe}.py "$tree/scripts/"
cat >"$tree/CMakePresets.json" <<'END'
{ "version": 6,
  "configurePresets": [ { "name": "release", "generator": "Ninja",
                          "binaryDir": "${sourceDir}/build" } ],
  "buildPresets": [ { "name": "release", "configurePreset": "release" } ] }
END
cat >"$tree/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(small LANGUAGES NONE)
enable_testing()
function(small name part more command)
  add_test(NAME ${name} COMMAND sh -c "echo ${name} >>$ENV{SMALL_LOG}; ${command}")
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 60
    LABELS "long;part-${part};${more}")
endfunction()
small(a.good a "" "echo all is well")
small(a.skipped a one-core "echo SKIP: no such thing; exit 77")
small(b.first b one-core "echo first")
small(b.last b "" "echo why it failed; test -e $ENV{SMALL_MAY_PASS}")
small(words.said words "" "echo the word; exit 78")
small(words.unsaid words "" "echo another")
set_tests_properties(words.said words.unsaid PROPERTIES PASS_REGULAR_EXPRESSION "the.word")
END
printf 'build/\n' >"$tree/.gitignore"
export SMALL_LOG=$work/log SMALL_MAY_PASS=$work/may_pass
cd "$tree"
git init -q .
commit() {
  git add -A
  git -c user.name=x -c user.email=x@example.org commit -q -m small
}
commit

part() { # STATUS PART [LAST_LINE_OF_OUTPUT]
  rm -f "$SMALL_LOG"
  expect "$1" scripts/run_tests.py long --part "$2"
  [ "$(tail -n 1 "$work/output")" = "${3-}" ] || [ $# = 2 ] || fail "$(cat "$work/output")"
}
has() { # FILE REGULAR_EXPRESSION...
  local file=$results/$1 line
  shift
  for line in "$@"; do
    grep -qE "$line" "$file" || fail "'$line' not found: $(cat "$file")"
  done
}
ran() { # NAMES, of the last run
  [ "$(sort "$SMALL_LOG" 2>/dev/null | tr '\n' ' ')" = "$1" ] || fail "ran: $(cat "$SMALL_LOG")"
}

part 0 release-a '1 passed, 0 failed, 1 skipped'
has long-release-a.txt "^commit: $(git rev-parse HEAD)\$" \
  '^machine: .* cores, [0-9]+ GiB RAM, Linux [0-9]+\.[0-9]+, THP [a-z]+$' \
  '^passed a\.good [0-9]+\.[0-9] s: all is well$' '^skipped a\.skipped [0-9.]+ s: no such thing$' \
  '^1 passed, 0 failed, 1 skipped$'
[ ! -e "$results/long-release-b.txt" ] || fail 'part b was not asked for'

# What a test must say decides, whatever its exit status.
part 1 release-words '1 passed, 1 failed, 0 skipped'
has long-release-words.txt '^passed words\.said' '^failed words\.unsaid'

# A failure stays in the file with its output, and only it is run again.
part 1 release-b '1 passed, 1 failed, 0 skipped'
ran 'b.first b.last '
has long-release-b.txt '^passed b\.first' '^failed b\.last' '^  why it failed$' \
  '^1 passed, 1 failed, 0 skipped$'
part 1 release-b '1 passed, 1 failed, 0 skipped'
ran 'b.last '
touch "$SMALL_MAY_PASS"
part 0 release-b '2 passed, 0 failed, 0 skipped'
ran 'b.last '
has long-release-b.txt '^2 passed, 0 failed, 0 skipped$'
part 0 release-b '2 passed, 0 failed, 0 skipped'
ran ''
# Results alone are no change; anything else is, and then nothing is taken over.
git add -A
git -c user.name=x -c user.email=x@example.org commit -q -m results
part 0 release-b
ran ''
echo '# changed' >>CMakeLists.txt
part 0 release-b
ran 'b.first b.last '
has long-release-b.txt '^commit: [0-9a-f]{40}, with changes$'

# Interrupted or killed in the middle: what had passed stays, and nothing is left running.
sed -i 's/"echo why.*"/"exec sleep 4321"/' CMakeLists.txt
commit
stop() { # SIGNAL
  rm -f "$SMALL_LOG"
  scripts/run_tests.py long --part release-b >"$work/output" 2>&1 &
  local id=$! wait_count=0
  until grep -q b.last "$SMALL_LOG" 2>/dev/null; do
    wait_count=$((wait_count + 1))
    [ $wait_count -lt 200 ] || fail "b.last does not start: $(cat "$work/output")"
    sleep 0.1
  done
  sleeping=$(pgrep -P $id -f 'sleep 4321')
  kill "-$1" $id
  wait $id && fail "ended well after SIG$1"
  has long-release-b.txt '^passed b\.first'
  [ "$(wc -l <"$results/long-release-b.txt")" = 3 ] ||
    fail "more than the first: $(cat "$results/long-release-b.txt")"
}
stop TERM
ran 'b.first b.last '
[ ! -e "/proc/$sleeping" ] || fail 'SIGTERM leaves a test running'
stop KILL
ran 'b.last '
kill "$sleeping"

# A build that fails, and a part or a word that does not exist.
echo 'message(FATAL_ERROR "no")' >>CMakeLists.txt
part 1 release-a '0 passed, 1 failed, 0 skipped'
has long-release.txt '^failed the build$'
git checkout -q CMakeLists.txt
part 2 release-c
[ ! -e "$results/long-release.txt" ] || fail 'the failure of the build is still told'
expect 2 scripts/run_tests.py long --part
expect 2 scripts/run_tests.py all
