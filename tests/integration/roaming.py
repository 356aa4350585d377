# SPDX-License-Identifier: BSD-3-Clause
"""A node roams under pings both ways; the captures must show the sequence of the source document."""
import re
import time

import analysis
from analysis import Move
from lab import wait_until
from siu_capture import read_siu
from world import CORRESPONDENT, OUTSIDE, VISITED

STAY_S = 0.7


def arrived(world, place):
    """True when the gateway's path to the node is as it must be after the move."""
    (row,) = world.roamctl("roamgate", "show", "nodes")["rows"]
    if place == "home":
        return row["state"] != "open"
    return row["state"] == "open" and row["coa"] == VISITED[place][2]


def roam(world, places, stay_s=STAY_S, ping_ms=5, arrive_s=0):
    """Goes through the places; returns what analysis needs: moves, end, paths of the captures.

    arrive_s: a stay begins when the gateway has the new path, which may take so long.
    """
    lab = world.lab
    captures = [
        lab.capture("net", "gwo1", "outside"),
        lab.capture("lan", "gwi1", "inside"),
        lab.capture("corr", "eth0", "corr", "icmp"),
        lab.capture("mn", "any", "node", "icmp"),
    ]
    pings = world.start_pings(ping_ms)
    time.sleep(0.3)
    moves, former = [], ""
    for place in places:
        lost, new = world.move(place)
        care_of = "" if place == "home" else VISITED[place][2]
        moves.append(Move(place, care_of, former, lost, new))
        former = care_of
        if arrive_s:
            wait_until(lambda place=place: arrived(world, place), arrive_s, f"the path to {place}")
        time.sleep(stay_s)
    end = time.time_ns()
    for ping in pings:
        ping.stop()
    paths = [capture.stop() for capture in captures]
    assert not any(capture.dropped for capture in captures)
    return moves, end, paths


def interfaces(world):
    """Numbers of the node's interfaces that see its packets in clear."""
    out = world.lab.run("mn", "ip", "-o", "link")
    return {int(m.group(1)) for m in re.finditer(r"^(\d+): (home0|rg-mn)[:@]", out, re.M)}


def prove(world, moves, end, paths, delay_ms, gap_ms=1000, forged=False):
    """Each step in its order, nothing in clear or twice, and nothing lost that was not in flight."""
    outside_path, inside_path, corr_path, node_path = paths
    outside = analysis.Outside(outside_path, OUTSIDE, world.node.up, world.node.down)
    siu = read_siu(inside_path, world.siu_key, forged=forged)
    steps = analysis.check_moves(moves, end, outside, siu)
    assert [s.faults for s in steps] == [[] for _ in moves]
    assert outside.clear == [] and outside.repeated == []

    down, up, _ = analysis.read_flows(
        corr_path, node_path, CORRESPONDENT, world.node.home_address, interfaces(world)
    )
    goodput = analysis.Goodput([])
    until = [m.lost for m in moves[1:]] + [end]
    for move, step, then in zip(moves, steps, until):
        delays = [delay_ms * analysis.MS if coa else 0 for coa in (move.care_of, move.former)]
        figures = analysis.figures(move, then, step, down, up, goodput, *delays)
        assert figures.lost_after == 0, (move.place, figures)
        assert down.first_after(move.new) and figures.gap < gap_ms
