#!/usr/bin/python3
"""Pictures of measurements, PNG or SVG by the name of the output.

  throughput FILE.json    throughput against peak memory, one point an allocator: all timed
                          workloads together, or --workload NAME, or --each as panels
  latency FILE.json       cumulative distribution of single calls of --workload NAME
  rss FILE...             RSS over time (a soak's CSV) or over operations (a record of bench_replay,
                          .json); each may be NAME=FILE
  profiles FILE.json      throughput against memory of each profile and peer, a panel a workload.
                          --check draws nothing: is the SVG of these figures?

FILE.json is what bench/run.py --json wrote, of profiles what bench/run_memory.py --json did.
Exit status: 0 good, 1 the picture is of other figures (--check), 2 bad input.
"""
import argparse
import math
import os
import re
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is
import plot_data
from bench_machine import BadInput
from bench_output import count_text
from quiet_pipe import quiet  # by the path that bench_machine adds

# Okabe and Ito's colours, which colour-blind readers tell apart; one an allocator in every picture.
COLOURS = {"hakmem": "#d55e00", "hakmem-minimal": "#e69f00", "balanced": "#d55e00",
           "lean": "#e69f00", "speed": "#a5301a", "glibc": "#000000",
           "mimalloc": "#0072b2", "jemalloc": "#009e73", "tcmalloc": "#cc79a7",
           "tbbmalloc": "#56b4e9", "scudo": "#8c6d31", "floor": "#bbbbbb"}
MORE_COLOURS = ["#7f3fbf", "#a6761d", "#1b9e77", "#666666", "#b2182b"]
MARKERS = {"hakmem": "*", "hakmem-minimal": "P", "balanced": "*", "lean": "v", "speed": "^"}
OWN = ("hakmem", "balanced")  # what stands out
PANEL_COLUMNS = 4
DOTS_PER_INCH = 150


def colour_of(name, names):
    others = [each for each in names if each not in COLOURS]
    return COLOURS.get(name) or MORE_COLOURS[others.index(name) % len(MORE_COLOURS)]


def load_matplotlib():
    """Only when something is drawn: refusals need no package."""
    try:
        import matplotlib
    except ImportError:
        raise BadInput("matplotlib is missing: install python3-matplotlib") from None
    matplotlib.use("Agg")
    matplotlib.rcParams.update({
        "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "#e4e4e4", "axes.axisbelow": True, "legend.frameon": False,
        "svg.hashsalt": "hakmem"})
    import matplotlib.pyplot
    return matplotlib.pyplot


def save(figure, path, **more):
    """more: metadata of an SVG."""
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight",
                   metadata={"Date": None, **more} if path.endswith(".svg") else None)


def thousands(value, _=None):
    """A throughput as people say it: 1.5 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


# ---- throughput against memory ----

def points_draw(axes, points, size):
    names = [point.name for point in points]
    for point in points:
        colour = colour_of(point.name, names)
        axes.errorbar(point.peak, point.speed, yerr=[[point.speed - point.speed_low],
                                                     [point.speed_high - point.speed]],
                      fmt="none", ecolor=colour, elinewidth=1, alpha=0.6)
        axes.scatter(point.peak, point.speed, s=size * (2.2 if point.name in OWN else 1),
                     marker=MARKERS.get(point.name, "o"), color=colour, label=point.name, zorder=3)
    axes.margins(0.15)
    axes.set_ylim(bottom=0)


# Where a name may stand to its point (points right and up), in the order of preference; from the
# distant places a thin line leads to the point.
NAME_PLACES = [(9, -4), (9, 6), (9, -14), (-9, -4), (-9, 6), (-9, -14), (22, 20), (-22, 20),
               (22, -28), (-22, -28), (40, 34), (-40, 34), (40, -42), (-40, -42)]
POINT_PIXELS = 10  # half of the square that a name keeps off a point


def points_name(axes, points):
    """Each point's name beside it: on no other name, on no point, within the axes."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox
    axes.figure.canvas.draw()
    renderer = axes.figure.canvas.get_renderer()
    left_end = axes.get_window_extent(renderer).x0
    centres = [axes.transData.transform((point.peak, point.speed)) for point in points]
    taken = [Bbox([centre - POINT_PIXELS, centre + POINT_PIXELS]) for centre in centres]
    for point in points:
        own = taken.pop(0)  # what is left: the other points, and the names so far
        for right, up in NAME_PLACES:
            line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.7, "shrinkB": 4}
            text = axes.annotate(point.name, (point.peak, point.speed), xytext=(right, up),
                                 textcoords="offset points", ha="left" if right > 0 else "right",
                                 fontweight="bold" if point.name in OWN else "normal",
                                 arrowprops=line if abs(right) > 9 else None)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without the line
            if box.x0 > left_end and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            axes.add_artist(text)  # crowded: the last place, whatever lies there
        taken += [own, box]


