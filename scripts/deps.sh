#!/bin/bash
# deps.sh [--check] build|test|bench|long...: install the Debian packages that these groups need.
# Silent and fast when nothing is missing. --check never installs.
# Exit: 0 all there, 2 bad usage, 3 something is missing and may not be installed here.
set -u

# An entry is a package, or package=command where any such command on PATH will do.
build=(gcc=gcc libc6-dev cmake=cmake ninja-build=ninja python3 libzstd-dev)
test=(libcmocka-dev valgrind=valgrind gdb=gdb clang-14 clang-format-14 clang-tidy-14
  cppcheck=cppcheck libclang-rt-14-dev musl-tools sqlite3=sqlite3 libpython3.11-testsuite
  redis-tools perl=perl lua5.4 nodejs=node xz-utils=xz zstd=zstd openssl=openssl
  ghostscript=gs git=git g++=g++ pkgconf=pkg-config procps=ps file=file python3-matplotlib
  strace=strace libmimalloc2.0 spin=spin)
bench=(strace=strace libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 libtbbmalloc2
  libclang-rt-19-dev sqlite3=sqlite3 redis-tools clang-14 lua5.4 ghostscript=gs git=git z3=z3
  zstd=zstd ruby=ruby python3-matplotlib)
long=(gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user=qemu-aarch64)

usage() {
  echo "usage: scripts/deps.sh [--check] build|test|bench|long..." >&2
  exit 2
}

check_only=no
if [ "${1-}" = --check ]; then
  check_only=yes
  shift
fi
[ $# -gt 0 ] || usage
wanted=()
for group in "$@"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    long) wanted+=("${long[@]}") ;;
    *) usage ;;
  esac
done

# One dpkg-query for all: it prints the installed ones and complains about the others.
packages=()
for entry in "${wanted[@]}"; do
  case $entry in
    *=*) command -v "${entry#*=}" >/dev/null || packages+=("${entry%%=*}") ;;
    *) packages+=("$entry") ;;
  esac
done
[ ${#packages[@]} -gt 0 ] || exit 0
installed=" "
if command -v dpkg-query >/dev/null; then
  installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
    sed -n 's/:installed$//p' | tr '\n' ' ') "
fi
missing=()
for package in "${packages[@]}"; do
  [[ $installed == *" $package "* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

give_up() {
  echo "deps.sh: $1; please install: ${missing[*]}" >&2
  exit 3
}
[ $check_only = no ] || give_up "packages are missing (make run and make test install them)"
command -v apt-get >/dev/null || give_up "this is no Debian system"
root=()
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || give_up "packages are missing, and this needs root or sudo"
  root=(sudo -n)
fi

echo "deps.sh: installing ${missing[*]}" >&2
install() {
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends "${missing[@]}" >&2
}
# The package lists of a fresh machine may be absent or stale: update only when that is so.
install || { "${root[@]}" apt-get -q update >&2 && install; } || give_up "apt-get failed"
