# SPDX-License-Identifier: BSD-3-Clause
"""The networks around a mobile node, and a gateway with its home agent, imitated.

    router, gateway 192.0.2.1 --- va1 198.51.100.1/24 --- va0 mn
    home agent 10.1.0.1       --- vb1 203.0.113.1/24  --- vb0 mn
                              --- home1 10.1.0.1/24   --- home0 mn (10.1.0.10)

ESP is scapy's, an implementation that shares nothing with the node's.
"""
import collections
import contextlib
import json
import os
import select
import socket
import struct
import threading
import time

import lab as laboratory
import mip
from lab import Lab
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation
from world import CORRESPONDENT, HOME_AGENT, MIP_SPI, OUTSIDE, VISITED, Node, World

ARP = 0x0806

# A registration request as the gateway or the home link got it
Request = collections.namedtuple(
    "Request", "at outer inner_source flags lifetime home agent care_of number raw"
)


def parse_request(at, outer, inner_source, raw):
    _, flags, lifetime = struct.unpack_from(">BBH", raw)
    home, agent, care_of = (socket.inet_ntoa(raw[i : i + 4]) for i in (4, 8, 12))
    number = struct.unpack_from(">Q", raw, 16)[0]
    return Request(at, outer, inner_source, flags, lifetime, home, agent, care_of, number, raw)


