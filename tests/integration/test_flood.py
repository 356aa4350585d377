# SPDX-License-Identifier: BSD-3-Clause
"""A flood in the home agent's name on the inside: what the home agent says still arrives in time."""
import itertools
import os
import random
import threading
import time

import lab as laboratory
import pcap
import pytest
import siu_wire
from roaming import prove, roam
from world import HOME_AGENT_INSIDE, INSIDE, SIU_PORT, VISITED, World

BURST, PAUSE_S = 200, 0.01  # 20,000 a second: this end shares a CPU with all programs
GAP_MS = 500  # without a flood 60 to 150
# dataplane/guard.h, of each source: what else passes goes on to the association's own budget
GUARD_RATE, GUARD_BURST = 1000, 256


def forged(rng, key):
    """A datagram as somebody makes it who has read siu/README.md: of each type, from likely runs."""
    kind = rng.choice([siu_wire.HELLO, siu_wire.UPDATE, siu_wire.UPDATE, siu_wire.SYNC])
    entry = {
        siu_wire.HELLO: {"role": siu_wire.HOME_AGENT, "nonce": rng.getrandbits(64),
                         "echo": rng.getrandbits(64)},
        siu_wire.UPDATE: {"generation": 99, "lifetime": 60, "home_address": "10.1.0.10",
                          "new_coa": "198.51.100.66"},
        siu_wire.SYNC: {"id": 1, "step": siu_wire.BEGIN},
    }[kind]
    return siu_wire.encode(
        {"type": kind, "entries": [entry], "key_id": 1, "epoch": rng.randrange(1, 4),
         "sequence": rng.randrange(1, 2000), "peer_epoch": rng.randrange(1, 4)}, key)


class Flood:
    """From the bridge of the inside network, as fast as the constants above say."""

    def __init__(self, world):
        lab, rng = world.lab, random.Random(3)
        mac = lab.neighbour("ha", INSIDE, "in0", 10)
        self.sock = lab.packet_socket("lan", "gwi1")
        self.frames = []
        for i in range(997):
            # One in five is no SIU: it must not take the place of what is.
            port = SIU_PORT if i % 5 else 9
            source = HOME_AGENT_INSIDE if i % 7 else f"10.2.0.{100 + i % 100}"
            data = pcap.udp(source, INSIDE, SIU_PORT, port, forged(rng, os.urandom(32)))
            datagram = pcap.ip(source, INSIDE, 17, data)
            self.frames.append(pcap.ethernet(mac, lab.mac("ha", "in0"), datagram))
        self.sent = 0  # of SIU
        self.started = time.monotonic()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        frames = itertools.cycle(enumerate(self.frames))
        while not self.stopping.wait(PAUSE_S):
            for i, frame in itertools.islice(frames, BURST):
                self.sock.send(frame)
                self.sent += i % 5 != 0

    def stop(self):
        """Returns how many forged datagrams of SIU were sent, and in how many seconds."""
        self.stopping.set()
        self.thread.join()
        self.sock.close()
        return self.sent, time.monotonic() - self.started


@pytest.fixture
def world(build):
    with World(build) as world:
        world.start_all()
        world.wait_reachable()
        yield world


def test_moves_beside_a_flood_of_siu(world):
    """Each handover takes its steps in their order and time, and nothing is lost behind it."""
    before = world.drops()["shed"]
    (row,) = world.roamctl("roamgate", "show", "siu")["rows"]
    flood = Flood(world)
    moves, end, paths = roam(world, ["A", "B", "A", "home"])
    sent, seconds = flood.stop()
    prove(world, moves, end, paths, delay_ms=20, gap_ms=GAP_MS, forged=True)
    assert sent > 10000
    passed = 2 * (GUARD_BURST + GUARD_RATE * (seconds + 1))  # in two names
    assert world.drops()["shed"] - before > 0.9 * (sent - passed), "before they cost anybody time"
    (after,) = world.roamctl("roamgate", "show", "siu")["rows"]
    assert after["up"] and after["bad_tag"] + after["shed"] - row["bad_tag"] < passed
    assert after["updates"] - row["updates"] < 20, "an UPDATE is not repeated more than a few times"


def test_home_agent_starts_beside_a_flood_of_siu(world):
    """Its first HELLOs look like any forged one; the answer to the gateway's does not."""
    world.move("A")
    world.wait_reachable()
    flood = Flood(world)
    world.home_agent.stop()
    world.start_home_agent()

    def is_up():
        (row,) = world.roamctl("roamgate-ha", "show", "siu")["rows"]
        return row["up"] and not row["pending"]

    laboratory.wait_until(is_up, 3, "the association of the home agent's new run")
    world.move("B")
    care_of = VISITED["B"][2]
    laboratory.wait_until(
        lambda: world.roamctl("roamgate", "show", "nodes")["rows"][0]["coa"] == care_of, 3, "the move")
    world.wait_reachable(3)
    flood.stop()
