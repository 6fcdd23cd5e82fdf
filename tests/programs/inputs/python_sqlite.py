#!/usr/bin/python3
"""Works the sqlite3 module: cursors, adapters, callbacks into Python, blobs, backups, threads.

usage: python_sqlite.py DATABASE-FILE
Prints the same text every time.
"""

import decimal
import hashlib
import sqlite3
import sys
import threading

ROWS = 60000


class Product:
    """An aggregate whose state is a Python object."""

    def __init__(self):
        self.value = 1

    def step(self, number):
        self.value = self.value * (number + 1) % 1000003

    def finalize(self):
        return self.value


def rows():
    for number in range(ROWS):
        text = f"{number * 7919 % 65537:x}"
        yield number, text * (number % 9 + 1), decimal.Decimal(number) / 8, text.encode() * 3


def show(title, answer):
    text = repr(answer)
    short = text if len(text) < 200 else f"{len(text)} characters"
    print(title, short, hashlib.sha256(text.encode()).hexdigest()[:16])


def fill(connection):
    columns = "id INTEGER PRIMARY KEY, name TEXT, price DECIMAL, raw BLOB"
    connection.execute(f"CREATE TABLE t ({columns})")
    with connection:
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows())
    connection.execute("CREATE INDEX t_name ON t (name)")


def query(connection):
    connection.create_function("backwards", 1, lambda text: text[::-1], deterministic=True)
    connection.create_aggregate("product", 1, Product)
    connection.create_collation("tail", lambda a, b: (a[-1:] > b[-1:]) - (a[-1:] < b[-1:]))
    show("all", connection.execute("SELECT * FROM t ORDER BY id").fetchall())
    third = "SELECT backwards(name) FROM t WHERE id % 3 = 0"
    show("function", connection.execute(third).fetchall())
    groups = "SELECT id % 100, product(id) FROM t GROUP BY 1"
    show("aggregate", connection.execute(groups).fetchall())
    ordered = "SELECT name, id FROM t WHERE id < 20000 ORDER BY name COLLATE tail, id"
    show("collation", connection.execute(ordered).fetchall())
    connection.row_factory = sqlite3.Row
    some = connection.execute("SELECT name, raw FROM t WHERE id % 97 = 5 ORDER BY id")
    show("rows", [{key: row[key] for key in row.keys()} for row in some])
    connection.row_factory = None
    try:
        connection.execute("INSERT INTO t SELECT * FROM t")
    except sqlite3.IntegrityError as error:
        show("error", str(error))


def blobs(connection):
    connection.execute("INSERT INTO t VALUES (-1, 'blob', 0, zeroblob(3000000))")
    with connection.blobopen("t", "raw", -1) as blob:
        for offset in range(0, 3000000, 250000):
            blob.seek(offset)
            blob.write(bytes([offset // 250000]) * 1000)
        blob.seek(0)
        show("blob", hashlib.sha256(blob.read()).hexdigest())
    connection.rollback()


def many_threads(path):
    """Each thread reads the file through its own connection; the answers must agree."""
    answers = [None] * 4

    def read(number):
        connection = sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES)
        total = 0
        for row in connection.execute("SELECT id, name, price, raw FROM t"):
            total += row[0] + len(row[1]) + int(row[2]) + len(row[3])
        answers[number] = total
        connection.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show("threads", answers)


def main():
    sqlite3.register_adapter(decimal.Decimal, str)
    sqlite3.register_converter("decimal", lambda text: decimal.Decimal(text.decode()))
    connection = sqlite3.connect(sys.argv[1], detect_types=sqlite3.PARSE_DECLTYPES)
    fill(connection)
    query(connection)
    blobs(connection)
    copy = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)
    connection.backup(copy, pages=50)
    show("dump", list(copy.iterdump()))
    image = copy.serialize()
    copy.close()
    again = sqlite3.connect(":memory:")
    again.deserialize(image)
    show("deserialized", again.execute("SELECT count(*), max(name) FROM t").fetchall())
    show("check", again.execute("PRAGMA integrity_check").fetchall())
    again.close()
    many_threads(sys.argv[1])
    connection.close()


if __name__ == "__main__":
    main()
