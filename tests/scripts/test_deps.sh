#!/bin/bash
# scripts/deps.sh: bad usage, and its one-line refusals where it may not install.
. "$(dirname "$0")/../install/common.sh"
deps=$HAK_SOURCE_DIR/scripts/deps.sh

expect 2 "$deps"
expect 2 "$deps" everything
expect 0 "$deps" build test
[ ! -s "$work/output" ] || fail "not silent when all is there: $(cat "$work/output")"

# A PATH with the tools that the script itself uses and no other: everything is missing.
mkdir "$work/bin"
for tool in bash id sed tr; do
  ln -s "$(command -v $tool)" "$work/bin/$tool"
done
refuses() { # TEXT ARGUMENT...
  local text=$1
  shift
  PATH=$work/bin expect 3 bash "$deps" "$@"
  [ "$(wc -l <"$work/output")" = 1 ] || fail "not one line: $(cat "$work/output")"
  grep -q "$text.*cmake" "$work/output" || fail "'$text' not found: $(cat "$work/output")"
}
refuses 'no Debian system' build
refuses 'packages are missing' --check build
# As a user without root and without sudo.
printf '#!/bin/bash\nexit 0\n' >"$work/bin/apt-get"
rm "$work/bin/id"
printf '#!/bin/bash\necho 1000\n' >"$work/bin/id"
chmod +x "$work/bin/apt-get" "$work/bin/id"
refuses 'needs root or sudo' build
