#!/usr/bin/python3
"""check_style.py: the rules of style that a script can check. Each finding is one line,
`file:line: what: what to do`. Exit: 0 clean, 1 findings.

Checked: file length (600 lines, .def exempt), line length (100 columns), unique file stems in src/,
no .c included, each header of src/, include/ compiles alone, banned calls in src/, a unit test a
source file, asserts a thousand lines in slab, heap and region, x_is_valid() used in asserts and
tests, file heads (present, at most 12 lines), #if of the machine and the system only in base/ and
os/, place and instruction budgets of HAK_HOT functions, results that must be used, static_assert
of packed structs and of build constants, lines of knobs.def, tests/abuse files in their list, words
that must not be in the tree, python3 shebangs.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_LINES = 600
MAX_COLUMNS = 100
MAX_HEAD_LINES = 12
ASSERTS_PER_1000 = 30
ASSERT_FOLDERS = ("slab", "heap", "region")
CODE_FOLDERS = ("src", "include", "tools", "bench", "tests", "scripts", "cmake")
CODE_ENDINGS = (".c", ".h", ".cc", ".py", ".sh", ".cmake", ".txt", ".map")
SKIPPED = {".git", "__pycache__"}  # .git is a file in a worktree

# Calls that src/ may not make, each with its replacement; `folders`, or files, are exempt.
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
    (r"\b(?:dlopen|setlocale|localtime|strerror|signal|rand|qsort)",
     "nothing: it may allocate or lock", ()),
    # There in a call of the program's that may do both, and does in libc.
    (r"\bdlsym", "nothing: it may allocate or lock", ("os_atfork.c",)),
]
BANNED = [(re.compile(r"(?<![\w.>])(" + calls.replace(r"\b", "") + r")\s*\("), use, folders)
          for calls, use, folders in BANNED]

# Split so that this file does not find itself.
FORBIDDEN = [re.compile(p) for p in (
    "shared" + r"/[A-Z]\w*\.md", "/wor" + r"k/", "/ro" + r"ot/", "/tmp" + r"/tmp")]

# Names that an #if of src/ may ask for, besides HAK_ constants and its own include guard: in every
# folder; in base/, which is there to hide machine and compiler; in base_attr.h, which refuses other
# systems. os/ may ask for anything.
ANYWHERE_IF = r"__has_attribute|__has_builtin|__has_include|__cplusplus"
MACHINE_IF = r"__x86_64__|__aarch64__|__SANITIZE_\w+__|__GNUC__|__clang__|__has_feature"
REFUSAL_IF = r"__linux__|__LP64__|__BYTE_ORDER__|__ORDER_LITTLE_ENDIAN__"
HOT_FOLDERS = ("heap", "entry")

# Functions that return bool, int, long, a pointer or a struct, and may be called for nothing but
# their effect. is_ and has_ are pure: to drop what they say is no error, only pointless.
MAY_DROP = {
    "size_class_split": "that there was nothing to split is no failure",
    "size_class_tailor": "as the one above",
    "heap_make_exit_current": "heap_current says the same",
    "entry_trim": "that nothing was there to give back is no failure",
    "os_sys_munmap": "excess address space that stays mapped holds no memory: nobody touched it",
    "os_sys_madvise": "advice: the kernel may refuse it",
    "os_syscall3": "raw: who wakes a futex asks for nothing",
    "os_syscall6": "raw",
    "os_sys_prctl_name": "advice: an old kernel has no names for mappings",
}

KNOB = re.compile(r'^KNOB\(([A-Z][A-Z0-9_]*), (bool|bytes|count|choice), (\d+), (\d+), (\d+), '
                  r'(?:live|start), "([a-z|]*)", "(.*)"\)$')


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
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in sorted(names):
            path = os.path.join(top, name)
            if name not in SKIPPED and not os.path.islink(path):
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
            if found and folder not in exempt and os.path.basename(path) not in exempt:
                report.add(path, number, f"{found.group(1)}() is banned here", f"use {use}")


def comment_above(lines, number):
    """The comment that ends right above line NUMBER, as one line."""
    above = []
    i = number - 2
    while i >= 0 and re.match(r"\s*(//|/\*|\*)", lines[i]) or i >= 0 and "*/" in lines[i]:
        above.insert(0, lines[i])
        if "/*" in lines[i]:
            break
        i -= 1
    return " ".join(above)


def body_after(lines, number):
    """The lines of the function that begins at line NUMBER, with their numbers."""
    for i in range(number, len(lines) + 1):
        yield i, lines[i - 1]
        if lines[i - 1].startswith("}") or i == number and lines[i - 1].endswith("}"):
            return


def check_hot(path, text, report):
    """A HAK_HOT function stands in a header of HOT_FOLDERS, the comment above it names its budget,
    which is what tests/golden counts, and it has no #if inside."""
    lines = text.splitlines()
    golden = os.path.join(ROOT, "tests", "golden", "hits.json")
    limits = json.loads(read(golden))["limits"] if os.path.exists(golden) else {}
    for number, line in enumerate(strip_comments(text).splitlines(), 1):
        if not re.match(r"(\w+ )*HAK_HOT ", line):
            continue
        if not path.endswith(".h") or os.path.basename(os.path.dirname(path)) not in HOT_FOLDERS:
            report.add(path, number, "hot function outside the headers of heap/ and entry/",
                       "move it there: hot code is read in one place")
        above = comment_above(lines, number)
        if not re.search(r"budget: \d+ instructions?", above):
            report.add(path, number, "hot function without a budget",
                       "write `budget: N instructions` in the comment above")
        found = re.search(r"\bentry_(malloc|free)\(", line)
        counted = {str(l[found.group(1)]) for l in limits.values()} if found else set()
        if not counted <= set(re.findall(r"\b\d+\b", above)):
            report.add(path, number, f"budget is not {' and '.join(sorted(counted))} instructions",
                       "write what tests/golden/hits.json holds it to")
        for inside, code in body_after(lines, number):
            if re.match(r"\s*#\s*(if|el)", code):
                report.add(path, inside, "#if in a hot function",
                           "use a constant in an if, or two functions")


