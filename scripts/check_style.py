#!/usr/bin/python3
"""check_style.py: the rules of style that a script can check. Each finding is one line,
`file:line: what: what to do`. Exit: 0 clean, 1 findings.

Checked: file length (600 lines, .def exempt), line length (100 columns), unique file stems in src/,
no .c included, each header of src/, include/ compiles alone, banned calls in src/, a unit test a
source file, asserts a thousand lines in slab, heap and region, file heads (present, at most 12
lines), instruction budgets of HAK_HOT functions, static_assert of packed structs, lines of
knobs.def, tests/abuse files in their list, words that must not be in the tree, python3 shebangs.
"""
import concurrent.futures
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_LINES = 600
MAX_COLUMNS = 100
MAX_HEAD_LINES = 12
ASSERTS_PER_1000 = 30
ASSERT_FOLDERS = ("slab", "heap", "region")
CODE_FOLDERS = ("src", "include", "tools", "bench", "tests", "scripts", "cmake")
CODE_ENDINGS = (".c", ".h", ".cc", ".py", ".sh", ".cmake", ".txt", ".map")
SKIPPED_FOLDERS = {".git", "__pycache__"}

# Calls that src/ may not make, each with its replacement; `folders` are exempt.
BANNED = [
    (r"\bf?printf|\bv?s?n?printf|\bputs|\bdprintf|\bperror",
     "base_format and the writer of src/os", ()),
    (r"\bmalloc|\bcalloc|\brealloc|\bfree|\baligned_alloc|\bposix_memalign|\bstrdup|\basprintf",
     "meta_ for our own structures, hak_ names for the program's", ("api",)),
    (r"\bgetenv|\bsecure_getenv", "rt_option, or the reader of src/os", ("os",)),
    (r"\bstrto(?:l|ul|ll|ull|d)|\bato[il]|\bsscanf", "the parser of src/base or src/rt", ()),
    (r"\bstrcpy|\bstrcat|\bsprintf|\bgets", "memcpy with a length, or base_format", ()),
    (r"\bpthread_(?:mutex|rwlock|spin|cond)\w*|\bmtx_\w+", "the ranked lock of src/rt", ()),
    (r"\bpthread_\w+", "a function of src/os", ("os",)),
    (r"\b(?:mmap|munmap|mremap|madvise|mprotect|prctl|syscall|sysconf|sbrk|brk)",
     "a function of src/os", ("os",)),
    (r"\b(?:sleep|usleep|nanosleep|sched_yield)", "a bounded wait of src/os", ("os",)),
    (r"\b(?:abort|exit|_exit|assert)", "ASSERT, CHECK or NEVER", ("os",)),
    (r"\b(?:dlsym|dlopen|setlocale|localtime|strerror|signal|rand|qsort)",
     "nothing: it may allocate or lock", ()),
]
BANNED = [(re.compile(r"(?<![\w.>])(" + calls.replace(r"\b", "") + r")\s*\("), use, folders)
          for calls, use, folders in BANNED]

# Split so that this file does not find itself.
FORBIDDEN = [re.compile(p) for p in (
    "shared" + r"/[A-Z]\w*\.md", "/wor" + r"k/", "/ro" + r"ot/", "/tmp" + r"/tmp")]

KNOB = re.compile(r'^KNOB\(([A-Z][A-Z0-9_]*), (bool|bytes|count), (\d+), (\d+), (\d+), "(.*)"\)$')


class Report:
    def __init__(self):
        self.count = 0

    def add(self, path, line, what, action):
        self.count += 1
        place = os.path.relpath(path, ROOT) + (f":{line}" if line else "")
        print(f"{place}: {what}: {action}")


def tree_files():
    """All files of the tree but build directories, .git and binary results."""
    for top, folders, names in os.walk(ROOT):
        if top == ROOT:
            folders[:] = [f for f in folders if not re.match(r"build(-.*)?$", f)]
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = os.path.join(top, name)
            if not os.path.islink(path):
                yield path


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        return None


