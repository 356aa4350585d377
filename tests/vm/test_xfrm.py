# SPDX-License-Identifier: BSD-3-Clause
"""The Linux kernel as ESP peer: ping and iperf3 through the running gateway, both directions.

One guest is everybody but the gateway. Its root namespace is the mobile nodes: each row of the
table is one node with its own care-of address, SAs and policies ("ip xfrm"), and an ipip interface
that ends the home agent's tunnel. Its namespace "ha" is the private network: correspondent, and
home agent with its end of those tunnels. Both are wired to the gateway by virtio alone. IPv4 and
IPv6, inside and outside, in all mixes.
"""
import re
import time
from dataclasses import dataclass

import mip
import pytest
from esp_algorithms import ALGORITHMS, linux_transform
from guest_lab import GuestLab
from test_families import AGENT, AGENT_INSIDE, CORR, GATEWAY, GATEWAY_INSIDE, ROUTER
from virtio import start_on_virtio
from world import CORRESPONDENT, HOME_AGENT, HOME_AGENT_INSIDE, INSIDE, MIP_SPI, OUTSIDE
from world import OUTSIDE_ROUTER, Array, Node, World

NO_SELF_TESTS = "cryptomgr.notests"  # the kernel's own, which take long in a guest without KVM
TUNNEL_MTU = 1360  # of the IP-in-IP tunnel, so that ESP of any kind around it fits into 1500
PINGS = 3
BULK = 64 << 10  # bytes; when iperf3 has written so many it ends, and some are still on their way
BULK_PACKETS = BULK // TUNNEL_MTU // 2
# not_ip: what Linux says to its neighbours by itself
NO_LOSS = ("ok", "punted", "not_ip", "keepalive", "fragmented", "held")
PATH_MTU = "too_big"  # the home agent's program learns from the gateway what fits


@dataclass
class Row:
    """One way for Linux and the gateway to speak ESP."""

    algorithm: str  # as the gateway spells it
    esn: bool = True
    window: int = 64
    natt: bool = False  # ESP in UDP, from a registration on
    name: str = ""
    tfc_pad: int = 0
    home: int = 4  # family of the home address
    outside: int = 4  # family of the care-of address

    def __str__(self):
        if self.name:
            return self.name
        mix = f"-{self.home}in{self.outside}" if (self.home, self.outside) != (4, 4) else ""
        return self.algorithm + mix + "-esn" * self.esn + "-natt" * self.natt


ROWS = [Row(algorithm) for algorithm in ALGORITHMS]
ROWS += [
    Row(algorithm, home=home, outside=outside)
    for home, outside in ((6, 6), (4, 6), (6, 4))
    for algorithm in ("aes128gcm16", "aes256-sha256")
]
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
PADDED = Row("aes256gcm16", name="tfc", tfc_pad=1500)  # against traffic analysis
ROWS.insert(0, PADDED)
INSIDE_NET = {4: "10.2.0.0/16", 6: "2001:db8:a:2::/64"}
PRIVATE = {4: "10.0.0.0/8", 6: "2001:db8:a::/48"}
HOST = {4: 32, 6: 128}  # bits
TUNNELS = {  # by families inside and outside
    (4, 4): "ipip", (6, 4): "sit", (4, 6): "ip6tnl mode ipip6", (6, 6): "ip6tnl mode ip6ip6",
}  # fmt: skip
SPENT = Row("aes256gcm16", window=1024, name="spent")  # its SAs end in a test


