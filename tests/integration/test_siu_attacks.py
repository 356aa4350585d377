# SPDX-License-Identifier: BSD-3-Clause
"""Lost, repeated, reordered and forged SIU. The home agent here is written from siu/README.md."""
import os
import struct
import time

import mip
import pcap
import pytest
from fake_agent import DEREGISTER, REPLY_ONLY, FakeHomeAgent
from world import CORRESPONDENT, HOME_AGENT, INSIDE, MIP_SPI, OUTSIDE, Array, Border, Node

X, Y, Z = "198.51.100.7", "203.0.113.7", "198.51.100.200"
OK, DIFFERED, DUPLICATE, STALE, MALFORMED = 0, 2, 3, 4, 65
NO_SA, NOT_AUTHORISED, BAD_COA, RATE_LIMITED, BAD_RRP = 128, 129, 131, 134, 139
FORBIDDEN = "100.64.0.0/10"


@pytest.fixture(scope="module")
def border(build):
    with Border(build, [Node(1), Node(2)]) as border:
        border.start_gateway(
            {
                "move_rate": 1000,
                "move_burst": 1000,
                "forbidden_coas": Array([FORBIDDEN]),
                "home_agents": border.gateway_settings()["home_agents"]
                + [
                    {
                        "name": "ha2",
                        "address": f"{CORRESPONDENT}:4340",
                        "tunnel_source": "10.1.99.1",
                        "prefixes": Array(["10.1.99.0/24"]),
                        "key_id": 1,
                        "secret_file": border.lab.write("siu2.key", os.urandom(32).hex()),
                    }
                ],
            }
        )
        border.agent = FakeHomeAgent(border)
        border.agent.connect()
        yield border
        border.agent.close()


@pytest.fixture
def agent(border):
    """The node is at X, by an acknowledged move."""
    assert border.agent.move(border.nodes[0], X).result in (OK, DIFFERED)
    border.quiet()
    return border.agent


def place(border, number=0):
    """Where the gateway sends a node's traffic, seen on the wire; None: nowhere."""
    node = border.nodes[number]
    row = next(
        r for r in border.roamctl("roamgate", "show", "nodes")["rows"] if r["node"] == node.name
    )
    return None if row["state"] == "closed" else row["coa"]


def reply_datagram(node, care_of, number=7, code=0):
    body = mip.reply(node.home_address, HOME_AGENT, number, MIP_SPI, node.key_mip, code=code)
    return pcap.ip(
        HOME_AGENT, care_of, pcap.UDP, pcap.udp(HOME_AGENT, care_of, mip.PORT, mip.PORT, body)
    )


def stats(border):
    return border.roamctl("roamgate", "show", "siu")["rows"][0]


# --- good ----------------------------------------------------------------------------------------


def test_update_moves_and_carries_the_reply(border, agent):
    node = border.nodes[0]
    rrp = reply_datagram(node, Y)
    ack = agent.move(node, Y, former=X, rrp=rrp)
    assert (ack.result, ack.coa) == (OK, Y)
    (packet,) = border.seen_outside(0.2, 1)
    assert packet.dst == Y and node.down.open(packet) == rrp
    assert place(border) == Y


def test_former_address_differs(border, agent):
    ack = agent.move(border.nodes[0], Y, former=Z)
    assert (ack.result, ack.coa) == (DIFFERED, Y)


def test_many_entries_in_one_datagram(border, agent):
    one, two = border.nodes
    entries = [agent.entry(one, Y), agent.entry(two, Z)]
    agent.send_updates(entries)
    for entry, care_of in zip(entries, (Y, Z)):
        ack = agent.wait_ack(entry)
        assert ack.result in (OK, DIFFERED) and ack.coa == care_of


# --- lost, repeated, reordered -------------------------------------------------------------------


def test_lost_update_is_good_later(border, agent):
    """The first copy never arrives; the retransmission is the same bytes."""
    entry = agent.entry(border.nodes[0], Y)
    datagram = agent.seal_updates([entry])
    assert agent.wait_ack(entry, 0.2) is None and place(border) == X
    agent.send_datagram(datagram)
    assert agent.wait_ack(entry).result in (OK, DIFFERED)


def test_lost_ack_is_sent_again(border, agent):
    """The same bytes again: the same answer, and no second swap."""
    before = len(border.roamctl("roamgate", "show", "handovers")["rows"])
    entry = agent.entry(border.nodes[0], Y)
    datagram = agent.seal_updates([entry])
    agent.send_datagram(datagram)
    first = agent.wait_ack(entry)
    for _ in range(3):
        agent.send_datagram(datagram)
        again = agent.wait_ack(entry)
        assert again == first
    assert len(border.roamctl("roamgate", "show", "handovers")["rows"]) == before + 1


def test_duplicate_generation_in_a_new_datagram(border, agent):
    entry = agent.entry(border.nodes[0], Y)
    agent.send_updates([entry])
    assert agent.wait_ack(entry).result in (OK, DIFFERED)
    again = agent.entry(border.nodes[0], Y, generation=entry["generation"])
    agent.send_updates([again])
    ack = agent.wait_ack(again)
    assert (ack.result, ack.coa, ack.in_force) == (DUPLICATE, Y, entry["generation"])


