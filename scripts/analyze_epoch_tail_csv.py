#!/usr/bin/python3
"""The tail latencies of a soak, epoch by epoch: percentiles over the epochs of each epoch's
percentiles, the worst epochs, and how many stand out.

A percentile of percentiles is not the percentile of all calls: it says how often an epoch was bad.
Exit status: 0 good, 2 bad input.
"""
import argparse
import json
import sys
from statistics import median

sys.dont_write_bytecode = True  # the source tree stays as it is
import soak_csv
import soak_input
import soak_stats

PERCENTILES = [50, 90, 99, 100]


def column_summary(rows, name, factor):
    """Percentiles of one column, and the epochs above `factor` times its median."""
    ordered = sorted(row[name] for row in rows)
    limit = factor * median(ordered)
    return {"percentiles": {f"p{share}": soak_stats.quantile(ordered, share / 100)
                            for share in PERCENTILES},
            "limit_ns": limit,
            "epochs_above": [row["epoch"] for row in rows if row[name] > limit]}


def worst_rows(rows, name, count):
    return sorted(rows, key=lambda row: (-row[name], row["epoch"]))[:count]


def analysis_make(soak, factor, worst_by, count):
    if not soak.rows:
        raise soak_input.BadInput("there is no epoch in the file")
    return {"schema": 1, "about": soak.about, "epochs": len(soak.rows), "factor": factor,
            "columns": {name: column_summary(soak.rows, name, factor)
                        for name in soak_csv.TAILS},
            "worst_by": worst_by,
            "worst": [{name: row[name] for name in ("epoch", "time_s", *soak_csv.TAILS)}
                      for row in worst_rows(soak.rows, worst_by, count)]}


def table_print(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def analysis_print(path, analysis):
    print(f"{path}: {analysis['epochs']} epochs; a row is a column of the file, its percentiles "
          "are over the epochs")
    heads = [f"p{share}" for share in PERCENTILES]
    rows = [["column", *heads, f"epochs over {analysis['factor']:g} x p50"]]
    for name, summary in analysis["columns"].items():
        rows.append([name, *(f"{summary['percentiles'][head]:.0f}" for head in heads),
                     str(len(summary["epochs_above"]))])
    table_print(rows)
    print(f"\nworst epochs by {analysis['worst_by']}")
    table_print([["epoch", "time_s", *soak_csv.TAILS]]
                + [[str(row["epoch"]), f"{row['time_s']:.1f}",
                    *(f"{row[name]:.0f}" for name in soak_csv.TAILS)]
                   for row in analysis["worst"]])


def run(words):
    parser = soak_input.Parser(prog="analyze_epoch_tail_csv.py",
                               description=__doc__.split("\n\n", maxsplit=1)[0],
                               formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", metavar="FILE.csv")
    parser.add_argument("--factor", type=soak_input.positive, default=3, metavar="K",
                        help="an epoch stands out above K times the median (default 3)")
    parser.add_argument("--by", choices=soak_csv.TAILS, default="p99_9_ns",
                        help="what the worst epochs are sorted by (default p99_9_ns)")
    parser.add_argument("--worst", type=int, default=5, metavar="N",
                        help="so many of them (default 5)")
    parser.add_argument("--json", metavar="OUT", help="write every figure there")
    options = parser.parse_args(words)
    if options.worst < 1:
        raise soak_input.BadInput("--worst must be at least 1")
    soak_input.check_output("--json", options.json, options.csv)
    analysis = analysis_make(soak_csv.read(options.csv), options.factor, options.by, options.worst)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(analysis, file, indent=1)
            file.write("\n")
    analysis_print(options.csv, analysis)
    return 0


if __name__ == "__main__":
    sys.exit(soak_input.exit_status("analyze_epoch_tail_csv.py", run))