class Peer:
    """A mobile node that is a Linux kernel."""

    def __init__(self, row, number):
        self.row, self.node = row, Node(number, row.algorithm, row.esn)
        self.care_of = {4: "198.51.100.%d", 6: "2001:db8:7::%d"}[row.outside] % (10 + number)
        if row.home == 6:
            self.node.home_address = f"2001:db8:a:1::{10 + number}"
        self.interface = f"mip{number}"

    def gateway_settings(self, lab):
        if self.row.natt:
            return self.node.gateway_settings(lab, allow_nat=True)
        return self.node.gateway_settings(lab, self.care_of, tfc_pad=self.row.tfc_pad)

    def state(self, source, destination, spi, key):
        row = self.row
        return (
            f"xfrm state add src {source} dst {destination} proto esp spi {spi:#x} "
            f"reqid {self.node.number} mode tunnel {self.flags()}"
            f"replay-window {row.window} {linux_transform(row.algorithm, key)}"
            + " encap espinudp 4500 4500 0.0.0.0" * row.natt
        )

    def flags(self):
        """For "ip xfrm state": what goes into the SA may be of either family."""
        wanted = ["esn"] * self.row.esn + ["af-unspec"] * (self.row.home != self.row.outside)
        return f"flag {' '.join(wanted)} " if wanted else ""

    def states(self):
        """Both, of the node's keys."""
        own, node, gateway = self.care_of, self.node, GATEWAY[self.row.outside]
        return [
            self.state(own, gateway, node.spi_up, node.key_up),
            self.state(gateway, own, node.spi_down, node.key_down),
        ]

    def node_setup(self):
        """For "ip" in the node's namespace."""
        node, own, home = self.node, self.care_of, self.node.home_address
        inner, outer = self.row.home, self.row.outside
        template = f"proto esp reqid {node.number} mode tunnel"
        out = f"tmpl src {own} dst {GATEWAY[outer]} {template}"
        back = f"tmpl src {GATEWAY[outer]} dst {own} {template}"
        return [
            f"addr add {own}/{HOST[outer]} dev eth0",
            f"addr add {home}/{HOST[inner]} dev lo",
            *self.states(),
            f"xfrm policy add dir out src {home} dst {INSIDE_NET[inner]} {out}",
            f"xfrm policy add dir out src {own} dst {INSIDE_NET[outer]} {out}",
            f"xfrm policy add dir out src {own} dst {AGENT[outer]} {out}",
            f"xfrm policy add dir in src {PRIVATE[outer]} dst {own} {back}",
            f"link add {self.interface} type {self.tunnel_kind(own, AGENT[outer])}",
            *self.quiet_tunnel(),
            f"link set {self.interface} up",
        ]

    def tunnel_kind(self, local, remote):
        """For "ip link": the home agent's tunnel."""
        inner, outer = self.row.home, self.row.outside
        bare = " encaplimit none" * (outer == 6)
        return f"{TUNNELS[inner, outer]} local {local} remote {remote}{bare}"

    def quiet_tunnel(self):
        """Without an address of the link Linux asks for no routers there."""
        if (self.row.home, self.row.outside) == (4, 4):
            return []
        return [f"link set {self.interface} addrgenmode none"]

    def home_agent_setup(self):
        """For "ip" in the home agent's. Who registers has its tunnel by the real home agent."""
        return [] if self.row.natt else self.tunnel(TUNNEL_MTU, "pmtudisc")

    def tunnel(self, mtu, discovery):
        inner, outer = self.row.home, self.row.outside
        kind = self.tunnel_kind(AGENT[outer], self.care_of)
        return [
            f"link add {self.interface} type {kind} {discovery * (outer == 4)}",
            *self.quiet_tunnel(),
            f"link set {self.interface} mtu {mtu} up",
            f"route add {self.node.home_address} dev {self.interface} src {CORR[inner]}",
        ]