def draw_throughput(plt, points, title, x_label, y_label, path):
    figure, axes = plt.subplots(figsize=(7, 4.6))
    points_draw(axes, points, 60)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.yaxis.set_major_formatter(thousands)
    points_name(axes, points)
    save(figure, path)


def draw_panels(plt, results, path):
    timed = plot_data.timed_results(results)
    rows = math.ceil(len(timed) / PANEL_COLUMNS)
    figure, grid = plt.subplots(rows, min(PANEL_COLUMNS, len(timed)), squeeze=False,
                                figsize=(3.1 * min(PANEL_COLUMNS, len(timed)), 2.5 * rows))
    handles = {}
    for axes, result in zip(grid.flat, timed):
        points_draw(axes, plot_data.points_of(result), 26)
        axes.set_title(result["workload"], loc="left", fontsize=9)
        axes.yaxis.set_major_formatter(thousands)
        axes.tick_params(labelsize=8)
        handles.update((label, handle) for handle, label in zip(*axes.get_legend_handles_labels()))
    for axes in grid.flat[len(timed):]:
        axes.set_visible(False)
    figure.supxlabel("peak RSS (MiB)", fontsize=10)
    figure.supylabel("operations per second (of CPU time where one thread works)", fontsize=10)
    figure.tight_layout()
    figure.legend(handles.values(), handles.keys(), loc="upper center", ncols=len(handles),
                  bbox_to_anchor=(0.5, 0), fontsize=9)
    save(figure, path)


def throughput(options):
    results = plot_data.read_results(options.files[0])
    if options.each:
        if not plot_data.timed_results(results):
            raise BadInput(f"{options.files[0]} has no timed workload")
        draw_panels(load_matplotlib(), results, options.out)
    elif options.workload:
        result = plot_data.result_named(results, options.workload, options.files[0])
        if result["metric"] not in plot_data.PER_SECOND or not result["allocators"]:
            raise BadInput(f"workload '{options.workload}' measured no time")
        draw_throughput(load_matplotlib(), plot_data.points_of(result),
                        f"{result['workload']}: {result['what']}\nup and to the left is better",
                        "peak RSS (MiB)", plot_data.PER_SECOND[result["metric"]], options.out)
    else:
        points, count = plot_data.together_of(results)
        draw_throughput(load_matplotlib(), points,
                        f"geometric means over {count_text(count, 'workload')}, glibc = 1\n"
                        "up and to the left is better",
                        "peak RSS, times glibc's", "throughput, times glibc's", options.out)


# ---- hakmem's profiles ----

PROFILE_COLUMNS = 2


def draw_profiles(plt, panels, path):
    rows = math.ceil(len(panels) / PROFILE_COLUMNS)
    figure, grid = plt.subplots(rows, PROFILE_COLUMNS, squeeze=False,
                                figsize=(5.2 * PROFILE_COLUMNS, 3.7 * rows))
    for axes, panel in zip(grid.flat, panels):
        points_draw(axes, panel.points, 50)
        axes.margins(x=0.3)
        axes.set_ylim(top=1.35 * max(point.speed for point in panel.points))  # room for names
        axes.set_title(panel.title, loc="left", fontsize=11)
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label, fontsize=9)
        axes.yaxis.set_major_formatter(thousands)
    for axes in grid.flat[len(panels):]:
        axes.set_visible(False)
    figure.tight_layout()
    for axes, panel in zip(grid.flat, panels):
        points_name(axes, panel.points)
    save(figure, path, Description=plot_data.digest_of(panels))


def profiles(options):
    panels = plot_data.profile_panels(options.files[0])
    if not options.check:
        draw_profiles(load_matplotlib(), panels, options.out)
        return 0
    with open(options.out, encoding="utf-8") as file:
        if plot_data.digest_of(panels) in file.read():
            return 0
    print(f"bench/plot.py: {options.out} is of other figures than {options.files[0]}; "
          "make scorecard", file=sys.stderr)
    return 1


# ---- latency ----

# Shares of calls at which the axis has a line; the axis is stretched towards 100 %.
SHARES = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]


def stretched(above):
    """Where on the axis a share of slower calls lies: each tenfold fewer are one step up."""
    return -math.log10(above)


