# SPDX-License-Identifier: BSD-3-Clause
"""What the captures of a handover prove: the order of the messages, the losses, the figures.

Times are ns since 1970, all from one clock. The captures:
  outside  the gateway's public wire: ESP both ways
  inside   the gateway's private wire: SIU both ways
  corr     the correspondent's wire
  node     all interfaces of the node (cooked): the tunnel's inside and the home link
Sources: RFC 5944 sections 3.3 and 3.4, RFC 4303, siu/README.md.
"""
import bisect
import statistics
import struct
from dataclasses import dataclass, field

import pcap

MS = 1000000
AFTER_ACK = 1 * MS  # nothing goes to the former address later than this after the ACK
MIP_PORT, SIU_PORT = 434, 4340
RRQ, RRP = 1, 3
SMALL = 400  # bytes: larger ESP packets carry no registration and are not opened
BIN = 50 * MS  # of the goodput
TCP_BACK = 0.8  # of the goodput before
TCP_WINDOW = 50 * MS


@dataclass
class Move:
    """One movement of the node, as it was made."""

    place: str
    care_of: str  # "" at home
    former: str  # "" if the node was at home
    lost: int  # the old link went away
    new: int  # the new address is there


@dataclass
class Siu:
    at: int
    kind: str  # "update", "ack", ...
    to_gateway: bool
    care_of: str = ""
    generation: int = 0
    deregister: bool = False
    reply_only: bool = False
    good: bool = True  # ACK: the result is a good one


@dataclass
class Steps:
    """Of one move: when each step was seen on the wire (0: not seen), and what was wrong."""

    rrq: int = 0
    siu: int = 0
    swap: int = 0  # first packet to the new address leaves the gateway
    rrp: int = 0
    ack: int = 0
    last_old: int = 0  # last packet to the former address leaves the gateway
    faults: list = field(default_factory=list)


def registration(inner, kind):
    """(home address, CoA or "", code or lifetime, Identification) of an RRQ or RRP."""
    packet = pcap.parse_ip(inner)
    if not packet or packet.proto != pcap.UDP or len(packet.payload) < 8 + 20:
        return None
    ports = pcap.udp_ports(packet)
    body = packet.payload[8:]
    if kind == RRQ and ports[1] == MIP_PORT and body[0] == RRQ and len(body) >= 24:
        lifetime = struct.unpack_from(">H", body, 2)[0]
        return pcap.text(body[4:8]), pcap.text(body[12:16]), lifetime, body[16:24]
    if kind == RRP and ports[0] == MIP_PORT and body[0] == RRP:
        return pcap.text(body[4:8]), "", body[1], body[12:20]
    return None


class Outside:
    """The gateway's public wire, opened with the node's keys."""

    def __init__(self, path, gateway, up, down):
        self.rrq = []  # (time, outer source, CoA it says)
        self.rrp = []  # (time, outer destination, code)
        self.down = []  # (time, outer destination) of every packet to the node
        self.clear = []  # (time, source, destination) of what is neither ESP nor ICMP
        self.sequences = set()  # (SPI, sequence number) and IV: never twice
        self.repeated = []
        ivs = set()
        for packet in pcap.packets(path):
            if packet.proto != pcap.ESP:
                if packet.proto != pcap.ICMP:
                    self.clear.append((packet.at, packet.src, packet.dst))
                continue
            if packet.src == gateway:
                self.down.append((packet.at, packet.dst))
                number = pcap.esp_spi_sequence(packet)
                iv = (number[0], packet.payload[8:16])
                if number in self.sequences or iv in ivs:
                    self.repeated.append((packet.at, number))
                self.sequences.add(number)
                ivs.add(iv)
            if packet.length > SMALL:
                continue
            if packet.src == gateway:
                inner = down.open(packet)
                reply = inner and registration(inner, RRP)
                if reply:
                    self.rrp.append((packet.at, packet.dst, reply[2]))
            elif packet.dst == gateway:
                inner = up.open(packet)
                request = inner and registration(inner, RRQ)
                if request:
                    self.rrq.append((packet.at, packet.src, request[1]))


def first(items, begin, end=None):
    """The first tuple with begin <= time (< end), or None."""
    for item in items:
        if item[0] >= begin and (end is None or item[0] < end):
            return item
    return None


