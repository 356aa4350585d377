# SPDX-License-Identifier: BSD-3-Clause
"""An address is a node's only if it can be shown that it is: where a registration may come from,
and what is sent to where nobody has shown yet that the node receives there.

But for test_verified_within_a_round_trip the home agent and the nodes are the test's own, written
from siu/README.md and the RFCs; such a node answers as any system answers a ping.
"""
import contextlib
import itertools
import os
import struct
import time

import lab as laboratory
import mip
import pcap
import pytest
from fake_agent import FakeHomeAgent
from pcap import ESP
from test_bicast import Stream
from world import (
    CORRESPONDENT,
    HOME_AGENT,
    INSIDE,
    MIP_SPI,
    OUTSIDE,
    VISITED,
    Border,
    Node,
    World,
    libconfig,
)

A, B = VISITED["A"][2], VISITED["B"][2]
ELSEWHERE = "203.0.113.99"
ICMP, ECHO_REPLY, ECHO = 1, 0, 8
UNANSWERED = 3  # an EVENT's kind
CREDIT = 30000
REFILL_S = 10  # a whole credit again
CHALLENGE_OUTER = 120  # bytes at most, the outer header included


class Peer:
    """A node's end of its tunnel."""

    def __init__(self, border, node):
        self.border, self.node = border, node
        self.numbers = itertools.count(1)

    def seal(self, inner):
        number = next(self.numbers)
        return self.node.up.seal(inner, number, number.to_bytes(8, "big"))

    def send(self, inner, source):
        self.border.send_outside(pcap.ip(source, OUTSIDE, ESP, self.seal(inner)))

    def request(self, care_of, source, lifetime=600, in_udp=False):
        """A registration request through the tunnel; returns its identification."""
        number = mip.identification()
        message = mip.request(
            self.node.home_address, HOME_AGENT, care_of, number, MIP_SPI, self.node.key_mip,
            lifetime,
        )  # fmt: skip
        datagram = pcap.udp(care_of, HOME_AGENT, mip.PORT, mip.PORT, message)
        inner = pcap.ip(care_of, HOME_AGENT, pcap.UDP, datagram)
        if in_udp:
            data = pcap.udp(source, OUTSIDE, 4500, 4500, self.seal(inner))
            self.border.send_outside(pcap.ip(source, OUTSIDE, pcap.UDP, data))
        else:
            self.send(inner, source)
        return number


@pytest.fixture(scope="module")
def border(build):
    nodes = [Node(1), Node(2), Node(3)]
    with Border(build, nodes) as border:
        profiles = [{}, {"strict_outer_source": False}, {"allow_nat": True}]
        border.start_gateway(
            {"move_rate": 1000, "move_burst": 1000, "registration_rate": 1000},
            [n.gateway_settings(border.lab, A, **p) for n, p in zip(nodes, profiles)],
        )
        border.peers = [Peer(border, node) for node in nodes]
        border.agent = FakeHomeAgent(border).connect()
        yield border
        border.agent.close()


@pytest.mark.parametrize(
    "number, source, lifetime, in_udp, passes",
    [
        (0, B, 600, False, True),
        (0, ELSEWHERE, 600, False, False),
        (0, A, 600, False, False),  # where it is, and from where it would have B bombed
        (0, ELSEWHERE, 600, True, False),
        (0, ELSEWHERE, 0, False, True),  # a deregistration leads nowhere
        (1, ELSEWHERE, 600, False, True),  # not in its profile
        (2, ELSEWHERE, 600, True, True),  # its tunnel would end there, not at B
        (2, ELSEWHERE, 600, False, False),
    ],
)
def test_registration_from_elsewhere(border, number, source, lifetime, in_udp, passes):
    """What names another care-of address than it came from reaches no home agent."""
    refused = border.roamctl("roamgate", "show", "siu")["registrations_refused"]
    border.quiet()
    sent = border.peers[number].request(B, source, lifetime, in_udp)
    seen = border.agent.wait_seen(1 if passes else 0.2)
    passed_on = border.seen_inside(0.2, 1)
    if passes:
        assert seen.identification == sent and seen.observed[0] == source
        assert passed_on[0].dst == HOME_AGENT
    else:
        assert seen is None and passed_on == []
    now = border.roamctl("roamgate", "show", "siu")["registrations_refused"]
    assert now - refused == (0 if passes else 1)


# --- return routability --------------------------------------------------------------------------


