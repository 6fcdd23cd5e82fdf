#!/usr/bin/python3
"""test_edits.py FOLDER: the Spin models can fail. Each row takes away a step that the protocol
needs, and Spin must then report an error, in a small variant of the model (in which there is none
without the edit: check_models.py --verify has it, or a larger one).

An edit is pairs of a text, which must be in the model once, and what takes its place.
Exit: 0, 1 an edit that is not noticed or does not fit, 77 no Spin (the texts are looked at).
"""
import os
import shutil
import sys
import unittest

from check_models import CYCLES, HERE, models, pan

ERRORS = "errors"
ROWS = [
    # (model, variant, what to look for, what is wrong, the edit)
    ("claim.pml", "", ERRORS, "the compare-and-swap falls apart", [
        ("  atomic { /* one CAS; one that fails is another's success, and looks again */",
         "  {")]),
    ("claim.pml", "", ERRORS, "a claim leaves what the word says of zeros", [
        ("       word_zero = word_zero & ~mask;\n", "")]),
    ("claim.pml", "", ERRORS, "a purge that claims nothing", [
        ("     :: else ->\n        claim(me, mask, has, was_zero);\n",
         "     :: else ->\n        has = true;\n")]),
    ("claim.pml", "", ERRORS, "used chunks go back as zero ones", [
        ("        release(mask, false)\n", "        release(mask, true)\n")]),

    ("fork.pml", "-DROUNDS=1", ERRORS, "the gate is not read", [
        ("     :: gate == NOBODY || gate == me -> break\n", "     :: true -> break\n")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "who waits for the gate keeps the lock", [
        ("     :: else ->\n        word[l] = NOBODY;\n", "     :: else ->\n"),
        ("     fi\n  od\n}\n\n/* C: os_streams_lock */",
         "        word[l] = NOBODY\n     fi\n  od\n}\n\n/* C: os_streams_lock */"),
        ("        (gate == NOBODY || gate == me) /* sleeps on the gate */\n",
         "        (gate == NOBODY || gate == me);\n")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "the gate is taken without a look at whose it is", [
        ("  atomic { gate == NOBODY -> gate = me } /*", "  gate = me; /*")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "the gate closes before the lock of streams is taken", [
        ("  take_streams(me);\n  atomic { gate == NOBODY", "  atomic { gate == NOBODY"),
        ("  leave_streams(me);\n  ended++\n}\n\ninit", "  ended++\n}\n\ninit")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "a fork does not wait for the locks", [
        ("    (word[(first + l) % LOCKS] == NOBODY || word[(first + l) % LOCKS] == me)\n",
         "    skip\n")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "the gate stays closed", [
        ("  forking--;\n  gate = NOBODY;\n", "  forking--;\n")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "a second lock is waited for", [
        ("    :: word[l] == NOBODY -> word[l] = me; has = true\n    :: else -> has = false\n",
         "    :: word[l] == NOBODY -> word[l] = me; has = true\n")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "the second lock is given back last", [
        ("        :: has -> change(1 - own); leave(me, 1 - own)\n", "        :: has -> skip\n"),
        ("     change(own);\n     leave(me, own);\n",
         "     change(own);\n     leave(me, own);\n     if\n"
         "     :: has -> change(1 - own); leave(me, 1 - own); has = false\n"
         "     :: else -> skip\n     fi;\n")]),
    ("fork.pml", "-DROUNDS=1", ERRORS, "a child leaves the locks of others as they are", [
        ("copy[l] != me -> copy[l] = NOBODY", "copy[l] != me -> skip")]),
    ("fork.pml", "-DROUNDS=1", CYCLES, "who finds the gate closed tries again at once", [
        ("        (gate == NOBODY || gate == me) /* sleeps on the gate */\n", "        skip\n")]),

    ("mail.pml", "-DSENDERS=1", ERRORS, "a sender does not look whether the owner is away", [
        ("  :: is_away -> redrain(me)\n  :: else ->\n     if\n     :: true -> skip /* little",
         "  :: is_away -> skip\n  :: else ->\n     if\n     :: true -> skip /* little")]),
    ("mail.pml", "-DSENDERS=2", ERRORS, "who has sorted some does not look again", [
        ("  leave(me);\n  if\n  :: is_away -> redrain(me)\n  :: else -> skip\n  fi\n",
         "  leave(me)\n")]),
    ("mail.pml", "-DSENDERS=1", ERRORS, "who abandons the heap does not look again", [
        ("  :: else -> skip\n  fi;\n  leave(me);\n  redrain(me)\n",
         "  :: else -> skip\n  fi;\n  leave(me)\n")]),
    ("mail.pml", "-DSENDERS=1", ERRORS, "the mark is set after the last look", [
        ("  mark(true, last);\n  if\n  :: last ->\n     drain(me);\n",
         "  last = (awake == 1);\n  if\n  :: last ->\n     drain(me);\n"),
        ("  :: else -> skip\n  fi;\n  leave(me);\n  redrain(me)\n",
         "  :: else -> skip\n  fi;\n  leave(me);\n  redrain(me);\n  mark(true, last)\n")]),
    ("mail.pml", "-DSENDERS=1", ERRORS, "who falls asleep does not look again", [
        ("     redrain(me); /* entry_leave */\n", ""),
        ("     :: inbox == 0 || !is_away -> break\n", "     :: true -> break\n")]),
    ("mail.pml", "-DSENDERS=1", ERRORS, "who wakes is not counted", [
        ("is_asleep = false; awake++; is_away = false", "is_asleep = false; is_away = false")]),
    ("mail.pml", "-DSENDERS=1", ERRORS, "bits are put back without the lock", [
        ("        try_lock(me, has);\n        if\n        :: !has -> break\n"
         "        :: else -> drain(me); leave(me)\n",
         "        has = true;\n        if\n        :: !has -> break\n"
         "        :: else -> drain(me)\n")]),
    ("mail.pml", "-DSENDERS=2", ERRORS, "sending falls apart into a load and a store", [
        ("  atomic { assert((inbox & (1 << me)) == 0); inbox = inbox | (1 << me) } /* one CAS */\n",
         "  held = inbox;\n  atomic { inbox = held | (1 << me); held = 0 }\n")]),
    ("mail.pml", "-DSENDERS=1", ERRORS, "taking all falls apart into a load and a store", [
        ("  atomic { held = inbox; inbox = 0 }\n", "  held = inbox;\n  inbox = 0;\n")]),
    ("mail.pml", "-DSENDERS=1", CYCLES, "who looks again leaves the mail there", [
        ("        :: else -> drain(me); leave(me)\n", "        :: else -> leave(me)\n")]),

    ("pull.pml", "-DROUNDS=0", ERRORS, "a pull does not tell the map", [
        ("           owner = me;\n", "")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "what is out stays counted at the old owner", [
        ("             taken[other] = taken[other] - (OBJECTS - COUNT(word))\n", "")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "a pull without the other's lock", [
        ("  :: true ->\n     try_lock(other);\n", "  :: true ->\n     has = true;\n"),
        ("        leave(other);\n        redrain(other, false) /*",
         "        redrain(other, false) /*")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "a flush does not ask the map", [
        ("     :: owner == h -> /* the map's entry, read for each object */\n",
         "     :: true ->\n")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "a direct free does not look at the map again", [
        ("     if\n     :: owner == other -> break\n", "     if\n     :: true -> break\n")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "who posts does not look whether the owner is away", [
        ("  has = is_away[h];\n", "  has = false;\n")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "the mark is set after the last look", [
        ("     is_away[me] = true;\n     take_strays(me);\n", "     take_strays(me);\n"),
        ("     :: !has_settled && inbox[me] == 0 -> break\n",
         "     :: !has_settled && inbox[me] == 0 -> is_away[me] = true; break\n")]),
    ("pull.pml", "-DROUNDS=0", ERRORS, "who falls asleep forgets its strays", [
        ("     is_away[me] = true;\n     take_strays(me);\n     leave(me);\n"
         "     redrain(me, true);\n",
         "     is_away[me] = true;\n     leave(me);\n     redrain(me, false);\n")]),
    ("pull.pml", "-DROUNDS=0", CYCLES, "who looks again leaves the mail there", [
        ("        :: else ->\n           drain(h);\n           release_empty(h);\n",
         "        :: else ->\n")]),
]


def edited(text, edit):
    for before, after in edit:
        if text.count(before) != 1:
            raise ValueError(f"{text.count(before)} times in the model, not once: {before!r}")
        text = text.replace(before, after)
    return text


def text_of(model):
    with open(os.path.join(HERE, model), encoding="utf-8") as opened:
        return opened.read()


class Texts(unittest.TestCase):
    def test_each_edit_fits_its_model(self):
        for model, _, _, what, edit in ROWS:
            with self.subTest(model=model, what=what):
                self.assertNotEqual(edited(text_of(model), edit), text_of(model))

    def test_each_model_has_some(self):
        self.assertEqual(sorted({row[0] for row in ROWS}),
                         [os.path.basename(path) for path in models()])

    def test_a_text_that_is_not_there_or_twice(self):
        for text in ("a b", "a c a c"):
            with self.assertRaises(ValueError):
                edited(text, [("a c", "d")])


@unittest.skipIf(shutil.which("spin") is None, "no spin here")
class Models(unittest.TestCase):
    def test_each_edit_is_noticed(self):
        os.makedirs(FOLDER, exist_ok=True)
        for model, variant, wanted, what, edit in ROWS:
            with self.subTest(model=model, what=what):
                path = os.path.join(FOLDER, "edited.pml")
                with open(path, "w", encoding="utf-8") as out:
                    out.write(edited(text_of(model), edit))
                status, words = pan(path, variant, FOLDER, wanted, "-O0")
                self.assertIsNotNone(status, words)  # the edit is no Promela
                found = [line for line in words.splitlines() if line.startswith("pan:1: ")]
                self.assertEqual(len(found), 1, words)
                self.assertRegex(found[0], "non-progress cycle" if wanted == CYCLES else
                                 "assertion violated|invalid end state")
                self.assertIn("errors: 1", words)
                print(f"{model}: {what}: {found[0][len('pan:1: '):]}", flush=True)


if __name__ == "__main__":
    FOLDER = os.path.abspath(sys.argv[1])
    done = unittest.main(argv=[sys.argv[0], "-v"], exit=False)
    if not done.result.wasSuccessful():
        sys.exit(1)
    if done.result.skipped:
        print("SKIP: no spin here (scripts/deps.sh test)")
        sys.exit(77)
