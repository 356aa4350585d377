# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 of each program at random moments of a handover, again and again.

After each: traffic flows to the node's true address within 2 s of the ready line, and nothing that
was acknowledged is undone. Over the whole loop: no IV and no sequence number twice, nothing in
clear. At the end: nothing that was recorded is taken again.
"""
import os
import random
import time

import lab as laboratory
import pcap
import pytest
from siu_capture import read_siu
from test_kill9 import (
    BACK_S, RECORDED, Traffic, answered_after, assert_never_twice, restart, send_again,
)  # fmt: skip
from world import OUTSIDE, VISITED, World

PROGRAMS = ("roamgate", "roamgate-ha", "roamgate-mn")
KILLS = 20
PARTS, KILLS_A_PART = 3, 67  # in make check-long, each with a world of its own
HANDOVER_S = 0.06  # a handover behind links of 5 ms, and some more
SEED = int(os.environ.get("ROAMGATE_SEED", "1"))
IS_LONG = os.environ.get("ROAMGATE_LONG") == "1"


@pytest.fixture
def world(build):
    with World(build, delay_ms=5) as world:
        world.start_gateway({"move_rate": 1000, "move_burst": 1000})
        world.start_home_agent()
        world.start_mobile()
        world.move("A")
        world.wait_reachable()
        yield world


def generation_in_force(world):
    return world.roamctl("roamgate", "show", "nodes")["rows"][0]["generation"]


def acknowledged(world, siu):
    """The highest generation that the gateway said was in force, from the capture so far."""
    entries = read_siu(siu.path, world.siu_key)
    return max((s.generation for s in entries if s.kind == "ack" and s.good), default=0)


def one_kill(world, traffic, siu, name, place, after_s):
    """A move, the kill so long after its begin, the restart. Returns s from ready to traffic."""
    world.move(place)
    time.sleep(after_s)
    ready = restart(world, name)
    care_of = VISITED[place][2]
    back = answered_after(traffic, world, ready, BACK_S + 10)  # its former link is down

    def is_true():
        row = world.roamctl("roamgate", "show", "nodes")["rows"][0]
        return row["state"] == "open" and row["coa"] == care_of

    laboratory.wait_until(is_true, BACK_S, f"the path to {place}")
    assert generation_in_force(world) >= acknowledged(world, siu), "an acknowledged move is undone"
    return (back - ready) / 1e9


@pytest.mark.parametrize("part", range(PARTS if IS_LONG else 1))
def test_kills_at_random_moments(world, part):
    dice = random.Random(f"{SEED} {part}")
    traffic = Traffic(world, 5)
    siu = world.lab.capture("lan", "gwi1", "siu", "udp port 4340")
    late, took = [], []
    for number in range(KILLS_A_PART if IS_LONG else KILLS):
        name, place = PROGRAMS[number % 3], "BA"[number % 2]
        after_s = dice.uniform(0, HANDOVER_S)
        seconds = one_kill(world, traffic, siu, name, place, after_s)
        took.append(seconds)
        if seconds > BACK_S:
            late.append((number, name, f"killed after {after_s:.3f} s: back after {seconds:.2f} s"))
    took.sort()
    print(f"s from ready to traffic: median {took[len(took) // 2]:.2f}, most {took[-1]:.2f}")
    assert not late
    traffic.stop()
    siu.stop()

    packets = [p for p in traffic.esp() if p.proto == pcap.ESP]
    assert_never_twice(packets)
    # Recorded packets that arrived, from both ends of the loop, come once more.
    last = world.lab.capture("net", "gwo1", "last", "ip proto 50")
    assert world.reaches(RECORDED, 0.01) == RECORDED
    last = list(pcap.packets(last.stop()))
    up = [p for p in packets if p.dst == OUTSIDE][:RECORDED] + [p for p in last if p.dst == OUTSIDE]
    down = [p for p in last if p.src == OUTSIDE]
    before = world.drops()
    inside = world.lab.capture("lan", "gwi1", "replayed", f"host {world.node.home_address}")
    send_again(world, up)
    inside.stop()
    after = world.drops()
    assert sum(after[k] - before[k] for k in ("replay", "bad_icv")) == len(up)
    assert not list(pcap.packets(inside.path))
    node = world.lab.capture("mn", "rg-mn", "replayed-down")
    send_again(world, down)
    assert len(down) >= RECORDED and not list(pcap.packets(node.stop()))