def conditions(code):
    """(line, text) of each #if, #ifdef, #ifndef and #elif, with the lines that continue it."""
    for found in re.finditer(r"^[ \t]*#\s*(?:if|ifdef|ifndef|elif)\b((?:\\\n|.)*)", code, re.M):
        yield code.count("\n", 0, found.start(1)) + 1, found.group(1).replace("\\\n", " ")


def check_conditions(path, code, report):
    """What the preprocessor is asked: see ANYWHERE_IF, MACHINE_IF, REFUSAL_IF."""
    folder = os.path.basename(os.path.dirname(path))
    if folder == "os":
        return
    stem, ending = os.path.splitext(os.path.basename(path))
    allowed = r"defined|HAK_\w+|" + ANYWHERE_IF
    allowed += "|" + MACHINE_IF if folder == "base" else ""
    allowed += "|" + REFUSAL_IF if os.path.basename(path) == "base_attr.h" else ""
    allowed += f"|{stem.upper()}_H" if ending == ".h" else ""
    for line, condition in conditions(code):
        condition = re.sub(r"__has_\w+\s*\([^)]*\)", " ", condition)
        for name in re.findall(r"\b[A-Za-z_]\w*", condition):
            if not re.fullmatch(allowed, name):
                report.add(path, line, f"#if asks for {name}",
                           "the system's differences belong into src/os, the machine's and the "
                           "compiler's into src/base")


def check_results(path, code, report):
    """Who may fail is HAK_MUST_USE: functions of headers that return bool, int, long, a pointer
    or a struct. Inline ones that return a pointer compute an address and cannot fail."""
    pattern = (r"^((?:HAK_\w+ )*)(?:const )?(bool|int|long|(?:void|char|struct \w+)(?: \*+)?)"
               r"(?: |(?<=\*))(\w+)\(")
    for found in re.finditer(pattern, code, re.M):
        marks, kind, name = found.group(1).split(), found.group(2), found.group(3)
        is_pure = re.search(r"_(is|has)_", name) or kind in ("void", "char")
        if "HAK_MUST_USE" in marks or is_pure or name in MAY_DROP or \
                "HAK_INLINE" in marks and "*" in kind:
            continue
        report.add(path, code.count("\n", 0, found.start(3)) + 1,
                   f"the result of {name} may be dropped",
                   "write HAK_MUST_USE, or in MAY_DROP of check_style.py why not")


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
        check_conditions(path, code, report)
        if path.endswith(".h"):
            check_results(path, code, report)
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