class Surroundings(World):
    """A World without its programs: the imitation stands in for gateway and home agent."""

    def __init__(self, build):  # pylint: disable=super-init-not-called
        self.build = os.path.abspath(build)
        self.lab = Lab()
        self.nodes = [Node()]
        self.node = self.nodes[0]
        self.node.write_keys(self.lab)
        self.mobile = None
        self.place = None
        lab = self.lab
        lab.namespace("net", forward=True)
        lab.namespace("mn")
        lab.ip("net", f"addr add {OUTSIDE}/32 dev lo")
        for interface, peer, router in (("va0", "va1", "198.51.100.1"), ("vb0", "vb1", "203.0.113.1")):
            lab.link("mn", interface, "net", peer)
            lab.ip("net", f"addr add {router}/24 dev {peer}")
            lab.ip("mn", f"link set dev {interface} down")
        lab.link("mn", "home0", "net", "home1")
        lab.ip("net", f"addr add {HOME_AGENT}/24 dev home1")
        self.gateway = Gateway(self)

    def close(self):
        self.gateway.stop()
        self.lab.close()

    def start_node(self, **changes):
        self.start_mobile(changes)
        return self.mobile

    def status(self):
        return self.call("show-status")

    def drops(self):
        return {row["verdict"]: row for row in self.call("show-drops")["rows"]}

    def call(self, verb):
        """One request on the node's control socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(self.socket("roamgate-mn"))
            sock.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                data += sock.recv(65536)
        answer = json.loads(data)
        assert answer.pop("ok"), answer
        return answer

    def wait_registration(self, state, seconds=5):
        laboratory.wait_until(
            lambda: self.status()["registration"] == state, seconds, f"registration {state}"
        )

    def ping(self, count=1, interval=0.02, deadline=1):
        """Answers to echo requests from the home address to the correspondent."""
        out = self.lab.run(
            "mn", "ping", "-n", "-q", "-c", count, "-i", interval, "-W", deadline,
            "-I", self.node.home_address, CORRESPONDENT, check=False,
        )  # fmt: skip
        return int(out.split(" received")[0].split()[-1]) if " received" in out else 0


class Gateway:
    """Takes ESP at 192.0.2.1, answers registrations as the home agent and pings as everybody."""

    def __init__(self, site):
        self.site = site
        node = site.node
        with site.lab.inside("net"):
            self.esp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ESP)
            self.esp.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            self.home = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.home.bind((HOME_AGENT, mip.PORT))
        common = {"crypt_algo": "AES-GCM", "esn_en": True, "esn": 0}
        self.up = SecurityAssociation(
            ESP, spi=node.spi_up, crypt_key=node.key_up, tunnel_header=IP(), **common
        )
        self.down_key = dict(spi=node.spi_down, crypt_key=node.key_down, **common)
        self.sequence = 0
        self.requests = []  # in ESP
        self.home_requests = []
        self.packets = []  # (time, outer source, inner bytes) of what is no registration
        self.sequences = []  # as they came
        self.ivs = []
        self.errors = []
        self.sent = []  # ESP datagrams
        self.care_of = None  # as registered
        self.code = 0
        self.answer = True  # registrations
        self.answer_home = None  # instead of reply_bytes(), on the home link
        self.clock_ahead = 0  # s
        self.changed = threading.Condition()
        self.ending = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        self.ending = True
        self.thread.join(5)
        self.esp.close()
        self.home.close()

    def _run(self):
        while not self.ending:
            ready, _, _ = select.select([self.esp, self.home], [], [], 0.05)
            for sock in ready:
                with contextlib.suppress(OSError):
                    data, peer = sock.recvfrom(65536)
                    with self.changed:
                        if sock is self.esp:
                            self._take_esp(time.time_ns(), data)
                        else:
                            self._take_home(time.time_ns(), data, peer)
                        self.changed.notify_all()

    def _take_esp(self, at, data):
        outer = IP(data)
        try:
            inner = self.up.decrypt(outer)
        except Exception as error:  # noqa: BLE001 - every failure of the node's ESP is the finding
            self.errors.append(repr(error))
            return
        self.sequences.append(int.from_bytes(data[24:28], "big"))
        self.ivs.append(data[28:36])
        raw = bytes(inner)
        if inner.proto == socket.IPPROTO_UDP and inner[UDP].dport == mip.PORT:
            request = parse_request(at, outer.src, inner.src, bytes(inner[UDP].payload))
            self.requests.append(request)
            if self.answer:
                self.reply(request)
            return
        self.packets.append((at, outer.src, raw))
        if inner.proto == socket.IPPROTO_IPIP:
            inner = inner.payload
        if inner.haslayer(ICMP) and inner[ICMP].type == 8 and self.care_of:
            self.to_node(
                IP(src=inner.dst, dst=inner.src)
                / ICMP(type=0, id=inner[ICMP].id, seq=inner[ICMP].seq)
                / bytes(inner[ICMP].payload)
            )

    def reply_bytes(self, request, code=None):
        code = self.code if code is None else code
        number = request.number
        if self.clock_ahead and abs((number >> 32) - (mip.identification() >> 32)) < 60:
            code = 133
            ahead = mip.identification(time.time() + self.clock_ahead)
            number = (ahead & ~0xFFFFFFFF) | (number & 0xFFFFFFFF)
        elif code == 0:
            self.care_of = request.care_of
        return mip.reply(
            request.home, request.agent, number, MIP_SPI, self.site.node.key_mip,
            lifetime=request.lifetime, code=code,
        )  # fmt: skip

    def reply(self, request, code=None):
        message = self.reply_bytes(request, code)
        inner = IP(src=HOME_AGENT, dst=request.care_of) / UDP(sport=434, dport=434) / message
        self.send(inner, request.outer)

    def _take_home(self, at, data, peer):
        request = parse_request(at, None, peer[0], data)
        self.home_requests.append(request)
        if self.answer:
            self.home.sendto((self.answer_home or self.reply_bytes)(request), peer)

    def seal(self, inner, to, source=OUTSIDE, sequence=None, key=None):
        """ESP around inner (scapy), as bytes."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        sa = SecurityAssociation(
            ESP, tunnel_header=IP(src=source, dst=to), **{**self.down_key, **(key or {})}
        )
        return bytes(sa.encrypt(IP(bytes(inner)), seq_num=sequence))

    def send(self, inner, to, **how):
        self.send_raw(self.seal(inner, to, **how))

    def send_raw(self, datagram):
        self.sent.append(datagram)
        self.esp.sendto(datagram, (socket.inet_ntoa(datagram[16:20]), 0))

    def to_node(self, inner, label=None, to=None):
        """The home agent's IP-in-IP, in ESP."""
        label = label or self.care_of
        self.send(IP(src=HOME_AGENT, dst=label) / inner, to or self.care_of)

    def wait(self, condition, seconds=5, what="the node"):
        end = time.monotonic() + seconds
        with self.changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0:
                    raise laboratory.LabError(f"{what}: not within {seconds} s {self.errors}")
                self.changed.wait(left)


__all__ = ["ARP", "CORRESPONDENT", "Gateway", "Surroundings", "VISITED", "parse_request"]