class LinuxWorld(World):
    """World in a guest, with its own kernel as all mobile nodes."""

    def __init__(self, build, kernel, archive, peers):
        self.kernel, self.archive, self.peers = kernel, archive, peers
        try:
            super().__init__(build, nodes=[peer.node for peer in peers if peer.row.home == 4])
        except Exception:
            self.close()
            raise

    def lay_wires(self, *_):
        self.lab.namespace("gw")
        for name in ("roamgate-ha", "natt"):
            self.archive.program(self.program(name), self.program(name))
        for peer in self.peers:
            if peer.node not in self.nodes:  # which are those of the home agent's program, too
                peer.node.write_keys(self.lab)
        settings = [peer.gateway_settings(self.lab) for peer in self.peers]
        guest = start_on_virtio(
            self, self.kernel, self.archive, self.changes(), settings, append=NO_SELF_TESTS
        )
        self.lab = lab = GuestLab(self.lab, guest)
        lab.call_root("mn")
        with lab.one_script():
            lab.do("modprobe -a tun dummy")
            lab.do(f"date -s @{time.time_ns() / 1e9:.9f}")
            lab.namespace("ha")
            lab.do("ip link set eth1 netns ha name in0")

    def changes(self):
        """The gateway's addresses, routes and home agent in IPv6, too."""
        usual = self.gateway_settings([])
        return {
            "inside_prefixes": Array(["10.1.0.0/16", "10.2.0.0/16", PRIVATE[6]]),
            "outside": {"addresses": Array([f"{GATEWAY[4]}/24", f"{GATEWAY[6]}/64"])},
            "inside": {"addresses": Array([f"{GATEWAY_INSIDE[4]}/24", f"{GATEWAY_INSIDE[6]}/64"])},
            "routes": usual["routes"]
            + [
                {"to": "::/0", "via": ROUTER[6]},
                {"to": "2001:db8:a:1::/64", "via": AGENT_INSIDE[6]},
            ],
            "home_agents": [
                usual["home_agents"][0]
                | {
                    "tunnel_source_v6": AGENT[6],
                    "prefixes": Array(["10.1.0.0/16", "2001:db8:a:1::/64"]),
                }
            ],
        }

    def give_addresses(self):
        lab = self.lab
        with lab.one_script():
            lab.do(
                f"nsenter --net={lab.paths['ha']} sysctl -qw net.ipv6.conf.all.disable_ipv6=0 "
                "net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 "
                "net.ipv6.conf.default.accept_dad=0"
            )
            lab.ip(
                "mn",
                f"addr add {OUTSIDE_ROUTER}/24 dev eth0",
                "link set dev eth0 up",
                f"route add 10.2.0.0/16 via {OUTSIDE} mtu {TUNNEL_MTU}",
                f"route add {HOME_AGENT} via {OUTSIDE}",
                f"addr add {ROUTER[6]}/64 dev eth0 nodad",
                f"route add {PRIVATE[6]} via {GATEWAY[6]} mtu {TUNNEL_MTU}",
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
                f"addr add {AGENT[6]}/64 dev home0 nodad",
                f"addr add {CORR[6]}/64 dev in0 nodad",
                f"addr add {AGENT_INSIDE[6]}/64 dev in0 nodad",
                f"route add 2001:db8:7::/64 via {GATEWAY_INSIDE[6]}",
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
        corr, corr_outside = CORR[peer.row.home], CORR[peer.row.outside]
        inside = f"nsenter --net={self.lab.paths['ha']}"
        ping = f"ping -n -q -c {PINGS} -i 0.02 -W 5 -I"
        bulk = f"iperf3 -J -n {BULK}"
        said = self.lab.do(
            f"""set -e
            {ping} {home} {corr}
            {inside} {ping} {corr} {home}
            {inside} {ping} {corr_outside} {own}
            {bulk} -B {home} -c {corr}
            {inside} {bulk} -B {corr} -c {home}"""
        )
        answered = [int(n) for n in re.findall(r"(\d+) received", said)]
        sent = [int(n) for n in re.findall(r'"sum_sent":\s*{[^}]*"bytes":\s*(\d+)', said)]
        return answered, sent


@pytest.fixture(scope="module")
def world(build, kernel, archive):
    peers = [Peer(row, 1 + number) for number, row in enumerate([SPENT, *ROWS])]
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


def rekey(world, peer, **life):
    """New SAs beside the old ones at both ends, new before old; returns the commands that end those."""
    old, new = peer.node, Node(peer.node.number, peer.row.algorithm, peer.row.esn)
    new.spi_up, new.spi_down = old.spi_up + 0x100, old.spi_down + 0x100
    peer.node = new
    for way, spi, key in (("in", new.spi_up, new.key_up), ("out", new.spi_down, new.key_down)):
        world.roamctl_text(
            "roamgate", "sa", "add", new.name, way, f"spi={spi}", f"algorithm={new.algorithm}",
            f"key_file={world.lab.write(f'{spi:x}.key', key.hex())}",
            f"esn={str(new.esn).lower()}", *(f"{k}={v}" for k, v in life.items()),
        )  # fmt: skip
    world.lab.ip("mn", *peer.states())
    world.roamctl_text("roamgate", "sa", "switch", new.name, "out", f"spi={new.spi_down}")
    return old


def forget(world, peer, old):
    """Ends the SAs of before at both ends."""
    for way, spi in (("in", old.spi_up), ("out", old.spi_down)):
        world.roamctl_text("roamgate", "sa", "del", old.name, way, f"spi={spi}")
    ends = ((peer.care_of, OUTSIDE, old.spi_up), (OUTSIDE, peer.care_of, old.spi_down))
    world.lab.ip(
        "mn", *(f"xfrm state delete src {a} dst {b} proto esp spi {spi:#x}" for a, b, spi in ends)
    )


def test_rekeying_with_linux_under_traffic(world):
    peer = world.by_name["aes192gcm16-esn"]
    home, old = peer.node.home_address, peer.node
    before = world.drops()
    ping = ["ping", "-n", "-q", "-i", "0.02", "-W", "5"]
    pings = [
        world.lab.start("mn", [*ping, "-I", home, CORRESPONDENT]),
        world.lab.start("ha", [*ping, "-I", CORRESPONDENT, home]),
    ]
    time.sleep(1.1)  # Linux takes the newest state, by full seconds
    assert rekey(world, peer) is old
    time.sleep(0.5)
    forget(world, peer, old)
    counted = Counted(world, peer)
    time.sleep(0.5)
    counted.check(up=2, down=2)
    for program in pings:
        said = program.kill("INT")
        sent, answered = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
        assert int(answered) >= int(sent) - 1  # the last one may be on its way
    assert losses(before) == losses(world.drops())


def losses(drops):
    return {reason: count for reason, count in drops.items() if reason not in NO_LOSS}


def test_lifetime_ends_what_linux_goes_on_with(world):
    peer = world.by_name[str(SPENT)]
    old = rekey(world, peer, rekey_packets=4, life_packets=6)
    forget(world, peer, old)
    said = world.lab.run(
        "mn", "ping", "-n", "-q", "-c", 12, "-i", "0.02", "-W", 1, "-I", peer.node.home_address,
        CORRESPONDENT, check=False,
    )  # fmt: skip
    assert "12 packets transmitted, 6 received" in said
    events = world.roamctl("roamgate", "show", "events")["rows"]
    for spi in (peer.node.spi_up, peer.node.spi_down):
        assert [e["event"] for e in events if e["spi"] == spi] == ["rekey", "expired"]


def test_what_does_not_fit_is_cut_or_told(world):
    """Without DF it is cut before ESP and Linux puts it together; with DF Linux learns what fits."""
    peer = world.by_name["aes128-sha256-esn"]

    def ping(mtu, discovery, *options):
        """With 1440 bytes in a tunnel made anew."""
        world.lab.ip("ha", f"link delete {peer.interface}", *peer.tunnel(mtu, discovery))
        return world.lab.run(
            "ha", "ping", "-n", "-q", "-c", PINGS, "-i", "0.05", "-W", 5, "-s", 1440 - 28, *options,
            "-I", CORRESPONDENT, peer.node.home_address, check=False,
        )  # fmt: skip

    def whole():
        """Datagrams that the node's kernel has put together."""
        names, values = re.findall(r"^Ip: (.*)$", world.lab.run("mn", "cat", "/proc/net/snmp"), re.M)
        return int(dict(zip(names.split(), values.split()))["ReasmOKs"])

    before, heard = world.drops(), whole()
    # The echo comes back in ESP that Linux has cut: the gateway puts that together.
    assert f" {PINGS} received" in ping(1480, "nopmtudisc", "-M", "dont")
    after = world.drops()
    assert losses(after) == losses(before)
    assert after["fragmented"] - before["fragmented"] == whole() - heard == PINGS

    assert " errors" in ping(1480, "pmtudisc", "-M", "do")
    assert world.drops()["too_big"] - after["too_big"] >= 1
    told = world.lab.run("ha", "ip", "route", "get", peer.node.home_address, "from", CORRESPONDENT)
    told += world.lab.run("ha", "ip", "route", "get", peer.care_of, "from", HOME_AGENT)
    assert re.search(r" mtu 14[0-9]{2}", told), told
    assert f" {PINGS} received" in ping(TUNNEL_MTU, "pmtudisc", "-M", "dont")


def test_linux_takes_what_is_padded(world):
    """RFC 4303 section 2.7: all packets are as long as the path takes, whatever is in them."""
    peer = world.by_name[str(PADDED)]
    world.lab.do(f"ping -n -q -c {PINGS} -W 5 -I {peer.node.home_address} {CORRESPONDENT}")
    (row,) = (
        r for r in world.roamctl("roamgate", "show", "sa")["rows"]
        if int(r["spi"], 16) == peer.node.spi_down
    )  # fmt: skip
    assert row["packets"] >= PINGS and row["bytes"] == row["packets"] * 1446


def test_linux_speaks_with_the_gateway(world, peer):
    counted = Counted(world, peer)
    if peer.row.natt:
        if world.home_agent is None:
            world.start_home_agent()
        assert world.register(peer) == 0
    answered, sent = world.exchange(peer)
    assert answered == [PINGS] * 3 and len(sent) == 2 and min(sent) >= BULK
    counted.check(up=3 * PINGS + BULK_PACKETS, down=3 * PINGS + BULK_PACKETS)
