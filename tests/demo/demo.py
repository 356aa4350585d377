#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The roaming scenario on real packets, and what its captures prove.

A correspondent pings the node every 2 ms, the node pings the correspondent every 2 ms, and a TCP
bulk transfer runs from the correspondent to the node's home address, while the node goes
home -> A -> B -> A -> home. Ends with 1 if the sequence of the source document was not seen on the
wire; with --strict also if a figure misses its bar.
"""
import argparse
import datetime
import json
import math
import os
import re
import statistics
import sys
import time
from dataclasses import asdict

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import analysis  # noqa: E402
import plot  # noqa: E402
from analysis import MS, Move  # noqa: E402
from lab import LabError, end_on_signals  # noqa: E402
from siu_capture import read_siu  # noqa: E402
from world import CORRESPONDENT, OUTSIDE, VISITED, World  # noqa: E402

PING_MS = 2
SETTLE_S = 2.0  # before the first and after the last move
GAP_MEDIAN_MS, GAP_MAX_MS, TCP_BACK_MS = 5, 25, 500  # the first two beyond a round trip


class AddressWatch:
    """When the kernel announced each address of the node, from "ip monitor"."""

    def __init__(self, lab, namespace):
        self.program = lab.start(
            namespace, ["stdbuf", "-oL", "ip", "-tshort", "-o", "monitor", "address"], "ip monitor"
        )
        time.sleep(0.1)

    def events(self):
        """[(time in ns, gone, interface, address)]"""
        found = []
        for _, line in self.program.lines:
            match = line and re.match(
                r"\[([^\]]+)\] (Deleted )?\d+: (\S+)\s+inet ([0-9.]+)", line
            )
            if match:
                at = datetime.datetime.fromisoformat(match.group(1)).timestamp()
                found.append((int(at * 1e9), bool(match.group(2)), match.group(3), match.group(4)))
        return found


def route(moves):
    """Where the node goes: home -> A -> B -> A ... -> home, moves movements in all."""
    return ["AB"[i % 2] for i in range(moves - 1)] + ["home"]


def drive(world, places, stay_s, rate, watch):
    """The traffic and the movements. Returns the moves and the end of the last stay."""
    lab, node = world.lab, world.node
    seconds = SETTLE_S * 2 + stay_s * len(places)
    server = lab.start("mn", ["iperf3", "-s", "-1", "--forceflush"])
    server.wait_line("Server listening")
    pings = world.start_pings(PING_MS)
    bulk = lab.start(
        "corr",
        [
            "iperf3", "-c", node.home_address, "-t", int(seconds) + 1, "-b", rate, "-l", "8K",
            "--forceflush",
        ],
    )
    time.sleep(SETTLE_S)
    moves, former = [], ""
    for place in places:
        lost, new = world.move(place)
        care_of = "" if place == "home" else VISITED[place][2]
        moves.append(Move(place, care_of, former, lost, new))
        former = care_of
        time.sleep(stay_s if place != "home" else SETTLE_S)
    end = time.time_ns()
    for program in (*pings, bulk, server):
        program.stop()
    exact(moves, watch, node.home_address)
    return moves, end


def exact(moves, watch, home_address):
    """Puts the kernel's own times in place of ours, which include the start of a command."""
    events = watch.events()
    for move in moves:
        address = move.care_of or home_address
        old = move.former or home_address
        lost = [e[0] for e in events if e[1] and e[3] == old and abs(e[0] - move.lost) < 200 * MS]
        new = [
            e[0] for e in events
            if not e[1] and e[3] == address and 0 <= e[0] - move.lost < 200 * MS
            and not e[2].startswith("rg-")
        ]  # fmt: skip
        if lost:
            move.lost = lost[0]
        if new:
            move.new = new[0]


def interfaces(world):
    """Numbers of the node's interfaces that carry home-address traffic in clear."""
    out = world.lab.run("mn", "ip", "-o", "link")
    return {
        int(m.group(1))
        for m in re.finditer(r"^(\d+): ([^:@]+)", out, re.M)
        if m.group(2) in ("home0", "rg-mn")
    }


def gateway_handovers(world):
    """us from the SIU to the published path, of each handover the gateway remembers."""
    rows = world.roamctl("roamgate", "show", "handovers")["rows"]
    return [
        (row["stored_ns"] - row["siu_in_ns"]) / 1000
        for row in rows
        if row.get("stored_ns") and row.get("siu_in_ns")
    ]


