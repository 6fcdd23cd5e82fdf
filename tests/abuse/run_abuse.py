#!/usr/bin/python3
"""Runs each one-misuse program under hakmem and asserts how it ends: SIGABRT, and exactly one line,
in one write(2), with the expected verdict, the very pointer and its class.

usage: run_abuse.py LIBRARY FOLDER_OF_PROGRAMS [NAME_PART]
"""

import os
import re
import resource
import signal
import socket
import subprocess
import sys

OWN = "own"  # the class that the program announced
NONE = "none"  # "class none"
ANY = "any"  # large blocks: a class of their own size, or none

FREE, REALLOC, USABLE = "invalid free", "invalid realloc", "invalid usable_size"
INTERIOR, DOUBLE, MISMATCH = "interior pointer", "double free", "size mismatch"
OPERATIONS = {"free": FREE, "realloc": REALLOC, "usable": USABLE}


def cases(folder):
    """(program and arguments, verdict or None for no misuse, class, words the message must name)"""
    yield ["free_null"], None, NONE, ""
    for size in ("1", "64", "200", "1024", "1500", "5000", "32768"):
        yield ["double_free_at_once", size], DOUBLE, OWN, ""
        yield ["double_free_aba", size], DOUBLE, OWN, ""
    yield ["double_free_first_call"], DOUBLE, OWN, ""
    for size in ("64", "500", "3000"):
        yield ["double_free_later", size], DOUBLE, OWN, ""
        yield ["double_free_after_flush", size], DOUBLE, OWN, ""
    for size in ("70000", "1048576", "3145728", "67108864"):
        yield ["double_free_large", size], f"{DOUBLE}", ANY, ""
    for order in ("owner-first", "other-first", "others"):
        yield ["double_free_other_thread", order], DOUBLE, OWN, ""
    for operation, verdict in OPERATIONS.items():
        for size in ("33", "200", "1000", "5000", "32768"):
            yield ["bad_interior", operation, size], INTERIOR, OWN, ""
        for offset in ("1", "7", "8", "15", "33", "99"):
            yield ["bad_misaligned", operation, offset], INTERIOR, OWN, ""
        for size, offset in (("70000", "64"), ("1048576", "65536"), ("3145728", "2097152")):
            yield ["bad_interior_large", operation, size, offset], INTERIOR, ANY, ""
        for offset in ("16", "4096", "65536", "2097152", "33554432"):
            yield ["bad_interior_large", operation, "67108864", offset], INTERIOR, ANY, ""
        yield ["bad_stack", operation], verdict, NONE, ""
        yield ["bad_static", operation], verdict, NONE, ""
        for size in ("4096", "65536", "16777216"):
            yield ["bad_foreign_mapping", operation, size], verdict, NONE, ""
        for address in ("1", "16", "4096", "0x123456789ab0", "0x7ffffffff000", "0x800000000000",
                        "0xdeadbeefdeadbee0", "0xffffffffff600000", "0xffffffffffffffff"):
            yield ["bad_address", operation, address], verdict, NONE, ""
        for where in ("process", "thread"):
            yield ["bad_first_call", operation, where], verdict, NONE, ""
        for distance in ("last-chunk", "0x8000000", "0x40000000", "0x400000000"):
            yield ["bad_unused_chunk", operation, distance], verdict, NONE, ""
        yield ["cross_dlmopen", operation, "100"], verdict, NONE, "RTLD_DEEPBIND"
        yield ["cross_dlmopen", operation, "1000000"], verdict, NONE, "RTLD_DEEPBIND"
        plugin = os.path.join(folder, "libdeepbind_plugin.so")
        yield ["cross_deepbind", operation, plugin], verdict, NONE, "RTLD_DEEPBIND"
        for size in ("64", "500", "2000"):
            # free: when the slot reaches the bitmap; the others look there at once
            seen = f"{FREE}|{DOUBLE}" if operation == "free" else verdict
            yield ["bad_never_allocated", operation, size], seen, OWN, ""
        for size in ("64", "100"):
            for slots in ("1", "2", "4", "7"):
                seen = None if operation == "usable" else DOUBLE  # SECURITY.md: not seen
                if operation != "free" and slots in ("1", "2"):  # the next that the bin hands out
                    seen = verdict
                yield ["bad_cached_slot", operation, size, slots], seen, OWN, ""
    for operation in ("realloc", "usable"):
        verdict = OPERATIONS[operation]
        for where in ("alone", "kept"):
            for size in ("64", "500", "5000", "32768"):
                yield ["use_after_free", operation, size, where], verdict, OWN, ""
            for size in ("70000", "1048576", "67108864"):
                yield ["use_after_free", operation, size, where], verdict, NONE, "freed before"
        # 300 B: a realloc that would stay in place.
        for size in ("200", "300", "5000"):
            for where in ("last", "last-but-one"):
                yield ["use_after_free", operation, size, where], verdict, OWN, "freed before"
    for how in ("sized", "aligned", "delete", "delete-array"):
        yield ["size_mismatch", how, "100", "5000"], MISMATCH, OWN, ""
        yield ["size_mismatch", how, "5000", "16"], MISMATCH, OWN, ""
        yield ["size_mismatch", how, "200000", "100"], MISMATCH, ANY, ""
        yield ["size_mismatch", how, "9000000", "100"], MISMATCH, ANY, ""
    for kind, verdict, class_kind in (("double", DOUBLE, OWN), ("wild", FREE, NONE)):
        yield ["no_memory_left", kind], verdict, class_kind, ""
        yield ["in_signal_handler", kind], verdict, class_kind, ""


