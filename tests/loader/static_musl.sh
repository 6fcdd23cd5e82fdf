#!/bin/sh
# A static program on musl with libhakmem.a. usage: static_musl.sh ARCHIVE SOURCE INCLUDE_FOLDER
set -eu
command -v musl-gcc >/dev/null || { echo "SKIP: musl-gcc is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
musl-gcc -std=gnu17 -O2 -static -I "$3" -o "$folder/workload" "$2" "$1"
"$folder/workload"
HAKMEM_REPORT="$folder/report" "$folder/workload"
grep -Eq '"objects":[1-9]' "$folder/report"
