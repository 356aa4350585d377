# SPDX-License-Identifier: BSD-3-Clause
"""A gateway with two workers, and one SA each way that is hit by both.

Its ports have two queues, to which Linux spreads packets by addresses and ports as RSS does: which
ones it takes to which worker is found out first. Then, in rounds: the gateway is stopped, both
queues of both ports are filled, at the end with an update that moves the node, and it goes on: so
that both workers run at full speed on the same SAs at the same time, and neither waits for the test.
What is sent until the update is acknowledged, and a little longer, meets the move. (A number given
out twice within nanoseconds takes millions of packets to be seen: tests/concurrency has them.)
"""
import os
import signal
import time

import pcap
import pytest
from fake_agent import FakeHomeAgent
from lab import wait_until
from world import CORRESPONDENT, HOME_AGENT, OUTSIDE, Border, Node, af_packet, take

ROUNDS = 12
PACKETS = 400  # a round and worker, and at most as many behind the update: rings and window hold it
BEHIND = 10  # the same, when the move is acknowledged
WORKERS = 2
GUESSES = 64  # that all of these lead to one worker happens once in 2^63 runs


def care_of(move):
    return f"198.51.100.{100 + move}"


def move_of(packet):
    """The newest move that a packet to the node knows of."""
    return int(packet.dst.rpartition(".")[2]) - 100


def last_cpus(n):
    return ",".join(str(cpu) for cpu in range(os.cpu_count() - n, os.cpu_count()))


class Traffic:
    """One node's packets, by the worker to which they lead."""

    def __init__(self, border):
        self.border, self.node = border, border.nodes[0]
        self.sequence = 0
        self.sent_up = self.sent_down = self.copies = 0
        self.meet_neighbours()
        self.sources = self.find(lambda guess: self.up(f"203.0.113.{guess}"), "in")
        self.ports = self.find(lambda guess: self.down(guess, 0), "out")

    def workers(self):
        return self.border.roamctl("roamgate", "show", "ports")["workers"]

    def meet_neighbours(self):
        """The first packet to each waits for Linux."""
        self.up(care_of(0))
        self.down(1, 0)
        assert len(self.border.seen_inside(2, 1)) == len(self.border.seen_outside(2, 1)) == 1

    def find(self, send, counter):
        """{worker: a guess with which send() leads to it}."""
        found = {}
        for guess in range(1, GUESSES):
            before = [w[counter] for w in self.workers()]
            send(guess)
            wait_until(lambda: sum(w[counter] for w in self.workers()) > sum(before), 2, counter)
            for worker, row in enumerate(self.workers()):
                if row[counter] > before[worker]:
                    found[worker] = guess
            if len(found) == WORKERS:
                return found
        raise AssertionError(f"all packets lead to the same of {self.workers()}")

    def inner(self):
        """The next packet from the node, sealed."""
        self.sequence += 1
        text = b"%06d" % self.sequence
        data = pcap.udp(self.node.home_address, CORRESPONDENT, 1111, 2222, text)
        inner = pcap.ip(self.node.home_address, CORRESPONDENT, pcap.UDP, data)
        return self.node.up.seal(inner, self.sequence, self.sequence.to_bytes(8, "big"))

    def up(self, *sources):
        """A packet, and from each further source the same again."""
        esp = self.inner()
        for source in sources:
            self.border.send_outside(pcap.ip(source, OUTSIDE, pcap.ESP, esp))
        self.sent_up += 1
        self.copies += len(sources) - 1

    def down(self, port, label):
        data = pcap.udp(CORRESPONDENT, self.node.home_address, port, 2222, b"%06d" % self.sent_down)
        inner = pcap.ip(CORRESPONDENT, self.node.home_address, pcap.UDP, data)
        self.border.send_inside(pcap.ip(HOME_AGENT, care_of(label), pcap.IPIP, inner))
        self.sent_down += 1

    def both_ways(self, copied, label):
        """A packet by each worker, each way; copied: up again by the other one."""
        for worker in range(WORKERS):
            ways = (worker, 1 - worker) if copied else (worker,)
            self.up(*(f"203.0.113.{self.sources[way]}" for way in ways))
            self.down(self.ports[worker], label)


@pytest.fixture(scope="module")
def border(build):
    if os.cpu_count() < WORKERS:
        pytest.skip("two workers need two CPUs")
    with Border(build, [Node()]) as border:
        # Beside a worker, but not beside the control thread with another: there Linux 6.18 forgets
        # everybody else for seconds.
        os.sched_setaffinity(0, {os.cpu_count() - 1})
        settings = border.nodes[0].gateway_settings(border.lab, care_of(0))
        settings["inbound"]["replay_window"] = 4096
        border.start_gateway(
            {
                "dpdk": {"worker_cpus": last_cpus(WORKERS)},
                "outside": {"device": af_packet(0, "gwo0") + f",qpairs={WORKERS}"},
                "inside": {"device": af_packet(1, "gwi0") + f",qpairs={WORKERS}"},
                "move_rate": 1000,
                "move_burst": 1000,
            },
            nodes=[settings],
        )
        border.agent = FakeHomeAgent(border).connect()
        border.traffic = Traffic(border)
        yield border
        border.agent.close()