class Answerer(Peer):
    """A node that receives at an address, and answers there when the test says so."""

    def challenge_in(self, packet):
        """The ping of the gateway in an ESP packet, as (source, ICMP message), or None."""
        inner = self.node.down.open(packet)
        ping = inner and pcap.parse_ip(inner)
        if not ping or ping.proto != ICMP or ping.payload[0] != ECHO:
            return None
        assert ping.dst == self.node.home_address and pcap.checksum(ping.payload) == 0
        return ping.src, ping.payload

    def wait_challenge(self, address, seconds=2.0):
        """The next one to that address."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for packet in self.border.seen_outside(end - time.monotonic(), 1):
                challenge = self.challenge_in(packet)
                if challenge and packet.dst == address:
                    return challenge
        raise AssertionError(f"no challenge to {address}")

    def reply_to(self, challenge):
        """The inner datagram that any system sends back."""
        gateway, message = challenge
        body = bytes([ECHO_REPLY, 0, 0, 0]) + message[4:]
        body = body[:2] + struct.pack(">H", pcap.checksum(body)) + body[4:]
        return pcap.ip(self.node.home_address, gateway, ICMP, body)


@contextlib.contextmanager
def open_gateway(build, nodes=1, return_routability=True, **changes):
    """A border whose nodes 1, 2, ... must show where they are."""
    nodes = [Node(number + 1) for number in range(nodes)]
    with Border(build, nodes) as border:
        border.start_gateway(
            {"unverified_credit": CREDIT, "move_rate": 1000, "move_burst": 1000} | changes,
            [
                n.gateway_settings(border.lab, return_routability=return_routability)
                for n in nodes
            ],
        )
        border.peers = [Answerer(border, node) for node in nodes]
        border.agent = FakeHomeAgent(border).connect()
        border.quiet()
        try:
            yield border
        finally:
            border.agent.close()


def row_of(border, number=0):
    return border.roamctl("roamgate", "show", "nodes")["rows"][number]


def wait_state(border, state, seconds=1.0):
    laboratory.wait_until(lambda: row_of(border)["routability"] == state, seconds, state)


def settle(border, care_of):
    """Truly registered there; 2: the agent of the test does not say where it was before."""
    assert border.agent.move(border.nodes[0], care_of).result in (0, 2)


def bomb(border, care_of, count):
    """As many packets of 1000 bytes to the node, as its home agent tunnels them."""
    home = border.nodes[0].home_address
    inner = pcap.ip(CORRESPONDENT, home, pcap.UDP, pcap.udp(CORRESPONDENT, home, 7, 7, bytes(972)))
    for _ in range(count):
        border.send_inside(pcap.ip(HOME_AGENT, care_of, 4, inner))


@pytest.mark.parametrize("reverse", [False, True], ids=["triangular", "reverse_tunnel"])
def test_verified_within_a_round_trip(build, reverse):
    """The real node, with everything in its profile: a move with both links up loses nothing."""
    with World(build) as world:  # 20 ms one way
        node = world.node
        profile = {"return_routability": True, "provisional": True, "bicast": True}
        world.start_gateway(nodes=[node.gateway_settings(world.lab, **profile)])
        world.start_home_agent()
        world.start_mobile({"reverse_tunnel": reverse})
        world.move("A")
        world.wait_reachable()
        wait_state(world, "verified")
        capture = world.lab.capture("net", "gwo1", "outside", "ip proto 50")
        stream = Stream(world)
        time.sleep(0.2)
        world.enter("B")  # and A stays up
        laboratory.wait_until(lambda: row_of(world)["coa"] == B, 10, "the path to B")
        time.sleep(0.3)
        got = stream.stop()
        wait_state(world, "verified")
        assert len(set(got)) == len(got) == stream.sent

        asked_at = answered_at = None
        for packet in pcap.packets(capture.stop()):
            inner = (node.down if packet.src == OUTSIDE else node.up).open(packet)
            ping = inner and pcap.parse_ip(inner)
            if ping and ping.proto == ICMP and INSIDE in (ping.src, ping.dst):
                if packet.dst == B:
                    asked_at = asked_at or packet.at
                elif packet.src == B:
                    answered_at = answered_at or packet.at
        assert 40 <= (answered_at - asked_at) / 1e6 < 40 + 25
        assert world.drops()["no_credit"] == 0
        siu = world.roamctl("roamgate", "show", "siu")
        # A try and the update after it may be asked for apart, no question more than that.
        assert siu["unanswered"] == 0 and 2 <= siu["asked"] <= 4
        assert world.roamctl("roamgate-mn", "show", "status")["challenges"] == siu["asked"]


def test_victim_gets_the_credit_at_most(build):
    """Truly registered at addresses where it does not receive, one after the other and again and
    again, and sent to without a pause: all of them get one credit and what comes back in time."""
    with open_gateway(build) as border:
        peer = border.peers[0]
        began, sent, challenges = time.monotonic(), 0, 0
        for turn in range(6):
            care_of = (B, ELSEWHERE)[turn % 2]
            settle(border, care_of)
            bomb(border, care_of, 60)
            for packet in border.seen_outside(0.15):
                assert packet.dst in (B, ELSEWHERE)
                if peer.challenge_in(packet):
                    assert packet.length <= CHALLENGE_OUTER
                    challenges += 1
                else:
                    sent += packet.length
        elapsed = time.monotonic() - began
        assert 0.9 * CREDIT < sent <= CREDIT * (1 + elapsed / REFILL_S)
        assert 6 <= challenges <= 12
        assert border.drops()["no_credit"] >= 300
        # It stays there, and silent: its home agent hears of it, and little goes there.
        event = border.agent.wait_event(5)
        assert (event.kind, event.observed[0]) == (UNANSWERED, ELSEWHERE)
        assert row_of(border)["routability"] == "unanswered"
        for _ in range(20):
            bomb(border, care_of, 5)
            sent += sum(p.length for p in border.seen_outside(0.05))
        elapsed = time.monotonic() - began
        assert sent <= CREDIT * (1 + elapsed / REFILL_S) + 8 * CHALLENGE_OUTER
        # What it hears at an address of its own makes that good, and that one alone.
        border.quiet()
        settle(border, A)
        peer.send(peer.reply_to(peer.wait_challenge(A)), A)
        wait_state(border, "verified")
        bomb(border, A, 60)
        assert len(border.seen_outside(1, 60)) == 60
        settle(border, B)
        border.quiet()
        bomb(border, B, 60)
        assert sum(p.length for p in border.seen_outside(0.3)) <= CREDIT
        assert row_of(border)["routability"] == "unverified"


def test_what_is_no_answer(build):
    with open_gateway(build, 2) as border:
        (peer, other), node = border.peers, border.nodes[0]
        settle(border, A)
        stale = peer.reply_to(peer.wait_challenge(A))
        settle(border, B)
        challenge = peer.wait_challenge(B)
        good = peer.reply_to(challenge)
        gateway, message = challenge
        guess = peer.reply_to((gateway, message[:-16] + os.urandom(16)))
        question = pcap.ip(node.home_address, gateway, ICMP, message)
        renamed = pcap.ip(other.node.home_address, *_rest(good))
        peer.send(stale, B)
        peer.send(guess, B)
        peer.send(question, B)
        other.send(good, B)  # through another node's tunnel
        other.send(renamed, B)
        border.send_outside(good)  # in clear
        border.send_inside(good)
        wait_refused(border, 3)  # a stale one, a guess, and what node2 was never asked
        drops = border.drops()
        assert drops["bad_address"] == 2
        assert row_of(border)["routability"] == "unverified"
        peer.send(good, ELSEWHERE)  # from where is no matter: who has the nonce was there
        wait_state(border, "verified")
        assert border.roamctl("roamgate", "show", "siu")["verified"] == 1
        # Never logged or answered, however many: rationed with its registrations.
        border.quiet()
        for _ in range(100):
            peer.send(guess, B)
        time.sleep(0.1)
        assert border.drops()["rate_limited"] > 50
        assert border.seen_outside(0.1) == []


def _rest(datagram):
    """Destination, protocol and payload of a datagram."""
    packet = pcap.parse_ip(datagram)
    return packet.dst, packet.proto, packet.payload


def wait_refused(border, count):
    def refused():
        return border.roamctl("roamgate", "show", "siu")["answers_refused"] == count

    laboratory.wait_until(refused, 2, f"{count} refused answers")


def test_put_into_the_profile(build):
    """Where the node is was never asked; a reload that wants to know asks."""
    with open_gateway(build, return_routability=False) as border:
        peer, node = border.peers[0], border.nodes[0]
        settle(border, B)
        assert row_of(border)["routability"] == "off"
        changes, _ = border.started_with
        nodes = [node.gateway_settings(border.lab, return_routability=True)]
        border.lab.write("roamgate.conf", libconfig(border.gateway_settings(nodes) | changes))
        border.quiet()
        assert border.roamctl("roamgate", "reload")["changed"] == 1
        assert row_of(border)["routability"] == "unverified"
        challenge = peer.wait_challenge(B)
        assert border.roamctl("roamgate", "show", "siu")["asked"] >= 1
        peer.send(peer.reply_to(challenge), B)
        wait_state(border, "verified")


def test_challenges_are_lost(build):
    """The first three are; the fourth comes in time, with the same nonce under another number."""
    with open_gateway(build) as border:
        peer = border.peers[0]
        settle(border, B)
        asked = [(peer.wait_challenge(B), time.monotonic()) for _ in range(4)]
        for (one, before), (two, after), wait in zip(asked, asked[1:], (0.1, 0.2, 0.4)):
            assert wait - 0.03 < after - before < wait + 0.1
            assert one[1][8:] == two[1][8:] and one[1][6:8] != two[1][6:8]
        peer.send(peer.reply_to(asked[0][0]), B)  # late, but good
        wait_state(border, "verified")


def test_killed_while_unverified(build):
    with open_gateway(build) as border:
        peer = border.peers[0]
        settle(border, B)
        before = peer.reply_to(peer.wait_challenge(B))
        border.gateway.kill()
        border.start_gateway_again()
        assert row_of(border)["routability"] == "unverified"
        border.quiet()
        bomb(border, B, 60)
        again = None
        sent = 0
        for packet in border.seen_outside(1):
            again = peer.challenge_in(packet) or again
            sent += packet.length
        assert 0.9 * CREDIT < sent <= CREDIT * 1.2
        peer.send(before, B)  # of a run that is over
        wait_refused(border, 1)
        peer.send(peer.reply_to(again), B)
        wait_state(border, "verified")
        border.gateway.stop()
        border.start_gateway_again()
        assert row_of(border)["routability"] == "verified"
