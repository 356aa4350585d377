# SPDX-License-Identifier: BSD-3-Clause
"""The home address is the key, never the care-of address: equal, swapped and taken-over CoAs."""
import time

import pcap
import pytest
from fake_agent import FakeHomeAgent
from scapy.layers.inet import IP, UDP
from world import CORRESPONDENT, HOME_AGENT, Border, Node

X, Y, Z = "198.51.100.7", "203.0.113.7", "198.51.100.200"
GRACE_S = 2


@pytest.fixture(scope="module")
def border(build):
    with Border(build, [Node(1), Node(2)]) as border:
        border.start_gateway({"move_rate": 1000, "move_burst": 1000})
        border.agent = FakeHomeAgent(border)
        border.agent.connect()
        yield border
        border.agent.close()


@pytest.fixture
def nodes(border):
    """Both nodes away from each other and every grace time over."""
    one, two = border.nodes
    border.agent.deregister(one)
    border.agent.deregister(two)
    time.sleep(GRACE_S + 0.1)
    border.quiet()
    return one, two


def tunnel(border, node, care_of, payload=b"to you"):
    """Sends what a home agent tunnels to a node. Returns (SPI, destination, inner) of the ESP."""
    inner = IP(src=CORRESPONDENT, dst=node.home_address) / UDP(sport=1, dport=2) / payload
    border.send_inside(bytes(IP(src=HOME_AGENT, dst=care_of) / inner))
    packets = border.seen_outside(0.15, 1)
    if not packets:
        return None
    (packet,) = packets
    spi = pcap.esp_spi_sequence(packet)[0]
    owner = next(n for n in border.nodes if n.spi_down == spi)
    plain = owner.down.open(packet)
    assert plain is not None, "the SA's own key must open it"
    assert pcap.parse_ip(pcap.parse_ip(plain).payload).payload[8:] == payload
    return owner.number, packet.dst


def direct(border, care_of):
    """A packet that is not IP-in-IP, to a care-of address: who gets it."""
    border.send_inside(bytes(IP(src=HOME_AGENT, dst=care_of) / UDP(sport=434, dport=434) / b"x"))
    packets = border.seen_outside(0.15, 1)
    if not packets:
        return None
    spi = pcap.esp_spi_sequence(packets[0])[0]
    return next(n.number for n in border.nodes if n.spi_down == spi), packets[0].dst


def test_two_nodes_with_one_label(border, nodes):
    one, two = nodes
    border.agent.move(one, X)
    border.agent.move(two, X)
    assert tunnel(border, one, X) == (1, X)
    assert tunnel(border, two, X) == (2, X)
    before = border.drops()["ambiguous_coa"]
    assert direct(border, X) is None
    assert border.drops()["ambiguous_coa"] == before + 1


def test_label_is_unambiguous_again(border, nodes):
    one, two = nodes
    border.agent.move(one, X)
    border.agent.move(two, X)
    border.agent.move(two, Y)
    assert direct(border, X) == (1, X)
    assert direct(border, Y) == (2, Y)


def test_two_nodes_swap(border, nodes):
    one, two = nodes
    border.agent.move(one, X)
    border.agent.move(two, Y)
    border.agent.move(one, Y)
    border.agent.move(two, X)
    assert tunnel(border, one, Y) == (1, Y)
    assert tunnel(border, two, X) == (2, X)
    # In grace the former label is still good for the tunnel, and leads to the new place.
    assert tunnel(border, one, X) == (1, Y)
    assert tunnel(border, two, Y) == (2, X)
    assert direct(border, Y) == (1, Y)
    assert direct(border, X) == (2, X)


def test_taken_over_in_grace(border, nodes):
    one, two = nodes
    border.agent.move(one, X)
    assert direct(border, X) == (1, X)
    border.agent.move(one, Y)
    assert direct(border, X) == (1, Y), "nobody else owns it: the former owner, at the new place"
    border.agent.move(two, X)
    assert direct(border, X) == (2, X), "the present owner beats a former one at once"
    assert tunnel(border, one, X) == (1, Y), "but what the home agent tunnels to node 1 stays its"
    assert tunnel(border, two, X) == (2, X)


def test_former_label_ends_with_the_grace_time(border, nodes):
    one, _ = nodes
    border.agent.move(one, X)
    border.agent.move(one, Y)
    assert tunnel(border, one, X) == (1, Y)
    time.sleep(GRACE_S + 0.2)
    before = border.drops()["selector"]
    assert tunnel(border, one, X) is None
    assert border.drops()["selector"] == before + 1
    assert tunnel(border, one, Y) == (1, Y)


def test_deregistered_node_gets_nothing(border, nodes):
    one, two = nodes
    border.agent.move(one, X)
    border.agent.move(two, Z)
    border.agent.deregister(one)
    time.sleep(GRACE_S + 0.2)
    before = border.drops()["no_path"]
    assert tunnel(border, one, X) is None
    assert border.drops()["no_path"] == before + 1
    assert tunnel(border, two, Z) == (2, Z)
