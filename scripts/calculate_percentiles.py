#!/usr/bin/python3
"""Percentiles of one column of a CSV, or of the numbers on stdin (one a line).

Between two values it interpolates linearly: percentile p of n sorted values lies at position
p / 100 * (n - 1), counted from 0 (the method of R's type 7, numpy's default).
Exit status: 0 good, 2 bad input.
"""
import argparse
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is
import soak_csv
import soak_input
import soak_stats

PERCENTILES = "0,50,90,99,99.9,99.99,100"


def stdin_read():
    return [soak_csv.number_read(f"stdin, line {number}", line.strip())
            for number, line in enumerate(sys.stdin, 1) if line.strip()]


def run(words):
    parser = soak_input.Parser(prog="calculate_percentiles.py", description=__doc__,
                               formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", metavar="FILE.csv", help="without it: stdin")
    parser.add_argument("--column", metavar="NAME", help="the column of FILE.csv")
    parser.add_argument("--percentiles", type=soak_input.percentages, metavar="P,P,...",
                        default=PERCENTILES, help=f"default {PERCENTILES}")
    options = parser.parse_args(words)
    if (options.csv is None) != (options.column is None):
        raise soak_input.BadInput("FILE.csv and --column belong together")
    values = soak_csv.column_read(options.csv, options.column) if options.csv else stdin_read()
    if not values:
        raise soak_input.BadInput(f"{options.csv or 'stdin'}: no numbers")
    values.sort()
    print(f"n {len(values)}")
    for percent in options.percentiles:
        print(f"p{percent:g} {soak_stats.quantile(values, percent / 100):.6g}")
    return 0


if __name__ == "__main__":
    sys.exit(soak_input.exit_status("calculate_percentiles.py", run))
