# SPDX-License-Identifier: BSD-3-Clause
"""IPv4 and IPv6, inside and outside, with scapy as the other end: all mixes, extension headers,
neighbour discovery, a move from IPv4 to IPv6; and all of it once more with VLAN tags on both ports.
"""
import itertools
import select
import struct
import threading
import time

import pytest
from fake_agent import FakeHomeAgent
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    in6_chksum,
)
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from test_scapy_peer import Counted
from world import (
    CORRESPONDENT,
    HOME_AGENT,
    HOME_AGENT_INSIDE,
    INSIDE,
    OUTSIDE,
    OUTSIDE_ROUTER,
    Array,
    Border,
    Node,
    merge,
)

GATEWAY = {4: OUTSIDE, 6: "2001:db8:1::1"}
ROUTER = {4: OUTSIDE_ROUTER, 6: "2001:db8:1::fe"}
GATEWAY_INSIDE = {4: INSIDE, 6: "2001:db8:a:2::fe"}
AGENT = {4: HOME_AGENT, 6: "2001:db8:a:1::1"}
AGENT_INSIDE = {4: HOME_AGENT_INSIDE, 6: "2001:db8:a:2::1"}
CORR = {4: CORRESPONDENT, 6: "2001:db8:a:2::5"}
CARE_OF = {4: "198.51.100.%d", 6: "2001:db8:7::%d"}
VLANS = {"gwo1": 100, "gwi1": 4094}
BAD_COA = 131
HEADER = {4: IP, 6: IPv6}
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
TAG = 0x8100
TOO_BIG, EXCEEDED = 2, 3  # types of ICMPv6
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4  # packet(7)


def ip(family, src, dst, hops=64, **fields):
    fields |= {"ttl" if family == 4 else "hlim": hops}
    return HEADER[family](src=src, dst=dst, **fields)


def hops(packet):
    return packet.ttl if packet.version == 4 else packet.hlim


class Peer:
    """A node with a home address of one family at a care-of address of another."""

    def __init__(self, number, home, care_of):
        self.node = Node(number)
        self.home, self.family = home, care_of
        self.care_of = CARE_OF[care_of] % number
        if home == 6:
            self.node.home_address = f"2001:db8:a:1::{number}0"
        self.sequence = 0

    def association(self, spi, key, outer):
        return SecurityAssociation(
            ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key, tunnel_header=outer, esn_en=True
        )

    def seal(self, inner, family=None, **fields):
        """A whole ESP datagram of a family (that of the care-of address), from anywhere."""
        family = family or self.family
        source = self.care_of if family == self.family else CARE_OF[family] % 99
        self.sequence += 1
        outer = ip(family, source, GATEWAY[family], **fields)
        sa = self.association(self.node.spi_up, self.node.key_up, outer)
        return HEADER[family](bytes(sa.encrypt(inner, seq_num=self.sequence)))

    def open(self, packet):
        outer = HEADER[packet.version](src=packet.src, dst=packet.dst)
        return self.association(self.node.spi_down, self.node.key_down, outer).decrypt(packet)

    def data(self, text=b"hello", hops=64, **fields):
        fields = {"src": self.node.home_address, "dst": CORR[self.home]} | fields
        return ip(self.home, fields.pop("src"), fields.pop("dst"), hops, **fields) / UDP(
            sport=1111, dport=2222
        ) / Raw(text)  # fmt: skip

    def tunnelled(
        self, care_of=None, family=None, source=None, hops=64, home=None, text=b"hello", **fields
    ):
        """What the home agent sends to the care-of address, and what is in it."""
        family = family or self.family
        inner = ip(self.home, CORR[self.home], home or self.node.home_address, 63)
        inner = HEADER[self.home](bytes(inner / UDP(sport=2222, dport=1111) / Raw(text)))
        next_header = 4 if self.home == 4 else 41
        fields |= {"proto" if family == 4 else "nh": next_header}
        outer = ip(family, source or AGENT[family], care_of or self.care_of, hops, **fields)
        return HEADER[family](bytes(outer / inner)), inner


