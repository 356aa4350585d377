# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of header fields and of what is not data, and that every packet is counted once.

ECN by RFC 6040, DSCP as configured, options of IPv4 by RFC 7126, dummy packets and padding against traffic analysis by
RFC 4303 sections 2.6 and 2.7; scapy is the other end of ESP.
"""
import os
import time

import pcap
import pytest
from lab import wait_until
from scapy.layers.inet import ICMP, IP, IPOption, UDP
from test_scapy_peer import CARE_OF, ELSEWHERE, Counted, Peer, refused, tunnelled, uplink
from world import CORRESPONDENT, INSIDE, OUTSIDE, Array, Border, Node

NOT_ECT, ECT1, ECT0, CE = range(4)
DSCP = 0x2E << 2  # expedited forwarding


@pytest.fixture(scope="module")
def border(build):
    with Border(build, [Node(1)]) as border:
        border.start_gateway(nodes=[border.nodes[0].gateway_settings(border.lab, CARE_OF)])
        border.peer = Peer(border, border.nodes[0], CARE_OF)
        yield border


@pytest.fixture
def peer(border):
    border.quiet()
    return border.peer


def sealed(peer, inner, tos=0, next_header=4):
    """By python3-cryptography: any plaintext, any TOS byte outside."""
    peer.sequence += 1
    payload = peer.node.up.seal(inner, peer.sequence, os.urandom(8), next_header=next_header)
    return pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, payload, tos=tos)


# --- ECN -----------------------------------------------------------------------------------------

# RFC 6040 figure 4: {(inner, outer): what leaves}; None: dropped
DECAPSULATED = {
    (NOT_ECT, NOT_ECT): NOT_ECT, (NOT_ECT, ECT0): NOT_ECT,
    (NOT_ECT, ECT1): NOT_ECT, (NOT_ECT, CE): None,
    (ECT0, NOT_ECT): ECT0, (ECT0, ECT0): ECT0, (ECT0, ECT1): ECT1, (ECT0, CE): CE,
    (ECT1, NOT_ECT): ECT1, (ECT1, ECT0): ECT1, (ECT1, ECT1): ECT1, (ECT1, CE): CE,
    (CE, NOT_ECT): CE, (CE, ECT0): CE, (CE, ECT1): CE, (CE, CE): CE,
}  # fmt: skip
# Those of them that the figure marks with "(!)" or "(!!!)"
UNUSUAL = {(NOT_ECT, ECT0), (NOT_ECT, ECT1), (ECT1, ECT0), (CE, ECT1)}


def unusual(border):
    return border.roamctl("roamgate", "show", "drops")["ecn_unusual"]


@pytest.mark.parametrize("inner, outer", DECAPSULATED)
def test_ecn_in(border, peer, inner, outer):
    """DSCP outside is nobody's business inside; what nobody sends so far passes, but is counted."""
    want = DECAPSULATED[inner, outer]
    before = unusual(border)
    datagram = sealed(peer, bytes(peer.data(tos=DSCP | inner)), tos=outer | 0x50)
    if want is None:
        with Counted(border, ecn=1):
            refused(border, datagram)
        assert unusual(border) == before
        return
    with Counted(border):
        (packet,) = uplink(border, datagram, count=1)
    assert packet.raw == bytes(peer.data(tos=DSCP | want, ttl=63))
    assert unusual(border) == before + ((inner, outer) in UNUSUAL)


@pytest.mark.parametrize("ecn", [NOT_ECT, ECT1, ECT0, CE])
def test_ecn_out(border, peer, ecn):
    """RFC 6040 section 4.1, normal mode: copied."""
    datagram, _ = tunnelled(peer.node, peer.care_of)
    border.send_inside(rewritten(datagram, DSCP | ecn))
    (packet,) = border.seen_outside(count=1)
    assert packet.raw[1] == DSCP | ecn
    assert bytes(peer.open(packet))[1] == DSCP | ecn


def rewritten(datagram, tos):
    packet = IP(datagram)
    packet.tos = tos
    del packet.chksum
    return bytes(packet)


# --- DSCP ----------------------------------------------------------------------------------------

# {dscp_map: {inside: outside}}
DSCP_MAPS = {
    "mapped": (Array(["46:10", "8-15:0", "0:1"]), {46: 10, 8: 0, 15: 0, 7: 7, 16: 16, 0: 1, 63: 63}),
    "set": (Array(["0-63:26"]), {0: 26, 46: 26, 63: 26}),
}


@pytest.mark.parametrize("kind", DSCP_MAPS)
def test_dscp_rules(build, kind):
    """To the node by the map, ECN as it is; from it what is inside stays, whatever is outside."""
    rules, outside_of = DSCP_MAPS[kind]
    with Border(build, [Node(1)]) as border:
        settings = border.nodes[0].gateway_settings(border.lab, CARE_OF)
        border.start_gateway({"outer_header": {"dscp_map": rules}}, [settings])
        peer = Peer(border, border.nodes[0], CARE_OF)
        datagram, _ = tunnelled(peer.node, peer.care_of)
        for inside, outside in outside_of.items():
            border.send_inside(rewritten(datagram, inside << 2 | ECT1))
            (packet,) = border.seen_outside(count=1)
            assert packet.raw[1] == outside << 2 | ECT1, (inside, packet.raw[1])
            assert bytes(peer.open(packet))[1] == inside << 2 | ECT1
            datagram_up = sealed(peer, bytes(peer.data(tos=inside << 2 | ECT1)), outside << 2 | CE)
            (packet,) = uplink(border, datagram_up, count=1)
            assert packet.raw == bytes(peer.data(tos=inside << 2 | CE, ttl=63))


