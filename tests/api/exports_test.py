#!/usr/bin/python3
"""The library exports exactly the malloc family, the C++ operators and hak_*, and is built to be
preloaded: SONAME, static TLS of 8 bytes, NODELETE, NOW, RELRO, no executable stack, no text
relocations, and nothing of libstdc++ but through weak references.

usage: exports_test.py LIBRARY.so|LIBRARY.a
"""

import itertools
import os
import re
import subprocess
import sys

FAMILY = """malloc calloc realloc reallocarray free free_sized free_aligned_sized aligned_alloc
posix_memalign memalign valloc pvalloc malloc_usable_size malloc_trim mallinfo mallinfo2 malloc_info
malloc_stats mallopt cfree""".split()

LIBC_ALIASES = [
    "__libc_" + name
    for name in "malloc calloc realloc free memalign valloc pvalloc mallinfo mallopt".split()
]

TWINS = [
    "hak_" + name
    for name in """malloc calloc realloc reallocarray free free_sized free_aligned_sized
    aligned_alloc posix_memalign memalign valloc pvalloc malloc_usable_size malloc_trim mallinfo2
    malloc_info malloc_stats mallinfo mallopt cfree version good_size thread_idle
    option_set option_get purge limit_callback""".split()
]

NOTHROW = "RKSt9nothrow_t"
ALIGN = "St11align_val_t"


def operators():
    for array in "wa":
        for align, nothrow in itertools.product(("", ALIGN), ("", NOTHROW)):
            yield f"_Zn{array}m{align}{nothrow}"
    for array in "la":
        for form in ("Pv", "Pvm", "Pv" + NOTHROW, "Pv" + ALIGN, "Pvm" + ALIGN,
                     "Pv" + ALIGN + NOTHROW):
            yield f"_Zd{array}{form}"


EXPECTED = set(FAMILY + LIBC_ALIASES + TWINS) | set(operators())
# In the way of other libraries' fork handlers: a static libc has it beside fork.
SHARED_ONLY = {"__register_atfork"}

# Public symbols of glibc that belong to malloc. Its hooks are variables: no new program can link
# to, and what is GLIBC_PRIVATE is for glibc's own libraries only.
GLIBC_FAMILY = re.compile(
    r"(__libc_)?(c|re)?alloc|(__libc_)?(malloc|free|calloc|realloc|reallocarray|memalign|valloc"
    r"|pvalloc|mallopt|mallinfo2?)|aligned_alloc|posix_memalign|malloc_\w+|cfree"
)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def symbols(path, *options):
    for line in output("nm", *options, path).splitlines():
        fields = line.split()
        if len(fields) >= 2 and len(fields[-2]) == 1:
            yield fields[-2], fields[-1]


def libc_path():
    listing = output("ldd", "/bin/sh" if os.path.exists("/bin/sh") else sys.executable)
    return re.search(r"libc\.so\.6 => (\S+)", listing).group(1)


def glibc_family():
    names = set()
    for kind, name in symbols(libc_path(), "-D", "--defined-only"):
        stem, _, version = name.partition("@")
        if kind in "TW" and "PRIVATE" not in version and GLIBC_FAMILY.fullmatch(stem):
            names.add(stem)
    return names


def compare(what, expected, exported):
    for name in sorted(expected - exported):
        yield f"{what} does not export {name}"
    for name in sorted(exported - expected):
        yield f"{what} exports {name}"


def check_archive(path):
    exported = {name for kind, name in symbols(path, "-g", "--defined-only")}
    yield from compare("the archive", EXPECTED, exported)


def check_shared(path):
    # The version node itself is an absolute symbol, not something to link to.
    found = symbols(path, "-D", "--defined-only")
    defined = {name.split("@")[0] for kind, name in found if kind != "A"}
    yield from compare("the library", EXPECTED | SHARED_ONLY, defined)
    ours = glibc_family()
    if len(ours) < 20:
        yield f"only {sorted(ours)} found in glibc: the test looks at the wrong file"
    for name in sorted(ours - defined):
        yield f"glibc has {name}, the library has not"
    for kind, name in symbols(path, "-D", "--undefined-only"):
        if kind == "U" and re.match(r"_Z|__cxa_(?!finalize|atexit)|__gxx|_Unwind", name):
            yield f"strong reference to {name}: C programs would not load"
    headers = output("readelf", "-lW", path)
    tls = re.search(r"^\s+TLS\s+(?:\S+\s+){4}(\S+)", headers, re.M)
    if tls is None or int(tls.group(1), 16) != 8:
        yield f"static TLS is {tls.group(1) if tls else 'none'}, not 8 bytes"
    if not re.search(r"^\s+GNU_STACK\s.*\sRW\s", headers, re.M):
        yield "the stack is executable or not marked"
    if not re.search(r"^\s+GNU_RELRO\s", headers, re.M):
        yield "no RELRO"
    dynamic = output("readelf", "-dW", path)
    soname = re.search(r"\(SONAME\).*\[(.*)\]", dynamic)
    flavour = os.path.basename(path).removesuffix(".so")
    allowed = {"libhakmem.so.0", flavour + ".so.0"}
    if soname is None or soname.group(1) not in allowed:
        yield f"SONAME is {soname.group(1) if soname else 'missing'}"
    flags = re.search(r"\(FLAGS_1\)\s+Flags: (.*)", dynamic)
    for flag in ("NODELETE", "NOW"):
        if flags is None or flag not in flags.group(1).split():
            yield f"not linked with -z {flag.lower()}"
    if "TEXTREL" in dynamic:
        yield "text relocations"
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    for library in sorted(needed - {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}):
        yield f"needs {library}"


def main():
    path = sys.argv[1]
    check = check_archive if path.endswith(".a") else check_shared
    failures = list(check(path))
    for failure in failures:
        print(failure)
    print(f"{os.path.basename(path)}: {len(EXPECTED)} names expected, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
