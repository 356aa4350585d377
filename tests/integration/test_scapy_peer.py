# SPDX-License-Identifier: BSD-3-Clause
"""An independent ESP peer: scapy encrypts to and decrypts from the running gateway.

Once over af_packet on veth, and again over net_vhost with virtio-user on the other side, both
without hugepages. What scapy cannot get wrong on purpose (padding) is sealed with
python3-cryptography.
"""
import struct
import time

import pcap
import pytest
import world
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation
from world import CORRESPONDENT, HOME_AGENT, OUTSIDE, Border, Node

CARE_OF = "198.51.100.7"
ELSEWHERE = "203.0.113.99"
WINDOW, WIDEST = 1024, 4096


class Peer:
    """One mobile node as scapy sees it; sequence numbers go up over all tests of a gateway."""

    def __init__(self, border, node, care_of):
        self.border, self.node, self.care_of = border, node, care_of
        self.sequence = 0

    def association(self, spi, key, outer, high=0):
        esn = {"esn_en": True, "esn": high} if self.node.esn else {}
        return SecurityAssociation(
            ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key, tunnel_header=outer, **esn
        )

    def seal(self, inner, sequence=None, source=None, spi=None):
        """A whole ESP datagram to the gateway, by scapy."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        self.sequence = max(self.sequence, sequence)
        outer = IP(src=source or self.care_of, dst=OUTSIDE)
        if sequence & 0xFFFFFFFF == 0:  # scapy takes 0 for "none given"
            iv = struct.pack(">Q", sequence)
            payload = self.node.up.seal(bytes(inner), sequence, iv, high=sequence >> 32)
            return pcap.ip(outer.src, OUTSIDE, pcap.ESP, payload)
        sa = self.association(spi or self.node.spi_up, self.node.key_up, outer, sequence >> 32)
        return bytes(sa.encrypt(inner, seq_num=sequence & 0xFFFFFFFF))

    def open(self, packet, high=0):
        """What scapy finds in an ESP datagram from the gateway."""
        outer = IP(src=OUTSIDE, dst=packet.dst)
        sa = self.association(self.node.spi_down, self.node.key_down, outer, high)
        return sa.decrypt(IP(packet.raw))

    def data(self, text=b"hello", **fields):
        fields = {"src": self.node.home_address, "dst": CORRESPONDENT, "ttl": 64} | fields
        return IP(**fields) / UDP(sport=1111, dport=2222) / text


def tunnelled(node, care_of, payload=b"hello", source=HOME_AGENT, ttl=64, inner_ttl=63):
    """What the home agent sends for a node: IP-in-IP to its care-of address."""
    inner = IP(src=CORRESPONDENT, dst=node.home_address, ttl=inner_ttl)
    inner = inner / UDP(sport=2222, dport=1111) / payload
    return bytes(IP(src=source, dst=care_of, ttl=ttl, proto=4) / inner), bytes(inner)


@pytest.fixture(scope="module", params=["af_packet", "virtio"])
def border(request, build):
    nodes = [Node(1), Node(2, "aes256gcm16"), Node(3, esn=False), Node(4)]
    with Border(build, nodes, virtio=request.param == "virtio") as border:
        care_of = [CARE_OF, "198.51.100.8", "198.51.100.9", "198.51.100.10"]
        settings = [n.gateway_settings(border.lab, c) for n, c in zip(nodes, care_of)]
        settings[3]["inbound"] |= {"source": care_of[3], "replay_window": WIDEST}
        border.start_gateway(nodes=settings)
        border.peers = [Peer(border, n, c) for n, c in zip(nodes, care_of)]
        yield border


@pytest.fixture
def peer(border):
    border.quiet()
    return border.peers[0]


class Counted:
    """Drop counters of a piece of a test: with Counted(border, verdict=how many)."""

    def __init__(self, border, **expected):
        self.border, self.expected = border, expected

    def __enter__(self):
        self.before = self.border.drops()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        end = time.monotonic() + 1
        while (changed := self.changed()) != self.expected and time.monotonic() < end:
            time.sleep(0.02)
        assert changed == self.expected

    def changed(self):
        return {
            k: v - self.before.get(k, 0)
            for k, v in self.border.drops().items()
            if v != self.before.get(k, 0) and k not in ("ok", "punted")
        }


def uplink(border, *datagrams, seconds=0.3, count=None):
    for datagram in datagrams:
        border.send_outside(datagram)
    return border.seen_inside(seconds, count)


def refused(border, *datagrams):
    """Nothing of it is forwarded."""
    assert uplink(border, *datagrams, seconds=0.1) == []


# --- good ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 63, 500, 1372])
def test_uplink(border, number, size):
    border.quiet()
    peer = border.peers[number]
    text = (bytes(range(256)) * 6)[:size]
    with Counted(border):
        (packet,) = uplink(border, peer.seal(peer.data(text)), count=1)
    # TTL lower by one, with a right checksum, all else untouched
    assert packet.raw == bytes(peer.data(text, ttl=63))


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 63, 500, 1370])
def test_downlink(border, number, size):
    border.quiet()
    peer = border.peers[number]
    datagram, inner = tunnelled(peer.node, peer.care_of, (bytes(range(256)) * 6)[:size])
    with Counted(border):
        border.send_inside(datagram)
        (packet,) = border.seen_outside(count=1)
    assert (packet.src, packet.dst) == (OUTSIDE, peer.care_of)
    assert pcap.checksum(packet.raw[:20]) == 0
    plain = peer.open(packet)
    assert (plain.src, plain.dst, plain.ttl) == (HOME_AGENT, peer.care_of, 63)
    assert pcap.checksum(bytes(plain)[:20]) == 0
    assert bytes(plain)[20:] == inner
    assert peer.node.down.open(packet) == bytes(plain)  # and python3-cryptography agrees


def test_uplink_from_any_source(border, peer):
    """The inbound SA has a wildcard source."""
    with Counted(border):
        assert len(uplink(border, peer.seal(peer.data(), source=ELSEWHERE), count=1)) == 1


def test_uplink_from_the_given_source(border, peer):
    """An SA with a given source stands beside those with the wildcard."""
    given = border.peers[3]
    with Counted(border, no_sa_in=1):
        refused(border, given.seal(given.data(), source=ELSEWHERE))
    with Counted(border):
        assert len(uplink(border, given.seal(given.data()), count=1)) == 1


def test_burst_out_of_order(border, peer):
    datagrams = [peer.seal(peer.data(b"%03d" % i)) for i in range(100)]
    order = sorted(range(100), key=lambda i: (i // 20, -i))
    with Counted(border):
        packets = uplink(border, *[datagrams[i] for i in order], seconds=1, count=100)
    assert sorted(p.payload[8:] for p in packets) == [b"%03d" % i for i in range(100)]


def test_downlink_never_repeats(border, peer):
    datagram, _ = tunnelled(peer.node, peer.care_of)
    for _ in range(200):
        border.send_inside(datagram)
    packets = border.seen_outside(2, 200)
    assert len(packets) == 200
    sequences = [pcap.esp_spi_sequence(p)[1] for p in packets]
    assert len(set(sequences)) == 200 and sequences == sorted(sequences)
    assert len({p.payload[8:16] for p in packets}) == 200


# --- bad, from the outside -----------------------------------------------------------------------


def test_replayed(border, peer):
    datagram = peer.seal(peer.data())
    assert len(uplink(border, datagram, count=1)) == 1
    with Counted(border, replay=3):
        refused(border, datagram, datagram, datagram)


@pytest.mark.parametrize("number, window", [(0, WINDOW), (2, WINDOW), (3, WIDEST)])
def test_left_of_the_window(border, number, window):
    border.quiet()
    peer = border.peers[number]
    old = peer.seal(peer.data(b"old"))
    edge = peer.seal(peer.data(b"edge"))
    newest = peer.seal(peer.data(), sequence=peer.sequence + window - 1)
    assert len(uplink(border, newest, count=1)) == 1
    # With ESN such a number means the next 2^32 of them (RFC 4303 A2.2), so the tag is wrong.
    with Counted(border, **{"bad_icv" if peer.node.esn else "replay": 1}):
        assert len(uplink(border, old, edge, seconds=0.2)) == 1


@pytest.mark.parametrize("at", [-1, -16, -17, 36, 28, 32, 25])
def test_corrupted(border, peer, at):
    """Tag, ciphertext, IV and sequence number: one wrong bit each."""
    datagram = bytearray(peer.seal(peer.data()))
    datagram[at] ^= 1
    with Counted(border, bad_icv=1):
        refused(border, bytes(datagram))


def test_corrupted_one_does_not_move_the_window(border, peer):
    forged = bytearray(peer.seal(peer.data()))
    struct.pack_into(">I", forged, 24, peer.sequence + 100000)
    with Counted(border, bad_icv=1):
        refused(border, bytes(forged))
    assert len(uplink(border, peer.seal(peer.data()), count=1)) == 1


def test_wrong_spi(border, peer):
    with Counted(border, no_sa_in=1):
        refused(border, peer.seal(peer.data(), spi=0x7777))
    other = border.peers[1]
    with Counted(border, bad_icv=1):
        refused(border, peer.seal(peer.data(), spi=border.peers[2].node.spi_up))
    assert len(uplink(border, other.seal(other.data()), count=1)) == 1


def shortened(datagram, length):
    """The first bytes of a datagram, with a header that says so."""
    return pcap.ip(
        pcap.text(datagram[12:16]), OUTSIDE, pcap.ESP, datagram[20 : 20 + length], fragment=0
    )


def test_truncated(border, peer):
    datagram = peer.seal(peer.data(b"x" * 64))
    whole = len(datagram) - 20
    smallest = 8 + 8 + 4 + 16  # header, IV, one word with pad length and next header, tag
    with Counted(border, bad_esp=smallest - 8):
        refused(border, *[shortened(datagram, n) for n in range(8, smallest)])
    lengths = range(smallest, whole)
    aligned = sum(n % 4 == 0 for n in lengths)
    with Counted(border, bad_icv=aligned, bad_esp=len(lengths) - aligned):
        refused(border, *[shortened(datagram, n) for n in lengths])
    assert len(uplink(border, datagram, count=1)) == 1


def test_frame_shorter_than_its_header_says(border, peer):
    datagram = peer.seal(peer.data(b"x" * 200))
    with Counted(border, runt=1):
        refused(border, datagram[:-50])


@pytest.mark.parametrize(
    "padding, verdict",
    [
        (b"\x00\x00\x00\x00\x00\x00", "bad_padding"),
        (b"\x01\x02\x03\x04\x05\x07", "bad_padding"),
        (b"\x06\x05\x04\x03\x02\x01", "bad_padding"),
        (b"\x01\x02\x03\x04\x05\x06", None),
    ],
)
def test_padding_bytes(border, peer, padding, verdict):
    """RFC 4303 section 2.4: 1, 2, 3, ... and the receiver looks."""
    node, inner = peer.node, bytes(peer.data(b"1234"))  # 32 bytes: 6 bytes fill up a word
    peer.sequence += 1
    payload = node.up.seal(inner, peer.sequence, b"padding0", padding=padding)
    datagram = pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, payload)
    if verdict:
        with Counted(border, bad_padding=1):
            refused(border, datagram)
    else:
        assert len(uplink(border, datagram, count=1)) == 1


def test_pad_length_beyond_the_packet(border, peer):
    peer.sequence += 1
    gcm, salt = peer.node.up.gcm, peer.node.up.salt
    low = struct.pack(">II", peer.node.spi_up, peer.sequence)
    aad = low[:4] + bytes(4) + low[4:]
    sealed = gcm.encrypt(salt + b"padding1", bytes(range(1, 31)) + bytes((200, 4)), aad)
    with Counted(border, bad_padding=1):
        refused(border, pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, low + b"padding1" + sealed))


@pytest.mark.parametrize(
    "next_header, verdict", [(59, "dummy"), (6, "bad_padding"), (41, "bad_header")]
)
def test_next_header(border, peer, next_header, verdict):
    peer.sequence += 1
    payload = peer.node.up.seal(
        bytes(peer.data(b"longer than any header" * 2)), peer.sequence, b"header00", next_header=next_header
    )
    with Counted(border, **{verdict: 1}):
        refused(border, pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, payload))


@pytest.mark.parametrize(
    "source", ["10.1.0.11", "10.2.0.5", "10.1.0.1", "203.0.113.50", "198.51.100.8"]
)
def test_wrong_inner_source(border, peer, source):
    with Counted(border, inner_source=1):
        refused(border, peer.seal(peer.data(src=source)))


@pytest.mark.parametrize("source", ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"])
def test_impossible_inner_source(border, peer, source):
    before = border.drops()
    refused(border, peer.seal(peer.data(src=source)))
    after = border.drops()
    changed = {k for k in after if after[k] != before.get(k, 0)} - {"ok", "punted"}
    assert changed and changed <= {"inner_source", "bad_address"}


def test_inner_ttl_used_up(border, peer):
    with Counted(border, ttl=1):
        refused(border, peer.seal(peer.data(ttl=1)))


def test_registration_for_another_node(border, peer):
    """UDP 434 to the home agent passes only if it is about this node."""

    def request(home_address, care_of, source=None, destination=HOME_AGENT):
        body = struct.pack(">BBH", 1, 0, 600) + b"".join(
            pcap.socket.inet_aton(a) for a in (home_address, HOME_AGENT, care_of)
        )
        packet = IP(src=source or care_of, dst=destination) / UDP(sport=434, dport=434)
        return packet / (body + bytes(8))

    mine = peer.node.home_address
    with Counted(border, registration=3):
        refused(border, peer.seal(request("10.1.0.11", ELSEWHERE)))
        refused(border, peer.seal(request(mine, "203.0.113.98", source=ELSEWHERE)))
        refused(border, peer.seal(request(mine, ELSEWHERE, destination=CORRESPONDENT)))


def test_clear_packet_to_the_inside(border, peer):
    """From the outside nothing gets in but through an SA."""
    with Counted(border, not_for_us=2):
        refused(
            border,
            bytes(IP(src=ELSEWHERE, dst=CORRESPONDENT) / UDP(sport=1, dport=2) / b"x"),
            bytes(IP(src=CARE_OF, dst=HOME_AGENT) / UDP(sport=434, dport=434) / b"x"),
        )


# --- bad, from the inside ------------------------------------------------------------------------


def nothing_outside(border, datagram):
    border.send_inside(datagram)
    assert border.seen_outside(0.1) == []
    assert border.clear_outside(0.05) == []


def test_no_sa_for_the_home_address(border, peer):
    with Counted(border, no_sa_out=1):
        nothing_outside(border, tunnelled(Node(9), peer.care_of)[0])


def test_selector_is_the_care_of_address(border, peer):
    with Counted(border, selector=1):
        nothing_outside(border, tunnelled(peer.node, ELSEWHERE)[0])


def test_tunnelled_by_a_stranger(border, peer):
    """IP-in-IP counts only from a configured home agent; else it is private traffic without SA."""
    before = border.drops()
    nothing_outside(border, tunnelled(peer.node, ELSEWHERE, source=CORRESPONDENT)[0])
    after = border.drops()
    changed = {k for k in after if after[k] != before.get(k, 0)} - {"ok", "punted"}
    assert changed and changed <= {"no_sa_out", "selector", "bad_address"}


def test_private_traffic_is_never_in_clear(border, peer):
    with Counted(border, no_sa_out=2):
        data = UDP(sport=1, dport=2) / b"secret"
        nothing_outside(border, bytes(IP(src=CORRESPONDENT, dst="203.0.113.77") / data))
        nothing_outside(border, bytes(IP(src=CORRESPONDENT, dst="10.1.0.99") / data))


def test_outer_ttl_used_up(border, peer):
    with Counted(border, ttl=1):
        nothing_outside(border, tunnelled(peer.node, peer.care_of, ttl=1)[0])


def test_too_big_for_the_path(border, peer):
    inner = IP(src=CORRESPONDENT, dst=peer.node.home_address, flags="DF") / UDP() / bytes(1440)
    with Counted(border, too_big=1):
        nothing_outside(border, bytes(IP(src=HOME_AGENT, dst=peer.care_of, proto=4) / inner))


def test_gateway_answers_ping(border, peer):
    """Linux behind the mirror answers for the gateway itself, on both sides."""
    assert " 3 received" in border.lab.run("out", "ping", "-c3", "-i0.1", "-W1", OUTSIDE)
    assert " 3 received" in border.lab.run("in", "ping", "-c3", "-i0.1", "-W1", world.INSIDE)


# --- ESN: last, since it takes the sequence numbers along ---------------------------------------


def test_esn_roll_over(border, peer):
    """From 2^32 - 3 to 2^32 + 3; the high half is nowhere in the packet."""
    for step in (1 << 31) - 100, (1 << 32) - 500:
        assert len(uplink(border, peer.seal(peer.data(), sequence=step), count=1)) == 1
    late = peer.seal(peer.data(b"late"), sequence=(1 << 32) - 100)
    around = [peer.seal(peer.data(), sequence=(1 << 32) + n) for n in range(-3, 4)]
    with Counted(border):
        assert len(uplink(border, *around, seconds=0.5, count=7)) == 7
        assert [p.payload[8:] for p in uplink(border, late, count=1)] == [b"late"]
    with Counted(border, replay=8):
        refused(border, late, *around)
    wrong = peer.seal(peer.data(), sequence=(2 << 32) + 50)  # a high half too far
    with Counted(border, bad_icv=1):
        refused(border, wrong)
    peer.sequence = (1 << 32) + 50
    assert len(uplink(border, peer.seal(peer.data()), count=1)) == 1


def test_without_esn_the_sequence_ends(border):
    """RFC 4303 section 3.3.3: no ESN, no number beyond 2^32 - 1."""
    border.quiet()
    peer = border.peers[2]
    assert len(uplink(border, peer.seal(peer.data(), sequence=(1 << 32) - 1), count=1)) == 1
    peer.sequence = 0
    with Counted(border, replay=1):
        refused(border, peer.seal(peer.data(), sequence=5))
