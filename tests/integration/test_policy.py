# SPDX-License-Identifier: BSD-3-Clause
"""Who may send what through which SA: scapy with SAs that take ESP from given sources alone, and
the ordered rules of the configuration's policy, on the running gateway.
"""
import ipaddress

import pytest
from lab import LabError
from scapy.layers.inet import IP, TCP, UDP
from test_scapy_peer import Counted, Peer, refused, uplink
from world import CORRESPONDENT, HOME_AGENT, Array, Border, Node, libconfig

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


# --- rules ---------------------------------------------------------------------------------------

CARE_OF = "198.51.100.21"


def rule(action, direction, source="any", destination="any", **more):
    lists = {k: v if isinstance(v, str) else Array(v) for k, v in more.items()}
    ends = {"source": source, "destination": destination}
    ends = {k: v if isinstance(v, str) else Array(v) for k, v in ends.items()}
    return {"action": action, "direction": direction} | ends | lists


def udp_to(dport):
    return {"protocol": "udp", "destination_ports": dport}


def tcp(dport):
    return {"protocol": "tcp", "destination_ports": dport}


@pytest.fixture(scope="module")
def guarded(build):
    with Border(build) as border:
        node = border.nodes[0]
        border.settings = [node.gateway_settings(border.lab, CARE_OF)]
        border.start_gateway(nodes=border.settings)
        border.peer = Peer(border, node, CARE_OF)
        yield border


def put_in_force(border, rules):
    """By a reload; the answer."""
    settings = border.gateway_settings(border.settings) | {"policy": rules}
    border.lab.write("roamgate.conf", libconfig(settings))
    return border.roamctl("roamgate", "reload")


def hits(border):
    rows = border.roamctl("roamgate", "show", "policy")["rows"]
    return [row["hits"] for row in rows[:-2]], (rows[-2]["hits"], rows[-1]["hits"])


def inner(border, dport, flags=0, proto=TCP, source=None, fragment=0):
    header = IP(src=source or border.peer.node.home_address, dst=CORRESPONDENT, ttl=64)
    header.frag, header.flags = fragment, flags
    return header / proto(sport=1111, dport=dport) / (b"x" * 32)


def reverse_tunnelled(border, dport):
    return IP(src=CARE_OF, dst=HOME_AGENT, ttl=64) / inner(border, dport)


def for_node(border, dport, proto=TCP):
    datagram = IP(src=CORRESPONDENT, dst=border.peer.node.home_address, ttl=63)
    datagram = datagram / proto(sport=2222, dport=dport) / b"x"
    return bytes(IP(src=HOME_AGENT, dst=CARE_OF, ttl=64, proto=4) / datagram)


def test_order(guarded):
    """The first that matches; of a tunnel, what is inside; hits, audit and counters to the packet."""
    peer = guarded.peer
    put_in_force(guarded, [
        rule("protect", "in", destination=CORRESPONDENT, **tcp(["25", "80-90"])),
        rule("discard", "in", source=[peer.node.home_address, "2001:db8::/32"], **tcp("25-100")),
        rule("discard", "in", protocol="udp"),
        rule("discard", "out", destination=peer.node.home_address, **tcp("22")),
    ])  # fmt: skip
    guarded.quiet()
    good = [inner(guarded, p) for p in (25, 80, 90, 101)] + [reverse_tunnelled(guarded, 85)]
    bad = [inner(guarded, p) for p in (26, 79, 91, 100)] + [reverse_tunnelled(guarded, 99)]
    bad += [inner(guarded, 25, proto=UDP)]
    with Counted(guarded, policy=len(bad)):
        packets = uplink(guarded, *[peer.seal(p) for p in bad + good], count=len(good))
        assert len(packets) == len(good)
    assert hits(guarded) == ([4, 5, 1, 0], (0, 1))
    with Counted(guarded, policy=2):
        for dport, proto in ((22, TCP), (23, TCP), (22, UDP), (22, TCP)):
            guarded.send_inside(for_node(guarded, dport, proto))
        assert len(guarded.seen_outside(count=2)) == 2
    assert hits(guarded) == ([4, 5, 1, 2], (2, 1))
    events = guarded.roamctl("roamgate", "show", "audit")["rows"]
    events = [e for e in events if e["event"] == "policy"]
    assert [e["direction"] for e in events] == ["in"] * len(bad) + ["out"] * 2
    assert events[0]["inner_source"] == peer.node.home_address
    assert events[0]["inner_destination"] == CORRESPONDENT
    assert events[0]["spi"] == hex(peer.node.spi_up)
    text = guarded.roamctl_text("roamgate", "show", "policy")
    wanted = f"2 discard in 5 [\"{peer.node.home_address}/32\",\"2001:db8::/32\"] any tcp any 25-100"
    assert wanted in [" ".join(line.split()) for line in text.splitlines()]