def check_away(move, end, outside, siu):
    """The source document's sequence for a move to a care-of address, from the captures alone."""
    steps = Steps()
    say = steps.faults.append
    rrq = first([r for r in outside.rrq if r[1] == move.care_of], move.new, end)
    if not rrq:
        say(f"no registration request in ESP from the new address {move.care_of}")
        return steps
    steps.rrq = rrq[0]
    if rrq[2] != move.care_of:
        say(f"the registration request names {rrq[2]}, not {move.care_of}")
    updates = [
        s for s in siu
        if s.kind == "update" and s.to_gateway and s.care_of == move.care_of
        and not s.deregister and not s.reply_only and move.new <= s.at < end
    ]  # fmt: skip
    if not updates:
        say(f"no SIU with the new address {move.care_of}")
        return steps
    steps.siu = updates[0].at
    if steps.siu < steps.rrq:
        say("the SIU came before the registration request")
    to_new = first([d for d in outside.down if d[1] == move.care_of], move.lost, end)
    if not to_new:
        say(f"nothing was sent to {move.care_of}")
        return steps
    steps.swap = to_new[0]
    if steps.swap < steps.siu:
        early = sum(
            1 for d in outside.down if d[1] == move.care_of and move.lost <= d[0] < steps.siu
        )
        say(f"{early} packets went to the new address before the SIU")
    for at, dst, _ in outside.rrp:
        if move.new <= at < end and dst != move.care_of:
            say(f"a registration reply went to {dst}")
    rrp = first([r for r in outside.rrp if r[1] == move.care_of and r[2] in (0, 1)], move.new, end)
    if not rrp:
        say(f"no accepting registration reply in ESP to {move.care_of}")
    else:
        steps.rrp = rrp[0]
        if steps.rrp < steps.siu:
            say("the registration reply came before the SIU")
    check_ack(move, end, updates[0].generation, outside, siu, steps)
    return steps


def check_ack(move, end, generation, outside, siu, steps):
    """The ACK came, and the former address gets nothing 1 ms later."""
    ack = [
        s for s in siu
        if s.kind == "ack" and not s.to_gateway and s.generation == generation and s.good
        and not s.reply_only
        and steps.siu <= s.at < end
    ]  # fmt: skip
    if not ack:
        steps.faults.append("no ACK for the SIU")
        return
    steps.ack = ack[0].at
    if move.former:
        old = [d[0] for d in outside.down if d[1] == move.former and move.lost <= d[0] < end]
        steps.last_old = old[-1] if old else 0
        late = [t for t in old if t > steps.ack + AFTER_ACK]
        if late:
            steps.faults.append(
                f"{len(late)} packets went to the former address {move.former} later than 1 ms "
                f"after the ACK, the last {(late[-1] - steps.ack) / MS:.1f} ms after it"
            )


def check_home(move, end, outside, siu):
    """Return home: the deregistration closes the path at the gateway."""
    steps = Steps()
    closing = [
        s for s in siu if s.kind == "update" and s.to_gateway and s.deregister
        and move.new <= s.at < end
    ]  # fmt: skip
    if not closing:
        steps.faults.append("no SIU that deregisters the node")
        return steps
    steps.siu = closing[0].at
    check_ack(move, end, closing[0].generation, outside, siu, steps)
    return steps


def check_moves(moves, end, outside, siu):
    """Steps of each move; the end of a move is the loss of the link it led to."""
    ends = [m.lost for m in moves[1:]] + [end]
    return [
        (check_away if move.care_of else check_home)(move, until, outside, siu)
        for move, until in zip(moves, ends)
    ]


# --- flows ---------------------------------------------------------------------------------------


class Flow:
    """One direction of the ping: when each was sent and when it came."""

    def __init__(self):
        self.sent = {}
        self.received = {}
        self.twice = 0

    def lost(self, begin, end):
        """Sent in [begin, end) and never received."""
        return sum(
            1 for key, at in self.sent.items() if begin <= at < end and key not in self.received
        )

    def reordered(self):
        """Arrivals that an earlier sent packet had not preceded."""
        sent = [self.sent[k] for k, _ in sorted(self.received.items(), key=lambda i: i[1])]
        late, newest = 0, 0
        for at in sent:
            late += at < newest
            newest = max(newest, at)
        return late

    def first_after(self, at):
        return min((t for t in self.received.values() if t >= at), default=0)

    def last_before(self, at):
        return max((t for t in self.received.values() if t < at), default=0)

    def delays(self, begin, end):
        """One-way delays in ns of what was sent in [begin, end)."""
        return [
            self.received[key] - at
            for key, at in self.sent.items()
            if begin <= at < end and key in self.received
        ]


class Echoes:
    """Numbers the echo requests of one sender: (identifier, round, sequence)."""

    def __init__(self):
        self.last = {}
        self.round = {}

    def key(self, payload):
        kind, _, _, identifier, sequence = struct.unpack_from(">BBHHH", payload)
        if kind != 8:
            return None
        turn = self.round.setdefault(identifier, 0)
        if sequence < 0x4000 and self.last.get(identifier, 0) > 0xC000:
            turn = self.round[identifier] = turn + 1
        elif sequence > 0xC000 and self.last.get(identifier, 0) < 0x4000 and turn > 0:
            return identifier, turn - 1, sequence  # a late one of the round before
        self.last[identifier] = sequence
        return identifier, turn, sequence