def stop(program):
    os.kill(program.pid, signal.SIGSTOP)

    def stopped():
        with open(f"/proc/{program.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    wait_until(stopped, 2, "SIGSTOP")


def play_round(border, move):
    """Fills the queues of a gateway that stands still, and lets it go. Returns what came out:
    inside, and the time at which the move was acknowledged."""
    traffic, before = border.traffic, border.traffic.sent_up
    update = border.agent.entry(border.nodes[0], care_of(move), former=care_of(move - 1))
    border.quiet()
    stop(border.gateway)
    try:
        for i in range(PACKETS):
            traffic.both_ways(i % 2, move - 1)
        border.agent.send_updates([update])
    finally:
        os.kill(border.gateway.pid, signal.SIGCONT)
    for i in range(PACKETS):
        traffic.both_ways(i % 2, move - 1)
        if border.agent.acks[update["reference"]]:
            break
    ack = border.agent.wait_ack(update)
    acknowledged = time.time_ns()
    assert ack is not None and ack.result == 0
    for i in range(BEHIND):
        traffic.both_ways(i % 2, move - 1)
    return border.seen_inside(2, traffic.sent_up - before), acknowledged


def opened(node, packet):
    """Of what goes to the node: number of the inner packet, its port."""
    plain = node.down.open(packet)
    assert plain is not None, "the SA's own key must open it"
    udp = pcap.parse_ip(pcap.parse_ip(plain).payload)
    return int(udp.payload[8:]), pcap.udp_ports(udp)[0]


def test_one_sa_under_both(border):
    traffic, node = border.traffic, border.nodes[0]
    before, drops = traffic.workers(), border.drops()
    first_up, first_down, copies = traffic.sent_up, traffic.sent_down, traffic.copies
    outside = border.lab.capture("out", "gwo1", expression=f"src host {OUTSIDE} and ip proto 50")
    up, acknowledged = [], []
    for move in range(1, ROUNDS + 1):
        inside, at = play_round(border, move)
        up += [int(p.payload[8:]) for p in inside]
        acknowledged.append(at)
    time.sleep(0.1)
    up += [int(p.payload[8:]) for p in border.seen_inside(0)]
    down = list(pcap.packets(outside.stop()))
    sent, copies = traffic.sent_up - first_up, traffic.copies - copies

    # To the inside: each once, whichever worker had it, and the copies are replays.
    assert sorted(up) == list(range(traffic.sequence - sent + 1, traffic.sequence + 1))
    assert border.drops()["replay"] - drops["replay"] == copies

    # To the node: each once and in its flow's order, no sequence number and no IV twice, none unused.
    assert len(down) == traffic.sent_down - first_down == sent
    sequences = sorted(pcap.esp_spi_sequence(p)[1] for p in down)
    assert sequences == list(range(sequences[0], sequences[0] + sent))
    assert len({p.payload[8:16] for p in down}) == sent
    numbers = {port: [] for port in traffic.ports.values()}
    places = {port: [] for port in traffic.ports.values()}
    for packet in down:
        number, port = opened(node, packet)
        numbers[port].append(number)
        places[port].append(move_of(packet))
    for port in numbers:
        assert numbers[port] == sorted(numbers[port]), "order within a flow"
        assert places[port] == sorted(places[port]), "back to a former address"
        assert set(places[port]) >= set(range(1, ROUNDS + 1)), "traffic between all moves"
    for packet in down:
        place = move_of(packet)
        assert place == ROUNDS or packet.at <= acknowledged[place], "left behind the ACK"

    # Who did it.
    rows = [
        {key: row[key] - old[key] for key in ("in", "in_dropped", "out", "out_dropped")}
        for row, old in zip(traffic.workers(), before)
    ]
    assert sum(row["in"] for row in rows) == sent
    assert sum(row["in_dropped"] for row in rows) == copies
    for row in rows:
        # Its own, and those with a copy with which it was first.
        assert row["in"] >= (sent - copies) // 2
        assert row["in"] + row["in_dropped"] == (sent + copies) // 2
        assert row["out"] == sent // 2 and row["out_dropped"] == 0


def test_workers_add_up(border):
    workers, drops = border.traffic.workers(), border.roamctl("roamgate", "show", "drops")["rows"]
    for direction in ("in", "out"):
        rows = [r for r in drops if r["direction"] == direction]
        assert sum(w[direction] for w in workers) == sum(
            r["count"] for r in rows if r["reason"] == "ok"
        )
        assert sum(w[direction + "_dropped"] for w in workers) == sum(
            r["count"] for r in rows if r["reason"] not in ("ok", "punted")
        )
