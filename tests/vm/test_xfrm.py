# SPDX-License-Identifier: BSD-3-Clause
"""The Linux kernel as ESP peer: ping and iperf3 through the running gateway, both directions.

One guest is everybody but the gateway. Its root namespace is the mobile nodes: each row of the
table is one node with its own care-of address, SAs and policies ("ip xfrm"), and an ipip interface
that ends the home agent's tunnel. Its namespace "ha" is the private network: correspondent, and
home agent with its end of those tunnels. Both are wired to the gateway by virtio alone.
"""
import re
import time
from dataclasses import dataclass

import mip
import pytest
from esp_algorithms import ALGORITHMS, CIPHERS, HASHES
from guest_lab import GuestLab
from virtio import start_on_virtio
from world import CORRESPONDENT, HOME_AGENT, HOME_AGENT_INSIDE, INSIDE, MIP_SPI, OUTSIDE
from world import OUTSIDE_ROUTER, Node, World

NO_SELF_TESTS = "cryptomgr.notests"  # the kernel's own, which take long in a guest without KVM
TUNNEL_MTU = 1360  # of the IP-in-IP tunnel, so that ESP of any kind around it fits into 1500
PINGS = 3
BULK = 64 << 10  # bytes; when iperf3 has written so many it ends, and some are still on their way
BULK_PACKETS = BULK // TUNNEL_MTU // 2
# not_ip: what Linux says to its neighbours by itself
NO_LOSS = ("ok", "punted", "not_ip", "keepalive")
PATH_MTU = "too_big"  # the home agent's program learns from the gateway what fits


@dataclass
class Row:
    """One way for Linux and the gateway to speak ESP."""

    algorithm: str  # as the gateway spells it
    esn: bool = True
    window: int = 64
    natt: bool = False  # ESP in UDP, from a registration on

    def __str__(self):
        return self.algorithm + "-esn" * self.esn + "-natt" * self.natt


ROWS = [Row(algorithm) for algorithm in ALGORITHMS]
# Those that register come last: when their home agent's program synchronises with the gateway, the
# care-of addresses that the configuration gave to the others are swept away.
ROWS += [
    Row("aes128gcm16", esn=False, window=32),
    Row("aes256gcm16", esn=False, window=32),
    Row("chacha20poly1305", esn=False, window=32),
    Row("aes256-sha256", esn=False, window=32),
    Row("aes128gcm16", natt=True),
    Row("aes256-sha512", esn=False, window=32, natt=True),
]


def transform(algorithm, material):
    """The algorithm as "ip xfrm state" wants it."""
    cipher, _, auth = algorithm.partition("-")
    key, salt, _ = CIPHERS[cipher]
    secret, rest = material[: key + salt].hex(), material[key + salt :].hex()
    name = {
        "aes128": "cbc(aes)",
        "aes256": "cbc(aes)",
        "aes128ctr": "rfc3686(ctr(aes))",
        "aes256ctr": "rfc3686(ctr(aes))",
        "null": "ecb(cipher_null)",
        "chacha20poly1305": "rfc7539esp(chacha20,poly1305)",
    }.get(cipher, "rfc4543(gcm(aes))" if "gmac" in cipher else "rfc4106(gcm(aes))")
    if not auth:
        return f'aead "{name}" 0x{secret} 128'
    icv_bits = HASHES[auth][2] * 8
    return (
        f'auth-trunc "hmac({auth})" 0x{rest} {icv_bits} '
        f"""enc "{name}" {f'0x{secret}' if secret else '""'}"""
    )


