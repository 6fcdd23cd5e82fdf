#!/usr/bin/python3
"""malloc_info writes well-formed XML in glibc's shape, and its parts sum to its totals.

usage: malloc_info_xml.py LIBRARY MALLINFO_TEST
HAK_EMULATOR: the words that run a program of another machine, by qemu-user.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree


def numbers(element):
    return {name: int(value) for name, value in element.attrib.items() if value.isdigit()}


def check(root):
    yield "root is <malloc>", root.tag == "malloc"
    yield "version is hakmem-1", root.get("version") == "hakmem-1"
    heaps = root.findall("heap")
    yield "a <heap> at least", bool(heaps)
    yield "each <heap> has <sizes>", all(heap.find("sizes") is not None for heap in heaps)
    exact = root.find("hakmem")
    yield "<hakmem> is there", exact is not None
    exact = numbers(exact)
    yield "arena = uordblks + fordblks", exact["arena"] == exact["uordblks"] + exact["fordblks"]
    totals = {total.get("type"): numbers(total) for total in root.findall("total")}
    yield "<total> for fast, rest, mmap", {"fast", "rest", "mmap"} <= set(totals)
    yield "mmap total is hblkhd", totals["mmap"]["size"] == exact["hblkhd"]
    free_bytes = totals["fast"]["size"] + totals["rest"]["size"]
    yield "fast + rest = fordblks", free_bytes == exact["fordblks"]
    systems = {system.get("type"): numbers(system) for system in root.findall("system")}
    yield "<system> for current and max", {"current", "max"} <= set(systems)
    yield "system current is arena", systems["current"]["size"] == exact["arena"]
    yield "system max is no less", systems["max"]["size"] >= systems["current"]["size"]


def main():
    library, program = map(os.path.abspath, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "malloc_info.xml")
        emulator = os.environ.get("HAK_EMULATOR", "").split()
        environment = dict(os.environ)
        if emulator:
            environment["QEMU_SET_ENV"] = "LD_PRELOAD=" + library
        else:
            environment["LD_PRELOAD"] = library
        subprocess.run([*emulator, program, path], env=environment, check=True)
        root = ElementTree.parse(path).getroot()
    failed = [name for name, good in check(root) if not good]
    for name in failed:
        print(f"not so: {name}")
    if failed:
        sys.stdout.write(ElementTree.tostring(root, encoding="unicode"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
