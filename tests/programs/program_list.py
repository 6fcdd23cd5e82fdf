"""The real programs, one entry each: what to install, how to run it, which processes count.

An entry's work(run) starts every command through `run` (program_run.py) and returns its result,
a dict of name: text, which must not depend on time, addresses or process ids. prepare(run) runs
once, before both runs and without hakmem, and leaves what they share in run.shared.
"""

import glob
import hashlib
import os
import random
import xml.etree.ElementTree

import program_redis
from program_run import Failure, Skip

INPUTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inputs")
PYTHON = "/usr/bin/python3"
SEED = 20240229  # arbitrary: the same inputs every time
PROGRAMS = []


class Program:
    """One entry: `needs` are (file pattern, Debian package) pairs; `processes` are the beginnings
    of the names under which the program's own processes report."""

    def __init__(self, name, about, work, needs, processes, **more):
        self.name = name
        self.about = about
        self.work = work
        self.needs = needs
        self.processes = tuple(processes)
        self.label = more.pop("label", "short")
        self.limit_seconds = more.pop("limit_seconds", 120)
        self.prepare = more.pop("prepare", None)
        self.baseline_preload = more.pop("baseline_preload", None)
        self.note = more.pop("note", None)
        assert not more, more


def add(*arguments, **more):
    PROGRAMS.append(Program(*arguments, **more))


def source(name):
    return os.path.join(INPUTS, name)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_text(text):
    return hashlib.sha256(text.encode()).hexdigest()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# Python: Debian's own test suite, and a script that works the sqlite3 module.

PYTHON_ENV = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def python_tests(module):
    def work(run):
        xml_path = run.path("outcomes.xml")
        argv = [PYTHON, "-m", "test", "--junit-xml", xml_path, module]
        run.command(argv, env=PYTHON_ENV)
        outcomes = []
        for case in xml.etree.ElementTree.parse(xml_path).iter("testcase"):
            verdict = [child.tag for child in case if child.tag in ("error", "failure", "skipped")]
            outcomes.append(f"{case.get('name')} {' '.join(verdict) or 'ok'}")
        return {f"outcomes of {len(outcomes)} tests": "\n".join(sorted(outcomes))}

    return work


for _module, _label in (
    ("json", "short"),
    ("re", "short"),
    ("dict", "short"),
    ("gc", "short"),
    ("threading", "long"),
):
    add(
        f"python_{_module}",
        f"python3 with PYTHONMALLOC=malloc runs its own test_{_module}",
        python_tests(f"test_{_module}"),
        [
            (PYTHON, "python3"),
            (f"/usr/lib/python3.*/test/test_{_module}*", "libpython3.11-testsuite"),
        ],
        ["python3"],
        label=_label,
    )


def python_sqlite(run):
    output = run.command([PYTHON, source("python_sqlite.py"), run.path("db")], env=PYTHON_ENV)
    return {"script output": output.stdout}


add(
    "python_sqlite",
    "python3 with PYTHONMALLOC=malloc works the sqlite3 module",
    python_sqlite,
    [(PYTHON, "python3")],
    ["python3"],
)


# sqlite3 shell: a million rows, in memory and in a file.


def sqlite_shell(database):
    def work(run):
        argv = ["/usr/bin/sqlite3", "-batch", "-bail", database]
        return {"answers": run.command(argv, stdin=source("rows.sql")).stdout}

    return work


for _where, _database in (("memory", ":memory:"), ("file", "rows.db")):
    add(
        f"sqlite_{_where}",
        f"the sqlite3 shell inserts, indexes and aggregates a million rows; database in {_where}",
        sqlite_shell(_database),
        [("/usr/bin/sqlite3", "sqlite3")],
        ["sqlite3"],
    )


# git: a repository with many commits, packed, checked and read back.

GIT_COMMITS = 1500
GIT_FILES = 120