# --- options -------------------------------------------------------------------------------------

RECORD_ROUTE = b"\x07\x07\x04\0\0\0\0\0"
ROUTER_ALERT = b"\x94\x04\0\0"
LOOSE_SOURCE = b"\x83\x07\x04\x0a\x02\0\x05\0"
STRICT_SOURCE = b"\x89\x07\x04\x0a\x02\0\x05\0"


@pytest.mark.parametrize(
    "options", [RECORD_ROUTE, ROUTER_ALERT, b"\x01\x01\x01\x00", b"\x00" + LOOSE_SOURCE[:7]]
)
def test_options_pass(border, peer, options):
    """As they are, also what is behind the end of the list."""
    inner = peer.data(options=IPOption(options))
    with Counted(border):
        (packet,) = uplink(border, peer.seal(inner), count=1)
    assert packet.raw == bytes(peer.data(options=IPOption(options), ttl=63))


@pytest.mark.parametrize("options", [LOOSE_SOURCE, STRICT_SOURCE, b"\x01" + LOOSE_SOURCE[:7]])
def test_source_routes(border, peer, options):
    """RFC 7126 sections 4.3 and 4.4: inside, outside and from the inside."""
    with Counted(border, source_route=3):
        refused(border, peer.seal(peer.data(options=IPOption(options))))
        refused(border, bytes(IP(src=ELSEWHERE, dst=OUTSIDE, options=IPOption(options)) / ICMP()))
        border.send_inside(bytes(IP(src=CORRESPONDENT, dst=CARE_OF, options=IPOption(options))))
        assert border.seen_outside(0.1) == []


@pytest.mark.parametrize("options", [b"\x07\x00\x00\x00", b"\x07\x09\x04\0", b"\x01\x01\x01\x07"])
def test_malformed_options(border, peer, options):
    plain = bytes(peer.data())
    header = bytearray(b"\x46" + plain[1:20] + options)
    header[2:4] = (len(plain) + len(options)).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = pcap.checksum(header).to_bytes(2, "big")
    with Counted(border, bad_header=1):
        refused(border, sealed(peer, bytes(header) + plain[20:]))


# --- against traffic analysis --------------------------------------------------------------------


@pytest.mark.parametrize("surplus", [1, 4, 100, 1000])
def test_padding_behind_the_packet(border, peer, surplus):
    """RFC 4303 section 2.7: the inner packet ends where its own length says, whatever follows."""
    inner = bytes(peer.data(b"hello"))
    with Counted(border):
        (packet,) = uplink(border, sealed(peer, inner + os.urandom(surplus)), count=1)
    assert packet.raw == bytes(peer.data(b"hello", ttl=63))


@pytest.mark.parametrize("size", [0, 1, 2, 20, 1300])
def test_dummies(border, peer, size):
    """Section 2.6: thrown away whatever is in them, and no number of theirs is taken twice."""
    dummy = sealed(peer, os.urandom(size), next_header=59)
    with Counted(border, dummy=1, replay=1):
        refused(border, dummy, dummy)
    with Counted(border):
        assert len(uplink(border, peer.seal(peer.data()), count=1)) == 1


# --- sums ----------------------------------------------------------------------------------------


def sums(border):
    """{port: received - counted}, and sent - forwarded."""
    ports = {p["port"]: p for p in border.roamctl("roamgate", "show", "ports")["rows"]}
    drops = border.roamctl("roamgate", "show", "drops")["rows"]
    of = lambda direction: sum(r["count"] for r in drops if r["direction"] == direction)
    ok = sum(r["count"] for r in drops if r["reason"] == "ok")
    return (
        ports["outside"]["rx_packets"] - of("in"),
        ports["inside"]["rx_packets"] - of("out"),
        sum(p["tx_packets"] for p in ports.values()) - ok,
    )


