# SPDX-License-Identifier: BSD-3-Clause
"""The whole system: the node roams, and the captures show the sequence of the source document."""
import os

import analysis
import lab as laboratory
import mip
import pcap
import pytest
from roaming import prove, roam
from siu_capture import read_siu
from world import CORRESPONDENT, HOME_AGENT, MIP_SPI, OUTSIDE, VISITED, World


@pytest.fixture
def world(build):
    with World(build) as world:
        yield world


@pytest.mark.parametrize("reverse_tunnel", [False, True])
def test_roaming(world, reverse_tunnel):
    world.start_gateway()
    world.start_home_agent()
    world.start_mobile({"reverse_tunnel": reverse_tunnel})
    world.wait_reachable()
    moves, end, paths = roam(world, ["A", "B", "A", "home"])
    prove(world, moves, end, paths, delay_ms=20)
    assert world.reaches(3) == 3

    rows = world.roamctl("roamgate", "show", "handovers")["rows"]
    assert len(rows) >= 3


def test_roamctl_shows(world):
    world.start_all()
    world.move("A")
    world.wait_reachable()
    for what in ("sa", "nodes", "drops", "handovers", "ports", "siu"):
        answer = world.roamctl("roamgate", "show", what)
        assert answer["rows"], what
        plain = world.roamctl_text("roamgate", "show", what)
        assert len(plain.splitlines()) >= 2
        for key in (world.node.key_up, world.node.key_down, world.siu_key):
            assert key.hex() not in plain + str(answer)
    said = "".join(p.output() for p in (world.gateway, world.home_agent, world.mobile))
    for key in (world.node.key_up, world.node.key_down, world.node.key_mip, world.siu_key):
        assert key.hex() not in said
    row = world.roamctl("roamgate", "show", "handovers")["rows"][-1]
    assert row["to"] == VISITED["A"][2]
    steps = ("rrq_in_ns", "siu_in_ns", "stored_ns", "grace_ns", "acked_ns")
    assert 0 < row[steps[0]] and all(row[a] <= row[b] for a, b in zip(steps, steps[1:]))
    assert row["stored_ns"] <= row["first_out_ns"] <= row["rrp_out_ns"]
    assert oct(os.stat(world.socket("roamgate")).st_mode & 0o777) == "0o600"


def test_roaming_with_a_bad_network_inside(build):
    """SIU, registrations and traffic are lost, repeated and reordered: each move still ends."""
    bad = ["--loss", "15", "--duplicate", "10", "--reorder", "20"]
    with World(build, delay_ms=5, inside_relay=bad) as world:
        world.start_all()
        inside = world.lab.capture("lan", "gwi1", "inside")
        outside = world.lab.capture("net", "gwo1", "outside", "ip proto 50")
        generation = 0
        for place in ("A", "B", "A", "B"):
            world.move(place)
            care_of = VISITED[place][2]

            def is_there(care_of=care_of):
                row = world.roamctl("roamgate", "show", "nodes")["rows"][0]
                return row["state"] == "open" and row["coa"] == care_of and row["generation"]

            newest = laboratory.wait_until(is_there, 10, f"the path to {place}")
            assert newest > generation
            generation = newest
            world.wait_reachable(5)
        siu = read_siu(inside.stop(), world.siu_key)
        acked = [s.generation for s in siu if s.kind == "ack" and s.good]
        assert generation in acked
        # Each destination follows the one before; an old message never pulls the path back.
        turns, last = [], None
        for packet in pcap.packets(outside.stop()):
            if packet.src == OUTSIDE and packet.dst != last:
                turns.append(packet.dst)
                last = packet.dst
        assert turns == [VISITED[p][2] for p in "ABAB"]


@pytest.mark.skipif(os.environ.get("ROAMGATE_LONG") != "1", reason="only in make check-long")
def test_soak(build):
    """Many moves over bad links: the sequence holds in each, nothing is used twice or in clear."""
    bad = ["--loss", "1", "--duplicate", "2", "--reorder", "5"]
    with World(build, relay=bad) as world:
        world.start_all()
        world.wait_reachable()
        places = (["A", "B"] * 9 + ["home"]) * 5
        moves, end, (outside_path, inside_path, _, _) = roam(world, places)
        outside = analysis.Outside(outside_path, OUTSIDE, world.node.up, world.node.down)
        steps = analysis.check_moves(moves, end, outside, read_siu(inside_path, world.siu_key))
        assert [s.faults for s in steps if s.faults] == []
        assert outside.clear == [] and outside.repeated == []
        world.wait_reachable()


def test_denial_reaches_a_node_that_has_moved_and_ends_in_the_fallback(world):
    """Wrong MN-HA key: no UPDATE, the denial comes by REPLY_ONLY, at last the fallback command."""
    lab = world.lab
    lab.write("other.key", os.urandom(32).hex())
    script = lab.write("fallback", '#!/bin/sh\necho "$1" >"$0.out"\n', 0o700)
    world.start_gateway()
    world.start_home_agent()
    world.start_mobile(
        {
            "max_attempts": 2,
            "fallback_command": script,
            "authentication": {"key_file": lab.path("other.key")},
        }
    )
    outside = lab.capture("net", "gwo1", "outside")
    inside = lab.capture("lan", "gwi1", "inside")
    world.move("A")
    laboratory.wait_until(lambda: os.path.exists(script + ".out"), 20, "the fallback command")
    with open(script + ".out") as file:
        assert file.read().strip() == VISITED["A"][2]
    opened = analysis.Outside(outside.stop(), OUTSIDE, world.node.up, world.node.down)
    assert {(dst, code) for _, dst, code in opened.rrp} == {(VISITED["A"][2], 131)}
    siu = [s for s in read_siu(inside.stop(), world.siu_key) if s.kind == "update"]
    assert siu and all(s.reply_only for s in siu)
    row = world.roamctl("roamgate", "show", "nodes")["rows"][0]
    assert row["state"] == "closed"


def test_node_that_starts_away(world):
    world.start_gateway()
    world.start_home_agent()
    world.move("B")
    world.start_mobile()
    world.wait_reachable(5)


def test_registration_from_the_inside_takes_no_gateway(world):
    """A care-of address inside the private network: an ordinary reply, no UPDATE."""
    world.start_gateway()
    world.start_home_agent()
    inside = world.lab.capture("lan", "gwi1", "inside")
    node = world.node
    request = mip.request(
        node.home_address, HOME_AGENT, CORRESPONDENT, mip.identification(), MIP_SPI, node.key_mip
    )
    with world.lab.udp_socket("corr", CORRESPONDENT, mip.PORT) as sock:
        sock.settimeout(2)
        sock.sendto(request, (HOME_AGENT, mip.PORT))
        answer, sender = sock.recvfrom(1500)
    assert sender == (HOME_AGENT, mip.PORT)
    assert answer[0] == mip.RRP and mip.code_of(answer) == 0
    assert answer[12:20] == request[16:24]
    assert not [s for s in read_siu(inside.stop(), world.siu_key) if s.kind == "update"]