def draw_latency(plt, result, curves, path):
    figure, axes = plt.subplots(figsize=(7, 4.6))
    names = [curve.name for curve in curves]
    highest = max(stretched(y) for curve in curves for y in curve.y if y > 0)
    for curve in curves:
        shown = [(x, stretched(y)) for x, y in zip(curve.x, curve.y) if y > 0]
        # The longest call ends the line: nothing is above it.
        shown.append((curve.x[-1], shown[-1][1] if shown else 0))
        x, y = zip(*shown)
        axes.step(x, y, where="post", color=colour_of(curve.name, names), label=curve.name,
                  linewidth=2.2 if curve.name == "hakmem" else 1.3,
                  linestyle="--" if curve.name == "hakmem-minimal" else "-")
    shares = [share for share in SHARES if stretched(1 - share) <= highest + 0.5]
    axes.set_yticks([stretched(1 - share) for share in shares],
                    [f"{100 * share:.10g} %" for share in shares])
    axes.set_ylim(bottom=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(nanoseconds)
    axes.set_xlabel("time of one call of malloc or free, the clock's own included")
    axes.set_ylabel("share of the calls that take no longer")
    axes.set_title(f"{result['workload']}: {result['what']}\nto the left is better", loc="left",
                   fontsize=11)
    axes.legend(loc="lower right")
    save(figure, path)


def nanoseconds(value, _=None):
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g} ns"


def latency(options):
    if not options.workload:
        raise BadInput("latency needs --workload NAME")
    results = plot_data.read_results(options.files[0])
    result = plot_data.result_named(results, options.workload, options.files[0])
    curves = plot_data.latencies_of(result, options.files[0])
    draw_latency(load_matplotlib(), result, curves, options.out)


# ---- resident memory ----

def draw_rss(plt, kind, curves, path):
    figure, axes = plt.subplots(figsize=(8, 4.2))
    names = [curve.name for curve in curves]
    longest = max(max(curve.x) for curve in curves)
    unit, label = 1, "operations"
    if kind == "time":
        unit, label = (60, "minutes") if longest > 300 else (1, "seconds")
    for curve in curves:
        for begin, end in zip(curve.starts, [*curve.starts[1:], len(curve.x)]):
            axes.plot([x / unit for x in curve.x[begin:end]], curve.y[begin:end],
                      color=colour_of(curve.name, names), label=None if begin else curve.name,
                      linewidth=2 if curve.name == "hakmem" else 1.3,
                      marker="." if end - begin == 1 else None)  # a line of one point is invisible
    if kind == "operations":
        axes.xaxis.set_major_formatter(thousands)
    axes.set_xlabel(label)
    axes.set_ylabel("RSS (MiB)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title("resident memory" + (f": {names[0]}" if len(curves) == 1 else ""), loc="left",
                   fontsize=11)
    save(figure, path)


def rss(options):
    kinds, curves = set(), []
    for text in options.files:
        named = re.fullmatch(r"([\w.-]+)=(.+)", text)
        name, path = named.groups() if named else (os.path.basename(text).split(".")[0], text)
        if name in {curve.name for curve in curves}:
            raise BadInput(f"two lines are named {name}: write NAME=FILE")
        kind, curve = plot_data.rss_curve(path, name)
        kinds.add(kind)
        curves.append(curve)
    if len(kinds) > 1:
        raise BadInput("a soak is over time, a replay over operations: not in one picture")
    draw_rss(load_matplotlib(), kinds.pop(), curves, options.out)


def parse(words):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise BadInput(message)

    parser = Parser(prog="bench/plot.py", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=["throughput", "latency", "rss", "profiles"])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--out", required=True, metavar="PICTURE.png|.svg")
    parser.add_argument("--workload", metavar="NAME")
    parser.add_argument("--each", action="store_true", help="a panel a timed workload")
    parser.add_argument("--check", action="store_true", help="of profiles: draw nothing")
    options = parser.parse_args(words)
    if not options.out.endswith((".png", ".svg")):
        raise BadInput(f"--out must end in .png or .svg, not '{options.out}'")
    if options.picture != "rss" and len(options.files) > 1:
        raise BadInput(f"{options.picture} takes one FILE")
    if options.picture != "throughput" and options.each:
        raise BadInput("--each is for throughput")
    if options.workload and (options.each or options.picture in ("rss", "profiles")):
        raise BadInput("--workload does not go with "
                       + ("--each" if options.each else options.picture))
    if options.check and (options.picture != "profiles" or not options.out.endswith(".svg")):
        raise BadInput("--check is for profiles, in an SVG")
    return options


def draw(words):
    options = parse(words)
    pictures = {"throughput": throughput, "latency": latency, "rss": rss, "profiles": profiles}
    return pictures[options.picture](options) or 0


def main(words):
    try:
        return quiet(draw, words)
    except (BadInput, OSError) as error:
        print(f"bench/plot.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