def mixture(border, peer):
    """Good and bad of every kind; (from outside, from inside). Fragments from outside are put
    together by af_packet itself (PACKET_FANOUT_FLAG_DEFRAG): see reassembly_test.c."""
    good = peer.seal(peer.data())
    forged = bytearray(peer.seal(peer.data()))
    forged[-1] ^= 1
    outside = [
        good, good, bytes(forged),
        peer.seal(peer.data(), spi=0x7777), peer.seal(peer.data(ttl=1)),
        peer.seal(peer.data(src="10.2.0.5")), peer.seal(peer.data(dst="203.0.113.9")),
        peer.seal(peer.data(dst="10.2.0.77")),  # nobody there: waits for its neighbour
        sealed(peer, b"", next_header=59), sealed(peer, b"xyz"),
        sealed(peer, bytes(peer.data()), tos=CE), good[:-10],
        bytes(IP(src=ELSEWHERE, dst=OUTSIDE) / ICMP()),
        bytes(IP(src=ELSEWHERE, dst=CORRESPONDENT) / UDP()),
        bytes(IP(src=ELSEWHERE, dst=OUTSIDE) / UDP(sport=4500, dport=4500) / b"\xff"),
        bytes(IP(src=ELSEWHERE, dst=OUTSIDE) / UDP(sport=434, dport=434) / b"x"),
        b"\x45", b"\x60" + bytes(60),
    ]  # fmt: skip
    tunnel, _ = tunnelled(peer.node, CARE_OF)
    plain = IP(src=CORRESPONDENT, dst=CARE_OF, flags=0) / UDP() / (b"y" * 1460)
    firm = IP(src=CORRESPONDENT, dst=CARE_OF, flags="DF") / UDP() / (b"y" * 1460)
    inside = [
        tunnel, bytes(plain), bytes(firm), tunnelled(Node(9), CARE_OF)[0],
        tunnelled(peer.node, ELSEWHERE)[0], tunnelled(peer.node, CARE_OF, ttl=1)[0],
        bytes(IP(src=CORRESPONDENT, dst="203.0.113.77") / UDP()),
        bytes(IP(src="127.0.0.1", dst=CARE_OF) / UDP()), bytes(IP(src=CORRESPONDENT, dst=INSIDE) / ICMP()),
        b"\x45",
    ]  # fmt: skip
    return outside, inside


def test_every_packet_in_one_counter(border, peer):
    before = sums(border)
    outside, inside = mixture(border, peer)
    with_counters = border.drops()
    for _ in range(5):
        for datagram in outside:
            border.send_outside(datagram)
        for datagram in inside:
            border.send_inside(datagram)
    wanted = {
        "ok", "punted", "runt", "bad_icv", "replay", "no_sa_in", "ttl", "inner_source", "no_route",
        "dummy", "ecn", "fragmented", "too_big", "no_sa_out", "selector", "bad_address",
        "not_for_us", "keepalive", "registration",
    }  # fmt: skip

    def counted():
        return {k for k, v in border.drops().items() if v != with_counters.get(k, 0)}

    wait_until(lambda: not wanted - counted(), 3, "a packet of every kind")
    assert before == (0, 0, 0)
    wait_until(lambda: sums(border) == (0, 0, 0), 3, "sums that match")


# --- audit ---------------------------------------------------------------------------------------


def audited(border, after=0):
    rows = border.roamctl("roamgate", "show", "audit", f"from={after}")["rows"]
    assert all(row["number"] > after for row in rows)
    return rows, max([row["number"] for row in rows], default=after)


def test_audit(border, peer):
    """RFC 4303 section 3.4: SPI, addresses, sequence number and time of what was thrown away."""
    time.sleep(1)  # a new second of the worker's limit
    _, last = audited(border)
    forged = bytearray(peer.seal(peer.data()))
    forged[-1] ^= 1
    good = peer.seal(peer.data())
    numbers = peer.sequence - 1, peer.sequence
    refused(border, bytes(forged))
    uplink(border, good, good, count=1)
    refused(border, peer.seal(peer.data(), spi=0x7777))
    refused(border, peer.seal(peer.data(src="10.2.0.5"), source=ELSEWHERE))
    border.send_inside(bytes(IP(src=CORRESPONDENT, dst="203.0.113.77") / UDP()))
    rows = wait_until(lambda: len(audited(border, last)[0]) == 5 and audited(border, last)[0], 3,
                      "five events")  # fmt: skip
    up = hex(peer.node.spi_up)
    got = [
        [row[k] for k in ("event", "direction", "spi", "source", "destination", "sequence")]
        for row in rows
    ]
    assert got == [
        ["bad_icv", "in", up, CARE_OF, OUTSIDE, numbers[0]],
        ["replay", "in", up, CARE_OF, OUTSIDE, numbers[1]],
        ["no_sa_in", "in", "0x7777", CARE_OF, OUTSIDE, numbers[1] + 1],
        ["inner_source", "in", up, ELSEWHERE, OUTSIDE, numbers[1] + 2],
        ["no_sa_out", "out", "0x0", CORRESPONDENT, "203.0.113.77", 0],
    ]
    assert (rows[3]["inner_source"], rows[3]["inner_destination"]) == ("10.2.0.5", CORRESPONDENT)
    assert all(abs(row["real_ns"] / 1e9 - time.time()) < 10 for row in rows)


def test_audit_of_a_flood(border, peer):
    """Records and lines are few however many packets there are; the counter has them all."""
    _, last = audited(border)
    begun = time.monotonic()
    bad = [peer.seal(peer.data(), spi=0x7000 + i) for i in range(400)]
    with Counted(border, no_sa_in=400):
        refused(border, *bad)
    rows, _ = audited(border, last)
    assert 1 <= len(rows) <= 16 * (2 + time.monotonic() - begun) and len(rows) < 200
    line = r"audit: no_sa_in: (\d+) more packets"
    border.gateway.wait_line(line, 15)