class Peer:
    """A mobile node that is a Linux kernel."""

    def __init__(self, row, number):
        self.row, self.node = row, Node(number, row.algorithm, row.esn)
        self.care_of = f"198.51.100.{10 + number}"
        self.interface = f"mip{number}"

    def gateway_settings(self, lab):
        if self.row.natt:
            return self.node.gateway_settings(lab, allow_nat=True)
        return self.node.gateway_settings(lab, self.care_of)

    def state(self, source, destination, spi, key):
        row = self.row
        return (
            f"xfrm state add src {source} dst {destination} proto esp spi {spi:#x} "
            f"reqid {self.node.number} mode tunnel {'flag esn ' * row.esn}"
            f"replay-window {row.window} {transform(row.algorithm, key)}"
            + " encap espinudp 4500 4500 0.0.0.0" * row.natt
        )

    def node_setup(self):
        """For "ip" in the node's namespace."""
        node, own, home = self.node, self.care_of, self.node.home_address
        template = f"proto esp reqid {node.number} mode tunnel"
        out = f"tmpl src {own} dst {OUTSIDE} {template}"
        return [
            f"addr add {own}/32 dev eth0",
            f"addr add {home}/32 dev lo",
            self.state(own, OUTSIDE, node.spi_up, node.key_up),
            self.state(OUTSIDE, own, node.spi_down, node.key_down),
            f"xfrm policy add dir out src {home} dst 10.2.0.0/16 {out}",
            f"xfrm policy add dir out src {own} dst 10.2.0.0/16 {out}",
            f"xfrm policy add dir out src {own} dst {HOME_AGENT} {out}",
            f"xfrm policy add dir in src 10.0.0.0/8 dst {own} tmpl src {OUTSIDE} dst {own} {template}",
            f"link add {self.interface} type ipip local {own} remote {HOME_AGENT}",
            f"link set {self.interface} up",
        ]

    def home_agent_setup(self):
        """For "ip" in the home agent's. Who registers has its tunnel by the real home agent."""
        if self.row.natt:
            return []
        return [
            f"link add {self.interface} type ipip local {HOME_AGENT} remote {self.care_of}",
            f"link set {self.interface} mtu {TUNNEL_MTU} up",
            f"route add {self.node.home_address} dev {self.interface} src {CORRESPONDENT}",
        ]


class LinuxWorld(World):
    """World in a guest, with its own kernel as all mobile nodes."""

    def __init__(self, build, kernel, archive, peers):
        self.kernel, self.archive, self.peers = kernel, archive, peers
        try:
            super().__init__(build, nodes=[peer.node for peer in peers])
        except Exception:
            self.close()
            raise

    def lay_wires(self, *_):
        self.lab.namespace("gw")
        for name in ("roamgate-ha", "natt"):
            self.archive.program(self.program(name), self.program(name))
        settings = [peer.gateway_settings(self.lab) for peer in self.peers]
        guest = start_on_virtio(self, self.kernel, self.archive, nodes=settings, append=NO_SELF_TESTS)
        self.lab = lab = GuestLab(self.lab, guest)
        lab.call_root("mn")
        with lab.one_script():
            lab.do("modprobe -a tun dummy")
            lab.do(f"date -s @{time.time_ns() / 1e9:.9f}")
            lab.namespace("ha")
            lab.do("ip link set eth1 netns ha name in0")

    def give_addresses(self):
        lab = self.lab
        with lab.one_script():
            lab.ip(
                "mn",
                f"addr add {OUTSIDE_ROUTER}/24 dev eth0",
                "link set dev eth0 up",
                f"route add 10.2.0.0/16 via {OUTSIDE} mtu {TUNNEL_MTU}",
                f"route add {HOME_AGENT} via {OUTSIDE}",
            )
            lab.ip(
                "ha",
                "link add name home0 type dummy",
                "link set dev home0 up",
                f"addr add {HOME_AGENT}/24 dev home0",
                f"addr add {CORRESPONDENT}/24 dev in0",
                f"addr add {HOME_AGENT_INSIDE}/24 dev in0",
                "link set dev in0 up",
                f"route add 198.51.100.0/24 via {INSIDE}",
            )
            lab.ip("mn", *(line for peer in self.peers for line in peer.node_setup()))
            lab.ip("ha", *(line for peer in self.peers for line in peer.home_agent_setup()))
            for namespace in ("mn", "ha"):
                lab.do(f"nsenter --net={lab.paths[namespace]} iperf3 -s -D")

    def enter_home(self):
        """These nodes are away from the beginning."""

    def register(self, peer):
        """A node's registration through its tunnel; the code of the reply."""
        node = peer.node
        request = mip.request(
            node.home_address, HOME_AGENT, peer.care_of, mip.identification(), MIP_SPI, node.key_mip
        )
        argv = [self.program("natt"), peer.care_of, OUTSIDE, HOME_AGENT, request.hex()]
        _, match = self.lab.start("mn", argv).wait_line(r"code (\d+)")
        return int(match.group(1))

    def exchange(self, peer):
        """Pings and TCP, each both ways: how many are answered, how many bytes iperf3 has sent."""
        home, own = peer.node.home_address, peer.care_of
        inside = f"nsenter --net={self.lab.paths['ha']}"
        ping = f"ping -n -q -c {PINGS} -i 0.02 -W 5 -I"
        bulk = f"iperf3 -J -n {BULK}"
        said = self.lab.do(
            f"""set -e
            {ping} {home} {CORRESPONDENT}
            {inside} {ping} {CORRESPONDENT} {home}
            {inside} {ping} {CORRESPONDENT} {own}
            {bulk} -B {home} -c {CORRESPONDENT}
            {inside} {bulk} -B {CORRESPONDENT} -c {home}"""
        )
        answered = [int(n) for n in re.findall(r"(\d+) received", said)]
        sent = [int(n) for n in re.findall(r'"sum_sent":\s*{[^}]*"bytes":\s*(\d+)', said)]
        return answered, sent


