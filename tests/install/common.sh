# common.sh: sourced by the scripts here. Makes $work, removed at exit, and the helpers below.
set -eu
: "${HAK_BUILD_DIR:?}" "${HAK_SOURCE_DIR:?}"
here=$HAK_SOURCE_DIR/tests/install
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

skip() {
  echo "SKIP: $*"
  exit 77
}

# took_over FLAVOUR CMD...: CMD succeeds and reports objects that it got from that flavour.
took_over() {
  local flavour=$1 report=$work/report.json
  shift
  rm -f "$report"
  HAKMEM_REPORT=$report "$@" >"$work/output" || fail "$* ended with $?"
  [ -s "$report" ] || fail "$*: no report, hakmem did not take over"
  grep -q "\"flavour\":\"$flavour\"" "$report" || fail "$*: $(cat "$report")"
  grep -q '"objects":[1-9]' "$report" || fail "$*: no objects: $(cat "$report")"
}

# expect STATUS CMD...: CMD exits with it; its output goes to $work/output.
expect() {
  local want=$1 got=0
  shift
  "$@" >"$work/output" 2>&1 || got=$?
  [ "$got" = "$want" ] || fail "'$*' exits with $got, not $want: $(cat "$work/output")"
}
