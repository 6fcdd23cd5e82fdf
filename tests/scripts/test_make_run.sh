#!/bin/bash
# make run: with a command, and with the workload that it has of its own, but one round of it.
. "$(dirname "$0")/../install/common.sh"
unset HAK_CMD

ran() { # TEXT...
  for text in "$@"; do
    grep -q "$text" "$work/output" || fail "'$text' not found: $(cat "$work/output")"
  done
}
cd "$HAK_SOURCE_DIR"
expect 0 make --no-print-directory run "BUILD=$HAK_BUILD_DIR" CMD='exec /usr/bin/sort Makefile'
ran '^command: exec /usr/bin/sort Makefile$' '^took over: yes. sort got at least [1-9]' \
  '^time, wall ' '^peak memory'
expect 2 make --no-print-directory run "BUILD=$HAK_BUILD_DIR" CMD='exit 1'

expect 0 scripts/run_compare.py --build "$HAK_BUILD_DIR" --rounds 1
ran '^command: PYTHONMALLOC=malloc exec .*demo_workload.py$' '^demo workload: checksum [0-9a-f]*$' \
  '^took over: yes. python3[.0-9]* got at least [1-9][0-9,]* objects' '^page faults '
