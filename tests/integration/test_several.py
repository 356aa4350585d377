# SPDX-License-Identifier: BSD-3-Clause
"""Several of each: a node that comes through one gateway and then another, and two home agents on
one gateway. The other ends are played by the test."""
import os
import time

import pcap
import pytest
from fake_agent import FakeHomeAgent
from lab import wait_until
from siu_wire import BEGIN, END
from test_home_agent import COA_A, COA_B, HOME, House, check_reply
from world import CORRESPONDENT, Array, Border, Node

OK, DIFFERED, NO_SA, NOT_AUTHORISED, BAD_COA = 0, 2, 128, 129, 131


@pytest.fixture
def house(build):
    with House(build) as house:
        yield house


def both(house, **changes):
    """The home agent with two gateways; the node is at the first one."""
    house.start(gateways=2, **changes)
    first, second = house.connect_gateway(0), house.connect_gateway(1)
    arrive(house, first, COA_A)
    assert first.wait_move(COA_A)
    wait_until(lambda: at(house) == ("gw1", COA_A), 2, "the first gateway")
    return first, second


def arrive(house, gateway, care_of):
    """A registration by way of that gateway, which says so."""
    message = house.rrq(care_of)
    gateway.seen(HOME, house.number, care_of)
    time.sleep(0.02)
    house.ask_by_gateway(care_of, message)


def at(house):
    """Gateway and care-of address of the tunnel."""
    row = house.binding()["in_force"]
    return row and (row["gateway"], row["coa"])


def is_open(gateway):
    return gateway.nodes.get(HOME, (0, None))[1] is not None


# --- two gateways --------------------------------------------------------------------------------


def test_former_gateway_is_told_when_the_new_one_has_acknowledged(house):
    first, second = both(house)
    second.result = None
    arrive(house, second, COA_B)
    _, entry = second.wait_move(COA_B)
    assert first.wait_deregister(0.3) is None, "it still carries the traffic"
    assert at(house) == ("gw1", COA_A) and is_open(first)
    second.answer(entry)
    _, revoked = first.wait_deregister()
    assert revoked["generation"] == entry["generation"] and "rrp" not in revoked
    wait_until(lambda: at(house) == ("gw2", COA_B), 2, "the second gateway")
    assert not is_open(first) and is_open(second)


def test_there_and_back(house):
    first, second = both(house)
    for number in range(4):
        here, there = ((second, first), (first, second))[number % 2]
        care_of = (COA_B, COA_A)[number % 2]
        arrive(house, here, care_of)
        assert here.wait_move(care_of)
        assert there.wait_deregister()
        wait_until(lambda: is_open(here) and not is_open(there), 1, "one path")
        time.sleep(0.2)
    generations = [g.nodes[HOME][0] for g in (first, second)]
    assert generations == [5, 5], "the newest is known to both"


def test_new_gateway_refuses(house):
    """The former one keeps the node, and the denial goes the way the request came."""
    first, second = both(house)
    second.result = lambda entry: OK if entry["flags"] & 1 else NO_SA
    arrive(house, second, COA_B)
    check_reply(house, second.wait_reply_only(), 130, house.number, 0)
    assert first.wait_deregister(0.3) is None
    assert at(house) == ("gw1", COA_A) and is_open(first)
    row = house.binding()
    assert not row["pending"] and row["registered"] == row["in_force"]


def test_former_gateway_does_not_answer(house):
    """It is told again and again, ever more slowly, and the node does not wait for it."""
    first, second = both(house)
    first.result = None
    arrive(house, second, COA_B)
    wait_until(lambda: at(house) == ("gw2", COA_B), 2, "the second gateway")
    times = [first.wait_deregister()[0] for _ in range(4)]
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert gaps[0] < gaps[1] < gaps[2]
    first.result = OK
    wait_until(lambda: not is_open(first), 2, "the revocation")
    wait_until(lambda: house.show("show-siu")[0]["pending"] == 0, 2, "its acknowledgement")


def test_home_agent_killed_before_the_former_gateway_is_told(house):
    """The revocation is not durable: the SYNC of the next run sweeps the path away."""
    first, second = both(house)
    first.result = None
    arrive(house, second, COA_B)
    wait_until(lambda: at(house) == ("gw2", COA_B), 2, "the second gateway")
    house.agent.kill()
    first.result = OK
    syncs = first.syncs
    house.start(gateways=2)
    assert first.wait_sync(syncs + 1)
    wait_until(lambda: not is_open(first), 2, "the sweep")
    assert at(house) == ("gw2", COA_B) and is_open(second)


