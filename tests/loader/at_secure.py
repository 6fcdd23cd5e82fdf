#!/usr/bin/python3
"""A set-user-ID program heeds no option: with each HAKMEM_ variable set, to good and to bad values,
and HAKMEM_REPORT, it prints nothing more and writes no file. Valid ones, of each source, change no
option; its own calls do.

usage: at_secure.py LIBRARY KNOBS_DEF COMPILER PROBE_SOURCE INCLUDE_FOLDER
Needs root, to make the program set-user-ID and then to run it as somebody else.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

NOBODY = 65534


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def copy_library(folder, library):
    """Where anybody may read it. Its name."""
    soname = os.path.basename(library).partition(".so")[0] + ".so.0"
    shutil.copy(library, os.path.join(folder, soname))
    return soname


def build(folder, soname, compiler, source, include, *defines):
    """The probe, linked to the folder's copy of the library by an absolute path."""
    program = os.path.join(folder, "_".join(["secure_probe", *defines]))
    subprocess.run(
        [compiler, "-O1", *(f"-D{name}" for name in defines), "-I", include, "-o", program, source,
         "-L", folder, f"-l:{soname}", f"-Wl,-rpath,{folder}"],
        check=True,
    )
    return program


def run_as_nobody(program, environment):
    return subprocess.run(
        [program], env=environment, capture_output=True, text=True, check=False,
        user=NOBODY, group=NOBODY, extra_groups=[],
    )


def run_both(program, environment, run=run_as_nobody):
    """As it is, and set-user-ID."""
    os.chmod(program, 0o755)
    plain = run(program, environment)
    os.chmod(program, 0o4755)
    return plain, run(program, environment)


def run_with_file(program, environment):
    """With an /etc/hakmem.conf that only this run sees."""
    script = ("mount -t tmpfs none /etc && echo profile=lean >/etc/hakmem.conf && "
              "echo memory_limit=64M >>/etc/hakmem.conf && "
              f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \"$0\"")
    return subprocess.run(["unshare", "-m", "sh", "-c", script, program], text=True, check=False,
                          env={"PATH": os.environ["PATH"], **environment}, capture_output=True)


def bad_ones(program, names, reports):
    """Failures with each variable set to nonsense, and to what most of them take."""
    for values in ("no such value", "1"):
        report = os.path.join(reports, values.replace(" ", "_"))
        environment = {f"HAKMEM_{name}": values for name in names}
        environment |= {"HAKMEM_REPORT": report, "HAKMEM_NO_SUCH_OPTION": "1"}
        os.chmod(program, 0o755)
        plain = run_as_nobody(program, environment)
        if "secure=0" not in plain.stdout or not plain.stderr or not os.path.exists(report):
            yield f"without set-user-ID the options are not heeded either: {plain}"
        if os.path.exists(report):
            os.unlink(report)
        os.chmod(program, 0o4755)
        secure = run_as_nobody(program, environment)
        if "secure=0" in secure.stdout:
            skip("the kernel grants no set-user-ID here")
        if secure.returncode != 0 or secure.stderr or "secure=1" not in secure.stdout:
            yield f"set-user-ID: {secure}"
        if os.listdir(reports):
            yield f"set-user-ID: a report was written: {os.listdir(reports)}"
    strict = {"HAKMEM_CONF_STRICT": "1", "HAKMEM_NO_SUCH_OPTION": "1"}
    listed = {"HAKMEM_CONF": "no_such=1"}
    filed = {"HAKMEM_CONF_FILE": os.path.join(reports, "no such file")}
    for environment, status in ((strict, 78), (listed, 0), (filed, 0)):
        plain, secure = run_both(program, environment)
        if plain.returncode != status or not plain.stderr:
            yield f"without set-user-ID {environment} is not heeded: {plain}"
        if secure.returncode != 0 or secure.stderr or "secure=1" not in secure.stdout:
            yield f"set-user-ID, {environment}: {secure}"


HEEDED = r"secure=0 .* PROFILE=lean .*MEMORY_LIMIT=64M .* then PROFILE=speed .*MEMORY_LIMIT=128M "
UNHEEDED = (r"secure=1 .* PROFILE=balanced DEPOT_BYTES=256K MEMORY_LIMIT=auto BIN_BYTES=1M then "
            r"PROFILE=speed DEPOT_BYTES=1M MEMORY_LIMIT=128M BIN_BYTES=1M\n\Z")


def sees_system_file():
    """Whether run_with_file can do what it says."""
    return run_with_file("/bin/true", {}).returncode == 0


def good_ones(program, with_conf, folder):
    """Failures with values that are right, from each source that there can be here."""
    path = os.path.join(folder, "good.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("profile=lean\nmemory_limit=64M\n")
    os.chmod(path, 0o644)
    cases = [(program, {"HAKMEM_PROFILE": "lean", "HAKMEM_MEMORY_LIMIT": "64M"}, run_as_nobody),
             (program, {"HAKMEM_CONF": "profile=lean,memory_limit=64M"}, run_as_nobody),
             (program, {"HAKMEM_CONF_FILE": path}, run_as_nobody),
             (with_conf, {}, run_as_nobody)]
    if sees_system_file():
        cases.append((program, {}, run_with_file))
    for probe, environment, run in cases:
        plain, secure = run_both(probe, environment, run)
        if plain.returncode != 0 or plain.stderr or not re.match(HEEDED, plain.stdout):
            yield f"without set-user-ID, {run.__name__}, {environment} is not heeded: {plain}"
        if secure.returncode != 0 or secure.stderr or not re.match(UNHEEDED, secure.stdout):
            yield f"set-user-ID, {run.__name__}, {environment}: {secure}"


def main():
    library, knobs, compiler, source, include = sys.argv[1:6]
    if os.geteuid() != 0:
        skip("needs root to make a set-user-ID program")
    names = re.findall(r"^KNOB\((\w+)", open(knobs, encoding="utf-8").read(), re.M)
    names.remove("CONF_STRICT")  # ends the process where options are heeded: by itself in bad_ones
    failures = [] if names else ["no options found in knobs.def"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        soname = copy_library(folder, library)
        program = build(folder, soname, compiler, source, include)
        with_conf = build(folder, soname, compiler, source, include, "WITH_CONF")
        reports = os.path.join(folder, "reports")
        os.mkdir(reports)
        os.chmod(reports, 0o777)
        failures += [*bad_ones(program, names, reports), *good_ones(program, with_conf, folder)]
    for failure in failures:
        print(failure)
    if not failures and not sees_system_file():
        skip("/etc/hakmem.conf was left out: no mount namespace, or no setpriv, here")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
