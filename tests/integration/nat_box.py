# SPDX-License-Identifier: BSD-3-Clause
"""A NAT in the hands of a test: several private networks behind one public address.

It translates UDP alone, knows each (network, address, port) by a port of its own outside, takes
packets from outside from anybody (endpoint-independent), and answers ARP on all its sides. The test
can make it forget a port and take a new one, or change its address.
"""
import contextlib
import select
import socket
import struct
import threading
from collections import Counter, namedtuple

import pcap

ARP, IPV4, UDP = b"\x08\x06", b"\x08\x00", 17
Flow = namedtuple("Flow", "network address port")


class NatBox:
    """networks: packet sockets by name; outside: the packet socket of the public side."""

    def __init__(self, networks, inner_router, outside, address, router_mac):
        self.networks, self.outside = networks, outside
        self.inner_router, self.address = inner_router, address
        self.router_mac = router_mac
        self.own_mac = b"\x02\x00\x00\x00\x4a\x7a"
        self.host_macs = {}  # by (network, address)
        self.ports, self.flows = {}, {}  # flow to port and back
        self.next_port = 61000
        self.refused = set()  # flows whose packets are dropped on the way out
        self.keepalives = Counter()  # by network
        self.seen = Counter()  # datagrams out, by network
        self.lock = threading.Lock()
        self.ending = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.ending = True
        self.thread.join(5)
        for sock in [self.outside, *self.networks.values()]:
            sock.close()

    # --- what a test does with it -----------------------------------------------------------

    def forget(self, network=None):
        """Ports of a network, or of all: what comes next gets a new one."""
        with self.lock:
            for flow in [f for f in self.ports if network in (None, f.network)]:
                del self.flows[self.ports.pop(flow)]

    def renumber(self, address):
        """Another public address, as a provider gives it over night."""
        self.forget()
        with self.lock:
            self.address = address

    def port_of(self, network):
        with self.lock:
            return next((p for f, p in self.ports.items() if f.network == network), None)

    # --- the box ----------------------------------------------------------------------------

    def _run(self):
        sides = {sock: name for name, sock in self.networks.items()} | {self.outside: None}
        while not self.ending:
            ready, _, _ = select.select(list(sides), [], [], 0.05)
            for sock in ready:
                with contextlib.suppress(OSError), self.lock:
                    self._take(sock, sides[sock], sock.recv(65535))

    def _take(self, sock, network, frame):
        if frame[12:14] == ARP:
            self._answer_arp(sock, network, frame)
        elif frame[12:14] == IPV4 and frame[23] == UDP and frame[14] == 0x45:
            if network is None:
                self._inwards(frame)
            else:
                self._outwards(network, frame)

    def _answer_arp(self, sock, network, frame):
        mac, sender, wanted = frame[22:28], frame[28:32], socket.inet_ntoa(frame[38:42])
        if frame[20:22] != b"\0\1" or wanted != (self.inner_router if network else self.address):
            return
        reply = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + self.own_mac + frame[38:42]
        sock.send(mac + self.own_mac + ARP + reply + mac + sender)

    def _outwards(self, network, frame):
        src, dst = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
        sport, dport = struct.unpack(">HH", frame[34:38])
        flow = Flow(network, src, sport)
        self.host_macs[network, src] = frame[6:12]
        if flow not in self.ports:
            self.ports[flow] = self.next_port
            self.flows[self.next_port] = flow
            self.next_port += 1
        self.seen[network] += 1
        if frame[38:40] == b"\0\x09" and frame[42] == 0xFF:
            self.keepalives[network] += 1
        packet = self._rebuilt(frame, self.address, dst, self.ports[flow], dport)
        self.outside.send(pcap.ethernet(self.router_mac, self.own_mac, packet))

    def _inwards(self, frame):
        flow = self.flows.get(struct.unpack(">H", frame[36:38])[0])
        if socket.inet_ntoa(frame[30:34]) != self.address or flow is None:
            return
        src, sport = socket.inet_ntoa(frame[26:30]), struct.unpack(">H", frame[34:36])[0]
        packet = self._rebuilt(frame, src, flow.address, sport, flow.port)
        mac = self.host_macs[flow.network, flow.address]
        self.networks[flow.network].send(pcap.ethernet(mac, self.own_mac, packet))

    def _rebuilt(self, frame, src, dst, sport, dport):
        """The same datagram between other endpoints; a checksum stays one, none stays none."""
        length = struct.unpack(">H", frame[16:18])[0]
        payload = frame[42 : 14 + length]
        data = pcap.udp(src, dst, sport, dport, payload)
        if frame[40:42] == b"\0\0":
            data = data[:6] + b"\0\0" + data[8:]
        flags = struct.unpack(">H", frame[20:22])[0]
        return pcap.ip(src, dst, UDP, data, frame[22] - 1, 0, frame[15], flags)