def test_fragments(guarded):
    """A fragment without ports is matched by a rule for any ports, and by no other."""
    peer = guarded.peer
    put_in_force(guarded, [rule("discard", "in", **tcp("0-65535")), rule("discard", "in", protocol="udp")])
    guarded.quiet()
    first, later = [inner(guarded, 80, "MF"), inner(guarded, 80, "MF", fragment=4)]
    with Counted(guarded, policy=3):
        datagrams = [first, later, inner(guarded, 80, fragment=4)]
        datagrams += [inner(guarded, 80, "MF", UDP), inner(guarded, 80, 0, UDP, fragment=9)]
        packets = uplink(guarded, *[peer.seal(p) for p in datagrams], count=2)
        assert [p.raw[6:8] for p in packets] == [b"\x20\x04", b"\x00\x04"]
    assert hits(guarded) == ([1, 2], (0, 2))


def test_opaque(guarded):
    """Whole packets to one port and their fragments, and nothing else, in either direction."""
    peer, home = guarded.peer, guarded.peer.node.home_address
    rules = []
    for way in ("in", "out"):
        rules += [rule("protect", way, **udp_to("53")), rule("protect", way, **udp_to("opaque"))]
        rules += [rule("discard", way, protocol="udp")]
    put_in_force(guarded, rules)
    guarded.quiet()
    pieces = [inner(guarded, 53, "MF", UDP), inner(guarded, 53, 0, UDP, fragment=5), inner(guarded, 54, "MF", UDP)]
    with Counted(guarded, policy=1):
        assert len(uplink(guarded, *[peer.seal(p) for p in pieces], count=2)) == 2
    with Counted(guarded, policy=1):
        for p in pieces:
            p.src, p.dst = CORRESPONDENT, home
            guarded.send_inside(bytes(IP(src=HOME_AGENT, dst=CARE_OF, ttl=64, proto=4) / p))
        assert len(guarded.seen_outside(count=2)) == 2
    assert hits(guarded) == ([1, 1, 1] * 2, (0, 0))
    shown = guarded.roamctl("roamgate", "show", "policy")["rows"][1]
    assert (shown["source_ports"], shown["destination_ports"]) == ("any", "opaque")


def test_reload(guarded):
    """Hits go on if the rules stay; a reload that fails changes nothing; rules can go."""
    peer = guarded.peer
    rules = [rule("discard", "in", **tcp("80"))]
    assert put_in_force(guarded, rules)["rules"] == 1
    with Counted(guarded, policy=1):
        refused(guarded, peer.seal(inner(guarded, 80)))
    assert put_in_force(guarded, rules)["rules"] == 1
    assert hits(guarded) == ([1], (0, 0))
    for wrong in (rule("discard", "in", **tcp("90-80")), rule("discard", "up"), {"action": "discard"}):
        with pytest.raises(LabError, match="--check"):
            put_in_force(guarded, [wrong])
    with Counted(guarded, policy=1):
        refused(guarded, peer.seal(inner(guarded, 80)))
    assert hits(guarded) == ([2], (0, 0))
    put_in_force(guarded, [])
    assert guarded.roamctl("roamgate", "show", "policy")["rows"] == []
    with Counted(guarded):
        assert len(uplink(guarded, peer.seal(inner(guarded, 80)), count=1)) == 1


def test_reload_under_load(guarded):
    """Tables come and go while packets pass: each is judged by one of them, none is lost."""
    peer = guarded.peer
    guarded.quiet()
    with Counted(guarded):
        for turn in range(20):
            put_in_force(guarded, [rule("discard", "in", **tcp(str(9000 + turn)))] * (turn % 3))
            datagrams = [peer.seal(inner(guarded, 80)) for _ in range(5)]
            assert len(uplink(guarded, *datagrams, count=5)) == 5


# --- in clear ------------------------------------------------------------------------------------

OUTSIDER, OUTSIDERS = "203.0.113.99", "203.0.113.96/28"
CLEAR = [
    rule("discard", "out", CORRESPONDENT, OUTSIDERS, **tcp("25")),
    rule("bypass", "out", CORRESPONDENT, OUTSIDERS),
    rule("bypass", "in", OUTSIDERS, [CORRESPONDENT, "10.2.0.6"]),
]


@pytest.fixture(scope="module")
def opened(build):
    """With rules that bypass, for hosts that are no nodes."""
    with Border(build) as border:
        node = border.nodes[0]
        border.settings = [node.gateway_settings(border.lab, CARE_OF)]
        border.clear = {"forbidden_coas": Array([OUTSIDERS]), "policy": CLEAR}
        border.start_gateway(border.clear, border.settings)
        border.peer = Peer(border, node, CARE_OF)
        yield border


def write(border, changes, nodes=None):
    settings = border.gateway_settings(border.settings if nodes is None else nodes) | changes
    border.lab.write("roamgate.conf", libconfig(settings))


def clear_ways(border, *datagrams):
    """Sent from either side; what comes out in clear outside, and inside."""
    border.quiet()
    for datagram in datagrams:
        (border.send_inside if datagram.src.startswith("10.") else border.send_outside)(bytes(datagram))
    inside = [p for p in border.seen_inside(0.2)]
    return border.clear_outside(0.1), inside


def udp(src, dst, sport=1000, dport=53, **fields):
    return IP(src=src, dst=dst, ttl=64, **fields) / UDP(sport=sport, dport=dport) / b"x"


