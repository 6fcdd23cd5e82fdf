#!/usr/bin/python3
"""Who causes the RSS of the random-mixed benchmark: the benchmark, or the allocator, and what of it
can be had back.

Runs the benchmark with its warm-up (HAKMEM_BENCH_PREFAULT) unset, 0 and small, then under hakmem's
observe build, whose statistics at exit say what it holds, then with the settings that could help.
Environment: BENCH_BIN, WS. Exit status: 0 good, 2 bad input. docs/soak.md has the arithmetic.
"""
import argparse
import json
import re
import sys
from statistics import median

sys.dont_write_bytecode = True  # the source tree stays as it is
import soak_bench
import soak_input

CYCLES = "20000000"  # bench_random_mixed's default
ROUNDS = 3  # arbitrary: the median of three starts
SMALL = "1000"  # arbitrary: far below the 2 million operations of unset
PREFAULTS = {"unset": None, "0": "0", "small": SMALL}
MEAN_OBJECT_BYTES = (16 + 1024) / 2  # bench_random_mixed's default --min and --max
SLOT_BYTES = 8
# Arbitrary: from start to start the RSS differs by up to some 100 KiB.
NOTABLE_KIB, NOTABLE_SHARE = 128, 0.05
SETTINGS = [("HAKMEM_DEPOT_BYTES", "0"), ("HAKMEM_WARM_POOL_BYTES", "0")]
DUMPS = {"HAKMEM_TINY_MEM_DUMP": "1", "HAKMEM_SS_STATS_DUMP": "1", "HAKMEM_WARM_POOL_STATS": "1"}
OBSERVE = "libhakmem-observe.so"

# What the observe build's totals must name: {the dump: its keys}.
TOTALS = {"tiny": ["slab_bytes", "live_bytes", "cached_bytes", "free_bytes", "slack_bytes"],
          "superslabs": ["bytes", "slab_bytes", "run_bytes", "free_bytes"],
          "warm": ["dirty_bytes", "empty_bytes"]}

BENCHMARK, KEPT, RELEASABLE = WHO = ("caused by the benchmark", "kept by the allocator",
                                     "releasable")


# ---- the observe build's statistics ----

def sum_check(dump, whole, parts):
    total = sum(dump[part] for part in parts)
    if dump[whole] != total:
        raise soak_input.BadInput(f"the observe build's {whole} is {dump[whole]}, the sum of its "
                                  f"parts {total}")


def dump_read(text):
    """The totals lines of the dumps: {"tiny": {key: number}, ...}. Other lines may be there."""
    dumps = {}
    for line in text.splitlines():
        found = re.match(r"hakmem (\w+): total (.*)", line)
        if found and found.group(1) in TOTALS:
            pairs = re.findall(r"(\w+)=(\d+)(?:\s|$)", found.group(2))
            dumps[found.group(1)] = {key: int(value) for key, value in pairs}
    for name, keys in TOTALS.items():
        if name not in dumps:
            raise soak_input.BadInput(f"no 'hakmem {name}: total' line in the observe build's "
                                      "statistics")
        missing = [key for key in keys if key not in dumps[name]]
        if missing:
            raise soak_input.BadInput(f"no {missing[0]} in the line 'hakmem {name}: total'")
    sum_check(dumps["tiny"], "slab_bytes", TOTALS["tiny"][1:])
    sum_check(dumps["superslabs"], "bytes", TOTALS["superslabs"][1:])
    return dumps


# ---- the arithmetic ----

def notable(kib, rss_kib):
    return kib > max(NOTABLE_KIB, NOTABLE_SHARE * rss_kib)


def reserved_of(dumps):
    """What the statistics call free, as [(who, what, KiB)], the likeliest to be resident first."""
    dirty = dumps["warm"]["dirty_bytes"]
    # An empty superslab counts whole, also where some of its chunks never had pages.
    empty = min(dumps["warm"]["empty_bytes"], dirty)
    return [(KEPT, "objects in bins, magazines and mail", dumps["tiny"]["cached_bytes"] / 1024),
            (RELEASABLE, "superslabs that are empty", empty / 1024),
            (KEPT, "free chunks in used superslabs", (dirty - empty) / 1024)]


def parts_of(rss_kib, base_kib, ws, dumps):
    """The RSS at the end as [(who, what, KiB)], none negative; the parts sum to it. A chunk counts
    whole in the statistics, however few of its pages were touched: no part may be more than those
    before it left."""
    wanted = [(BENCHMARK, "program and libc", base_kib),
              (BENCHMARK, "table of slots", ws * SLOT_BYTES / 1024)]
    if dumps is None:
        wanted.append((BENCHMARK, "live objects (half the slots, mean size)",
                       ws / 2 * MEAN_OBJECT_BYTES / 1024))
        rest = "all of it: free memory, tables, code"
    else:
        wanted.append((BENCHMARK, "live objects (rounded up to their classes)",
                       (dumps["tiny"]["live_bytes"] + dumps["superslabs"]["run_bytes"]) / 1024))
        wanted += reserved_of(dumps)
        rest = "the rest: free room in used slabs, tables, code"
    parts, left = [], rss_kib
    for who, what, kib in wanted:
        parts.append((who, what, min(kib, left)))
        left -= min(kib, left)
    parts.append((KEPT, rest, left))
    return sorted(parts, key=lambda part: WHO.index(part[0]))


def sums_of(parts):
    sums = {}
    for who, _, kib in parts:
        sums[who] = sums.get(who, 0) + kib
    return sums


