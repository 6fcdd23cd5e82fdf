#!/usr/bin/python3
"""test_noticed.py BUILD: the model fails where an order of atomic accesses is taken away.

Each row is a statement of src/, what is done to its atomic access as the model runs it
(MODEL_MUTANT, model_memory.c), and the scenario that must fail then, and must not without it.
"""
import glob
import os
import subprocess
import sys
import unittest

SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                   "src")
BUILD = os.path.abspath(sys.argv[1])
ROWS = [
    ("mail.c", "while (load_seq(&away->inbox)", "relaxed", "mail", "send_end"),
    ("home.c", "store_seq(&home->absence, count == 0", "drop", "mail", "send_end"),
    ("mail.c", "} while (!cas_seq(&owner->inbox, &head, m));", "split", "mail", "send_send"),
    ("mail.c", "return swap_seq(&h->inbox, NULL);", "split", "mail", "send_send_drain"),
    ("rt_lock.c", "uint64_t old = swap_seq(&lock->word", "relaxed", "lock", "enter_enter"),
    ("rt_lock.c", "return cas_seq(&lock->word, &expected", "split", "lock", "enter_enter"),
    ("rt_lock.c", "while (load_seq(&lock->word) != 0 && !lock_is_mine(lock) &&", "relaxed", "lock",
     "fork_enter"),
    ("rt_lock.c", "while (!cas_seq(&fork_gate, &expected, self)) {", "split", "lock", "fork_fork"),
    ("superslab.c", "if (cas_acq_rel(&superslab_words[index], &word, next))", "split", "claim",
     "claim_claim"),
    ("superslab.c", "while (!cas_acq_rel(&superslab_words[index], &word, word | bits))", "relaxed",
     "claim", "claim_release"),
]


def line_of(file, statement):
    [path] = glob.glob(os.path.join(SRC, "*", file))
    with open(path, encoding="utf-8") as source:
        found = [number for number, line in enumerate(source, 1) if statement in line]
    if len(found) != 1:
        raise ValueError(f"{file}: {statement} is in {len(found)} lines, not 1")
    return found[0]


def run(program, *args, mutant=None):
    env = {name: value for name, value in os.environ.items() if name != "MODEL_MUTANT"}
    if mutant is not None:
        env["MODEL_MUTANT"] = mutant
    return subprocess.run([os.path.join(BUILD, "test_model_" + program), *args], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=600, check=False)


class Noticed(unittest.TestCase):
    def test_each(self):
        for file, statement, kind, program, scenario in ROWS:
            with self.subTest(statement=statement, kind=kind):
                as_it_is = run(program, scenario)
                self.assertEqual(as_it_is.returncode, 0, as_it_is.stdout)
                weakened = run(program, scenario,
                               mutant=f"{file}:{line_of(file, statement)}:{kind}")
                self.assertNotEqual(weakened.returncode, 0, weakened.stdout)
                self.assertEqual(weakened.stdout.splitlines()[-1],
                                 f"0 of 1 scenarios complete; failed: {scenario}")

    def test_last_line(self):
        """It names what was cut off."""
        lines = run("claim", "--executions", "50").stdout.splitlines()
        names = [line.split()[0] for line in lines[:-1]]
        cut_off = [line.split()[0] for line in lines[:-1] if line.endswith(", not all")]
        self.assertTrue(0 < len(cut_off) < len(names), lines)
        complete = len(names) - len(cut_off)
        self.assertEqual(lines[-1], f"{complete} of {len(names)} scenarios complete; cut off: "
                         + ", ".join(cut_off))
        self.assertEqual(run("claim", "hand_over").stdout.splitlines()[-1],
                         "1 of 1 scenarios complete")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