def test_bypass(opened):
    """Both directions, to the byte but for the TTL; hits; the rule before it; other hosts not."""
    there, back = udp(CORRESPONDENT, OUTSIDER), udp(OUTSIDER, CORRESPONDENT, 53, 1000)
    with Counted(opened, no_sa_out=2, not_for_us=2):
        outside, inside = clear_ways(
            opened, there, back,
            IP(src=CORRESPONDENT, dst=OUTSIDER) / TCP(dport=25), udp(CORRESPONDENT, "203.0.113.112"),
            udp("203.0.113.95", CORRESPONDENT), udp(OUTSIDER, "10.2.0.7"),
        )  # fmt: skip
    for sent, seen in ((there, outside), (back, inside)):
        assert len(seen) == 1
        sent.ttl -= 1
        assert seen[0].raw == bytes(sent)
    assert hits(opened)[0] == [0, 1, 1]
    shown = opened.roamctl("roamgate", "show", "policy")["rows"]
    assert [row["action"] for row in shown[:3]] == ["discard", "bypass", "bypass"]


def test_never_bypassed(opened):
    """Tunnels, registrations, spoofed addresses of nodes and of the gateway, in clear."""
    home = opened.peer.node.home_address
    tunnel = IP(src=CORRESPONDENT, dst=OUTSIDER, proto=4) / udp(CORRESPONDENT, home)
    with Counted(opened, no_sa_out=4, not_for_us=6):
        assert clear_ways(
            opened, tunnel, udp(CORRESPONDENT, OUTSIDER, 434, 434), udp(home, OUTSIDER), udp(HOME_AGENT, OUTSIDER),
            IP(src=OUTSIDER, dst=CORRESPONDENT, proto=4) / udp(home, CORRESPONDENT),
            udp(OUTSIDER, CORRESPONDENT, 434, 434), udp(OUTSIDER, HOME_AGENT, 434, 434), udp(OUTSIDER, home),
            udp(CARE_OF, CORRESPONDENT), udp("203.0.113.200", CORRESPONDENT),
        ) == ([], [])  # fmt: skip
    # What comes by an SA is judged as such, whatever it says it comes from.
    with Counted(opened, inner_source=1):
        refused(opened, opened.peer.seal(inner(opened, 80, source=OUTSIDER)))


def test_bypass_and_nodes(opened):
    """No node can be where packets go in clear: not by its file, the socket, a reload, a restart."""
    wrong = opened.nodes[0].gateway_settings(opened.lab, OUTSIDER)
    write(opened, opened.clear, [wrong])
    with pytest.raises(LabError, match="--check"):
        opened.roamctl("roamgate", "reload")
    with pytest.raises(LabError, match="care_of"):
        opened.roamctl("roamgate", "node", "add", "late", "home_address=10.1.0.99", "home_agent=ha", f"care_of={OUTSIDER}")
    # More is forbidden only after a restart, so until then more cannot be bypassed.
    wide = rule("bypass", "out", CORRESPONDENT, "198.51.100.0/28")
    write(opened, {"forbidden_coas": Array([OUTSIDERS, "198.51.100.0/28"]), "policy": CLEAR + [wide]})
    with pytest.raises(LabError, match="next start"):
        opened.roamctl("roamgate", "reload")
    assert hits(opened)[0] == [0, 1, 1]
    # The node goes: what was tunnelled or addressed to it stays in here.
    other = Node(7)
    other.write_keys(opened.lab)
    write(opened, opened.clear, [other.gateway_settings(opened.lab)])
    assert opened.roamctl("roamgate", "reload")["removed"] == 1
    home = opened.peer.node.home_address
    with Counted(opened, no_sa_out=3):
        opened.send_inside(for_node(opened, 22))
        assert clear_ways(opened, udp(CORRESPONDENT, home), udp(CORRESPONDENT, CARE_OF)) == ([], [])
    write(opened, opened.clear)
    assert opened.roamctl("roamgate", "reload")["added"] == 1


def test_bypass_comes_and_goes(opened):
    """Under a node's traffic: by its SA or not at all, whatever is reloaded; and after kill -9."""
    peer = opened.peer
    for turn in range(10):
        write(opened, opened.clear | {"policy": CLEAR[: turn % 4]})
        opened.roamctl("roamgate", "reload")
        opened.quiet()
        opened.send_inside(for_node(opened, 23))
        opened.send_inside(bytes(udp(CORRESPONDENT, CARE_OF)))
        opened.send_inside(bytes(udp(CORRESPONDENT, OUTSIDER)))
        assert len(opened.seen_outside(count=2)) == 2
        opened.clear_outside(0.1)  # what left behind those two
        opened.send_inside(bytes(udp(CORRESPONDENT, OUTSIDER)))
        assert len(opened.clear_outside(0.1)) == (turn % 4 >= 2)
    opened.gateway.kill()
    opened.start_gateway_again()
    outside, inside = clear_ways(opened, udp(CORRESPONDENT, OUTSIDER), udp(OUTSIDER, CORRESPONDENT))
    assert (len(outside), len(inside)) == (1, 1)
