# SPDX-License-Identifier: BSD-3-Clause
"""A small SVG writer: rows over one axis (time, as a rule) with marks, curves, dots and bars."""
from html import escape

WIDTH, LEFT, RIGHT, TOP, BAND, GAP = 1100, 70, 20, 40, 200, 36
COLOURS = {"home": "#e8f1e8", "A": "#e6edf8", "B": "#f7efe2", "": "#ffffff"}


class Figure:
    """Rows of the same axis from begin to end."""

    def __init__(self, title, begin, end):
        self.begin, self.end = begin, end
        self.parts = []
        self.title = title
        self.rows = 0

    def x(self, at):
        return LEFT + (at - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    def row(self, label, top_value, unit):
        """Opens a row; returns the function from value to y."""
        base = TOP + self.rows * (BAND + GAP) + BAND
        self.rows += 1
        for step in range(5):
            value = top_value * step / 4
            y = base - step / 4 * BAND
            self.line(LEFT, y, WIDTH - RIGHT, y, "#cccccc", 0.5)
            self.text(LEFT - 6, y + 4, f"{value:g}", "end")
        self.text(LEFT, base - BAND - 6, f"{label} ({unit})")
        self.base = base
        return lambda value: base - min(value / top_value, 1.0) * BAND if top_value else base

    def line(self, x1, y1, x2, y2, colour, width=1.0, dash=""):
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"{dash}/>'
        )

    def text(self, x, y, words, anchor="start", colour="#333333"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
            f"{escape(words)}</text>"
        )

    def stay(self, begin, end, place):
        """Background of the current row: where the node is."""
        self.parts.insert(
            0,
            f'<rect x="{self.x(begin):.1f}" y="{self.base - BAND:.1f}" '
            f'width="{max(self.x(end) - self.x(begin), 0.5):.1f}" height="{BAND}" '
            f'fill="{COLOURS[place]}"/>',
        )
        if place:
            self.text((self.x(begin) + self.x(end)) / 2, self.base - BAND + 14, place, "middle")

    def mark(self, at, label, colour, row_y=0):
        """A vertical line through the current row."""
        self.line(self.x(at), self.base - BAND, self.x(at), self.base, colour, 1, "4 3")
        if label:
            self.text(self.x(at) + 3, self.base - BAND + 28 + 13 * row_y, label, colour=colour)

    def bar(self, begin, end, value, y, colour):
        self.parts.append(
            f'<rect x="{self.x(begin):.1f}" y="{y(value):.1f}" '
            f'width="{self.x(end) - self.x(begin):.1f}" height="{self.base - y(value):.1f}" '
            f'fill="{colour}"/>'
        )

    def curve(self, points, y, colour, dash=""):
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{self.x(at):.1f},{y(value):.1f}" for at, value in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"{dash}/>'
        )

    def dots(self, points, y, colour):
        path = "".join(f"M{self.x(at):.1f} {y(value):.1f}h1.4" for at, value in points)
        self.parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="1.4"/>')

    def ticks(self, step):
        height = TOP + self.rows * (BAND + GAP)
        at = 0.0
        while self.begin + at <= self.end:
            self.text(self.x(self.begin + at), height - GAP + 18, f"{at:g} s", "middle")
            at += step

    def write(self, path):
        height = TOP + self.rows * (BAND + GAP) + 10
        with open(path, "w") as file:
            file.write(
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
                f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">\n'
                f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
                f'<text x="{LEFT}" y="18" font-size="15">{escape(self.title)}</text>\n'
            )
            file.write("\n".join(self.parts))
            file.write("\n</svg>\n")
