#!/usr/bin/python3
"""A few seconds of what programs do with memory: an in-memory SQLite database, dictionaries,
JSON and strings. The default program of `make run`; run it with PYTHONMALLOC=malloc so that every
Python object comes from malloc. Prints a checksum of its results, the same on every run.
"""
import json
import random
import sqlite3
import sys
import zlib

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet


def database(rng, rows):
    """Inserts, queries and deletes in SQLite; returns a string of results."""
    con = sqlite3.connect(":memory:")
    con.execute("create table item (id integer primary key, name text, price real, note blob)")
    con.execute("create index item_name on item (name)")
    con.executemany("insert into item values (?, ?, ?, ?)",
                    ((i, f"name-{rng.randrange(rows)}", rng.random() * 100,
                      bytes(rng.randrange(200))) for i in range(rows)))
    total = con.execute("select round(sum(price), 3), sum(length(note)) from item").fetchone()
    groups = con.execute("select substr(name, 6, 2) as g, count(*), round(avg(price), 3) "
                         "from item group by g order by g").fetchall()
    con.execute("delete from item where id % 3 = 0")
    left = con.execute("select count(*), max(name) from item").fetchone()
    con.close()
    return repr((total, groups, left))


def documents(rng, count):
    """Nested dictionaries to JSON text and back, with many live at a time."""
    kept = {}
    crc = 0
    for i in range(count):
        document = {"id": i, "tags": [f"t{rng.randrange(1000)}" for _ in range(rng.randrange(12))],
                    "body": "x" * rng.randrange(400), "nested": {str(k): k * i for k in range(8)}}
        text = json.dumps(document, sort_keys=True)
        crc = zlib.crc32(text.encode(), crc)
        kept[rng.randrange(count // 4)] = json.loads(text)
    return crc, len(kept)


def words(rng, count):
    """String building, splitting and counting."""
    seen = {}
    for _ in range(count):
        line = " ".join(f"w{int(rng.expovariate(0.002))}" for _ in range(10))
        for word in line.upper().split():
            seen[word] = seen.get(word, 0) + 1
    return sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:5]


def main():
    rng = random.Random(1)
    result = [database(rng, 300_000), documents(rng, 90_000), words(rng, 90_000)]
    print("demo workload: checksum %08x" % zlib.crc32(repr(result).encode()))


if __name__ == "__main__":
    sys.exit(quiet(main))
