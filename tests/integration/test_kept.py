# SPDX-License-Identifier: BSD-3-Clause
"""Nodes and SAs that came by the control socket: kill -9, and they carry on."""
import json
import os
import re
import socket
import time

import pcap
import pytest
from scapy.layers.inet import IP, UDP
from test_scapy_peer import Peer, tunnelled
from world import Border, Node

CARE_OF = "198.51.100.7"
BACK_S = 2.0  # from the ready line to traffic
MANY = 20000
LOAD_S = 10.0
LATE_S = 0.1  # that an SA may outlive its lifetime


@pytest.fixture
def border(build):
    with Border(build, [Node(1)]) as border:
        border.start_gateway({"max_nodes": MANY + 100, "dpdk": {"memory_mb": 1024}})
        yield border


def add(border, node):
    border.roamctl_text(
        "roamgate", "node", "add", node.name, f"home_address={node.home_address}",
        "home_agent=ha1", f"care_of={CARE_OF}",
    )  # fmt: skip
    node.write_keys(border.lab)
    for direction, spi in (("in", node.spi_up), ("out", node.spi_down)):
        border.roamctl_text(
            "roamgate", "sa", "add", node.name, direction, f"spi={spi}",
            f"algorithm={node.algorithm}", f"esn={str(node.esn).lower()}",
            f"key_file={border.lab.path(f'{node.name}-{direction}.key')}",
        )  # fmt: skip


def kill_and_start(border):
    """The time of the ready line, and the line."""
    border.gateway.kill()
    at, match = border.start_gateway_again().wait_line(r"^roamgate: ready.*")
    return at, match.group()


def up(border, peer, packet):
    """Does an ESP datagram of the node get in?"""
    border.send_outside(packet)
    wanted = peer.node.home_address
    return any(p.src == wanted for p in border.seen_inside(0.3, 1))


def down(border, peer):
    """(sequence, IV) of what the gateway makes of a packet for the node, or None."""
    packet, inner = tunnelled(peer.node, CARE_OF)
    border.send_inside(packet)
    for packet in border.seen_outside(0.3, 1):
        spi, sequence = pcap.esp_spi_sequence(packet)
        assert spi == peer.node.spi_down and packet.dst == CARE_OF
        assert inner in bytes(peer.open(packet)), "the SA's own key must open it"
        return sequence, packet.payload[8:16]
    return None


def test_traffic_goes_on(border):
    node = Node(2)
    add(border, node)
    peer = Peer(border, node, CARE_OF)
    recorded = [peer.seal(peer.data()) for _ in range(20)]
    assert all(up(border, peer, packet) for packet in recorded)
    sent = [down(border, peer) for _ in range(20)]
    assert None not in sent

    for _ in range(2):
        ready, _ = kill_and_start(border)
        border.quiet()
        assert up(border, peer, peer.seal(peer.data()))
        sent.append(down(border, peer))
        assert sent[-1] is not None
        assert time.time() - ready < BACK_S
        sent += [down(border, peer) for _ in range(20)]
        assert None not in sent

        before = border.drops()["replay"]
        for packet in recorded:
            border.send_outside(packet)
        assert border.seen_inside(0.5) == []
        assert border.drops()["replay"] == before + len(recorded)
    assert len({sequence for sequence, _ in sent}) == len(sent)
    assert len({iv for _, iv in sent}) == len(sent)


def names(border):
    return {row["node"] for row in border.roamctl("roamgate", "show", "nodes")["rows"]}


def test_deleted_stays_deleted(border):
    for number in (2, 3):
        add(border, Node(number))
    border.roamctl_text("roamgate", "node", "del", "node2")
    border.roamctl_text("roamgate", "sa", "del", "node3", "in", f"spi={Node(3).spi_up}")
    kill_and_start(border)
    assert names(border) == {"node1", "node3"}
    rows = border.roamctl("roamgate", "show", "sa")["rows"]
    assert sorted((r["node"], r["direction"]) for r in rows) == [
        ("node1", "in"), ("node1", "out"), ("node3", "out"),
    ]  # fmt: skip
    # What was deleted is gone from the disk as well, and the node can come again.
    add(border, Node(2))


def test_keep_keys_is_off(border):
    add(border, Node(2))
    border.gateway.kill()
    changes, nodes = border.started_with
    border.start_gateway(changes | {"keep_keys": False}, nodes)
    assert names(border) == {"node1"}
    add(border, Node(3))
    border.gateway.kill()
    border.start_gateway(changes, nodes)
    assert names(border) == {"node1"}


def requests(first, count):
    for i in range(first, first + count):
        name, key = f"many{i}", os.urandom(40).hex()
        address = f"10.1.{64 + i // 250}.{1 + i % 250}"
        yield {"verb": "node-add", "node": name, "home_address": address, "home_agent": "ha1"}
        for direction, spi, half in (("in", 0x10000 + i, key[:40]), ("out", 0x90000 + i, key[40:])):
            yield {
                "verb": "sa-add", "node": name, "direction": direction, "spi": spi,
                "algorithm": "aes128gcm16", "key": half,
            }  # fmt: skip


def test_many(border):
    """A client that sends requests ahead; killed as soon as the last one is answered."""
    lines = [json.dumps(r) for r in requests(0, MANY)]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(border.socket("roamgate"))
        replies = client.makefile("r")
        for at in range(0, len(lines), 200):
            part = lines[at : at + 200]
            client.sendall(("\n".join(part) + "\n").encode())
            for _ in part:
                assert json.loads(replies.readline())["ok"]
    border.gateway.kill()
    killed = time.time()
    ready, line = kill_and_start(border)
    assert ready - killed < LOAD_S
    assert re.search(rf"nodes={MANY + 1}\b", line)
    assert border.gateway.wait_line(rf"kept: nodes={MANY} sas={2 * MANY} expired=0 left_out=0")
    ends_on_time(border, f"many{MANY - 1}", 0x10000 + MANY - 1)


def ends_on_time(border, name, spi):
    """An SA among so many goes when its lifetime is over, not when its turn comes."""
    from_s = time.time()
    border.roamctl_text("roamgate", "sa", "update", name, "in", f"spi={spi}", "life_time=1")
    until_s = time.time()
    assert border.gateway.wait_line(r"keys: SA expired")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(border.socket("roamgate"))
        client.sendall(b'{"verb": "sa-events"}\n')
        (event,) = json.loads(client.makefile("r").readline())["rows"]
    assert (event["event"], event["node"], event["spi"]) == ("expired", name, spi)
    assert from_s + 1 <= event["real_ns"] / 1e9 <= until_s + 1 + LATE_S
