# SPDX-License-Identifier: BSD-3-Clause
"""The home agent alone, on real links: a home link, an inside network with a correspondent and a
node, and a gateway played by the test.

    mn (10.1.0.10, 10.1.0.5) home0 ---- home0 ha in0 ---- eth0 in (10.2.0.254, .253, .5, .77)
"""
import json
import os
import socket
import struct
import subprocess
import time

import mip
import pcap
import pytest
from siu_gateway import SiuGateway
from lab import Lab, wait_until
from pcap import ICMP, IPIP, UDP, ethernet, parse_ip
from world import Array, libconfig, merge, received, take

AGENT, AGENT_INSIDE = "10.1.0.1", "10.2.0.1"
HOME, NEIGHBOUR = "10.1.0.10", "10.1.0.5"
GATEWAY, GATEWAY_2, CORRESPONDENT, INSIDE_COA = "10.2.0.254", "10.2.0.253", "10.2.0.5", "10.2.0.77"
COA_A, COA_B = "198.51.100.7", "203.0.113.7"
SIU_PORT, NODE_PORT = 4340, 40434
SPI = 0x101
BROADCAST = b"\xff" * 6
S, D, M, G, T = 0x80, 0x20, 0x10, 0x08, 0x02
ECHO, FRAGMENTATION_NEEDED = 8, (3, 4)