class Tagger(threading.Thread):
    """Joins two wires: frames on the first have a VLAN tag, on the second none. Others end here.

    Kernels may come without VLAN interfaces; those that are there take a tag off a frame and tell
    it beside (packet(7), PACKET_AUXDATA).
    """

    def __init__(self, tagged, plain, vlan):
        super().__init__(daemon=True)
        self.tagged, self.plain, self.vlan = tagged, plain, vlan
        self.stopping = False
        tagged.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.start()

    def run(self):
        while not self.stopping:
            for sock in select.select([self.tagged, self.plain], [], [], 0.1)[0]:
                frame, vlan = self.read(sock)
                if sock is self.plain:
                    tag = struct.pack(">HH", TAG, self.vlan)
                    self.tagged.send(frame[:12] + tag + frame[12:])
                elif vlan == self.vlan:
                    self.plain.send(frame)

    def read(self, sock):
        frame, beside, _, _ = sock.recvmsg(65535, 256)
        for level, kind, data in beside:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, vlan, _ = struct.unpack("IIIHHHH", data)
                return frame, vlan & 0xFFF if status & TP_STATUS_VLAN_VALID else None
        return frame, None

    def close(self):
        self.stopping = True
        self.join()
        self.tagged.close()
        self.plain.close()


class DualBorder(Border):
    """Both families on both wires; vlan: every frame has the tag of VLANS."""

    def __init__(self, build, nodes, vlan):
        super().__init__(build, nodes)
        self.vlan = vlan
        self.raw = {"gwo1": self.outside, "gwi1": self.inside}
        self.taggers = []
        for name, interface in (("out", "gwo1"), ("in", "gwi1")):
            self.lab.run(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
            self.lab.run(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0")
            if vlan:
                self.tag(name, interface)
        out, inside = self.interface("gwo1"), self.interface("gwi1")
        self.lab.ip("out", f"addr add {ROUTER[6]}/64 dev {out} nodad")
        self.lab.ip(
            "in",
            f"addr add {AGENT_INSIDE[6]}/64 dev {inside} nodad",
            f"addr add {CORR[6]}/64 dev {inside} nodad",
        )

    def interface(self, name):
        """Where everybody's addresses on a wire are."""
        return {"gwo1": "tago0", "gwi1": "tagi0"}[name] if self.vlan else name

    def tag(self, namespace, interface):
        """A second wire behind the first takes over its addresses; between them a Tagger."""
        near, far = self.interface(interface), self.interface(interface)[:-1] + "1"
        addresses = {"gwo1": [ROUTER[4]], "gwi1": [AGENT_INSIDE[4], CORR[4]]}[interface]
        self.lab.link(namespace, near, namespace, far)
        for quiet in interface, far:
            self.lab.run(namespace, "sysctl", "-qw", f"net.ipv6.conf.{quiet}.disable_ipv6=1")
        self.lab.ip(
            namespace,
            f"addr flush dev {interface}",
            *(f"addr add {a}/24 dev {near}" for a in addresses),
            *(f"link set dev {i} promisc on" for i in (interface, far)),
        )
        sock, mac = self.lab.packet_socket(namespace, near), self.lab.mac(namespace, near)
        if interface == "gwo1":
            self.outside, self.router_mac = sock, mac
        else:
            self.inside, self.lan_mac = sock, mac
        wires = [self.lab.packet_socket(namespace, i) for i in (interface, far)]
        self.taggers.append(Tagger(*wires, VLANS[interface]))

    def close(self):
        for tagger in self.taggers:
            tagger.close()
        for sock in self.raw.values():
            sock.close()
        super().close()

    def start_gateway(self, changes=None, nodes=None, ready=True):
        vlan = {name: VLANS[i] if self.vlan else 0 for name, i in PORTS.items()}
        changes = merge(
            {
                "inside_prefixes": Array(["10.1.0.0/16", "10.2.0.0/16", "2001:db8:a::/48"]),
                "outside": {
                    "addresses": Array([GATEWAY[4] + "/24", GATEWAY[6] + "/64"]),
                    "vlan": vlan["outside"],
                },
                "inside": {
                    "addresses": Array([GATEWAY_INSIDE[4] + "/24", GATEWAY_INSIDE[6] + "/64"]),
                    "vlan": vlan["inside"],
                },
                "routes": self.gateway_settings()["routes"]
                + [
                    {"to": "::/0", "via": ROUTER[6]},
                    {"to": "2001:db8:a:1::/64", "via": AGENT_INSIDE[6]},
                ],
                "home_agents": [
                    self.gateway_settings()["home_agents"][0]
                    | {
                        "tunnel_source_v6": AGENT[6],
                        "prefixes": Array(["10.1.0.0/16", "2001:db8:a:1::/64"]),
                    }
                ],
            },
            changes or {},
        )
        super(Border, self).start_gateway(changes, nodes, ready=ready)
        self.outside_mac = self.lab.neighbour("out", OUTSIDE, self.interface("gwo1"), 10)
        self.inside_mac = self.lab.neighbour("in", INSIDE, self.interface("gwi1"), 10)

    def send_outside(self, packet):
        self._send(self.outside, self.outside_mac, self.router_mac, packet)

    def send_inside(self, packet):
        self._send(self.inside, self.inside_mac, self.lan_mac, packet)

    def _send(self, sock, to, source, packet):
        data = bytes(packet)
        sock.send(to + source + struct.pack(">H", ETHERTYPE[data[0] >> 4]) + data)

    def seen(self, sock, wanted, seconds=0.3, count=None):
        """IP packets of either family that are wanted."""
        found, end = [], time.monotonic() + seconds
        while time.monotonic() < end and (count is None or len(found) < count):
            if not select.select([sock], [], [], max(end - time.monotonic(), 0))[0]:
                break
            frame = Ether(sock.recv(65535))
            packet = frame.payload
            if frame.type in ETHERTYPE.values() and wanted(packet):
                found.append(HEADER[packet.version](bytes(packet)[: total(packet)]))
        return found

    def seen_outside(self, seconds=0.3, count=None):
        return self.seen(self.outside, lambda p: p.src in GATEWAY.values() and esp(p), seconds, count)

    def seen_inside(self, seconds=0.3, count=None):
        return self.seen(self.inside, lambda p: p.haslayer(UDP) and p.src != INSIDE, seconds, count)


PORTS = {"outside": "gwo1", "inside": "gwi1"}


def total(packet):
    return packet.len if packet.version == 4 else 40 + packet.plen


def esp(packet):
    return (packet.proto if packet.version == 4 else packet.nh) == 50


@pytest.fixture(scope="module", params=["plain", "vlan"])
def border(request, build):
    peers = [Peer(1, 4, 4), Peer(2, 6, 6), Peer(3, 4, 6), Peer(4, 6, 4), Peer(5, 4, 4)]
    with DualBorder(build, [p.node for p in peers], request.param == "vlan") as border:
        settings = [p.node.gateway_settings(border.lab, p.care_of) for p in peers]
        border.start_gateway(nodes=settings)
        border.peers = peers
        yield border


@pytest.fixture
def peer(border):
    border.quiet()
    return border.peers[1]  # IPv6 in IPv6


def uplink(border, *datagrams, seconds=0.3, count=None):
    for datagram in datagrams:
        border.send_outside(datagram)
    return border.seen_inside(seconds, count)


def refused(border, *datagrams):
    assert uplink(border, *datagrams, seconds=0.1) == []


# --- good ----------------------------------------------------------------------------------------


def test_neighbours_find_the_gateway(border):
    """Neighbour solicitations by multicast and pings reach Linux by the TAP, untagged."""
    for namespace, address in (("out", GATEWAY), ("in", GATEWAY_INSIDE)):
        for family in 4, 6:
            border.lab.run(namespace, "ping", "-c", "1", "-W", "3", address[family])


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("family", [4, 6])
def test_uplink(border, number, family):
    """Either family inside, from either family outside: an SA serves both."""
    border.quiet()
    peer = border.peers[number]
    with Counted(border):
        (packet,) = uplink(border, peer.seal(peer.data(), family), count=1, seconds=2)
    assert bytes(packet) == bytes(peer.data(hops=63))


@pytest.mark.parametrize("number", range(4))
def test_downlink(border, number):
    border.quiet()
    peer = border.peers[number]
    datagram, inner = peer.tunnelled()
    with Counted(border):
        border.send_inside(datagram)
        (packet,) = border.seen_outside(2, 1)
    assert (packet.version, packet.src, packet.dst) == (
        peer.family, GATEWAY[peer.family], peer.care_of,
    )  # fmt: skip
    assert hops(packet) == 64
    if packet.version == 6:
        assert packet.fl != 0 and packet.tc == 0
    plain = peer.open(packet)
    assert (plain.src, plain.dst, hops(plain)) == (AGENT[peer.family], peer.care_of, 63)
    assert bytes(plain)[-len(inner) :] == bytes(inner)


@pytest.mark.parametrize("number", range(4))
def test_traffic_class(border, number):
    """DSCP and ECN out and in (RFC 6040), whatever the families."""
    border.quiet()
    peer = border.peers[number]
    tos = "tos" if peer.family == 4 else "tc"
    border.send_inside(peer.tunnelled(**{tos: 0xB9})[0])
    (packet,) = border.seen_outside(2, 1)
    assert getattr(packet, tos) == 0xB9
    inner_tos = "tos" if peer.home == 4 else "tc"
    marked = peer.seal(peer.data(**{inner_tos: 0x2A}), **{tos: 0x03})
    (packet,) = uplink(border, marked, count=1)
    assert getattr(packet, inner_tos) == 0x2B
    with Counted(border, ecn=1):
        refused(border, peer.seal(peer.data(), **{tos: 0x03}))


@pytest.mark.parametrize("checksum", ["right", "none", "wrong"])
def test_udp_over_ipv6(border, peer, checksum):
    """ESP in UDP 4500 from an IPv6 address (RFC 3948): a checksum that is there is verified."""
    sealed = peer.seal(peer.data())
    udp = UDP(sport=61001, dport=4500) / Raw(bytes(sealed[ESP]))
    packet = IPv6(bytes(IPv6(src=sealed.src, dst=sealed.dst) / udp))
    if checksum != "right":
        packet[UDP].chksum = 0 if checksum == "none" else packet[UDP].chksum ^ 1
    if checksum == "wrong":
        with Counted(border, bad_header=1):
            refused(border, packet)
    else:
        with Counted(border):
            assert len(uplink(border, packet, count=1)) == 1


# --- extension headers ---------------------------------------------------------------------------


def behind(sealed, *headers):
    """sealed with extension headers between the IPv6 header and ESP."""
    packet = IPv6(src=sealed.src, dst=sealed.dst)
    for header in headers:
        packet = packet / header
    last = packet.lastlayer()
    last.nh = 50
    return packet / Raw(bytes(sealed[ESP]))


def options(kind, otype=None):
    option = PadN(optdata=b"\0" * 4) if otype is None else HBHOptUnknown(otype=otype, optdata=b"12")
    return kind(options=[option])


OUTER = [
    ("options", lambda: [options(IPv6ExtHdrHopByHop), options(IPv6ExtHdrDestOpt)], None),
    ("eight", lambda: [options(IPv6ExtHdrDestOpt) for _ in range(8)], None),
    ("nine", lambda: [options(IPv6ExtHdrDestOpt) for _ in range(9)], "bad_header"),
    ("option to be skipped", lambda: [options(IPv6ExtHdrDestOpt, 0x1E)], None),
    ("option to be discarded", lambda: [options(IPv6ExtHdrDestOpt, 0x5E)], "bad_header"),
    ("hop by hop, second", lambda: [options(IPv6ExtHdrDestOpt), options(IPv6ExtHdrHopByHop)],
     "bad_header"),
    ("whole in one fragment", lambda: [IPv6ExtHdrFragment(offset=0, m=0)], None),
    ("first fragment", lambda: [IPv6ExtHdrFragment(offset=0, m=1, id=1)], "held"),
    ("later fragment", lambda: [IPv6ExtHdrFragment(offset=5, m=0, id=2)], "held"),
    ("fragment behind options",
     lambda: [options(IPv6ExtHdrDestOpt), IPv6ExtHdrFragment(offset=5, m=0, id=3)], "fragment"),
    ("route at its end", lambda: [IPv6ExtHdrRouting(type=0, segleft=0, addresses=["::1"])], None),
    ("route not at its end",
     lambda: [IPv6ExtHdrRouting(type=2, segleft=1, addresses=["2001:db8::9"])], "bad_header"),
]  # fmt: skip


@pytest.mark.parametrize("name, headers, verdict", OUTER, ids=[row[0] for row in OUTER])
def test_outer_extension_headers(border, peer, name, headers, verdict):
    datagram = behind(peer.seal(peer.data()), *headers())
    if verdict:
        with Counted(border, **{verdict: 1}):
            refused(border, datagram)
    else:
        with Counted(border):
            assert len(uplink(border, datagram, count=1)) == 1


def test_chain_beyond_the_packet(border, peer):
    datagram = behind(peer.seal(peer.data()), options(IPv6ExtHdrDestOpt))
    datagram[IPv6ExtHdrDestOpt].len = 200
    with Counted(border, runt=1):
        refused(border, datagram)


INNER = [
    ("options", lambda: [options(IPv6ExtHdrHopByHop), options(IPv6ExtHdrDestOpt)], None),
    ("fragment", lambda: [IPv6ExtHdrFragment(offset=3, m=1)], None),
    ("route of type 0", lambda: [IPv6ExtHdrRouting(type=0, segleft=1, addresses=["2001:db8::9"])],
     "bad_header"),
    ("too many", lambda: [options(IPv6ExtHdrDestOpt) for _ in range(9)], "bad_header"),
]  # fmt: skip


@pytest.mark.parametrize("name, headers, verdict", INNER, ids=[row[0] for row in INNER])
def test_inner_extension_headers(border, peer, name, headers, verdict):
    """What passes is not touched but for its hop limit."""
    inner = ip(6, peer.node.home_address, CORR[6])
    for header in headers():
        inner = inner / header
    inner = IPv6(bytes(inner / UDP(sport=1, dport=2) / Raw(b"x")))
    if verdict:
        with Counted(border, **{verdict: 1}):
            refused(border, peer.seal(inner))
        return
    with Counted(border):
        border.send_outside(peer.seal(inner))
        home = peer.node.home_address
        (packet,) = border.seen(border.inside, lambda p: p.version == 6 and p.src == home, 1, 1)
    inner.hlim -= 1
    assert bytes(packet) == bytes(inner)


# --- bad -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, verdict",
    [
        ({"hops": 1}, "ttl"),
        ({"src": "2001:db8:a:1::77"}, "inner_source"),
        ({"src": "fe80::1"}, "bad_address"),
        ({"src": "ff0e::1"}, "bad_address"),
        ({"src": "::"}, "bad_address"),
        ({"src": "::ffff:10.1.0.11"}, "bad_address"),
        ({"dst": "fe80::1"}, "bad_address"),
        ({"dst": "ff02::1"}, "bad_address"),
        ({"dst": GATEWAY_INSIDE[6]}, "bad_address"),
        ({"dst": GATEWAY[6]}, "bad_address"),
    ],
)
def test_bad_inner(border, peer, fields, verdict):
    with Counted(border, **{verdict: 1}):
        refused(border, peer.seal(peer.data(**fields)))


def test_other_family_inside(border, peer):
    """The home address of this node is IPv6: no IPv4 source is its own."""
    inner = ip(4, border.peers[0].node.home_address, CORR[4]) / UDP() / Raw(b"x")
    with Counted(border, inner_source=1):
        refused(border, peer.seal(inner))


def test_clear_from_the_outside(border, peer):
    with Counted(border, not_for_us=1):
        refused(border, ip(6, "2001:db8:9::9", CORR[6]) / UDP() / Raw(b"x"))


@pytest.mark.parametrize(
    "fields, verdict",
    [
        ({"care_of": "2001:db8:7::99"}, "selector"),
        ({"source": CORR[6]}, "no_sa_out"),
        ({"home": "2001:db8:a:1::77"}, "no_sa_out"),
        ({"hops": 1}, "ttl"),
    ],
)
def test_bad_from_the_inside(border, peer, fields, verdict):
    with Counted(border, **{verdict: 1}):
        border.send_inside(peer.tunnelled(**fields)[0])
        assert border.seen_outside(0.1) == []


@pytest.mark.parametrize("number", [0, 1], ids=["v4", "v6"])
@pytest.mark.parametrize("port", ["outside", "inside"])
def test_tags(border, port, number):
    """Only frames with the port's own tag, or none where it has none, are taken."""
    peer = border.peers[number]
    border.quiet()
    interface = PORTS[port]
    sock = border.raw[interface]
    macs = {
        "outside": border.outside_mac + border.router_mac,
        "inside": border.inside_mac + border.lan_mac,
    }[port]
    data = bytes(peer.seal(peer.data()) if port == "outside" else peer.tunnelled()[0])
    ethertype = ETHERTYPE[data[0] >> 4]
    wrong = [struct.pack(">HHH", TAG, vid, ethertype) for vid in (0, 99, 4093)]
    if border.vlan:
        wrong.append(struct.pack(">H", ethertype))
    with Counted(border, vlan=len(wrong)):
        for between in wrong:
            sock.send(macs + between + data)
        assert border.seen_outside(0.1) == [] and border.seen_inside(0.05) == []


# --- errors --------------------------------------------------------------------------------------


def is_error(packet):
    return packet.version == 6 and packet.nh == 58 and bytes(packet)[40] in (TOO_BIG, EXCEEDED)


def check_error(packet, to, kind, quoted, mtu=0):
    """An ICMPv6 error from the gateway's inside address, with a good checksum."""
    data = bytes(packet)
    assert (packet.src, packet.dst) == (GATEWAY_INSIDE[6], to)
    assert data[40:42] == bytes([kind, 0]) and struct.unpack(">I", data[44:48]) == (mtu,)
    assert data[48:] == bytes(quoted)[: 1280 - 48]
    assert in6_chksum(58, packet, data[40:]) == 0


@pytest.mark.parametrize("number", [1, 3])
def test_too_big_is_told(border, number):
    """The sender of IPv6 learns what fits, to the byte, whatever is outside; it is never cut."""
    border.quiet()
    peer = border.peers[number]
    header = {4: 20, 6: 40}[peer.family]
    fits = (1500 - header - 8 - 8 - 16) // 4 * 4 - 2 - header  # ESP, and the home agent's tunnel
    datagram, inner = peer.tunnelled(text=bytes(fits + 1 - 48))
    with Counted(border, too_big=1):
        border.send_inside(datagram)
        (told,) = border.seen(border.inside, is_error, 1, 1)
        check_error(told, CORR[6], TOO_BIG, inner, fits)
        assert border.seen_outside(0.1) == []
    with Counted(border):
        border.send_inside(peer.tunnelled(text=bytes(fits - 48))[0])
        assert len(border.seen_outside(1, 1)) == 1


def test_used_up_hop_limit_is_told(border, peer):
    """The node by its SA, the home agent in plain."""
    spent = peer.data(hops=1)
    with Counted(border, ttl=1):
        border.send_outside(peer.seal(spent))
        (packet,) = border.seen_outside(1, 1)
    check_error(peer.open(packet), peer.node.home_address, EXCEEDED, spent)
    spent, _ = peer.tunnelled(hops=1)
    with Counted(border, ttl=1):
        border.send_inside(spent)
        (told,) = border.seen(border.inside, is_error, 1, 1)
    check_error(told, AGENT[6], EXCEEDED, spent)


def test_errors_are_not_answered(border, peer):
    inner = ip(6, peer.node.home_address, CORR[6], 1) / ICMPv6DestUnreach() / peer.data()
    with Counted(border, ttl=1):
        border.send_outside(peer.seal(inner))
        assert border.seen_outside(0.2) == []


def test_outer_mtu_is_learned(border, peer):
    """A router over IPv6 says what fits: believed if it quotes a packet of ours, and told on."""

    def mtu():
        rows = border.roamctl("roamgate", "show", "nodes")["rows"]
        return [row["mtu"] for row in rows if row["node"] == peer.node.name]

    border.send_inside(peer.tunnelled()[0])
    (ours,) = border.seen_outside(1, 1)
    quoted = bytes(ours)
    wrong = quoted[:40] + struct.pack(">I", 0x7777) + quoted[44:]
    ahead = quoted[:44] + struct.pack(">I", ours[ESP].seq + 9) + quoted[48:]
    for quote, said, learned in (
        (wrong, 1400, 1500), (ahead, 1400, 1500), (quoted, 1279, 1500), (quoted, 1400, 1400),
    ):  # fmt: skip
        router = IPv6(src="2001:db8:9::9", dst=GATEWAY[6])
        border.send_outside(router / ICMPv6PacketTooBig(mtu=said) / Raw(quote))
        time.sleep(0.1)
        assert mtu() == [learned]
    fits = (1400 - 40 - 8 - 8 - 16) // 4 * 4 - 2 - 40
    datagram, inner = peer.tunnelled(text=bytes(fits + 1 - 48))
    with Counted(border, too_big=1):
        border.send_inside(datagram)
        (told,) = border.seen(border.inside, is_error, 1, 1)
    check_error(told, CORR[6], TOO_BIG, inner, fits)
    with Counted(border):
        border.send_inside(peer.tunnelled(text=bytes(fits - 48))[0])
        (packet,) = border.seen_outside(1, 1)
    assert total(packet) <= 1400


def fragments(border, count):
    """ESP in fragments, put together by the test's own rules; and the fragments."""
    found = border.seen(
        border.outside, lambda p: p.version == 6 and p.src == GATEWAY[6] and p.nh == 44, 1, count
    )
    headers = [p[IPv6ExtHdrFragment] for p in found]
    assert len({h.id for h in headers}) == 1 and [h.m for h in headers] == [1] * (count - 1) + [0]
    data = b""
    for packet, header in zip(found, headers):
        assert header.offset * 8 == len(data) and total(packet) <= 1280
        data += bytes(packet)[48 : total(packet)]
    return IPv6(bytes(IPv6(src=found[0].src, dst=found[0].dst, nh=headers[0].nh) / Raw(data))), found


def test_least_mtu_gets_through(border, peer):
    """What every link takes inside, where the way outside takes no more than that: RFC 2473 7.1."""
    border.send_inside(peer.tunnelled()[0])
    (ours,) = border.seen_outside(1, 1)
    router = IPv6(src="2001:db8:9::9", dst=GATEWAY[6])
    border.send_outside(router / ICMPv6PacketTooBig(mtu=1280) / Raw(bytes(ours)))
    time.sleep(0.1)
    datagram, inner = peer.tunnelled(text=bytes(1281 - 48))
    with Counted(border, too_big=1):
        border.send_inside(datagram)
        (told,) = border.seen(border.inside, is_error, 1, 1)
    check_error(told, CORR[6], TOO_BIG, inner, 1280)
    ids = set()
    for _ in range(3):
        datagram, inner = peer.tunnelled(text=bytes(1280 - 48))
        before = border.drops()
        border.send_inside(datagram)
        whole, found = fragments(border, 2)
        ids.add(found[0][IPv6ExtHdrFragment].id)
        plain = peer.open(whole)
        assert bytes(plain)[40:] == bytes(inner)
        assert border.drops()["fragmented"] == before["fragmented"] + 1
    assert len(ids) == 3


# --- fragments -----------------------------------------------------------------------------------


def pieces(packet, *cuts):
    """packet, cut by the test's own rules: (from, to) in bytes behind its IPv6 header."""
    data, found = bytes(packet)[40:], []
    number = next(NUMBERS)
    for begin, end in cuts:
        header = IPv6ExtHdrFragment(
            nh=packet.nh, offset=begin // 8, m=int(end < len(data)), id=number
        )
        base = IPv6(src=packet.src, dst=packet.dst)
        found.append(IPv6(bytes(base / header / Raw(data[begin:end]))))
    return found


NUMBERS = itertools.count(1000)
END = 1 << 16
SETS = [
    ("in order", [(0, 1000), (1000, END)], True),
    ("turned round", [(1000, END), (0, 1000)], True),
    ("many", [(i, i + 200) for i in range(0, 1400, 200)] + [(1400, END)], True),
    ("overlap", [(0, 1000), (992, END)], False),
    ("a piece twice", [(0, 1000), (0, 1000), (1000, END)], False),
]


@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
@pytest.mark.parametrize("name, cuts, good", SETS, ids=[row[0] for row in SETS])
def test_fragments_are_put_together(border, peer, udp, name, cuts, good):
    """ESP over IPv6, and in UDP, that a node had to cut; overlaps are dropped (RFC 5722)."""
    sealed = peer.seal(peer.data(text=bytes(1400)))
    if udp:
        data = UDP(sport=61002, dport=4500) / Raw(bytes(sealed[ESP]))
        sealed = IPv6(bytes(IPv6(src=sealed.src, dst=sealed.dst) / data))
    with Counted(border, held=len(cuts) - good):
        for piece in pieces(sealed, *cuts):
            border.send_outside(piece)
        found = border.seen_inside(1 if good else 0.1, 1)
    assert [bytes(p) for p in found] == [bytes(peer.data(text=bytes(1400), hops=63))] * good


def test_flood_of_first_fragments(border, peer):
    """One prefix sends first pieces without end: bounded, and others are not held up for long."""
    sealed = peer.seal(peer.data(text=bytes(1400)))
    before = border.drops()
    first = bytes(pieces(IPv6(bytes(sealed)), (0, 1000))[0])
    flood = [  # source addresses and identifications of one prefix
        first[:8] + bytes.fromhex("20010db80bad0000") + struct.pack(">Q", i + 1)
        + first[24:44] + struct.pack(">I", i) + first[48:]
        for i in range(1000)
    ]  # fmt: skip
    for piece in flood:
        border.send_outside(piece)
    time.sleep(1.1)
    after = border.drops()
    assert after["fragment_limit"] > before["fragment_limit"]
    for piece in pieces(sealed, (0, 1000), (1000, END)):
        border.send_outside(piece)
    assert len(border.seen_inside(1, 1)) == 1


# --- moves ---------------------------------------------------------------------------------------


@pytest.fixture
def agent(border):
    agent = FakeHomeAgent(border)
    agent.connect()
    yield agent
    agent.close()


def test_move_from_ipv4_to_ipv6(border, agent):
    """The SAs stay; in the grace time what is tunnelled to the former address goes there too."""
    border.quiet()
    peer = border.peers[4]
    former, new = peer.care_of, CARE_OF[6] % 50
    assert agent.move(peer.node, new, former=former).result == 0
    border.send_inside(peer.tunnelled(care_of=new, family=6)[0])
    border.send_inside(peer.tunnelled(care_of=former, family=4)[0])
    packets = border.seen_outside(1, 2)
    assert [(p.version, p.dst) for p in packets] == [(6, new)] * 2
    assert [(p.version, p.dst) for p in map(peer.open, packets)] == [(6, new), (4, former)]
    assert len(uplink(border, peer.seal(peer.data(), 6), count=1)) == 1
    rows = border.roamctl("roamgate", "show", "nodes")["rows"]
    assert new in [row["coa"] for row in rows if row["node"] == peer.node.name]
    assert agent.move(peer.node, former, former=new).result == 0
    border.send_inside(peer.tunnelled(care_of=former, family=4)[0])
    (packet,) = border.seen_outside(1, 1)
    assert packet.dst == former


@pytest.mark.parametrize(
    "care_of",
    [
        "fe80::7", "ff02::1", "ff0e::1", "::", "::1", "::ffff:198.51.100.7", GATEWAY[6],
        GATEWAY_INSIDE[6], "2001:db8:a:3::1", "2001:db8:1::",
    ],
)  # fmt: skip
def test_care_of_addresses_that_are_none(border, agent, care_of):
    assert agent.move(border.peers[4].node, care_of).result == BAD_COA


# --- kill -9 -------------------------------------------------------------------------------------

BACK_S = 2.0  # from the ready line to traffic


def test_killed_with_places_in_ipv6(build):
    """Nodes that have moved to IPv6, and one that was there: all go on, and nothing repeats."""
    peers = [Peer(1, 4, 4), Peer(2, 6, 6), Peer(3, 6, 4)]
    with DualBorder(build, [p.node for p in peers], False) as border:
        settings = [p.node.gateway_settings(border.lab, p.care_of) for p in peers]
        border.start_gateway(nodes=settings)
        agent = FakeHomeAgent(border)
        agent.connect()
        for number, peer in enumerate(peers[:2]):
            former, peer.care_of, peer.family = peer.care_of, CARE_OF[6] % (60 + number), 6
            assert agent.move(peer.node, peer.care_of, former=former).result == 0
        agent.close()

        sent, recorded = {p: [] for p in peers}, {p: [] for p in peers}

        def down(peer, count):
            """So many packets to the node: number, IV; they arrive at its place and open."""
            for _ in range(count):
                datagram, inner = peer.tunnelled()
                border.send_inside(datagram)
                found = [p for p in border.seen_outside(2, 1) if p.dst == peer.care_of]
                assert len(found) == 1
                sent[peer].append((found[0][ESP].seq, found[0][ESP].data[:8]))
                assert bytes(peer.open(found[0])).endswith(bytes(inner))

        def up(peer, count):
            for _ in range(count):
                recorded[peer].append(peer.seal(peer.data()))
                found = uplink(border, recorded[peer][-1], count=1, seconds=2)
                assert [p.src for p in found] == [peer.node.home_address]

        for peer in peers:
            up(peer, 5)
            down(peer, 5)
        for _ in range(2):
            border.gateway.kill()
            border.start_gateway(nodes=settings)
            ready, _ = border.gateway.wait_line(r"^roamgate: ready")
            border.quiet()
            for peer in peers:
                up(peer, 1)
                down(peer, 1)
            assert time.time() - ready < BACK_S
            before = border.drops()["replay"]
            refused(border, *(packet for peer in peers for packet in recorded[peer]))
            count = sum(len(packets) for packets in recorded.values())
            assert border.drops()["replay"] == before + count
            for peer in peers:
                up(peer, 5)
                down(peer, 5)
        for numbers in sent.values():
            assert len({number for number, _ in numbers}) == len(numbers)
            assert len({iv for _, iv in numbers}) == len(numbers)