def strip_comments(text):
    """C without comments and literals; line numbers stay."""
    def blank(found):
        word = found.group(0)
        return re.sub(r"[^\n]", " ", word) if word[0] == "/" else '""'
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.S)


def in_folder(path, folder):
    return path.startswith(os.path.join(ROOT, folder) + os.sep)


def check_size(path, lines, report):
    if not path.endswith(".def") and len(lines) > MAX_LINES:
        report.add(path, len(lines), f"{len(lines)} lines, more than {MAX_LINES}",
                   "one concept a file: split it")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS and not path.endswith(".def"):
            report.add(path, number, f"{len(line)} columns, more than {MAX_COLUMNS}",
                       "break the line")


def check_words(path, lines, report):
    for number, line in enumerate(lines, 1):
        for pattern in FORBIDDEN:
            found = pattern.search(line)
            if found:
                report.add(path, number, f"'{found.group(0)}'",
                           "name no place outside the tree")
    if lines and lines[0].startswith("#!") and "python" in lines[0] and \
            lines[0] != "#!/usr/bin/python3":
        report.add(path, 1, lines[0], "write #!/usr/bin/python3")


def check_head(path, text, report):
    found = re.match(r"\s*(?:#![^\n]*\n)?\s*(/\*.*?\*/|(?://[^\n]*\n)+)", text, re.S)
    if not found:
        report.add(path, 1, "no file head", "say what the file owns, what not, lock, invariants")
    elif len(found.group(1).strip().splitlines()) > MAX_HEAD_LINES:
        report.add(path, 1, f"file head of more than {MAX_HEAD_LINES} lines",
                   "keep what it owns; put the rest beside the code")


def check_banned(path, code, report):
    folder = os.path.basename(os.path.dirname(path))
    for number, line in enumerate(code.splitlines(), 1):
        if re.match(r"\s*#", line):
            continue
        for pattern, use, exempt in BANNED:
            found = pattern.search(line)
            if found and folder not in exempt:
                report.add(path, number, f"{found.group(1)}() is banned here", f"use {use}")


