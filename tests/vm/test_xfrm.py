# SPDX-License-Identifier: BSD-3-Clause
"""The Linux kernel as ESP peer: ping and iperf3 through the running gateway, both directions.

One guest is everybody but the gateway. Its root namespace is the mobile nodes: each row of the
table is one node with its own care-of address, SAs and policies ("ip xfrm"), and an ipip interface
that ends the home agent's tunnel. Its namespace "in" is the private network: correspondent, and
home agent with its end of those tunnels. Both are wired to the gateway by virtio alone.
"""
import json
from dataclasses import dataclass

import pytest
from virtio import start_on_virtio
from world import CORRESPONDENT, HOME_AGENT, HOME_AGENT_INSIDE, INSIDE, OUTSIDE, OUTSIDE_ROUTER
from world import Node, Site

TUNNEL_MTU = 1400  # of the IP-in-IP tunnel, so that ESP around it fits into 1500
PINGS = 5
BULK = 256 << 10  # bytes; when iperf3 has written so many it ends, and some are still on their way
BULK_PACKETS = BULK // TUNNEL_MTU // 2
NO_LOSS = ("ok", "punted", "not_ip")  # not_ip: what Linux says to its neighbours by itself


@dataclass
class Row:
    """One way for Linux and the gateway to speak ESP."""

    name: str
    algorithm: str  # as the gateway spells it
    transform: str  # as "ip xfrm state" wants it; KEY is replaced
    esn: bool = True
    window: int = 64


ROWS = [
    Row("aes128gcm16-esn", "aes128gcm16", 'aead "rfc4106(gcm(aes))" KEY 128'),
    Row("aes256gcm16-esn", "aes256gcm16", 'aead "rfc4106(gcm(aes))" KEY 128', window=1024),
    Row("aes128gcm16", "aes128gcm16", 'aead "rfc4106(gcm(aes))" KEY 128', esn=False, window=32),
    Row("aes256gcm16", "aes256gcm16", 'aead "rfc4106(gcm(aes))" KEY 128', esn=False, window=32),
]


class Peer:
    """A mobile node that is a Linux kernel."""

    def __init__(self, row, number):
        self.row, self.node = row, Node(number, row.algorithm, row.esn)
        self.care_of = f"198.51.100.{10 + number}"
        self.interface = f"mip{number}"

    def state(self, source, destination, spi, key):
        row = self.row
        if row.esn:
            replay = f"flag esn replay-window {row.window}"
        else:
            replay = f"replay-window {row.window}"
        return (
            f"ip xfrm state add src {source} dst {destination} proto esp spi {spi:#x} "
            f"reqid {self.node.number} mode tunnel {replay} "
            + row.transform.replace("KEY", "0x" + key.hex())
        )

    def setup(self):
        """The node's commands, and those of the home agent for it."""
        node, own, home = self.node, self.care_of, self.node.home_address
        template = f"proto esp reqid {node.number} mode tunnel"
        return [
            f"ip addr add {own}/32 dev eth0",
            f"ip addr add {home}/32 dev lo",
            self.state(own, OUTSIDE, node.spi_up, node.key_up),
            self.state(OUTSIDE, own, node.spi_down, node.key_down),
            f"ip xfrm policy add dir out src {home} dst 10.2.0.0/16 "
            f"tmpl src {own} dst {OUTSIDE} {template}",
            f"ip xfrm policy add dir out src {own} dst 10.2.0.0/16 "
            f"tmpl src {own} dst {OUTSIDE} {template}",
            f"ip xfrm policy add dir in dst {own} tmpl src {OUTSIDE} dst {own} {template}",
            f"ip link add {self.interface} type ipip local {own} remote {HOME_AGENT}",
            f"ip link set {self.interface} up",
            f"ip -n in link add {self.interface} type ipip local {HOME_AGENT} remote {own}",
            f"ip -n in link set {self.interface} mtu {TUNNEL_MTU} up",
            f"ip -n in route add {home} dev {self.interface} src {CORRESPONDENT}",
        ]


WIRES = f"""set -e
ip netns add in
ip link set eth1 netns in
ip addr add {OUTSIDE_ROUTER}/24 dev eth0
ip link set eth0 up
ip route add 10.2.0.0/16 via {OUTSIDE} mtu {TUNNEL_MTU}
ip -n in link set lo up
ip -n in addr add {HOME_AGENT}/32 dev lo
ip -n in addr add {CORRESPONDENT}/24 dev eth1
ip -n in addr add {HOME_AGENT_INSIDE}/24 dev eth1
ip -n in link set eth1 up
ip -n in route add 198.51.100.0/24 via {INSIDE}
nsenter --net=/run/netns/in iperf3 -s -D
iperf3 -s -D
"""


