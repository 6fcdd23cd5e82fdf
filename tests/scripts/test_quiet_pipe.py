#!/usr/bin/python3
"""quiet_pipe.py: a tool whose reader goes away ends with 141 and says nothing of it; and all tools
end by it."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import soak_samples
from soak_samples import RECORDED, SCRIPTS

sys.dont_write_bytecode = True
# What each tool is asked for here: any words that it answers on stdout. None: it has much to do
# before the first word; that it ends as the others do is seen in its text alone.
WORDS = {"analyze_epoch_tail_csv.py": [RECORDED], "analyze_soak.py": ["--help"],
         "calculate_percentiles.py": [RECORDED, "--column", "p99_ns"], "check_style.py": None,
         "check_layers.py": ["/no/such/build"], "demo_workload.py": None, "gen_options.py": None,
         "gen_small_process.py": None,
         "run_compare.py": ["--help"], "run_tests.py": None, "scorecard.py": ["--help"],
         "soak.py": None, "triage_rss.py": ["--help"]}


def unread(tool, *words, unbuffered=""):
    """(status, stderr) of a tool that writes into a pipe that nobody reads. unbuffered: each print
    is a write, and not all of them at the end one."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run([sys.executable, tool, *words], stdin=subprocess.DEVNULL, text=True,
                              stdout=closed, stderr=subprocess.PIPE, check=False,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1",
                                   "PYTHONUNBUFFERED": unbuffered},
                              timeout=soak_samples.CALL_SECONDS_MOST)
    return done.returncode, done.stderr


class Tools(unittest.TestCase):
    def test_a_reader_that_went_away_is_told_by_the_status_alone(self):
        for tool, words in WORDS.items():
            for unbuffered in ("", "1") if words is not None else ():
                self.assertEqual(unread(SCRIPTS / tool, *words, unbuffered=unbuffered), (141, ""),
                                 tool)

    def test_every_tool_is_known_here_and_ends_so(self):
        programs = {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS.glob("*.py")}
        tools = {name: text for name, text in programs.items() if "__main__" in text}
        self.assertEqual(tools.keys(), WORDS.keys())
        for name, text in tools.items():
            end = text[text.index('if __name__ == "__main__":'):]
            self.assertRegex(end, r"sys\.exit\((quiet|(soak_input\.)?exit_status)\(", name)


class Helper(unittest.TestCase):
    """Its own cases, in a program each: it changes the process's stdout."""

    def ends(self, body):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "program.py")
            path.write_text(f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\n"
                            "from quiet_pipe import quiet\n"
                            f"def run(words):\n    {body}\nsys.exit(quiet(run, ['x']))\n",
                            encoding="utf-8")
            status, said = unread(path)
        return status, re.sub(r"(?s).*\n(?=\w+: )", "", said)

    def test_what_is_written_at_the_end_or_at_once(self):
        self.assertEqual(self.ends("print(words); return 0"), (141, ""))
        self.assertEqual(self.ends("print(words, flush=True); return 0"), (141, ""))
        self.assertEqual(self.ends("print(words); sys.exit(3)"), (141, ""))

    def test_nothing_else_is_hidden(self):
        self.assertEqual(self.ends("return 3"), (3, ""))
        self.assertEqual(self.ends("sys.exit(4)"), (4, ""))
        self.assertEqual(self.ends("raise ValueError('other')"), (1, "ValueError: other\n"))


if __name__ == "__main__":
    unittest.main()