def run(library, folder, command):
    """Exit status, stdout, and each write(2) to stderr: a packet socket keeps them apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = subprocess.Popen(
        [os.path.join(folder, command[0])] + command[1:],
        env=dict(os.environ, LD_PRELOAD=library),
        stdout=subprocess.PIPE,
        stderr=theirs,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    theirs.close()
    stdout = program.communicate(timeout=100)[0].decode()
    writes = []
    while packet := ours.recv(65536):
        writes.append(packet.decode(errors="replace"))
    ours.close()
    return program.returncode, stdout, writes


def class_pattern(class_kind, class_bytes):
    if class_kind == NONE:
        return "none"
    return rf"{class_bytes} B" if class_kind == OWN else r"(none|\d+ B)"


def complaint(status, stdout, writes, verdict, class_kind, words):
    """What is not as expected, or nothing."""
    if verdict is None:
        return "" if status == 0 and not writes else f"status {status}, stderr {writes}"
    announced = re.fullmatch(r"(0x[0-9a-f]+) (\d+)\n", stdout)
    if announced is None:
        return f"the program could not do its misuse: status {status}, stdout {stdout!r}, {writes}"
    if status != -signal.SIGABRT:
        return f"status {status} instead of SIGABRT, stderr {writes}"
    if len(writes) != 1:
        return f"{len(writes)} writes to stderr: {writes}"
    pointer, class_bytes = announced.groups()
    pattern = (
        rf"hakmem: ({verdict}): pointer {pointer}, "
        rf"class {class_pattern(class_kind, class_bytes)}: [^\n]+\n"
    )
    if re.fullmatch(pattern, writes[0]) is None:
        return f"message {writes[0]!r} does not match {pattern!r}"
    return "" if words in writes[0] else f"message {writes[0]!r} does not name {words}"


def main():
    library, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    part = sys.argv[3] if len(sys.argv) > 3 else ""
    total = failed = 0
    for command, verdict, class_kind, words in cases(folder):
        if part not in " ".join(command):
            continue
        total += 1
        problem = complaint(*run(library, folder, command), verdict, class_kind, words)
        if problem:
            failed += 1
            print(f"FAIL {' '.join(command)}: {problem}")
    print(f"{total} misuses, {failed} failures")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