def git_history(run):
    """A fast-import stream: each commit rewrites a few files of a tree of folders."""
    pick = random.Random(SEED)
    words = [f"word{number:04d}" for number in range(2000)]
    files = {f"d{n % 7}/s{n % 3}/file{n}.txt": pick.choices(words, k=150) for n in range(GIT_FILES)}
    stream = []
    for number in range(GIT_COMMITS):
        stream.append(f"commit refs/heads/main\nmark :{number + 1}\n")
        stream.append(f"committer Test <test@example.org> {1700000000 + number * 60} +0000\n")
        message = f"change {number}\n\n{' '.join(pick.choices(words, k=12))}\n"
        stream.append(f"data {len(message)}\n{message}\n")
        for path in list(files) if number == 0 else pick.sample(list(files), 3):
            lines = files[path]
            for _ in range(5):
                lines[pick.randrange(len(lines))] = pick.choice(words)
            text = "\n".join(lines) + "\n"
            stream.append(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n")
    write(os.path.join(run.shared, "history"), "".join(stream))


def git(run):
    repository = run.path("repository")
    clone = run.path("clone")
    env = {"GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{who}_NAME"] = "Test"
        env[f"GIT_{who}_EMAIL"] = "test@example.org"
        env[f"GIT_{who}_DATE"] = "1800000000 +0000"

    def call(*arguments, where=repository, stdin=None):
        settings = ["-c", "gc.auto=0", "-c", "pack.threads=2", "-c", "merge.ff=false"]
        argv = ["/usr/bin/git", "-C", where, *settings, *arguments]
        return run.command(argv, stdin=stdin, env=env).stdout

    os.mkdir(repository)
    call("init", "-q", "-b", "main")
    call("fast-import", "--quiet", stdin=os.path.join(run.shared, "history"))
    call("reset", "-q", "--hard")
    for number in range(20):
        write(os.path.join(repository, f"new{number}.txt"), f"text {number}\n" * 1000)
        call("add", "-A")
        call("commit", "-q", "-m", f"commit {number}")
    call("checkout", "-q", "-b", "side", "HEAD~200")
    write(os.path.join(repository, "side.txt"), "side\n")
    call("add", "side.txt")
    call("commit", "-q", "-m", "side")
    call("merge", "-q", "-m", "merge", "main")
    call("gc", "-q", "--aggressive", "--prune=now")
    call("repack", "-q", "-a", "-d", "-f", "--depth=50", "--window=20")
    call("clone", "-q", "--no-local", repository, clone)
    return {
        "object ids": call("rev-list", "--objects", "--all"),
        "objects": call("cat-file", "--batch-all-objects", "--batch-check"),
        "fsck": call("fsck", "--full", "--strict", "--no-dangling") + "fsck ended well",
        "log": digest_text(call("log", "--stat", "-M", "-C", "--no-decorate")),
        "blame": digest_text(call("blame", "-w", "-C", "d0/s0/file0.txt")),
        "status": call("status", "--branch", "--porcelain"),
        "clone": call("rev-list", "--objects", "--all", where=clone),
    }


add(
    "git",
    "git imports, commits, merges, packs, checks and clones a repository made here",
    git,
    [("/usr/bin/git", "git")],
    ["git"],
    prepare=git_history,
)


# Compilers: one template-heavy translation unit; the object code must agree, and run.

CPP_SHAPES = 8


def cpp_unit(run):
    """shapes.cpp: generated classes and the templates that combine every one of them."""
    lines = ["#include \"shapes.h\""]
    for n in range(CPP_SHAPES):
        lines.append(
            f"struct Shape{n} : Shape<{n}> {{ std::array<int, {n % 9 + 1}> side{{}}; "
            f"std::string name() const {{ return \"shape{n}\"; }} "
            f"long area() const {{ return sum(side) + {n * 37 % 101}; }} }};"
        )
    names = ", ".join(f"Shape{n}" for n in range(CPP_SHAPES))
    lines.append(f"using All = Family<{names}>;")
    lines.append("int main() { return report(All{}) ? 0 : 1; }")
    write(os.path.join(run.shared, "shapes.cpp"), "\n".join(lines) + "\n")


def compiler(driver, flags):
    def work(run):
        unit = os.path.join(run.shared, "shapes.cpp")
        argv = [driver, "-std=c++17", "-O2", "-g", "-I", INPUTS, *flags]
        run.command([*argv, "-c", unit, "-o", run.path("shapes.o")])
        run.command([driver, run.path("shapes.o"), "-o", run.path("shapes")])
        broken = run.path("broken.cpp")
        write(broken, '#include "shapes.h"\nint main() { return report(Family<int>{}); }\n')
        errors = run.command([*argv, "-c", broken, "-o", run.path("broken.o")], statuses=(1,))
        return {
            "object code": digest(run.path("shapes.o")),
            "output of the compiled program": run.command([run.path("shapes")]).stdout,
            "diagnostics": errors.stderr,
        }

    return work


add(
    "gcc",
    "g++ compiles, links and runs generated C++ templates",
    compiler("/usr/bin/g++", ["-frandom-seed=1"]),
    [("/usr/bin/g++", "g++")],
    ["cc1plus"],
    prepare=cpp_unit,
)
add(
    "clang",
    "clang++ compiles, links and runs generated C++ templates",
    compiler("/usr/bin/clang++-14", []),
    [("/usr/bin/clang++-14", "clang-14"), ("/usr/bin/g++", "g++")],
    ["clang"],
    prepare=cpp_unit,
)


# redis: see program_redis.py.

add(
    "redis",
    "redis-server under redis-benchmark and a known load; DEBUG DIGEST must agree",
    program_redis.work,
    [("/usr/bin/redis-check-rdb", "redis-tools"), ("/usr/bin/redis-benchmark", "redis-tools")],
    ["redis-server", "redis-check-rdb"],
    baseline_preload="libc.so.6",
    note="this binary links jemalloc; `took over` says whether hakmem serves it all the same. "
    "The run without hakmem preloads libc.so.6, so that the system's allocator serves it.",
)


# Scripting languages: one script each that prints what it computed.


def script(interpreter, name, env=None):
    def work(run):
        return {"script output": run.command([interpreter, source(name)], env=env).stdout}

    return work


add(
    "perl",
    "perl: hashes, regular expressions, sorting, threads and fork",
    script("/usr/bin/perl", "script.pl", {"PERL_HASH_SEED": "0"}),
    [("/usr/bin/perl", "perl")],
    ["perl"],
)
add(
    "lua",
    "lua5.4: tables, strings, closures, coroutines",
    script("/usr/bin/lua5.4", "script.lua"),
    [("/usr/bin/lua5.4", "lua5.4")],
    ["lua5.4"],
)
add(
    "node",
    "node: buffers, zlib, crypto, files and worker threads",
    script("/usr/bin/node", "script.js"),
    [("/usr/bin/node", "nodejs")],
    ["node"],
    note="V8 maps its own heap for JavaScript values; the rest of node calls malloc and new",
)


# Compressors with threads: compressed bytes and what they unpack to.

COMPRESS_BYTES = 24 << 20  # several blocks for each thread


def compress_data(run):
    """Text-like data: words, numbers and a little noise."""
    pick = random.Random(SEED)
    words = [pick.randbytes(pick.randrange(2, 12)).hex().encode() for _ in range(5000)]
    parts, size = [], 0
    while size < COMPRESS_BYTES:
        part = b" ".join(pick.choices(words, k=200)) + pick.randbytes(30)
        parts.append(part)
        size += len(part)
    with open(os.path.join(run.shared, "data"), "wb") as file:
        file.write(b"".join(parts))


def compressor(tool, suffix, levels):
    def work(run):
        result = {}
        for level in levels:
            copy = run.path("data")
            os.symlink(os.path.join(run.shared, "data"), copy)
            packed = copy + suffix
            run.command([tool, "-q", "-k", "-f", *level, copy])
            result[" ".join(level)] = digest(packed)
            run.command([tool, "-q", "-t", packed])
            os.unlink(copy)
            run.command([tool, "-q", "-d", "-T2", packed])
            result["unpacked " + " ".join(level)] = digest(copy)
            if digest(copy) != digest(os.path.join(run.shared, "data")):
                raise Failure(f"{tool} {' '.join(level)} did not give the data back ({run.kind})")
            for path in glob.glob(copy + "*"):
                os.unlink(path)
        return result

    return work


add(
    "xz",
    "xz with two threads packs and unpacks",
    compressor("/usr/bin/xz", ".xz", [("-T2", "-0", "--block-size=4MiB"), ("-T2", "-1")]),
    [("/usr/bin/xz", "xz-utils")],
    ["xz"],
    prepare=compress_data,
)
add(
    "zstd",
    "zstd with two threads packs and unpacks",
    compressor(
        "/usr/bin/zstd", ".zst", [("-T2", "-3"), ("-T2", "-9", "--long=24"), ("-T2", "-12")]
    ),
    [("/usr/bin/zstd", "zstd")],
    ["zstd"],
    prepare=compress_data,
)


# openssl: everything it can do twice with the same outcome, with keys made once for both runs.


def openssl_keys(run):
    compress_data(run)
    key = os.path.join(run.shared, "key.pem")
    certificate = os.path.join(run.shared, "certificate.pem")
    tool = "/usr/bin/openssl"
    run.command([tool, "genpkey", "-quiet", "-algorithm", "RSA", "-out", key])
    run.command(
        [tool, "req", "-x509", "-key", key, "-out", certificate, "-days", "30"]
        + ["-subj", "/CN=test.example.org", "-addext", "subjectAltName=DNS:test.example.org"]
    )


def openssl(run):
    data = os.path.join(run.shared, "data")
    key = os.path.join(run.shared, "key.pem")
    certificate = os.path.join(run.shared, "certificate.pem")
    packed, signature = run.path("packed"), run.path("signature")

    def call(*arguments):
        return run.command(["/usr/bin/openssl", *arguments]).stdout

    result = {}
    cipher = ["-aes-256-ctr", "-K", "11" * 32, "-iv", "22" * 16]
    call("enc", *cipher, "-in", data, "-out", packed)
    result["enc"] = digest(packed)
    call("enc", "-d", *cipher, "-in", packed, "-out", run.path("data"))
    result["enc -d"] = digest(run.path("data"))
    for name in ("sha256", "sha3-512", "blake2b512"):
        result[f"dgst {name}"] = call("dgst", f"-{name}", "-r", data)
    call("dgst", "-sha256", "-sign", key, "-out", signature, data)
    result["dgst -sign"] = digest(signature)
    public = run.path("public.pem")
    result["pkey"] = call("pkey", "-in", key, "-text", "-noout")
    call("pkey", "-in", key, "-pubout", "-out", public)
    result["dgst -verify"] = call(
        "dgst", "-sha256", "-verify", public, "-signature", signature, data
    )
    result["x509"] = call("x509", "-in", certificate, "-text", "-fingerprint", "-sha256")
    result["asn1parse"] = call("asn1parse", "-in", certificate)
    result["verify"] = call("verify", "-CAfile", certificate, "-check_ss_sig", certificate)
    result["verify"] = result["verify"].replace(run.shared, "")
    result["scrypt"] = call(
        "kdf", "-keylen", "32", "-kdfopt", "pass:word", "-kdfopt", "salt:salt",
        "-kdfopt", "n:16384", "-kdfopt", "r:8", "-kdfopt", "p:1", "SCRYPT",
    )
    for kind in (("EC", "ec_paramgen_curve:P-256"), ("RSA", "rsa_keygen_bits:1024")):
        fresh = run.path("fresh.pem")
        call("genpkey", "-quiet", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", fresh)
        result[f"genpkey {kind[0]}"] = call("pkey", "-in", fresh, "-check", "-noout")
    return result


add(
    "openssl",
    "openssl: ciphers, digests, signatures, certificates, keys",
    openssl,
    [("/usr/bin/openssl", "openssl")],
    ["openssl"],
    prepare=openssl_keys,
)


# ghostscript: pages to pixels, and through PDF to pixels.


def ghostscript(run):
    def render(document, device, prefix):
        run.command(
            ["/usr/bin/gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-r100"]
            + [f"-sDEVICE={device}", f"-sOutputFile={run.path(prefix)}%d", document]
        )
        pages = sorted(glob.glob(run.path(prefix) + "*"))
        return "\n".join(f"{os.path.basename(page)} {digest(page)}" for page in pages)

    result = {
        "ppm": render(source("pages.ps"), "ppmraw", "ppm"),
        "png": render(source("pages.ps"), "png16m", "png"),
    }
    pdf = run.path("pages.pdf")
    run.command(
        ["/usr/bin/gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite"]
        + [f"-sOutputFile={pdf}", source("pages.ps")]
    )
    result["ppm of its own PDF"] = render(pdf, "ppmraw", "pdf")
    return result


add(
    "ghostscript",
    "ghostscript renders PostScript to PPM and PNG, and through PDF",
    ghostscript,
    [("/usr/bin/gs", "ghostscript")],
    ["gs"],
)


# gdb: reads the debug information of a C++ program and steps that program, both preloaded.

GDB_COMMANDS = (
    "set debuginfod enabled off",
    "set print address off",
    "break sum_up",
    "run",
    "backtrace",
    "info locals",
    "finish",
    "delete",
    "continue",
    "info types Shape",
    "python print(sum(len(str(number)) for number in range(100000)))",
)


def gdb_program(run):
    cpp_unit(run)
    unit = os.path.join(run.shared, "shapes.cpp")
    program = os.path.join(run.shared, "shapes")
    run.command(["/usr/bin/g++", "-std=c++17", "-O0", "-g", "-I", INPUTS, unit, "-o", program])


def gdb(run):
    argv = ["/usr/bin/gdb", "-nx", "-q", "-batch"]
    for command in GDB_COMMANDS:
        argv += ["-ex", command]
    output = run.command([*argv, os.path.join(run.shared, "shapes")]).stdout
    if "exited normally" not in output and run.kind == "baseline":
        raise Skip("gdb may not trace a program here:\n" + output[-500:])
    # The two runs have other process ids.
    lines = [line for line in output.splitlines() if not line.startswith("[Inferior")]
    return {"session": "\n".join(lines)}


add(
    "gdb",
    "gdb steps a C++ program and reads its debug information",
    gdb,
    [("/usr/bin/gdb", "gdb"), ("/usr/bin/g++", "g++")],
    ["gdb"],
    prepare=gdb_program,
)
