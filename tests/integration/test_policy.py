# SPDX-License-Identifier: BSD-3-Clause
"""Who may send what through which SA: scapy with SAs that take ESP from given sources alone."""
import ipaddress

import pytest
from lab import LabError
from test_scapy_peer import Counted, Peer, refused, uplink
from world import Array, Border, Node

SOURCES = [  # of the nodes' inbound SAs
    "any",
    "198.51.100.7",
    ["203.0.113.0/25", "198.51.100.9"],
    # From here on all have one SPI.
    "any",
    ["198.51.100.0/24"],
    ["198.51.100.128/26", "203.0.113.7"],
]
SHARING = range(3, 6)
ADDRESSES = [
    "198.51.100.7", "198.51.100.9", "198.51.100.127", "198.51.100.128", "198.51.100.191",
    "198.51.100.192", "198.51.101.1", "203.0.113.0", "203.0.113.7", "203.0.113.127",
    "203.0.113.128",
]  # fmt: skip


def match(number, address):
    """Bits of the longest prefix of that node's SA, -1: none."""
    source = SOURCES[number]
    prefixes = ["0.0.0.0/0"] if source == "any" else [source] if isinstance(source, str) else source
    prefixes = [ipaddress.ip_network(p) for p in prefixes]
    return max([p.prefixlen for p in prefixes if ipaddress.ip_address(address) in p] or [-1])


def gets(number, address):
    rivals = SHARING if number in SHARING else [number]
    best = max(match(rival, address) for rival in rivals)
    return best >= 0 and match(number, address) == best


@pytest.fixture(scope="module")
def border(build):
    nodes = [Node(1 + i) for i in range(len(SOURCES))]
    for node in nodes[3:]:
        node.spi_up = nodes[3].spi_up
    with Border(build, nodes) as border:
        settings = [n.gateway_settings(border.lab, f"198.51.100.{20 + n.number}") for n in nodes]
        for one, source in zip(settings, SOURCES):
            one["inbound"]["source"] = source if isinstance(source, str) else Array(source)
        border.start_gateway(nodes=settings)
        border.peers = [Peer(border, n, f"198.51.100.{20 + n.number}") for n in nodes]
        for number, peer in enumerate(border.peers):  # right of each other's replay windows
            peer.sequence = 2000 * number
        yield border


@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_sources(border, number):
    """Right ones get through, wrong ones find no SA or, with a shared SPI, one with another key."""
    border.quiet()
    peer = border.peers[number]
    good = [a for a in ADDRESSES if gets(number, a)]
    bad = [a for a in ADDRESSES if not gets(number, a)]
    datagrams = [peer.seal(peer.data(), source=a) for a in good]
    with Counted(border):
        assert len(uplink(border, *datagrams, count=len(datagrams))) == len(datagrams)
    if bad:
        reason = "bad_icv" if number in SHARING else "no_sa_in"
        with Counted(border, **{reason: len(bad)}):
            refused(border, *[peer.seal(peer.data(), source=a) for a in bad])


def test_shown(border):
    rows = border.roamctl("roamgate", "show", "sa")["rows"]
    shown = {r["node"]: r["source"] for r in rows if r["direction"] == "in"}
    for number, source in enumerate(SOURCES):
        wanted = source if isinstance(source, str) else ",".join(source)
        assert shown[f"node{number + 1}"] == wanted


def test_by_the_control_socket(border):
    """A second SA of node 1, for some sources only, with the SPI of another node's."""

    border.lab.write("fresh.key", "7e" * 20)

    def add(source):
        border.roamctl(
            "roamgate", "sa", "add", border.peers[0].node.name, "in",
            f"spi={border.peers[3].node.spi_up}", "algorithm=aes128gcm16",
            f"key_file={border.lab.path('fresh.key')}", f"source={source}",
        )  # fmt: skip

    for wrong in ("203.0.113.7/24", "any,203.0.113.7", "0.0.0.0/0", "any", "198.51.100.0/24"):
        with pytest.raises(LabError, match="source|spi"):
            add(wrong)
    add("203.0.113.128/25,192.0.2.128/26")
    rows = border.roamctl("roamgate", "show", "sa")["rows"]
    assert "203.0.113.128/25,192.0.2.128/26" in [r.get("source") for r in rows]