def print_timeline(moves, steps):
    print("\nTimeline (ms from the new address; from the captures)")
    for number, (move, step) in enumerate(zip(moves, steps), 1):
        print(f"  move {number}: {'to ' + move.place} {move.care_of}")
        marks = [
            (move.lost, "the old link is lost"),
            (move.new, "the new address is there"),
            (step.rrq, "RRQ in ESP from the new address reaches the gateway"),
            (step.siu, "SIU reaches the gateway"),
            (step.swap, "first packet to the new address"),
            (step.rrp, "RRP in ESP to the new address"),
            (step.ack, "ACK to the home agent"),
            (step.last_old, "last packet to the former address"),
        ]
        for at, what in sorted(m for m in marks if m[0]):
            print(f"    {(at - move.new) / MS:9.3f}  {what}")
        for fault in step.faults:
            print(f"    FAULT: {fault}")


def print_table(moves, figures):
    def short(value, digits=1):
        return "-" if value is None else f"{value:.{digits}f}"

    print("\nms; packets lost of the ping to the node, by when they were sent")
    print(
        f"{'move':6}{'place':>6}{'no link':>9}{'gap':>8}{'RTT':>8}{'gap-RTT':>9}"
        f"{'lost:':>8}{'no link':>9}{'to RRP':>8}{'after':>7}{'uplink':>8}{'TCP 80%':>9}"
    )
    for number, (move, f) in enumerate(zip(moves, figures), 1):
        print(
            f"{number:<6}{move.place:>6}{short(f.unavoidable):>9}{short(f.gap):>8}"
            f"{short(f.round_trip):>8}{short(f.gap - f.round_trip):>9}"
            f"{'':>8}{f.lost_unavoidable:>9}{f.lost_handover:>8}{f.lost_after:>7}{f.lost_up:>8}"
            f"{short(f.tcp_back, 0):>9}"
        )


def bars(moves, figures):
    """[(what, value, bar, met)] over the moves to visited networks."""
    away = [f for move, f in zip(moves, figures) if move.care_of]
    beyond = [f.gap - f.round_trip for f in away]
    result = [
        ("handover gap beyond a round trip, median, ms", statistics.median(beyond), GAP_MEDIAN_MS),
        ("handover gap beyond a round trip, maximum, ms", max(beyond), GAP_MAX_MS),
        ("packets lost after the RRP", sum(f.lost_after for f in figures), 0),
    ]
    # A transfer that stood still before a move has nothing to come back to: it failed.
    back = [math.inf if f.tcp_back is None else f.tcp_back for f in figures]
    result.append(("TCP at 80 % again after the RRP, maximum, ms", max(back), TCP_BACK_MS))
    return [(what, value, bar, value <= bar) for what, value, bar in result]


def draw(path, moves, steps, down, goodput, begin, end):
    """Delay of each ping and the goodput over time, with the moves."""
    second = 1e9
    figure = plot.Figure("home -> A -> B -> A -> home", begin / second, end / second)
    delays = [
        (sent / second, (down.received[key] - sent) / MS)
        for key, sent in down.sent.items()
        if key in down.received and begin <= sent < end
    ]
    lost = [
        (sent / second, 0)
        for key, sent in down.sent.items()
        if key not in down.received and begin <= sent < end
    ]
    curve = [(at / second, rate / 1e6) for at, rate in goodput.bins(begin, end)]
    rows = [
        ("one-way delay to the node, lost in red", max([d for _, d in delays] + [50]), "ms"),
        ("TCP goodput", max([r for _, r in curve] + [1]), "Mbit/s"),
    ]
    for number, (label, top, unit) in enumerate(rows):
        y = figure.row(label, round(top + 0.5), unit)
        stays = [(begin, moves[0].lost, "home")]
        for i, move in enumerate(moves):
            until = moves[i + 1].lost if i + 1 < len(moves) else end
            stays.append((move.new, until, move.place))
        for start, until, place in stays:
            figure.stay(start / second, until / second, place)
        for move, step in zip(moves, steps):
            figure.mark(move.lost / second, "link lost" if number == 0 else "", "#999999")
            if step.rrp:
                figure.mark(step.rrp / second, "RRP" if number == 0 else "", "#2060c0", 1)
        if number == 0:
            figure.dots(delays, y, "#206020")
            figure.dots(lost, y, "#d02020")
        else:
            figure.curve(curve, y, "#803080")
    figure.ticks(max(1, round((end - begin) / second / 12)))
    figure.write(path)


