#!/bin/bash
# lint.sh format|tidy|cppcheck: run this tool over the tree with the committed configuration.
# lint.sh reformat: let clang-format change the files.
# Exit: 0 clean, 1 findings, 2 bad usage.
set -u
cd "$(dirname "$0")/.." || exit 2

folders=()
for folder in src include tools bench tests; do
  [ -d $folder ] && folders+=($folder)
done
mapfile -t all < <(find "${folders[@]}" -name '*.[ch]' -o -name '*.cc' | sort)
mapfile -t code < <(find src tools -name '*.c' | sort)
flags=(-Iinclude $(printf -- '-I%s ' src/*/) -DHAK_FLAVOUR_MINIMAL=0 -DHAK_FLAVOUR_OBSERVE=0
  -DHAK_DEBUG=1 -DHAK_OVERRIDE=1 '-DHAK_VERSION="0"' '-DHAK_LIBDIR="../lib"')

tidy_one() { # file
  local twin=0
  [[ $1 == *_twin.c ]] && twin=1
  # "N warnings generated" counts what the configuration then drops.
  clang-tidy-14 --quiet '--warnings-as-errors=*' "$1" -- -std=gnu17 "${flags[@]}" \
    -DHAK_OS_TWIN=$twin 2> >(grep -v 'warnings\? generated' >&2)
}

case ${1-} in
  format)
    clang-format-14 --dry-run -Werror "${all[@]}" || exit 1
    ;;
  reformat)
    clang-format-14 -i "${all[@]}" || exit 1
    ;;
  tidy)
    failed=0
    running=0
    for file in "${code[@]}"; do
      if [ $running -ge "$(nproc)" ]; then
        wait -n || failed=1
        running=$((running - 1))
      fi
      tidy_one "$file" &
      running=$((running + 1))
    done
    while [ $running -gt 0 ]; do
      wait -n || failed=1
      running=$((running - 1))
    done
    exit $failed
    ;;
  cppcheck)
    # One fixed set of constants: cppcheck would otherwise try every combination.
    cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
      --inline-suppr --suppressions-list=.cppcheck-suppressions --error-exitcode=1 \
      --template='{file}:{line}: {severity}: {message} [{id}]' -j "$(nproc)" \
      -D__linux__ -D__x86_64__ -D__LP64__ -D__GNUC__=12 -D__BYTE_ORDER__=1234 \
      -D__ORDER_LITTLE_ENDIAN__=1234 "${flags[@]}" -DHAK_OS_TWIN=0 "${code[@]}" || exit 1
    ;;
  *)
    echo "usage: scripts/lint.sh format|reformat|tidy|cppcheck" >&2
    exit 2
    ;;
esac