def test_gateway_that_does_not_know_the_node(house):
    """A node lists its gateways: another one's RRQ_SEEN is not believed."""
    node = house.settings(2)["mobile_nodes"][0]
    node.pop("gateway")
    node["gateways"] = Array(["gw1"])
    first, second = both(house, mobile_nodes=[node])
    arrive(house, second, COA_B)
    assert first.wait_move(COA_B), "its own gateway"
    assert second.wait(lambda entry: True, 0.3) is None
    assert house.drops()["siu_not_its_node"] == 1


def test_events_are_told(house):
    first, _ = both(house)
    for kind, name in ((1, "sa_expired"), (2, "endpoint_changed"), (77, None)):
        first.event(HOME, kind)
        if name:
            house.agent.wait_line(rf"event={name} gateway=gw1 home_address={HOME}")
    time.sleep(0.1)
    assert house.show("show-siu")[0]["events"] == 2
    assert at(house) == ("gw1", COA_A), "nothing rests on it"


# --- two home agents -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def border(build):
    with Border(build, [Node(1), Node(2)]) as border:
        lab = border.lab
        border.nodes[1].home_address = "10.1.99.10"
        secret = os.urandom(32)
        border.start_gateway(
            {
                "move_rate": 1000,
                "move_burst": 1000,
                "home_agents": border.gateway_settings()["home_agents"]
                + [
                    {
                        "name": "ha2",
                        "address": f"{CORRESPONDENT}:4340",
                        "tunnel_source": "10.1.99.1",
                        "prefixes": Array(["10.1.99.0/24"]),
                        "key_id": 1,
                        "secret_file": lab.write("siu2.key", secret.hex()),
                    }
                ],
            },
            [
                border.nodes[0].gateway_settings(lab),
                border.nodes[1].gateway_settings(lab, home_agent="ha2"),
            ],
        )
        border.agents = [FakeHomeAgent(border), FakeHomeAgent(border, CORRESPONDENT, secret)]
        for agent in border.agents:
            agent.connect()
        yield border
        for agent in border.agents:
            agent.close()


def places(border):
    rows = border.roamctl("roamgate", "show", "nodes")["rows"]
    return [row["coa"] if row["state"] == "open" else None for row in rows]


def test_each_home_agent_moves_its_own(border):
    for agent, node, care_of in zip(border.agents, border.nodes, (COA_A, COA_B)):
        assert agent.move(node, care_of).result in (OK, DIFFERED)
    assert places(border) == [COA_A, COA_B]
    border.quiet()
    # Traffic counts as the home agent's alone that has the node: by the source of its IP-in-IP.
    for tunnel_source, number, passes in (
        ("10.1.0.1", 0, True), ("10.1.99.1", 1, True), ("10.1.99.1", 0, False),
        ("10.1.0.1", 1, False),
    ):  # fmt: skip
        node, care_of = border.nodes[number], (COA_A, COA_B)[number]
        inner = pcap.ip(CORRESPONDENT, node.home_address, pcap.UDP,
                        pcap.udp(CORRESPONDENT, node.home_address, 5, 6, b"x"))  # fmt: skip
        border.send_inside(pcap.ip(tunnel_source, care_of, pcap.IPIP, inner))
        seen = border.seen_outside(0.2, 1)
        assert [p.dst for p in seen] == ([care_of] if passes else []), (tunnel_source, number)


def test_no_home_agent_moves_or_closes_the_others(border):
    one, two = border.agents
    one.move(border.nodes[0], COA_A), two.move(border.nodes[1], COA_B)
    for agent, node in ((one, border.nodes[1]), (two, border.nodes[0])):
        ack = agent.move(node, "198.51.100.99")
        assert (ack.result, ack.coa, ack.in_force) == (NOT_AUTHORISED, None, 0), "learns nothing"
        assert agent.deregister(node).result == NOT_AUTHORISED
    assert places(border) == [COA_A, COA_B]


def test_a_sync_sweeps_ones_own_alone(border):
    one, two = border.agents
    one.move(border.nodes[0], COA_A), two.move(border.nodes[1], COA_B)
    for step in (BEGIN, END):  # of a home agent that has no bindings
        two.send(6, {"id": 1, "step": step})
        time.sleep(0.1)
    wait_until(lambda: places(border) == [COA_A, None], 2, "the sweep")
    time.sleep(0.2)
    assert places(border) == [COA_A, None]


def test_one_home_agent_is_silent(border):
    """Its nodes stay where they are, and the other one is served."""
    one, two = border.agents
    one.move(border.nodes[0], COA_A), two.move(border.nodes[1], COA_B)
    one._stop()
    border.gateway.wait_line(r"home agent ha1 is silent", 6)
    assert two.move(border.nodes[1], COA_A).result in (OK, DIFFERED)
    assert places(border) == [COA_A, COA_A]
    one.connect()
    assert one.move(border.nodes[0], COA_B).result in (OK, DIFFERED)