def verdict_of(parts, prefault_kib, settings_kib):
    """(one sentence, [what to set]). prefault_kib: end RSS by warm-up; settings_kib: end RSS by
    (name, value) of a setting."""
    sums = sums_of(parts)
    total_kib = sum(sums.values())
    rss_kib = prefault_kib["unset"]  # of the same library as the settings
    advice = []
    warm_up = prefault_kib["unset"] - prefault_kib["0"]
    if notable(warm_up, rss_kib):
        advice.append(f"HAKMEM_BENCH_PREFAULT=0: the benchmark's warm-up makes {warm_up:.0f} KiB")
    if notable(sums.get(RELEASABLE, 0), total_kib):
        advice.append("malloc_trim(0) in the program: gives back about "
                      f"{sums[RELEASABLE]:.0f} KiB")
    for (name, value), kib in settings_kib.items():
        if notable(rss_kib - kib, rss_kib):
            advice.append(f"{name}={value}: {rss_kib - kib:.0f} KiB less")
    who = max(sums, key=sums.get)
    return (f"most of it is {who}: {sums[who]:.0f} of {total_kib:.0f} KiB "
            f"({100 * sums[who] / total_kib:.0f} %)",
            advice or ["nothing: no setting lowers it notably"])


# ---- the runs ----

def run_medians(bench, preload, ws, **more):
    """Median end and peak RSS in KiB."""
    records = [soak_bench.bench_record(bench, preload, [CYCLES, ws], **more)[0]
               for _ in range(ROUNDS)]
    return tuple(median(soak_bench.record_number(record, name) for record in records) / 1024
                 for name in ("rss_end_bytes", "rss_peak_bytes"))


def base_measure(bench):
    """RSS of the benchmark's own loop on one slot and no allocator, in KiB."""
    floor = soak_bench.existing_file("bench_floor, which must lie beside BENCH_BIN",
                                     bench.parent / "bench_floor")
    record, _ = soak_bench.bench_record(floor, None, ["1", "1"])
    return soak_bench.record_number(record, "rss_end_bytes") / 1024


def triage(bench, preload, ws):
    """Everything measured, as it goes into the JSON."""
    soak_bench.bench_probe(bench, preload, ws)
    base_kib = base_measure(bench)
    prefaults = {name: run_medians(bench, preload, ws,
                                   **({} if value is None else {"HAKMEM_BENCH_PREFAULT": value}))
                 for name, value in PREFAULTS.items()}
    rss_kib = prefaults["unset"][0]
    dumps, statistics, settings = None, "no statistics: not hakmem", {}
    if preload.name.startswith("libhakmem"):
        observe = preload.parent / OBSERVE
        statistics = f"no statistics: there is no {OBSERVE} beside the allocator"
        if observe.is_file():
            record, said = soak_bench.bench_record(bench, observe, [CYCLES, ws], **DUMPS)
            dumps, statistics = dump_read(said), f"statistics of {OBSERVE}"
            rss_kib = soak_bench.record_number(record, "rss_end_bytes") / 1024
        settings = {setting: run_medians(bench, preload, ws, **dict([setting]))[0]
                    for setting in SETTINGS}
    parts = parts_of(rss_kib, base_kib, int(ws), dumps)
    prefault_kib = {name: end for name, (end, _) in prefaults.items()}
    verdict, advice = verdict_of(parts, prefault_kib, settings)
    return {"schema": 1, "bench": bench.name, "ws": int(ws), "allocator": preload.name,
            "prefault_rss_kib": {name: {"end": end, "peak": peak}
                                 for name, (end, peak) in prefaults.items()},
            "statistics": statistics, "rss_kib": rss_kib,
            "parts": [{"who": who, "what": what, "kib": kib} for who, what, kib in parts],
            "settings_rss_kib": {"=".join(setting): kib for setting, kib in settings.items()},
            "verdict": verdict, "set": advice}


# ---- output ----

def result_print(result):
    print(f"{result['bench']}, {result['ws']} slots, {result['allocator']}")
    for name, rss in result["prefault_rss_kib"].items():
        print(f"  HAKMEM_BENCH_PREFAULT {name:5}  end {rss['end']:8.0f} KiB  peak "
              f"{rss['peak']:8.0f} KiB")
    for setting, kib in result["settings_rss_kib"].items():
        print(f"  {setting:27}  end {kib:8.0f} KiB")
    print(f"\n{result['rss_kib']:.0f} KiB of RSS at the end ({result['statistics']})")
    for who in WHO:
        parts = [part for part in result["parts"] if part["who"] == who]
        total = f"{sum(part['kib'] for part in parts):8.0f} KiB" if parts else "   not known"
        print(f"  {who:50} {total}")
        for part in parts:
            print(f"    {part['what']:48} {part['kib']:8.0f}")
    print(f"\nverdict: {result['verdict']}")
    for advice in result["set"]:
        print(f"set: {advice}")


def run(words):
    parser = soak_input.Parser(prog="triage_rss.sh", description=__doc__,
                               formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("allocator", nargs="?", metavar="ALLOCATOR.so",
                        default=soak_bench.ROOT / "build" / "libhakmem.so",
                        help="default build/libhakmem.so")
    parser.add_argument("--json", metavar="OUT", help="write every figure there")
    options = parser.parse_args(words)
    preload = soak_bench.existing_file("ALLOCATOR.so", options.allocator)
    soak_input.check_output("--json", options.json, preload)
    result = triage(soak_bench.bench_find(), preload, soak_bench.ws_read())
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    result_print(result)
    return 0


if __name__ == "__main__":
    sys.exit(soak_input.exit_status("triage_rss.sh", run))