class House:
    """The home agent's surroundings; the test sits at both links."""

    def __init__(self, build):
        self.program = [os.path.join(build, "control/ha/roamgate-ha")]
        lab = self.lab = Lab()
        self.key, self.secrets = os.urandom(32), [os.urandom(32), os.urandom(32)]
        lab.namespace("ha", forward=True)
        lab.namespace("in")
        lab.namespace("mn")
        lab.link("ha", "in0", "in", "eth0")
        lab.link("ha", "home0", "mn", "home0")
        lab.ip("ha", f"addr add {AGENT_INSIDE}/24 dev in0", f"addr add {AGENT}/24 dev home0")
        inside = (GATEWAY, GATEWAY_2, CORRESPONDENT, INSIDE_COA)
        lab.ip("in", *(f"addr add {a}/24 dev eth0" for a in inside))
        lab.ip("in", f"route add 10.1.0.0/16 via {AGENT_INSIDE}")
        lab.ip("mn", f"addr add {NEIGHBOUR}/24 dev home0")
        self.inside, self.home = lab.packet_socket("in", "eth0"), lab.packet_socket("mn", "home0")
        self.mac_in, self.mac_agent = lab.mac("in", "eth0"), lab.mac("ha", "in0")
        self.mac_home_agent, self.mac_mn = lab.mac("ha", "home0"), lab.mac("mn", "home0")
        self.sockets, self.gateways = {}, []
        self.agent = None
        self.number = mip.identification()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for gateway in self.gateways:
            gateway.close()
        for sock in list(self.sockets.values()) + [self.inside, self.home]:
            sock.close()
        self.lab.close()

    def settings(self, gateways=1):
        return {
            "state_dir": self.lab.path("state"),
            "control_socket": self.lab.path("ha.sock"),
            "address": AGENT,
            "home_interface": "home0",
            "max_lifetime": 300,
            "inside_prefixes": Array(["10.1.0.0/16", "10.2.0.0/16"]),
            "siu": {"listen": f"{AGENT_INSIDE}:{SIU_PORT}"},
            "gateways": [
                {
                    "name": f"gw{i + 1}",
                    "address": f"{address}:{SIU_PORT}",
                    "key_id": 1,
                    "secret": self.secrets[i].hex(),
                }
                for i, address in enumerate((GATEWAY, GATEWAY_2)[:gateways])
            ],
            "mobile_nodes": [
                {
                    "name": "node1",
                    "home_address": HOME,
                    "gateway": "gw1",
                    "authentication": [
                        {"spi": SPI, "algorithm": "hmac-sha256", "key": self.key.hex()}
                    ],
                }
            ],
        }

    def start(self, gateways=1, **changes):
        self.started_with = (gateways, changes)
        text = libconfig(merge(self.settings(gateways), changes))
        config = self.lab.write("ha.conf", text)
        self.agent = self.lab.start("ha", [*self.program, "-c", config], "roamgate-ha")
        self.agent.wait_line(r"^roamgate-ha: ready")
        return self

    def kill_and_start(self):
        self.agent.kill()
        gateways, changes = self.started_with
        self.start(gateways, **changes)

    def connect_gateway(self, index=0, result=0):
        address = (GATEWAY, GATEWAY_2)[index]
        gateway = SiuGateway(
            self.secrets[index],
            self.lab.udp_socket("in", address, SIU_PORT),
            (AGENT_INSIDE, SIU_PORT),
            result,
        )
        self.gateways.append(gateway)
        gateway.connect()
        assert gateway.wait_sync(1), "no SYNC"
        return gateway

    # --- registrations ----------------------------------------------------------------------

    def rrq(self, care_of, lifetime=600, flags=D, number=None, key=None, agent=AGENT):
        if number is None:  # rising and near the clock
            self.number = number = max(mip.identification(), self.number + 1)
        return mip.request(HOME, agent, care_of, number, SPI, key or self.key, lifetime, flags)

    def ask_direct(self, source, message, namespace="in", timeout=1.0):
        """A node inside the private network; its reply or None."""
        if (namespace, source) not in self.sockets:
            self.sockets[namespace, source] = self.lab.udp_socket(namespace, source, NODE_PORT)
        sock = self.sockets[namespace, source]
        sock.settimeout(timeout)
        sock.sendto(message, (AGENT, mip.PORT))
        try:
            reply, sender = sock.recvfrom(2048)
        except socket.timeout:
            return None
        assert sender == (AGENT, mip.PORT)
        return reply

    def send_from_gateway(self, datagram):
        self.inside.send(ethernet(self.mac_agent, self.mac_in, datagram))

    def ask_by_gateway(self, care_of, message):
        """As the gateway passes it on: the inner source is the care-of address."""
        data = pcap.udp(care_of, AGENT, NODE_PORT, mip.PORT, message)
        self.send_from_gateway(pcap.ip(care_of, AGENT, UDP, data))

    def move(self, gateway, care_of, **fields):
        self.ask_by_gateway(care_of, self.rrq(care_of, **fields))
        found = gateway.wait_move(care_of)
        assert found, f"no UPDATE for {care_of}"
        wait_until(lambda: not self.binding()["pending"], 2, "ACK")
        return found[1]

    # --- traffic ----------------------------------------------------------------------------

    def ping(self, size=64, fragment=0, ttl=64):
        """The correspondent to the node's home address."""
        echo = struct.pack(">BBHHH", ECHO, 0, 0, 7, 1) + bytes(size)
        echo = echo[:2] + struct.pack(">H", pcap.checksum(echo)) + echo[4:]
        self.send_from_gateway(pcap.ip(CORRESPONDENT, HOME, ICMP, echo, ttl, 1, 0, fragment))

    def tunnelled(self, seconds=0.5, count=1, **fields):
        """What comes out of the tunnel after a ping."""
        list(received(self.inside, 0))
        self.ping(**fields)
        return take(self.inside, lambda p: p.proto == IPIP and p.src == AGENT, seconds, count)

    def destination(self):
        found = self.tunnelled()
        return found[0].dst if found else None

    def arp(self):
        """MAC that answers for the home address on the home link, or None."""
        request = struct.pack(">HHBBH", 1, 0x800, 6, 4, 1) + self.mac_mn
        request += socket.inet_aton(NEIGHBOUR) + bytes(6) + socket.inet_aton(HOME)
        self.home.settimeout(0.1)
        while True:
            try:
                self.home.recv(2048)
            except (BlockingIOError, socket.timeout):
                break
        self.home.send(BROADCAST + self.mac_mn + b"\x08\x06" + request)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            for frame in self.frames(self.home, 0.1):
                if frame[:6] == self.mac_mn and frame[12:14] == b"\x08\x06" and frame[21] == 2:
                    return frame[22:28]
        return None

    @staticmethod
    def frames(sock, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                yield sock.recv(2048)
            except (socket.timeout, BlockingIOError):
                return

    def announcements(self, seconds):
        """(operation, MAC) of gratuitous ARP for the home address."""
        home = socket.inet_aton(HOME)
        return [
            (frame[21], frame[22:28])
            for frame in self.frames(self.home, seconds)
            if frame[:6] == BROADCAST and frame[12:14] == b"\x08\x06"
            and frame[28:32] == home and frame[38:42] == home
        ]  # fmt: skip

    # --- control socket -----------------------------------------------------------------------

    def show(self, verb):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(2)
            sock.connect(self.lab.path("ha.sock"))
            sock.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            return json.loads(sock.makefile().readline())["rows"]

    def binding(self):
        return self.show("show-bindings")[0]

    def drops(self):
        return {row["reason"]: row["count"] for row in self.show("show-drops")}


@pytest.fixture
def house(build):
    with House(build) as house:
        yield house


def reply_fields(reply):
    """code, lifetime, identification"""
    code, lifetime = reply[1], struct.unpack_from(">H", reply, 2)[0]
    return code, lifetime, struct.unpack_from(">Q", reply, 12)[0]


def check_reply(house, reply, code, number, lifetime):
    """Byte for byte what mip.py makes of it, so the authenticator too."""
    assert reply == mip.reply(HOME, AGENT, number, SPI, house.key, lifetime, code)


def test_inside_the_private_network(house):
    house.start()
    reply = house.ask_direct(INSIDE_COA, house.rrq(INSIDE_COA))
    check_reply(house, reply, 0, house.number, 300)
    found = house.tunnelled(ttl=64)
    assert [p.dst for p in found] == [INSIDE_COA]
    inner = parse_ip(found[0].payload)
    assert (inner.src, inner.dst, inner.proto) == (CORRESPONDENT, HOME, ICMP)
    assert inner.raw[8] == 63, "the inner TTL is counted down once"
    assert found[0].raw[8] == 64 and found[0].raw[1] == 0
    assert house.arp() == house.mac_home_agent, "proxy ARP"


def test_announced_and_closed_by_expiry(house):
    house.start()
    check_reply(house, house.ask_direct(INSIDE_COA, house.rrq(INSIDE_COA, 2)), 0, house.number, 2)
    announced = house.announcements(1.5)
    assert {(1, house.mac_home_agent), (2, house.mac_home_agent)} <= set(announced)
    assert len(announced) >= 4, "repeated"
    wait_until(lambda: house.binding()["registered"] is None, 3, "expiry")
    assert house.destination() is None
    assert house.arp() is None
    assert house.drops()["binding_expired"] == 1


def test_denials_and_discards(house):
    house.start()
    ask = house.ask_direct
    good = house.rrq(INSIDE_COA)
    assert ask(INSIDE_COA, good[:-1] + bytes([good[-1] ^ 1]))[1] == 131
    assert ask(INSIDE_COA, good[:24], timeout=0.2) is None, "no authenticator"
    other = mip.request("10.1.0.99", AGENT, INSIDE_COA, house.number, SPI, house.key)
    assert ask(INSIDE_COA, other, timeout=0.2) is None, "no such node"
    late = mip.identification(time.time() - 60) | 0x1234
    code, lifetime, number = reply_fields(ask(INSIDE_COA, house.rrq(INSIDE_COA, number=late)))
    assert (code, lifetime, number & 0xFFFFFFFF) == (133, 0, late & 0xFFFFFFFF)
    assert abs((number >> 32) - (mip.identification() >> 32)) <= 1, "our clock"
    assert ask(INSIDE_COA, house.rrq(INSIDE_COA, agent="10.1.0.2"))[1] == 136
    assert ask(INSIDE_COA, house.rrq(INSIDE_COA, flags=D | G))[1] == 139
    assert ask(INSIDE_COA, house.rrq(INSIDE_COA, flags=0))[1] == 129
    assert ask(INSIDE_COA, house.rrq(COA_A))[1] == 129, "the source is not the CoA"
    assert house.binding()["registered"] is None and house.destination() is None
    assert ask(INSIDE_COA, house.rrq(INSIDE_COA, flags=D | S))[1] == 1
    drops = house.drops()
    for reason in ("bad_authenticator", "no_authenticator", "no_association", "id_mismatch",
                   "unknown_ha", "encapsulation", "not_colocated", "source_not_coa"):  # fmt: skip
        assert drops["rrq_" + reason] == 1, reason


# In place of the host's clock, which a test must not set: it and an offset from a file.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static const volatile long *offset_s;
__attribute__((constructor)) static void start(void)
{
	offset_s = mmap(NULL, 4096, PROT_READ, MAP_SHARED, open(getenv("CLOCK_OFFSET"), O_RDONLY), 0);
}
int clock_gettime(clockid_t clock, struct timespec *out)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int ret = real(clock, out);
	if (clock == CLOCK_REALTIME)
		out->tv_sec += *offset_s;
	return ret;
}
"""


def test_clock_that_is_set(house):
    """Forward and back: nothing that was accepted is accepted again, and the operator hears of it,
    also of the nodes that it locks out."""
    library, offset = house.lab.path("clock.so"), house.lab.write("offset", "\0" * 4096)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, "-xc", "-", "-ldl"],
                   input=CLOCK.encode(), check=True)  # fmt: skip

    def set_clock(seconds):
        with open(offset, "r+b") as file:
            file.write(struct.pack("=q", seconds))

    house.program[:0] = ["env", f"LD_PRELOAD={library}", f"CLOCK_OFFSET={offset}"]
    house.start()
    ask = house.ask_direct
    first = house.rrq(INSIDE_COA)
    assert ask(INSIDE_COA, first)[1] == 0
    second = house.rrq(INSIDE_COA)
    assert ask(INSIDE_COA, second)[1] == 0

    set_clock(3600)
    house.agent.wait_line(r"error clock: was set forward by 3600\.\d s")
    code, _, number = reply_fields(ask(INSIDE_COA, house.rrq(INSIDE_COA)))
    assert code == 133 and 3590 < (number >> 32) - (mip.identification() >> 32) < 3610, "it says why"
    assert ask(INSIDE_COA, first)[1] == 133, "copied from before"
    ahead = house.rrq(INSIDE_COA, number=mip.identification(time.time() + 3600))
    assert ask(INSIDE_COA, ahead)[1] == 0, "the node has taken the clock over"

    set_clock(0)
    house.agent.wait_line(r"error clock: was set back by 3600\.\d s")
    house.agent.wait_line(r"error clock: is behind: 1 nodes registered .* up to 3[56]\d\d s ahead")
    for request in (first, second, house.rrq(INSIDE_COA)):
        assert ask(INSIDE_COA, request)[1] == 133
    drops = house.drops()
    assert drops["clock_set"] == 2 and drops["rrq_clock_behind"] == 3
    assert drops["rrq_accepted"] == 3

    house.kill_and_start()  # the highest one is on disk
    house.agent.wait_line(r"error clock: is behind: 1 nodes")
    assert ask(INSIDE_COA, house.rrq(INSIDE_COA))[1] == 133


def test_answers_are_rationed(house):
    house.start()
    bad = house.rrq(INSIDE_COA, key=os.urandom(32))
    answers = [house.ask_direct(INSIDE_COA, bad, timeout=0.02) for _ in range(40)]
    assert 10 <= sum(a is not None for a in answers) <= 16
    assert house.drops()["rrq_limited"] >= 24
    assert house.agent.output().count("denied") <= 10


def test_acceptances_are_rationed(house):
    """A node that registers without end does not keep the disk and the gateway from others."""
    house.start()
    codes = [house.ask_direct(INSIDE_COA, house.rrq(INSIDE_COA))[1] for _ in range(18)]
    assert codes[:10] == [0] * 10 and 130 in codes
    drops = house.drops()
    assert drops["rrq_accepted"] == codes.count(0) and drops["rrq_too_many"] == codes.count(130)
    time.sleep(0.5)
    assert house.ask_direct(INSIDE_COA, house.rrq(INSIDE_COA))[1] == 0


def test_through_the_gateway(house):
    house.start()
    gateway = house.connect_gateway(result=None)
    house.ask_by_gateway(COA_A, house.rrq(COA_A))
    _, entry = gateway.wait_move(COA_A)
    first = house.number
    assert (entry["home_address"], entry["identification"]) == (HOME, first)
    assert "former_coa" not in entry and entry["lifetime"] == 300
    rrp = parse_ip(entry["rrp"])
    assert (rrp.src, rrp.dst) == (AGENT, COA_A)
    assert pcap.udp_ports(rrp) == (mip.PORT, NODE_PORT)
    check_reply(house, rrp.payload[8:], 0, first, 300)
    assert house.binding()["pending"]
    gateway.answer(entry)
    wait_until(lambda: not house.binding()["pending"], 2, "ACK")
    assert house.destination() == COA_A

    # The next move: the tunnel stays with the former address until the ACK.
    gateway.updates.clear()
    house.ask_by_gateway(COA_B, house.rrq(COA_B))
    _, entry = gateway.wait_move(COA_B)
    assert entry["former_coa"] == COA_A
    assert house.destination() == COA_A
    gateway.answer(entry)
    wait_until(lambda: not house.binding()["pending"], 2, "ACK")
    assert house.destination() == COA_B
    row = house.binding()
    assert row["generation"] == 2 and row["ack_us"] >= row["update_us"] >= row["durable_us"]


def test_first_move_does_not_wait_for_the_ack(house):
    """From home there is no former address: packets follow the UPDATE, until it is refused."""
    house.start()
    gateway = house.connect_gateway(result=None)
    assert house.destination() is None
    house.ask_by_gateway(COA_A, house.rrq(COA_A))
    _, entry = gateway.wait_move(COA_A)
    wait_until(lambda: house.destination() == COA_A, 1, "the tunnel to follow the UPDATE")
    assert house.binding()["pending"]
    assert house.arp() == house.mac_home_agent
    # pending a second time: the newest address, since none is in force
    house.ask_by_gateway(COA_B, house.rrq(COA_B))
    _, second = gateway.wait_move(COA_B)
    wait_until(lambda: house.destination() == COA_B, 1, "the tunnel to follow the UPDATE")
    gateway.answer(entry, 129)  # of a superseded UPDATE
    assert house.destination() == COA_B
    gateway.answer(second, 129)
    wait_until(lambda: not house.binding()["pending"], 2, "the refusal")
    assert house.destination() is None and house.arp() is None
    assert house.binding()["registered"] is None


def test_tunnel_goes_to_the_gateway_only(house):
    """Whatever routes there are to the care-of address, and if there is none to the gateway."""
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    house.lab.ip("ha", f"route add default via {NEIGHBOUR} dev home0")
    list(received(house.home, 0))
    assert house.destination() == COA_A
    assert not take(house.home, lambda p: p.dst == COA_A, 0.2)
    house.lab.ip("ha", "link set in0 down", "link set in0 up")
    list(received(house.home, 0))
    wait_until(lambda: house.destination() == COA_A, 5, "the way to the gateway comes back")
    table = house.lab.run("ha", "ip", "rule").splitlines()
    table = [line.split()[-1] for line in table if "fwmark" in line]
    assert len(table) == 1
    house.lab.run("ha", "ip", "route", "del", "default", "via", GATEWAY, "table", table[0])
    assert house.destination() is None
    assert not take(house.home, lambda p: p.dst == COA_A, 0.2), "in clear by the main table"


def test_home_link_comes_back(house):
    house.start()
    check_reply(house, house.ask_direct(INSIDE_COA, house.rrq(INSIDE_COA)), 0, house.number, 300)
    assert house.arp() == house.mac_home_agent
    house.lab.ip("ha", "link set home0 down", "link set home0 up")
    wait_until(lambda: house.arp() == house.mac_home_agent, 5, "proxy ARP")


def test_three_copies_one_update(house):
    house.start()
    gateway = house.connect_gateway()
    message = house.rrq(COA_A)
    for _ in range(3):
        house.ask_by_gateway(COA_A, message)
    assert gateway.wait_move(COA_A)
    assert gateway.wait_move(COA_A, 0.3) is None
    wait_until(lambda: house.drops()["rrq_duplicate"] == 2, 1, "duplicates")
    time.sleep(1.1)
    before = house.binding()
    house.ask_by_gateway(COA_A, message)
    reply = gateway.wait_reply_only()
    check_reply(house, reply[:], 0, house.number, 300)
    after = house.binding()
    assert after["generation"] == before["generation"] == 1
    assert after["registered"]["remaining_s"] <= before["registered"]["remaining_s"] <= 299


def test_denial_by_the_gateway(house):
    house.start()
    gateway = house.connect_gateway()
    late = mip.identification(time.time() - 3600)
    house.ask_by_gateway(COA_A, house.rrq(COA_A, number=late))
    assert gateway.wait_reply_only()[1] == 133
    assert gateway.wait_move(COA_A, 0.2) is None, "no UPDATE for what is invalid"


def test_gateway_refuses(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    gateway.result = lambda entry: 0 if entry["flags"] & 1 else 131  # BAD_COA
    house.ask_by_gateway(COA_B, house.rrq(COA_B))
    reply = gateway.wait_reply_only()
    check_reply(house, reply, 129, house.number, 0)
    row = house.binding()
    assert not row["pending"] and row["in_force"]["coa"] == row["registered"]["coa"] == COA_A
    assert house.destination() == COA_A


def test_returned_home(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    assert house.arp() == house.mac_home_agent
    house.lab.ip("mn", f"addr add {HOME}/24 dev home0")
    list(house.frames(house.home, 0.1))
    reply = house.ask_direct(HOME, house.rrq(HOME, 0), "mn")
    check_reply(house, reply, 0, house.number, 0)
    assert (2, house.mac_mn) in house.announcements(0.3), "the node's own MAC"
    assert gateway.wait_deregister()
    assert gateway.nodes[HOME][1] is None
    assert house.destination() is None
    assert house.arp() is None, "the home agent answers no more"
    assert house.lab.run("ha", "ip", "neigh", "show", "proxy").strip() == ""


def test_deregistered_while_away(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    house.ask_by_gateway(COA_A, house.rrq(COA_A, 0))
    _, entry = gateway.wait_deregister()
    check_reply(house, parse_ip(entry["rrp"]).payload[8:], 0, house.number, 0)
    wait_until(lambda: house.binding()["in_force"] is None, 2, "closed")
    assert house.destination() is None


def test_reverse_tunnel(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A, flags=D | T)
    inner = pcap.ip(HOME, CORRESPONDENT, UDP, pcap.udp(HOME, CORRESPONDENT, 5, 6, b"hello"))

    def arrives(outer_source, inner_datagram=inner):
        list(received(house.inside, 0))
        house.send_from_gateway(pcap.ip(outer_source, AGENT, IPIP, inner_datagram))
        found = take(house.inside, lambda p: p.proto == UDP and p.src == HOME, 0.3, 1)
        icmp = take(house.inside, lambda p: p.proto == ICMP, 0, 1)
        assert not icmp, "nothing of it is answered"
        return bool(found)

    assert arrives(COA_A)
    assert not arrives(COA_B)
    foreign = pcap.ip("10.1.0.77", CORRESPONDENT, UDP, pcap.udp("10.1.0.77", CORRESPONDENT, 5, 6, b""))
    assert not arrives(COA_A, foreign)
    house.move(gateway, COA_B, flags=D | T)
    assert arrives(COA_B)
    assert arrives(COA_A), "during grace"
    time.sleep(2.1)
    assert not arrives(COA_A)
    house.move(gateway, COA_A, flags=D)
    assert not arrives(COA_A), "T was not asked for"


def test_packets_larger_than_the_tunnel(house):
    house.start(tunnel_mtu=1000)
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    found = house.tunnelled(count=2, size=1200)
    assert [p.dst for p in found] == [COA_A, COA_A]
    assert max(p.length for p in found) <= 1020
    assert all(struct.unpack_from(">H", p.raw, 6)[0] & 0x3FFF == 0 for p in found), "outer: none"
    pieces = [parse_ip(p.payload) for p in found]
    assert struct.unpack_from(">H", pieces[0].raw, 6)[0] & 0x2000, "fragments are inside"
    list(received(house.inside, 0))
    house.ping(size=1200, fragment=0x4000)
    icmp = take(house.inside, lambda p: p.proto == ICMP, 0.5, 1)
    assert tuple(icmp[0].payload[:2]) == FRAGMENTATION_NEEDED
    assert struct.unpack_from(">H", icmp[0].payload, 6)[0] == 1000


def test_killed_while_pending(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    gateway.result = None
    message = house.rrq(COA_B)
    house.ask_by_gateway(COA_B, message)
    assert gateway.wait_move(COA_B)
    house.agent.kill()
    gateway.updates.clear()
    gateway.result = 0
    house.start()
    assert house.arp() == house.mac_home_agent, "from the ready line on"
    at, entry = gateway.wait_move(COA_B, 2)
    assert entry["generation"] == 2 and entry["former_coa"] == COA_A
    check_reply(house, parse_ip(entry["rrp"]).payload[8:], 0, house.number, 300)
    wait_until(lambda: not house.binding()["pending"], 2, "ACK")
    assert house.destination() == COA_B
    # What was accepted before the kill is not accepted again.
    house.ask_by_gateway(COA_B, message)
    check_reply(house, gateway.wait_reply_only(), 0, house.number, 300)
    house.ask_by_gateway(COA_A, house.rrq(COA_A, number=house.number - 1))
    assert gateway.wait_reply_only()[1] == 133
    assert house.binding()["generation"] == 2


def test_gateway_restarts(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    house.gateways.remove(gateway)
    gateway.close()
    gateway = house.connect_gateway()  # another run: its memory is empty
    assert gateway.nodes == {HOME: (1, COA_A)}


def test_sweep_after_a_kill(house):
    """The node came home while the gateway could not be reached, and the home agent was killed."""
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    gateway.result = None
    house.lab.ip("mn", f"addr add {HOME}/24 dev home0")
    check_reply(house, house.ask_direct(HOME, house.rrq(HOME, 0), "mn"), 0, house.number, 0)
    assert HOME in gateway.nodes
    syncs = gateway.syncs
    gateway.result = 0
    house.kill_and_start()
    assert gateway.wait_sync(syncs + 1)
    assert HOME not in gateway.nodes or gateway.nodes[HOME][1] is None


def test_seen_by_the_second_gateway(house):
    house.start(gateways=2, rrq_seen_wait_ms=200)
    first, second = house.connect_gateway(0), house.connect_gateway(1)
    # Before the request, as it usually is.
    message = house.rrq(COA_A)
    second.seen(HOME, house.number, COA_A)
    time.sleep(0.05)
    sent = time.monotonic()
    house.ask_by_gateway(COA_A, message)
    at, _ = second.wait_move(COA_A)
    assert at - sent < 0.1, "it need not wait"
    # Behind the request, within the wait.
    sent = time.monotonic()
    house.ask_by_gateway(COA_B, house.rrq(COA_B))
    time.sleep(0.05)
    second.seen(HOME, house.number, COA_B)
    at, _ = second.wait_move(COA_B)
    assert 0.05 <= at - sent < 0.15
    # Not at all: the configured gateway, after the wait; the other one is left.
    sent = time.monotonic()
    house.ask_by_gateway(COA_A, house.rrq(COA_A))
    at, _ = first.wait_move(COA_A)
    assert 0.2 <= at - sent < 0.4
    assert second.wait_deregister()


def test_orderly_end_leaves_nothing(house):
    house.start()
    gateway = house.connect_gateway()
    house.move(gateway, COA_A)
    gateway.event(HOME, 2)
    wait_until(lambda: house.show("show-siu")[0]["events"] == 1, 2, "EVENT")
    assert house.agent.stop() == 0
    for command in (("rule",), ("neigh", "show", "proxy"), ("route", "show", "table", "all")):
        text = house.lab.run("ha", "ip", *command)
        assert "fwmark" not in text and HOME not in text and "rg-ha" not in text, command