def read_flows(corr_path, node_path, correspondent, home_address, tunnel_and_home):
    """(down, up, acks): pings each way and [(time, bytes acknowledged)] of the bulk transfer.

    tunnel_and_home: interface numbers of the node where home-address traffic is seen once.
    """
    down, up, progress = Flow(), Flow(), []
    sent_down, sent_up, got_down, got_up = Echoes(), Echoes(), Echoes(), Echoes()

    def note(table, echoes, packet, flow=None):
        key = echoes.key(packet.payload)
        if key is None:
            return
        if key in table and flow:
            flow.twice += 1
        table.setdefault(key, packet.at)

    for packet in pcap.packets(corr_path):
        if packet.proto == pcap.ICMP and packet.src == correspondent:
            note(down.sent, sent_down, packet)
        elif packet.proto == pcap.ICMP and packet.src == home_address:
            note(up.received, got_up, packet, up)
    newest = None
    for packet in pcap.packets(node_path):
        if packet.interface not in tunnel_and_home:
            continue
        if packet.proto == pcap.ICMP and packet.src == correspondent and not packet.outgoing:
            note(down.received, got_down, packet, down)
        elif packet.proto == pcap.ICMP and packet.src == home_address and packet.outgoing:
            note(up.sent, sent_up, packet)
        elif packet.proto == pcap.TCP and packet.src == home_address and packet.outgoing:
            acked, flags = struct.unpack_from(">I", packet.payload, 8)[0], packet.payload[13]
            if not flags & 0x10:
                continue
            # The bulk connection is the one that gets ahead: a control connection hardly moves.
            port = packet.payload[:4]
            if newest is None:
                newest = {}
            before = newest.get(port)
            step = (acked - before) & 0xFFFFFFFF if before is not None else 0
            if before is None or 0 < step < 0x80000000:
                newest[port] = acked
                if step:
                    progress.append((packet.at, step))
    return down, up, progress


class Goodput:
    """Bytes that the receiver has acknowledged, over time."""

    def __init__(self, progress):
        self.times = [at for at, _ in progress]
        self.sums = [0]
        for _, step in progress:
            self.sums.append(self.sums[-1] + step)

    def between(self, begin, end):
        """bit/s"""
        if end <= begin:
            return 0.0
        low, high = bisect.bisect_left(self.times, begin), bisect.bisect_left(self.times, end)
        return (self.sums[high] - self.sums[low]) * 8e9 / (end - begin)

    def back(self, begin, level, end):
        """Start of the first window after begin with at least level bit/s, or 0."""
        at = begin
        while at + TCP_WINDOW <= end:
            if self.between(at, at + TCP_WINDOW) >= level:
                return at + TCP_WINDOW
            at += 10 * MS
        return 0

    def bins(self, begin, end):
        return [(t, self.between(t, t + BIN)) for t in range(begin, end, BIN)]


@dataclass
class Figures:
    """Of one move, ms unless named otherwise; None: does not apply."""

    unavoidable: float  # from the old link's loss to the new address
    gap: float  # from the new address to the first packet there
    round_trip: float
    lost_unavoidable: int = 0  # sent to a link that was gone, before there was a new one
    lost_handover: int = 0  # sent between the new address and the RRP
    lost_after: int = 0  # sent after the RRP
    lost_up: int = 0  # sent by the node after its request left, not come
    tcp_back: float = None  # from the RRP to 80 % of the goodput before
    tcp_before: float = 0.0  # bit/s


def cut(flow, lost, one_way):
    """What was sent later than this may have been on the wire when the link was lost."""
    delays = flow.delays(lost - 1000 * MS, lost - one_way)
    return lost - max([one_way, *delays]) - 2 * MS


def figures(move, until, steps, down, up, goodput, one_way, one_way_before):
    """until: when the link that the move led to is lost; one_way: ns of that link."""
    done = steps.rrp or steps.ack or move.new
    safe = cut(down, until, one_way)
    safe_up = cut(up, until, one_way)
    arrived = down.first_after(move.new)
    delays = down.delays(done, safe) or [0]
    delays_up = up.delays(done, safe_up) or [0]
    result = Figures(
        unavoidable=(move.new - move.lost) / MS,
        gap=(arrived - move.new) / MS if arrived else float("inf"),
        round_trip=(statistics.median(delays) + statistics.median(delays_up)) / MS,
        lost_unavoidable=down.lost(cut(down, move.lost, one_way_before), move.new),
        lost_handover=down.lost(move.new, done),
        lost_after=down.lost(done, safe),
        lost_up=up.lost(steps.rrq or done, safe_up),
    )
    result.tcp_before = goodput.between(move.lost - 1000 * MS, move.lost)
    if result.tcp_before:
        back = goodput.back(done, TCP_BACK * result.tcp_before, until)
        result.tcp_back = (back - done) / MS if back else float("inf")
    return result
