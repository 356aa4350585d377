# SPDX-License-Identifier: BSD-3-Clause
"""Bicast: a node with both links up loses nothing in a move to a link that is bad at first."""
import socket
import struct
import threading
import time

import lab as laboratory
import pcap
import pytest
from world import CORRESPONDENT, OUTSIDE, VISITED, World

PORT = 7000
RATE = 250  # packets/s
BAD_LINK = ["--loss", "30", "--seed", "7"]


class Stream:
    """Numbered datagrams from the correspondent to the home address, and what arrives of them."""

    def __init__(self, world):
        self.receiver = world.lab.udp_socket("mn", world.node.home_address, PORT)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sender = world.lab.udp_socket("corr", CORRESPONDENT, PORT)
        self.to = (world.node.home_address, PORT)
        self.sent, self.going = 0, True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        begin = time.monotonic()
        while self.going:
            self.sender.sendto(struct.pack("!I", self.sent), self.to)
            self.sent += 1
            time.sleep(max(begin + self.sent / RATE - time.monotonic(), 0))

    def stop(self):
        """Numbers that arrived, in their order."""
        self.going = False
        self.thread.join()
        self.receiver.settimeout(0.5)
        got = []
        try:
            while True:
                got.append(struct.unpack("!I", self.receiver.recv(64))[0])
        except socket.timeout:
            pass
        self.receiver.close()
        self.sender.close()
        return got


def replays_at(world):
    """Packets that the node's window has refused."""
    rows = world.roamctl("roamgate-mn", "show", "drops")["rows"]
    return next(row["in"] for row in rows if row["verdict"] == "replay")


@pytest.mark.parametrize("bicast", [True, False])
def test_move_with_both_links_up(build, bicast):
    with World(build, relay={"B": BAD_LINK}) as world:
        node = world.node
        world.start_gateway(nodes=[node.gateway_settings(world.lab, bicast=bicast)])
        world.start_home_agent()
        world.start_mobile()
        world.move("A")
        world.wait_reachable()
        replays = replays_at(world)
        capture = world.lab.capture("net", "gwo1", "outside", "ip proto 50")

        stream = Stream(world)
        time.sleep(0.3)
        world.enter("B")  # and A stays up

        def is_at_b():
            return world.roamctl("roamgate", "show", "nodes")["rows"][0]["coa"] == VISITED["B"][2]

        laboratory.wait_until(is_at_b, 10, "the path to B")
        time.sleep(1)  # of 2 s of grace
        got = stream.stop()

        assert len(set(got)) == len(got), "a duplicate reached the node"
        lost = stream.sent - len(got)
        by_number = {}
        for packet in pcap.packets(capture.stop()):
            if packet.src == OUTSIDE:
                by_number.setdefault(packet.payload[:8], []).append(packet)
        twice = [copies for copies in by_number.values() if len(copies) > 1]
        if not bicast:
            assert lost > 20, "the link is not bad enough to show anything"
            assert twice == []
            return
        assert lost == 0
        assert len(twice) > 100 and replays_at(world) - replays > 50
        ends = sorted(VISITED[place][2] for place in "AB")
        for copies in twice:
            assert len(copies) == 2 and sorted(p.dst for p in copies) == ends
            assert copies[0].payload == copies[1].payload