def check_hot(path, text, report):
    """The comment above a HAK_HOT function names its budget."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("HAK_HOT "):
            continue
        above = []
        i = number - 2
        while i >= 0 and re.match(r"\s*(//|/\*|\*)", lines[i]) or i >= 0 and "*/" in lines[i]:
            above.append(lines[i])
            if "/*" in lines[i]:
                break
            i -= 1
        if not re.search(r"budget: \d+ instructions?", " ".join(above)):
            report.add(path, number, "hot function without a budget",
                       "write `budget: N instructions` in the comment above")


def check_packed(path, code, report):
    if re.search(r"__attribute__\s*\(\(.*\bpacked\b|\bHAK_PACKED\b", code) and \
            not re.search(r"\b_?[Ss]tatic_assert\s*\(\s*(sizeof|offsetof)", code):
        report.add(path, None, "packed struct without static_assert",
                   "assert its size and offsets in the same file")


def check_c_file(path, text, report):
    code = strip_comments(text)
    check_head(path, text, report)
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r'\s*#\s*include\s*[<"][^>"]*\.c[>"]', line):
            report.add(path, number, "includes a .c file", "share it through a header")
    if in_folder(path, "src"):
        check_banned(path, code, report)
        check_hot(path, text, report)
        check_packed(path, code, report)


def check_src(files, report):
    stems = {}
    for path in files:
        stem, ending = os.path.splitext(os.path.basename(path))
        folder = os.path.dirname(path)
        if ending not in (".c", ".h"):
            continue
        first = stems.setdefault(stem, folder)
        if first != folder:
            report.add(path, None, f"the stem '{stem}' is taken in {os.path.relpath(first, ROOT)}",
                       "a stem names one concept of the tree")
        test = os.path.join(ROOT, "tests", "unit", f"test_{stem}.c")
        if ending == ".c" and not os.path.exists(test):
            report.add(path, None, "no unit test", f"write tests/unit/test_{stem}.c")
    for folder in ASSERT_FOLDERS:
        count = lines = 0
        for path in files:
            if in_folder(path, os.path.join("src", folder)) and path.endswith((".c", ".h")):
                text = read(path)
                lines += len(text.splitlines())
                count += len(re.findall(r"\bASSERT\s*\(", strip_comments(text)))
        if lines and count * 1000 < ASSERTS_PER_1000 * lines:
            report.add(os.path.join(ROOT, "src", folder), None,
                       f"{count} asserts in {lines} lines, under {ASSERTS_PER_1000} a thousand",
                       "assert what the code relies on")


def check_headers(files, report):
    """Each header of src/ and include/ compiles alone."""
    headers = [p for p in files if p.endswith(".h") and (in_folder(p, "src") or
                                                         in_folder(p, "include"))]
    folders = sorted({os.path.dirname(p) for p in files if in_folder(p, "src")} |
                     {os.path.join(ROOT, "include")})
    command = ["gcc", "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c",
               "-DHAK_FLAVOUR_MINIMAL=0", "-DHAK_DEBUG=1", "-DHAK_OVERRIDE=1", "-DHAK_OS_TWIN=0",
               '-DHAK_VERSION="0"', "-Wno-unused-function"] + ["-I" + f for f in folders]

    def compile_alone(path):
        # Through a file that includes it: a header as main file would warn of its own pragma.
        done = subprocess.run(command + ["-"], input=f'#include "{path}"\n', text=True,
                              capture_output=True, check=False)
        return path, done.returncode, done.stderr

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, status, errors in pool.map(compile_alone, headers):
            if status != 0:
                first = next((l for l in errors.splitlines() if "error" in l), "compiler failed")
                report.add(path, None, "does not compile alone: " + first.replace(ROOT + "/", ""),
                           "include what it uses")


def check_knobs(report):
    path = os.path.join(ROOT, "src", "rt", "knobs.def")
    names = set()
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), read(path), flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = KNOB.match(line)
        if not found:
            report.add(path, number, "malformed line",
                       'write KNOB(NAME, bool|bytes|count, default, min, max, "One sentence.")')
            continue
        name, kind, default, low, high, doc = found.groups()
        if name in names:
            report.add(path, number, f"{name} is there twice", "an option is one line")
        names.add(name)
        in_range = int(low) <= int(default) <= int(high)
        if not in_range or kind == "bool" and (low, high) != ("0", "1"):
            report.add(path, number, f"default or range of {name}",
                       "min <= default <= max; bool is 0 to 1")
        if not doc.endswith(".") or not doc[:1].isupper():
            report.add(path, number, f"text of {name}", "one sentence, with capital and full stop")


def check_abuse(report):
    folder = os.path.join(ROOT, "tests", "abuse")
    if not os.path.isdir(folder):
        return
    lists = "".join(read(os.path.join(folder, n)) or "" for n in os.listdir(folder)
                    if not n.endswith((".c", ".cc", ".h")) and
                    os.path.isfile(os.path.join(folder, n)))
    for name in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(name)
        if ending in (".c", ".cc") and not re.search(r"(?:\b|_)" + re.escape(stem) + r"\b", lists):
            report.add(os.path.join(folder, name), None, "no list names it",
                       "add it to the cases of tests/abuse, with the message it must print")


def main():
    if len(sys.argv) != 1:
        print("usage: scripts/check_style.py", file=sys.stderr)
        return 2
    report = Report()
    files = list(tree_files())
    for path in files:
        text = read(path)
        if text is None:
            continue
        lines = text.splitlines()
        check_words(path, lines, report)
        relative = os.path.relpath(path, ROOT)
        if relative.split(os.sep)[0] in CODE_FOLDERS and path.endswith(CODE_ENDINGS):
            check_size(path, lines, report)
        if path.endswith((".c", ".h", ".cc")):
            check_c_file(path, text, report)
    check_src([p for p in files if in_folder(p, "src")], report)
    check_headers(files, report)
    check_knobs(report)
    check_abuse(report)
    print(f"check_style: {len(files)} files, {report.count} findings")
    return 1 if report.count else 0


if __name__ == "__main__":
    sys.exit(main())