@pytest.fixture(scope="module")
def site(build, kernel, archive):
    peers = [Peer(row, 1 + number) for number, row in enumerate(ROWS)]
    with Site(build, [peer.node for peer in peers]) as site:
        site.lab.namespace("gw")
        settings = [p.node.gateway_settings(site.lab, p.care_of) for p in peers]
        site.guest = start_on_virtio(site, kernel, archive, nodes=settings)
        site.peers = {peer.row.name: peer for peer in peers}
        site.guest.run(WIRES + "\n".join(line for peer in peers for line in peer.setup()))
        yield site


@pytest.fixture(params=[row.name for row in ROWS])
def peer(site, request):
    return site.peers[request.param]


IN = "nsenter --net=/run/netns/in"


def pings(site, where, *argv):
    """How many of PINGS are answered."""
    said = site.guest.run(
        f"{where} ping -n -q -c {PINGS} -i 0.05 -W 2 {' '.join(argv)}", check=False
    )
    return int(said.split(" received")[0].split()[-1])


def bulk(site, where, *argv):
    """Sends BULK bytes by TCP; how many iperf3 says to have sent."""
    end = json.loads(site.guest.run(f"{where} iperf3 -J -n {BULK} {' '.join(argv)}"))["end"]
    assert end["sum_received"]["bytes"] > 0
    return end["sum_sent"]["bytes"]


class Counted:
    """What the gateway and the guest's kernel count during a piece of a test."""

    def __init__(self, site, peer):
        self.site, self.peer = site, peer
        self.before = self.read()

    def read(self):
        rows = {int(row["spi"], 16): row for row in self.site.roamctl("roamgate", "show", "sa")["rows"]}
        errors = self.site.guest.run("cat /proc/net/xfrm_stat").split()
        node = self.peer.node
        return {
            "up": rows[node.spi_up]["packets"],
            "down": rows[node.spi_down]["packets"],
            "drops": {k: n for k, n in self.site.drops().items() if k not in NO_LOSS},
            "errors": dict(zip(errors[::2], errors[1::2])),
        }

    def check(self, up, down):
        """At least so many packets went through the node's SAs, and no packet was refused."""
        now = self.read()
        assert now["up"] - self.before["up"] >= up
        assert now["down"] - self.before["down"] >= down
        assert (now["drops"], now["errors"]) == (self.before["drops"], self.before["errors"])


def test_linux_speaks_with_the_gateway(site, peer):
    home = peer.node.home_address
    counted = Counted(site, peer)
    assert pings(site, "", "-I", home, CORRESPONDENT) == PINGS
    assert pings(site, IN, "-I", CORRESPONDENT, home) == PINGS
    assert pings(site, IN, "-I", CORRESPONDENT, peer.care_of) == PINGS
    counted.check(up=3 * PINGS, down=3 * PINGS)

    counted = Counted(site, peer)
    assert bulk(site, "", "-c", CORRESPONDENT, "-B", home) >= BULK
    counted.check(up=BULK_PACKETS, down=10)
    counted = Counted(site, peer)
    assert bulk(site, IN, "-c", home, "-B", CORRESPONDENT) >= BULK
    counted.check(up=10, down=BULK_PACKETS)


def test_sequence_numbers_of_linux_go_beyond_32_bits(site):
    """Two steps, since a receiver follows a gap of less than 2^31 packets only (RFC 4303 A2.2)."""
    peer = site.peers["aes128gcm16-esn"]
    node = peer.node
    counted = Counted(site, peer)
    for last in (0x7FFFFFF0, 0xFFFFFFFD):
        site.guest.run(
            f"ip xfrm state delete src {peer.care_of} dst {OUTSIDE} proto esp spi {node.spi_up:#x}\n"
            + peer.state(peer.care_of, OUTSIDE, node.spi_up, node.key_up)
            + f" replay-oseq {last:#x}"
        )
        assert pings(site, "", "-I", node.home_address, CORRESPONDENT) == PINGS
    counted.check(up=2 * PINGS, down=2 * PINGS)
    assert "oseq-hi 0x1" in site.guest.run(f"ip -s xfrm state list spi {node.spi_up:#x}")