def test_reordered_updates(border, agent):
    """The older one comes last: refused, and told what is in force."""
    old, new = agent.entry(border.nodes[0], Y), agent.entry(border.nodes[0], Z)
    datagrams = [agent.seal_updates([old]), agent.seal_updates([new])]
    for datagram in reversed(datagrams):
        agent.send_datagram(datagram)
    assert agent.wait_ack(new).result in (OK, DIFFERED)
    ack = agent.wait_ack(old)
    assert (ack.result, ack.in_force, ack.coa) == (STALE, new["generation"], Z)
    assert place(border) == Z


# --- forged --------------------------------------------------------------------------------------


def test_wrong_key(border, agent):
    entry = agent.entry(border.nodes[0], Y)
    before = stats(border)["bad_tag"]
    agent.send_datagram(agent.seal_updates([entry], key=os.urandom(32)))
    assert agent.wait_ack(entry, 0.2) is None
    assert place(border) == X and stats(border)["bad_tag"] == before + 1


@pytest.mark.parametrize("at", [0, 1, 5, 6, 12, 16, 28, 40, 60, -20, -1])
def test_one_bit_wrong(border, agent, at):
    entry = agent.entry(border.nodes[0], Y)
    datagram = bytearray(agent.seal_updates([entry]))
    datagram[at] ^= 1
    agent.send_datagram(bytes(datagram))
    assert agent.wait_ack(entry, 0.1) is None
    assert place(border) == X


def test_replay_after_a_newer_move(border, agent):
    """A recorded UPDATE repeats its answer, but never pulls the traffic back."""
    entry = agent.entry(border.nodes[0], Y)
    recorded = agent.seal_updates([entry])
    agent.send_datagram(recorded)
    agent.wait_ack(entry)
    agent.move(border.nodes[0], Z)
    agent.send_datagram(recorded)
    time.sleep(0.1)
    assert place(border) == Z


def test_replay_into_a_new_run(border, build):
    """What was recorded before a restart of the gateway is worth nothing after it."""
    node = border.nodes[1]
    agent = border.agent
    assert agent.move(node, X).result in (OK, DIFFERED)
    recorded = agent.seal_updates([agent.entry(node, Y)])
    border.gateway.kill()
    border.start_gateway_again()
    agent.send_datagram(recorded)
    time.sleep(0.2)
    agent.connect()
    agent.send_datagram(recorded)
    time.sleep(0.2)
    assert place(border, 1) == X
    assert agent.move(node, Z).result in (OK, DIFFERED)


def test_reflected(border, agent):
    """Keys are directional: the gateway's own datagrams are not taken back."""
    before = stats(border)["bad_tag"]
    agent.send_datagram(agent.last_received)
    time.sleep(0.1)
    assert stats(border)["bad_tag"] == before + 1


def test_home_address_of_somebody_else(border, agent):
    entry = agent.entry(border.nodes[0], Y, home_address="10.1.99.10")
    agent.send_updates([entry])
    assert agent.wait_ack(entry).result in (NOT_AUTHORISED, NO_SA)
    assert place(border) == X


def test_home_agent_without_the_right(border):
    """The second home agent is genuine, but these nodes are not its."""
    with open(border.lab.path("siu2.key")) as file:
        secret = bytes.fromhex(file.read())
    second = FakeHomeAgent(border, CORRESPONDENT, secret)
    second.connect()
    try:
        before = place(border)
        ack = second.move(border.nodes[0], Z)
        assert ack.result == NOT_AUTHORISED
        ack = second.deregister(border.nodes[0])
        assert ack.result == NOT_AUTHORISED
        assert place(border) == before
    finally:
        second.close()


def test_unknown_node(border, agent):
    entry = agent.entry(border.nodes[0], Y, home_address="10.1.0.200")
    agent.send_updates([entry])
    assert agent.wait_ack(entry).result == NO_SA


@pytest.mark.parametrize(
    "care_of",
    [
        "224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0", "169.254.1.1", OUTSIDE, INSIDE,
        "192.0.2.255", "10.2.0.77", "10.1.0.77", "100.64.0.1",
    ],
)  # fmt: skip
def test_forbidden_care_of_address(border, agent, care_of):
    entry = agent.entry(border.nodes[0], care_of)
    agent.send_updates([entry])
    ack = agent.wait_ack(entry)
    assert (ack.result, ack.coa) == (BAD_COA, X)
    assert place(border) == X