def check_validity(files, report):
    """Each x_is_valid() of ASSERT_FOLDERS stands in an ASSERT, and if others can call it in a unit
    test."""
    code = {p: strip_comments(read(p)) for p in files if p.endswith((".c", ".h"))}
    unit = os.path.join(ROOT, "tests", "unit")
    tests = "".join(read(os.path.join(unit, name)) for name in os.listdir(unit))
    for path in code:
        if os.path.basename(os.path.dirname(path)) not in ASSERT_FOLDERS:
            continue
        for found in re.finditer(r"^(static )?bool (\w+_is_valid)\([^;{]*\{", code[path], re.M):
            line = code[path].count("\n", 0, found.start()) + 1
            call = r"\b" + found.group(2) + r"\("
            if not any(re.search(r"\bASSERT\([^;]*" + call, c) for c in code.values()):
                report.add(path, line, f"no ASSERT calls {found.group(2)}",
                           "assert it where the code relies on it")
            if not found.group(1) and not re.search(call, tests):
                report.add(path, line, f"no unit test calls {found.group(2)}", "call it there")


def check_constants(files, report):
    """The build's constants: every HAK_ name that an #if of src/ or a compile definition has is in
    a static_assert of base_attr.h, which says what values and combinations there are."""
    code = {p: strip_comments(read(p)) for p in files if p.endswith((".c", ".h"))}
    attr = os.path.join(ROOT, "src", "base", "base_attr.h")
    asserts = " ".join(re.findall(r"_Static_assert\(([^;]*);", code.get(attr, "")))
    asked = {}
    for path, text in code.items():
        for line, condition in conditions(text):
            for name in re.findall(r"\bHAK_\w+", condition):
                asked.setdefault(name, (path, line))
    library = os.path.join(ROOT, "cmake", "HakLibrary.cmake")
    if os.path.exists(library):
        text = read(library)
        for found in re.finditer(r"\b(HAK_\w+)=(?:[01]|\$\{)", text):
            asked.setdefault(found.group(1), (library, text.count("\n", 0, found.start()) + 1))
    for name, (path, line) in asked.items():
        if not re.search(r"\b" + name + r"\b", asserts):
            report.add(path, line, f"{name} is in no static_assert of base_attr.h",
                       "assert its values and what it goes with, or use an option")


def check_headers(files, report):
    """Each header of src/ and include/ compiles alone."""
    headers = [p for p in files if p.endswith(".h") and (in_folder(p, "src") or
                                                         in_folder(p, "include"))]
    folders = sorted({os.path.dirname(p) for p in files if in_folder(p, "src")} |
                     {os.path.join(ROOT, "include")})
    command = ["gcc", "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c",
               "-DHAK_FLAVOUR_MINIMAL=0", "-DHAK_FLAVOUR_OBSERVE=0", "-DHAK_DEBUG=1",
               "-DHAK_OVERRIDE=1", "-DHAK_OS_TWIN=0",
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
                       'write KNOB(NAME, bool|bytes|count|choice, default, min, max, '
                       'live|start, "words", "One sentence.")')
            continue
        name, kind, default, low, high, words, doc = found.groups()
        if name in names:
            report.add(path, number, f"{name} is there twice", "an option is one line")
        names.add(name)
        is_word = kind == "bytes" and words and int(default) <= words.count("|") < int(low)
        in_range = is_word or int(low) <= int(default) <= int(high)
        if not in_range or kind == "bool" and (low, high) != ("0", "1"):
            report.add(path, number, f"default or range of {name}",
                       "min <= default <= max, or a word; bool is 0 to 1")
        bad_words = words and (kind != "bytes" or words.count("|") >= int(low))
        if len(words.split("|")) != int(high) + 1 if kind == "choice" else bad_words:
            report.add(path, number, f"words of {name}",
                       "a choice has one for each value from 0, bytes for values below their "
                       "least, other types none")
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
    sources = [p for p in files if in_folder(p, "src")]
    check_src(sources, report)
    check_validity(sources, report)
    check_constants(sources, report)
    check_headers(files, report)
    check_knobs(report)
    check_abuse(report)
    print(f"check_style: {len(files)} files, {report.count} findings")
    return 1 if report.count else 0


if __name__ == "__main__":
    sys.exit(quiet(main))
