#!/usr/bin/python3
"""count_hits.py's reading of a profile, and its verdicts, against known answers."""
import unittest

import count_hits

PROFILE = """fn=hit_loop
20 2
cob=/x/libhakmem.so
cfi=entry.h
cfn=hak_malloc
calls=1 281
21 410
21 1
cob=/x/libhakmem.so
cfi=entry.h
cfn=__libc_malloc
calls=999 281
21 12987
21 999
cob=/x/libhakmem.so
cfn=free
calls=1000 350
23 20000
23 1000

fn=warm_up
30 5
cob=/x/libhakmem.so
cfn=malloc
calls=77 281
31 9999
"""
LIMITS = {"malloc": 16, "free": 20}


class Profiles(unittest.TestCase):
    def test_calls_of_the_caller_alone(self):
        got = count_hits.parse_calls(PROFILE, "hit_loop")
        self.assertEqual(got["malloc"], (1000, 13397, "/x/libhakmem.so"))
        self.assertEqual(got["free"], (1000, 20000, "/x/libhakmem.so"))

    def test_no_calls(self):
        self.assertEqual(count_hits.parse_calls(PROFILE, "main")["free"], (0, 0, None))

    def test_the_difference_drops_what_is_common(self):
        few = count_hits.Calls(1000, 13397, "")
        many = count_hits.Calls(3000, 13397 + 2000 * 13, "")
        self.assertEqual(count_hits.per_call(few, many), 13)


class Verdicts(unittest.TestCase):
    counted = {"malloc": 13, "free": 19, "bulk_pair": 60.0}

    def wrong(self, recorded, limits=None):
        return list(count_hits.differences("minimal", self.counted, recorded, limits or LIMITS))

    def test_as_recorded(self):
        self.assertEqual(self.wrong(dict(self.counted, bulk_pair=60.9)), [])

    def test_each_difference_is_told(self):
        self.assertEqual(len(self.wrong(dict(self.counted, malloc=12))), 1)
        self.assertEqual(len(self.wrong(dict(self.counted, free=20))), 1)
        self.assertEqual(len(self.wrong(dict(self.counted, bulk_pair=58.0))), 1)

    def test_nothing_recorded_is_a_difference(self):
        self.assertEqual(len(self.wrong(None)), 1)

    def test_a_limit_holds_whatever_is_recorded(self):
        self.assertEqual(len(self.wrong(self.counted, {"malloc": 13, "free": 18})), 1)


if __name__ == "__main__":
    unittest.main()