def evaluate(world, captures, moves, end, one_way):
    node = world.node
    outside = analysis.Outside(captures["outside"].path, OUTSIDE, node.up, node.down)
    siu = read_siu(captures["inside"].path, world.siu_key)
    steps = analysis.check_moves(moves, end, outside, siu)
    down, up, progress = analysis.read_flows(
        captures["corr"].path, captures["node"].path, CORRESPONDENT, node.home_address,
        interfaces(world),
    )  # fmt: skip
    goodput = analysis.Goodput(progress)
    until = [m.lost for m in moves[1:]] + [end]
    figures = [
        analysis.figures(
            m, u, s, down, up, goodput, one_way if m.care_of else 0, one_way if m.former else 0
        )
        for m, u, s in zip(moves, until, steps)
    ]
    faults = [f"move {i}: {f}" for i, s in enumerate(steps, 1) for f in s.faults]
    if outside.clear:
        faults.append(f"{len(outside.clear)} packets on the public wire were not ESP")
    if outside.repeated:
        faults.append(f"{len(outside.repeated)} sequence numbers or IVs were used twice")
    for name, capture in captures.items():
        if capture.dropped:
            faults.append(f"the capture {name} lost {capture.dropped} packets: it proves nothing")
    return steps, down, up, goodput, figures, faults


def report(world, options, moves, end, result):
    steps, down, up, goodput, figures, faults = result
    begin = moves[0].lost - int(SETTLE_S * 1e9)
    print_timeline(moves, steps)
    print_table(moves, figures)
    for name, flow in (("to the node", down), ("from the node", up)):
        print(
            f"ping {name}: {len(flow.sent)} sent, {flow.lost(0, end)} lost, "
            f"{flow.reordered()} reordered, {flow.twice} twice"
        )
    print(f"TCP goodput: {goodput.between(begin, end) / 1e6:.1f} Mbit/s on average")
    swaps = gateway_handovers(world)
    if swaps:
        print(
            f"SIU to swap in the gateway: median {statistics.median(swaps):.0f} us, "
            f"maximum {max(swaps):.0f} us of {len(swaps)}"
        )
    figure_bars = bars(moves, figures)
    print()
    for what, value, bar, met in figure_bars:
        print(f"{'met    ' if met else 'NOT MET'}  {what}: {value:.1f} (bar {bar})")
    os.makedirs(options.out, exist_ok=True)
    draw(os.path.join(options.out, "demo.svg"), moves, steps, down, goodput, begin, end)
    with open(os.path.join(options.out, "demo.json"), "w") as file:
        json.dump(
            {
                "moves": [
                    asdict(m) | asdict(s) | asdict(f) for m, s, f in zip(moves, steps, figures)
                ],
                "faults": faults,
                "bars": [{"what": w, "value": v, "bar": b, "met": m} for w, v, b, m in figure_bars],
                "siu_to_swap_us": swaps,
            },
            file,
            indent=1,
        )
    print(f"plot: {options.out}/demo.svg")
    return all(met for *_, met in figure_bars)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="meson's build folder")
    parser.add_argument("--out", help="folder of demo.svg and demo.json (the build folder)")
    parser.add_argument("--moves", type=int, default=4, help="movements, the last one home (4)")
    parser.add_argument("--stay", type=float, default=4.0, help="s in each network (4)")
    parser.add_argument("--rate", default="10M", help="of the bulk transfer, for iperf3 (10M)")
    parser.add_argument("--delay", type=float, default=20, help="one-way, ms (20)")
    parser.add_argument("--keep", action="store_true", help="copy captures to the output folder")
    parser.add_argument("--strict", action="store_true", help="a missed bar is an error, too")
    options = parser.parse_args()
    options.out = options.out or options.build
    if options.moves < 2:
        parser.error("--moves: at least 2")
    return options


def main():
    options = parse_options()
    end_on_signals()
    started = time.monotonic()
    with World(options.build, delay_ms=options.delay) as world:
        world.start_all()
        world.wait_reachable()
        lab = world.lab
        watch = AddressWatch(lab, "mn")
        captures = {
            "outside": lab.capture("net", "gwo1", "outside", snap=analysis.SMALL + 14),
            "inside": lab.capture("lan", "gwi1", "inside", "udp port 4340"),
            "corr": lab.capture("corr", "eth0", "corr", "icmp", snap=96),
            "node": lab.capture("mn", "any", "node", "icmp or tcp", snap=112),
        }
        print(f"the node goes home -> {' -> '.join(route(options.moves))}", flush=True)
        moves, end = drive(world, route(options.moves), options.stay, options.rate, watch)
        for capture in captures.values():
            capture.stop()
        if options.keep:
            for name, capture in captures.items():
                os.makedirs(options.out, exist_ok=True)
                with open(capture.path, "rb") as source:
                    with open(os.path.join(options.out, f"demo-{name}.pcap"), "wb") as copy:
                        copy.write(source.read())
        result = evaluate(world, captures, moves, end, int(options.delay * MS))
        met = report(world, options, moves, end, result)
        faults = result[-1]
    print(f"{time.monotonic() - started:.0f} s")
    if faults:
        print("\nThe sequence was NOT seen on the wire:")
        for fault in faults:
            print(f"  {fault}")
        return 1
    print("The sequence of the source document was seen on the wire in every move.")
    return 0 if met or not options.strict else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"demo: {error}")
