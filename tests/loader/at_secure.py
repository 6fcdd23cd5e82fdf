#!/usr/bin/python3
"""A set-user-ID program heeds no option: with each HAKMEM_ variable set, to good and to bad values,
and HAKMEM_REPORT, it prints nothing more and writes no file.

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


def build(folder, library, compiler, source, include):
    """The probe, linked to a copy of the library by an absolute path that anybody may read."""
    soname = os.path.basename(library).partition(".so")[0] + ".so.0"
    shutil.copy(library, os.path.join(folder, soname))
    program = os.path.join(folder, "secure_probe")
    subprocess.run(
        [compiler, "-O1", "-I", include, "-o", program, source, "-L", folder, f"-l:{soname}",
         f"-Wl,-rpath,{folder}"],
        check=True,
    )
    return program


def run_as_nobody(program, environment):
    return subprocess.run(
        [program], env=environment, capture_output=True, text=True, check=False,
        user=NOBODY, group=NOBODY, extra_groups=[],
    )


def main():
    library, knobs, compiler, source, include = sys.argv[1:6]
    if os.geteuid() != 0:
        skip("needs root to make a set-user-ID program")
    names = re.findall(r"^KNOB\((\w+)", open(knobs, encoding="utf-8").read(), re.M)
    names.remove("CONF_STRICT")  # ends the process where options are heeded: by itself below
    failures = [] if names else ["no options found in knobs.def"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = build(folder, library, compiler, source, include)
        reports = os.path.join(folder, "reports")
        os.mkdir(reports)
        os.chmod(reports, 0o777)
        for values in ("no such value", "1"):
            report = os.path.join(reports, values.replace(" ", "_"))
            environment = {f"HAKMEM_{name}": values for name in names}
            environment |= {"HAKMEM_REPORT": report, "HAKMEM_NO_SUCH_OPTION": "1"}
            os.chmod(program, 0o755)
            plain = run_as_nobody(program, environment)
            if "secure=0" not in plain.stdout or not plain.stderr or not os.path.exists(report):
                failures.append(f"without set-user-ID the options are not heeded either: {plain}")
            if os.path.exists(report):
                os.unlink(report)
            os.chmod(program, 0o4755)
            secure = run_as_nobody(program, environment)
            if "secure=0" in secure.stdout:
                skip("the kernel grants no set-user-ID here")
            if secure.returncode != 0 or secure.stderr or "secure=1" not in secure.stdout:
                failures.append(f"set-user-ID: {secure}")
            if os.listdir(reports):
                failures.append(f"set-user-ID: a report was written: {os.listdir(reports)}")
        strict = {"HAKMEM_CONF_STRICT": "1", "HAKMEM_NO_SUCH_OPTION": "1"}
        listed = {"HAKMEM_CONF": "no_such=1"}
        filed = {"HAKMEM_CONF_FILE": os.path.join(reports, "no such file")}
        for environment, status in ((strict, 78), (listed, 0), (filed, 0)):
            os.chmod(program, 0o755)
            plain = run_as_nobody(program, environment)
            if plain.returncode != status or not plain.stderr:
                failures.append(f"without set-user-ID {environment} is not heeded: {plain}")
            os.chmod(program, 0o4755)
            secure = run_as_nobody(program, environment)
            if secure.returncode != 0 or secure.stderr or "secure=1" not in secure.stdout:
                failures.append(f"set-user-ID, {environment}: {secure}")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