def bad_replies(node):
    """What is no registration reply of this home agent for this node to the new address."""
    good = reply_datagram(node, Y)
    body = good[28:]

    def udp(src=HOME_AGENT, dst=Y, sport=434, dport=434, data=body, **fields):
        return pcap.ip(src, dst, pcap.UDP, pcap.udp(src, dst, sport, dport, data), **fields)

    wrong_ip = bytearray(good)
    wrong_ip[10] ^= 1
    wrong_udp = bytearray(good)
    wrong_udp[26] ^= 1
    yield "another source", udp(src=CORRESPONDENT)
    yield "another destination", udp(dst=Z)
    yield "another source port", udp(sport=53)
    yield "a request", udp(data=b"\x01" + body[1:])
    yield "another home address", udp(data=body[:4] + pcap.socket.inet_aton("10.1.0.11") + body[8:])
    yield "a fragment", udp(fragment=0x2000)
    yield "a later fragment", udp(fragment=5)
    yield "TCP", pcap.ip(HOME_AGENT, Y, pcap.TCP, good[20:])
    yield "wrong IP checksum", bytes(wrong_ip)
    yield "wrong UDP checksum", bytes(wrong_udp)
    yield "longer than it says", good + b"x"
    yield "shorter than it says", good[:-1]
    yield "a header alone", good[:20]
    yield "text", b"GET / HTTP/1.0\r\n\r\n"
    yield "too long", udp(data=body + bytes(500))


@pytest.mark.parametrize("flags", [0, REPLY_ONLY])
def test_reply_that_is_none(border, agent, flags):
    """Anything but a registration reply would be an injection channel."""
    node = border.nodes[0]
    for what, rrp in bad_replies(node):
        entry = agent.entry(node, Y, rrp=rrp, flags=flags)
        agent.send_updates([entry])
        ack = agent.wait_ack(entry)
        # What does not fit the TLV is malformed, the rest is no reply.
        assert ack is None or ack.result in (BAD_RRP, MALFORMED), what
        assert border.seen_outside(0.03) == [], what
        assert place(border) == X, what


def test_reply_only_without_a_request(border, agent):
    """Nobody asked: there is no endpoint to which it could go."""
    node = border.nodes[0]
    entry = agent.entry(node, Y, rrp=reply_datagram(node, Y, code=133), flags=REPLY_ONLY)
    agent.send_updates([entry])
    ack = agent.wait_ack(entry)
    assert ack.result not in (OK, DIFFERED)
    assert border.seen_outside(0.05) == [] and place(border) == X


def test_reply_only_goes_back_the_way_the_request_came(border, agent):
    """A denial reaches a node that has moved; its tunnel stays where it is."""
    node = border.nodes[0]
    request = mip.request(
        node.home_address, HOME_AGENT, Y, 0x1234567890, MIP_SPI, node.key_mip
    )
    inner = pcap.ip(Y, HOME_AGENT, pcap.UDP, pcap.udp(Y, HOME_AGENT, 434, 434, request))
    payload = node.up.seal(inner, 1, struct.pack(">Q", 1))
    border.send_outside(pcap.ip(Y, OUTSIDE, pcap.ESP, payload))
    seen = agent.wait_seen()
    assert (seen.home_address, seen.coa) == (node.home_address, Y)
    assert seen.identification == 0x1234567890 and seen.observed[0] == Y
    assert [p for p in border.seen_inside(0.2) if p.src == Y and p.payload[8:] == request]
    rrp = reply_datagram(node, Y, number=0x1234567890, code=133)
    entry = agent.entry(node, Y, rrp=rrp, flags=REPLY_ONLY, identification=0x1234567890)
    agent.send_updates([entry])
    assert agent.wait_ack(entry).result == OK
    (packet,) = border.seen_outside(0.2, 1)
    assert packet.dst == Y and node.down.open(packet) == rrp
    assert place(border) == X


def test_deregistration_closes(border, agent):
    entry = agent.entry(border.nodes[0], None, flags=DEREGISTER, lifetime=0)
    agent.send_updates([entry])
    assert agent.wait_ack(entry).result in (OK, DIFFERED)
    assert place(border) is None


def test_from_another_address(border, agent):
    """A genuine datagram from an address that is no configured home agent's."""
    entry = agent.entry(border.nodes[0], Y)
    agent.send_datagram(agent.seal_updates([entry]), source="10.2.0.66")
    assert agent.wait_ack(entry, 0.2) is None
    assert place(border) == X


def test_from_the_outside(border, agent):
    """SIU is a matter of the private side."""
    entry = agent.entry(border.nodes[0], Y)
    data = pcap.udp("10.2.0.1", INSIDE, 4340, 4340, agent.seal_updates([entry]))
    border.send_outside(pcap.ip("10.2.0.1", INSIDE, pcap.UDP, data))
    assert agent.wait_ack(entry, 0.2) is None
    assert place(border) == X


def test_moves_are_limited(build):
    """move_rate and move_burst: the rest is told to come later, and nothing changes."""
    with Border(build) as border:
        border.start_gateway({"move_rate": 1, "move_burst": 3})
        agent = FakeHomeAgent(border)
        agent.connect()
        results = [agent.move(border.nodes[0], (X, Y)[i % 2]).result for i in range(6)]
        agent.close()
        assert results.count(RATE_LIMITED) in (2, 3)
        assert RATE_LIMITED not in results[:3]
