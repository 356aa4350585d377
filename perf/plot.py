#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""perf/plot.py BENCH.jsonl FOLDER: bench-size.svg, bench-sas.svg and bench-ratio.svg from figures.

What a file does not hold is not drawn; a plot without any curve is not written.
"""
import json
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "demo"))

import plot  # noqa: E402

DIRECTIONS = ("encap", "decap")
COLOURS = ("#1f5fa8", "#c2571a", "#2f8f4e", "#8a3fa0", "#a02f3f", "#5f6f1f", "#1f8f8f", "#777777")
ALGORITHM = "aes128gcm16"  # of the stages; what is drawn over the number of SAs
STAGES = ("lookup_in", "lookup_out", "replay", "encap", "decap")
BAR_SHARE = 0.8  # of the place of a group
LABEL_STEP = 15  # px


def load(path):
    with open(path) as file:
        return {figure["name"]: figure for figure in map(json.loads, file)}


def names(figures, *start):
    """The last part but what start says: names("ratio", "encap") -> [(alg, size, sas)...]."""
    found = []
    for name in figures:
        parts = name.split("/")
        if tuple(parts[: len(start)]) == start:
            found.append(tuple(parts[len(start):]))
    return found


def unique(values, key=None):
    return sorted(set(values), key=key)


def top_of(figures):
    """A round number that all of them fit under."""
    top = max((figure["max"] if isinstance(figure, dict) else figure for figure in figures),
              default=0)
    if top <= 0:
        return 1
    step = 10 ** math.floor(math.log10(top))
    return next(step * factor for factor in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
                if step * factor >= top)


def legend(figure, place, colour, words):
    figure.text(plot.LEFT + 10, figure.base - plot.BAND + 16 + LABEL_STEP * place, words,
                colour=colour)


def below(figure, at, words):
    figure.text(figure.x(at), figure.base + 16, words, "middle")


def spread(figure, at, one, y, colour):
    """A line from min to max."""
    figure.line(figure.x(at), y(one["min"]), figure.x(at), y(one["max"]), colour, 1)


def series(figure, points, y, colour, dash=""):
    figure.curve([(at, one["median"]) for at, one in points], y, colour, dash)
    if not dash:
        for at, one in points:
            spread(figure, at, one, y, colour)


def plot_size(figures):
    """Cost over size, one SA, path and raw, every algorithm."""
    sizes = unique(int(rest[1]) for rest in names(figures, "path", "encap")
                   if rest[2] == "1" and rest[1].isdigit())
    if not sizes:
        return None
    algorithms = unique(rest[0] for rest in names(figures, "path", "encap") if rest[2] == "1")
    figure = plot.Figure("One SA: cycles a packet over its size; the line up is min to max",
                         0, max(sizes) * 1.03)
    for direction in DIRECTIONS:
        paths = {alg: [(size, figures[f"path/{direction}/{alg}/{size}/1"]) for size in sizes
                       if f"path/{direction}/{alg}/{size}/1" in figures] for alg in algorithms}
        y = figure.row(direction, top_of(one["median"] * 1.15 for points in paths.values()
                                         for _, one in points), "cycles/packet")
        for place, (alg, points) in enumerate(paths.items()):
            colour = COLOURS[place % len(COLOURS)]
            series(figure, points, y, colour)
            raws = [(size, figures[f"raw/{direction}/{alg}/{size}"]) for size in sizes
                    if f"raw/{direction}/{alg}/{size}" in figures]
            series(figure, raws, y, colour, "5 4")
            legend(figure, place, colour, f"{alg}: path; dashed: intel-ipsec-mb alone")
        for size in sizes:
            below(figure, size, f"{size} B")
    return figure


def plot_sas(figures):
    """Cost over number of SAs: the whole path by size, then each stage; log axis."""
    counts = unique(int(rest[2]) for rest in names(figures, "path", "encap"))
    if len(counts) < 2:
        return None
    sizes = unique((rest[1] for rest in names(figures, "path", "encap") if rest[0] == ALGORITHM),
                   lambda size: (not size.isdigit(), int(size) if size.isdigit() else 0))
    figure = plot.Figure(f"{ALGORITHM}: cycles a packet over the number of SAs, packets in random order",
                         -0.2, math.log10(counts[-1]) + 0.2)
    rows = [(f"{direction}, whole path", "cycles/packet",
             [(f"{size} B" if size.isdigit() else size, f"path/{direction}/{ALGORITHM}/{size}/%d")
              for size in sizes])
            for direction in DIRECTIONS]
    rows.append(("stages, 64 B", "cycles/packet",
                 [(stage, f"stage/{stage}/%d") for stage in STAGES]))
    rows.append(("swap of a path", "cycles/swap", [("path_swap", "stage/path_swap/%d")]))
    for label, unit, lines in rows:
        drawn = [(words, [(math.log10(n), figures[name % n]) for n in counts if name % n in figures])
                 for words, name in lines]
        y = figure.row(label, top_of(one["median"] * 1.1 for _, points in drawn
                                     for _, one in points), unit)
        for place, (words, points) in enumerate(drawn):
            series(figure, points, y, COLOURS[place % len(COLOURS)])
            legend(figure, place, COLOURS[place % len(COLOURS)], words)
        if "memory/latency" in figures:
            latency = figures["memory/latency"]["median"]
            figure.line(plot.LEFT, y(latency), plot.WIDTH - plot.RIGHT, y(latency), "#555555", 1,
                        "2 4")
            figure.text(plot.WIDTH - plot.RIGHT, y(latency) - 4, "memory/latency", "end")
        for count in counts:
            below(figure, math.log10(count), f"{count:,}")
    return figure


def plot_ratio(figures):
    """Path over raw: a group of bars a size, a bar an algorithm, one SA."""
    rests = [rest for rest in names(figures, "ratio", "encap") if rest[2] == "1"]
    if not rests:
        return None
    algorithms = unique(rest[0] for rest in rests)
    sizes = unique((rest[1] for rest in rests),
                   lambda size: (not size.isdigit(), int(size) if size.isdigit() else 0))
    figure = plot.Figure("One SA: whole path over intel-ipsec-mb alone; the line is min to max",
                         0, len(sizes))
    width = BAR_SHARE / len(algorithms)
    for direction in DIRECTIONS:
        shown = [figures[f"ratio/{direction}/{alg}/{size}/1"] for alg in algorithms
                 for size in sizes if f"ratio/{direction}/{alg}/{size}/1" in figures]
        y = figure.row(direction, top_of(one["median"] * 1.3 for one in shown), "x")
        for group, size in enumerate(sizes):
            begin = group + (1 - BAR_SHARE) / 2
            for place, alg in enumerate(algorithms):
                one = figures.get(f"ratio/{direction}/{alg}/{size}/1")
                if one is None:
                    continue
                left = begin + place * width
                figure.bar(left, left + width * 0.9, one["median"], y,
                           COLOURS[place % len(COLOURS)])
                spread(figure, left + width * 0.45, one, y, "#222222")
                figure.text(figure.x(left + width * 0.45) + 4, y(one["median"]) - 4,
                            f"{one['median']:.2f}")
            below(figure, group + 0.5, f"{size} B" if size.isdigit() else size)
        for place, alg in enumerate(algorithms):
            figure.text(plot.WIDTH - plot.RIGHT, figure.base - plot.BAND + 14 + LABEL_STEP * place,
                        alg, "end", COLOURS[place % len(COLOURS)])
        figure.line(plot.LEFT, y(1), plot.WIDTH - plot.RIGHT, y(1), "#222222", 1, "2 4")
    return figure


def main():
    if len(sys.argv) != 3:
        print("usage: perf/plot.py BENCH.jsonl FOLDER", file=sys.stderr)
        return 2
    figures, folder = load(sys.argv[1]), sys.argv[2]
    for name, draw in (("size", plot_size), ("sas", plot_sas), ("ratio", plot_ratio)):
        path = os.path.join(folder, f"bench-{name}.svg")
        figure = draw(figures)
        if figure is None:
            continue
        figure.write(path)
        print(f"plot: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
