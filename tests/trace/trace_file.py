"""Reads and writes trace files with the command zstd and nothing of the project's code: the format
of docs/trace.md a second time, for the tests."""
import fcntl
import os
import pathlib
import struct
import subprocess
import tempfile

BUILD = pathlib.Path(os.environ["HAK_BUILD_DIR"])
SOURCE = pathlib.Path(os.environ["HAK_SOURCE_DIR"])
RECORDER = str(BUILD / "libhakmem-trace.so")
HAKMEM = str(BUILD / "libhakmem.so")
REPLAY = str(BUILD / "bench_replay")

MALLOC, CALLOC, ALIGNED, FREE, REALLOC_FROM, REALLOC_TO, CLOCK, END = range(1, 9)
EXIT, KILLED, BOUND, STALLED = range(1, 5)
HEADER = struct.Struct("<8sIIII32sQ")
TRAILER = struct.Struct("<QQ10Q4Q")
COUNTS = ("mallocs", "callocs", "reallocs", "frees", "aligned", "live", "records", "lost",
          "threads", "duration_ns")
NAMES = {MALLOC: "mallocs", CALLOC: "callocs", ALIGNED: "aligned", FREE: "frees",
         REALLOC_TO: "reallocs"}
LOW = (1 << 48) - 1


def record(kind, address=0, size=0, thread=0, align=0):
    return struct.pack("<QQ", thread << 48 | address, kind << 56 | align << 48 | size)


def header(magic=b"HAKTRACE", version=1):
    return HEADER.pack(magic, version, 4096, 1024, 0, b"synthetic", 0)


def trailer(end=EXIT, **counts):
    return TRAILER.pack(0, END << 56 | end, *(counts.get(name, 0) for name in COUNTS), 0, 0, 0, 0)


def write(path, *frames):
    """Each argument becomes a frame."""
    with open(path, "wb") as file:
        for frame in frames:
            with tempfile.NamedTemporaryFile() as raw:
                raw.write(frame)
                raw.flush()
                file.write(subprocess.run(["zstd", "-q", "-c", raw.name], check=True,
                                          capture_output=True).stdout)


class Trace:
    """A whole file: .program, .records as (kind, thread, align_log2, address, size), .trailer."""

    def __init__(self, path):
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # a killed program does not wait for the packer
            data = subprocess.run(["zstd", "-q", "-d", "-c"], stdin=file, check=True,
                                  capture_output=True).stdout
        magic, version, self.page, _, _, program, _ = HEADER.unpack_from(data)
        assert (magic, version) == (b"HAKTRACE", 1), (magic, version)
        self.program = program.rstrip(b"\0").decode()
        last = TRAILER.unpack_from(data, len(data) - TRAILER.size)
        assert last[1] >> 56 == END
        self.end = last[1] & LOW
        self.trailer = dict(zip(COUNTS, last[2:]))
        body = data[HEADER.size:len(data) - TRAILER.size]
        self.records = [(what >> 56, where >> 48, what >> 48 & 0xff, where & LOW, what & LOW)
                        for where, what in struct.iter_unpack("<QQ", body)]

    def counts(self, is_wanted=lambda size: True):
        """Calls by kind, free(NULL) apart as "nulls"; of the others only of objects whose size is
        wanted. Raises where an object is had twice or given back unseen."""
        live, resized = {}, {}
        counts = dict.fromkeys([*NAMES.values(), "nulls"], 0)
        for index, (kind, thread, _, address, size) in enumerate(self.records):
            if kind in (MALLOC, CALLOC, ALIGNED):
                counts[NAMES[kind]] += is_wanted(size)
                self.begin(live, address, size, index)
            elif kind == FREE and address == 0:
                counts["nulls"] += 1
            elif kind == FREE:
                assert address in live, f"record {index}: free of {address:#x}, never had"
                counts["frees"] += is_wanted(live.pop(address))
            elif kind == REALLOC_FROM:
                assert address == 0 or address in live, f"record {index}: realloc of {address:#x}"
                resized.setdefault(thread, []).append((address, live.pop(address, None)))
            elif kind == REALLOC_TO:
                old, old_size = resized[thread].pop()
                counts["reallocs"] += is_wanted(size)
                if address == 0 and size != 0:
                    address, size = old, old_size
                self.begin(live, address, size, index)
        assert not any(resized.values())
        assert len(live) == self.trailer["live"]
        return counts

    def all_counts(self):
        """As the trailer has them."""
        counts = self.counts()
        counts["frees"] += counts.pop("nulls")
        return counts

    @staticmethod
    def begin(live, address, size, index):
        if address != 0:
            assert address not in live, f"record {index}: {address:#x} lives twice"
            live[address] = size


def is_own(size):
    """Whether trace_workload.c or trace_cxx.cc asked for it; saturated sizes are theirs too."""
    return size % 8 == 5 or size == LOW
