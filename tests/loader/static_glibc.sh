#!/bin/sh
# The static program runs, alone and with its report. usage: static_glibc.sh PROGRAM
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1"
HAKMEM_REPORT="$folder/report" "$1"
grep -Eq '"objects":[1-9]' "$folder/report"