@pytest.fixture(scope="module")
def world(build, kernel, archive):
    peers = [Peer(row, 1 + number) for number, row in enumerate(ROWS)]
    with LinuxWorld(build, kernel, archive, peers) as world:
        world.by_name = {str(peer.row): peer for peer in peers}
        yield world


@pytest.fixture(params=[str(row) for row in ROWS])
def peer(world, request):
    return world.by_name[request.param]


class Counted:
    """What the gateway and the guest's kernel count during a piece of a test."""

    def __init__(self, world, peer):
        self.world, self.peer = world, peer
        self.before = self.read()

    def read(self):
        rows = {int(r["spi"], 16): r for r in self.world.roamctl("roamgate", "show", "sa")["rows"]}
        allowed = NO_LOSS + (PATH_MTU,) * self.peer.row.natt
        errors = self.world.lab.run("mn", "cat", "/proc/net/xfrm_stat").split()
        node = self.peer.node
        return {
            "up": rows[node.spi_up]["packets"],
            "down": rows[node.spi_down]["packets"],
            "drops": {k: n for k, n in self.world.drops().items() if k not in allowed},
            "errors": dict(zip(errors[::2], errors[1::2])),
        }

    def check(self, up, down):
        """At least so many packets went through the node's SAs, and no packet was refused."""
        now = self.read()
        assert now["up"] - self.before["up"] >= up
        assert now["down"] - self.before["down"] >= down
        assert (now["drops"], now["errors"]) == (self.before["drops"], self.before["errors"])


def test_sequence_numbers_of_linux_go_beyond_32_bits(world):
    """Two steps, since a receiver follows a gap of less than 2^31 packets only (RFC 4303 A2.2)."""
    peer = world.by_name["aes128gcm16-esn"]
    spi = peer.node.spi_up
    counted = Counted(world, peer)
    name = f"src {peer.care_of} dst {OUTSIDE} proto esp spi {spi:#x}"
    again = peer.state(peer.care_of, OUTSIDE, spi, peer.node.key_up)
    for last in (0x7FFFFFF0, 0xFFFFFFFE):
        world.lab.do(f"ip xfrm state delete {name}; ip {again} replay-oseq {last:#x}")
        world.lab.do(f"ping -n -q -c {PINGS} -W 5 -I {peer.node.home_address} {CORRESPONDENT}")
    counted.check(up=2 * PINGS, down=2 * PINGS)
    assert "oseq-hi 0x1" in world.lab.do(f"ip -s xfrm state list spi {spi}")


def test_linux_speaks_with_the_gateway(world, peer):
    counted = Counted(world, peer)
    if peer.row.natt:
        if world.home_agent is None:
            world.start_home_agent()
        assert world.register(peer) == 0
    answered, sent = world.exchange(peer)
    assert answered == [PINGS] * 3 and len(sent) == 2 and min(sent) >= BULK
    counted.check(up=3 * PINGS + BULK_PACKETS, down=3 * PINGS + BULK_PACKETS)
