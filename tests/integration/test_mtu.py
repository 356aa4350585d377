# SPDX-License-Identifier: BSD-3-Clause
"""Packets that do not fit: cut before ESP, or their sender learns what does fit."""
import re
import struct
import time

import pcap
import pytest
from scapy.layers.inet import ICMP, IP, UDP
from world import CORRESPONDENT, OUTSIDE, Border, World, take

CARE_OF = "198.51.100.7"

OUTSIDE_MTU = 1300
# IPv4, SPI and number, IV, tag; text of whole words, two bytes of it trailer; the tunnel's header.
FITS = (OUTSIDE_MTU - 20 - 8 - 8 - 16) // 4 * 4 - 2 - 20


@pytest.fixture(scope="module")
def world(build):
    with World(build) as world:
        world.start_gateway({"outside": {"mtu": OUTSIDE_MTU}, "inside": {"mtu": 1500}})
        world.start_home_agent()
        world.start_mobile({"tunnel_mtu": 1200})  # what comes back fits too
        world.wait_reachable()
        world.move("A")
        time.sleep(0.5)
        yield world


def ping(world, namespace, to, size, df):
    """Output of three pings with an IP packet of this size."""
    return world.lab.run(
        namespace, "ping", "-c3", "-i0.2", "-W1", f"-s{size - 28}", "-Mdo" if df else "-Mdont", to,
        check=False,
    )


def test_path_mtu_is_told(world):
    """The correspondent learns by ICMP what fits, to the byte, and that gets through."""
    to = world.node.home_address
    world.lab.ip("corr", "route flush cache")
    out = ping(world, "corr", to, FITS + 1, True)
    told = re.search(r"mtu ?= ?(\d+)", out)
    assert told and int(told.group(1)) == FITS, out
    assert "10.2.0.254" in out, out
    assert " 3 received" in ping(world, "corr", to, FITS, True)


def test_cut_before_esp(world):
    """Without DF all sizes get through, and no piece outside is itself a fragment."""
    world.lab.ip("corr", "route flush cache")
    before = world.drops()
    for size in (FITS + 1, 1400):
        out = ping(world, "corr", world.node.home_address, size, False)
        assert " 3 received" in out, out
    after = world.drops()
    assert after["fragmented"] - before["fragmented"] == 6
    assert after["too_big"] == before["too_big"]


def frag_needed(quoted, spi, mtu):
    """A router's message about one of the gateway's packets, with another SPI in the quote."""
    quoted = quoted[:20] + struct.pack(">I", spi) + quoted[24:28]
    return bytes(IP(src="198.51.100.254", dst=OUTSIDE) / ICMP(type=3, code=4, nexthopmtu=mtu) / quoted)


def test_outer_mtu_is_learned(build):
    """A router says what fits: believed if it quotes a packet of ours, and told to the sender."""
    with Border(build) as border:
        node = border.nodes[0]
        border.start_gateway(nodes=[node.gateway_settings(border.lab, CARE_OF)])

        def send(size):
            """Bytes of the ESP packets that come of a packet of this size with DF."""
            border.quiet()
            packet = IP(src=CORRESPONDENT, dst=CARE_OF, flags="DF") / UDP(sport=1, dport=2)
            border.send_inside(bytes(packet / bytes(size - 28)))
            return border.seen_outside(0.4, 1)

        first = send(1400)
        assert len(first) == 1
        for spi, mtu in ((0x7777, 1500), (node.spi_down, 1300)):
            border.send_outside(frag_needed(first[0].raw, spi, 1300))
            time.sleep(0.2)
            assert border.roamctl("roamgate", "show", "nodes")["rows"][0]["mtu"] == mtu
        assert send(1400) == []
        told = take(border.inside, lambda p: p.proto == pcap.ICMP, 0.5, 1)
        assert told and told[0].payload[:2] == bytes([3, 4]) and told[0].dst == CORRESPONDENT
        (fits,) = struct.unpack(">H", told[0].payload[6:8])
        assert fits == FITS + 20  # without a tunnel's header
        assert len(send(fits)) == 1 and send(fits + 1) == []


def test_ttl(world):
    """traceroute sees the gateway, from both ends."""
    out = world.lab.run(
        "mn", "ping", "-c1", "-W1", "-t1", "-I", world.node.home_address, CORRESPONDENT, check=False
    )
    assert "Time to live exceeded" in out and "10.2.0.254" in out, out
