# SPDX-License-Identifier: BSD-3-Clause
"""The networks that Roamgate is tested in, and configuration files for its programs.

Border: the gateway alone, with both its wires in the hands of the test.
World:  the whole scenario.

    corr --+                                   +--(relay A)-- va0 mn
           | inside LAN 10.2.0.0/24 (bridge    |  198.51.100.0/24
    ha ----+ in namespace "lan")          net -+
           |                               |   +--(relay B)-- vb0 mn
    gw in -+   gw out --- 192.0.2.0/24 ----+      203.0.113.0/24
    ha home0 10.1.0.1/24 ---- home link 10.1.0.0/24 ---- home0 mn (10.1.0.10)
"""
import json
import os
import select
import time
from collections import defaultdict

import lab as laboratory
from esp_algorithms import EspPeer, material_bytes
from lab import Lab, LabError
from pcap import ESP, EspKey, ethernet, parse_ip

OUTSIDE, OUTSIDE_ROUTER = "192.0.2.1", "192.0.2.254"
INSIDE, SIU_PORT = "10.2.0.254", 4340
HOME_AGENT, HOME_AGENT_INSIDE, CORRESPONDENT = "10.1.0.1", "10.2.0.1", "10.2.0.5"
HOME_PREFIX = "10.1.0.0/24"
MIP_SPI = 0x101
BROADCAST = b"\xff" * 6

# Visited networks: interface of the node, router there, care-of address
VISITED = {
    "A": ("va0", "198.51.100.1", "198.51.100.7"),
    "B": ("vb0", "203.0.113.1", "203.0.113.7"),
}


class Array(list):
    """A libconfig array [ "a", "b" ]; a plain list is written as a list of groups ( ... )."""


def libconfig(settings, indent=""):
    """Settings as a dict in libconfig's syntax."""

    def value(item, indent):
        if isinstance(item, bool):
            return str(item).lower()
        if isinstance(item, int):
            return str(item) + ("L" if item > 0x7FFFFFFF else "")
        if isinstance(item, str):
            return json.dumps(item)
        if isinstance(item, dict):
            return "{\n" + libconfig(item, indent + "  ") + indent + "}"
        brackets = "[]" if isinstance(item, Array) else "()"
        return brackets[0] + ", ".join(value(i, indent + "  ") for i in item) + brackets[1]

    return "".join(f"{indent}{key} = {value(v, indent)};\n" for key, v in settings.items())


def merge(settings, changes):
    """settings with changes laid over it, group by group; None removes a key."""
    merged = dict(settings)
    for key, change in changes.items():
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], change)
        else:
            merged[key] = change
    return merged


class Node:
    """What the three programs share about one mobile node. Keys are new in every run."""

    def __init__(self, number=1, algorithm="aes128gcm16", esn=True):
        self.number = number
        self.name = f"node{number}"
        self.home_address = f"10.1.0.{9 + number}"
        self.algorithm = algorithm
        self.esn = esn
        size = material_bytes(algorithm)
        self.spi_up, self.spi_down = 0x1000 + number, 0x2000 + number
        self.key_up, self.key_down = os.urandom(size), os.urandom(size)
        self.key_mip = os.urandom(32)
        if "gcm" in algorithm:
            self.up = EspKey(self.spi_up, self.key_up, esn)
            self.down = EspKey(self.spi_down, self.key_down, esn)
        else:
            self.up = EspPeer(self.spi_up, algorithm, self.key_up, esn)
            self.down = EspPeer(self.spi_down, algorithm, self.key_down, esn)

    def write_keys(self, lab):
        for name, key in (("in", self.key_up), ("out", self.key_down), ("mip", self.key_mip)):
            lab.write(f"{self.name}-{name}.key", key.hex() + "\n")

    def gateway_settings(self, lab, care_of=None, **changes):
        settings = {
            "name": self.name,
            "home_address": self.home_address,
            "home_agent": "ha1",
            "inbound": {
                "spi": self.spi_up,
                "algorithm": self.algorithm,
                "key_file": lab.path(f"{self.name}-in.key"),
                "source": "any",
                "esn": self.esn,
                "replay_window": 1024,
            },
            "outbound": {
                "spi": self.spi_down,
                "algorithm": self.algorithm,
                "key_file": lab.path(f"{self.name}-out.key"),
                "esn": self.esn,
            },
        }
        if care_of:
            settings["care_of"] = care_of
        return merge(settings, changes)


def worker_cpu():
    return max(os.cpu_count() - 1, 0)


def af_packet(number, interface):
    return f"net_af_packet{number},iface={interface},blocksz=65536,framesz=2048,framecnt=2048"


class Site:
    """Base: a laboratory, the build's programs, the gateway's namespace and configuration."""

    def __init__(self, build, nodes=None):
        self.build = os.path.abspath(build)
        self.lab = Lab()
        self.nodes = nodes or [Node()]
        self.gateway = None
        self.siu_key = os.urandom(32)
        self.lab.write("siu.key", self.siu_key.hex() + "\n")
        for node in self.nodes:
            node.write_keys(self.lab)
        # The gateway's worker polls without end: it gets a core for itself where there are two.
        if os.cpu_count() > 1:
            os.sched_setaffinity(0, set(range(os.cpu_count())) - {worker_cpu()})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.lab.close()
        os.sched_setaffinity(0, range(os.cpu_count()))

    def program(self, name):
        path = os.path.join(
            self.build,
            {
                "roamgate": "control/gw/roamgate",
                "roamgate-ha": "control/ha/roamgate-ha",
                "roamgate-mn": "control/mn/roamgate-mn",
                "roamctl": "control/ctl/roamctl",
                "relay": "tests/demo/relay",
                "natt": "tests/vm/natt",
                "pinger": "tests/demo/pinger",
            }[name],
        )
        if not os.path.exists(path):
            raise LabError(f"{path} is missing: build first")
        return path

    def socket(self, program):
        return self.lab.path(program + ".sock")

    def roamctl(self, program, *argv):
        """The JSON that roamctl gets from a running program."""
        return json.loads(self.roamctl_text(program, *argv, "--json"))

    def roamctl_text(self, program, *argv):
        return laboratory.run(self.program("roamctl"), "-s", self.socket(program), *argv)

    # --- the gateway ------------------------------------------------------------------------

    def gateway_settings(self, nodes=None):
        lab = self.lab
        return {
            "state_dir": lab.path("state-gw"),
            "control_socket": self.socket("roamgate"),
            "log_level": "debug",
            "inside_prefixes": Array(["10.1.0.0/16", "10.2.0.0/16"]),
            "dpdk": {
                "control_cpu": "0",
                "worker_cpus": str(worker_cpu()),
                "no_huge": True,
                "memory_mb": 256,
                "mbufs": 8192,
                "file_prefix": lab.prefix.rstrip("-"),
            },
            "max_nodes": 100,
            "outside": {
                "device": af_packet(0, "gwo0"),
                "mirror": "rg-out",
                "addresses": Array([OUTSIDE + "/24"]),
            },
            "inside": {
                "device": af_packet(1, "gwi0"),
                "mirror": "rg-in",
                "addresses": Array([INSIDE + "/24"]),
            },
            "routes": [
                {"to": "0.0.0.0/0", "via": OUTSIDE_ROUTER},
                {"to": "10.1.0.0/16", "via": HOME_AGENT_INSIDE},
            ],
            "siu": {"listen": f"{INSIDE}:{SIU_PORT}"},
            "home_agents": [
                {
                    "name": "ha1",
                    "address": f"{HOME_AGENT_INSIDE}:{SIU_PORT}",
                    "tunnel_source": HOME_AGENT,
                    "prefixes": Array(["10.1.0.0/16"]),
                    "key_id": 1,
                    "secret_file": lab.path("siu.key"),
                }
            ],
            "mobile_nodes": nodes or [node.gateway_settings(lab) for node in self.nodes],
        }

    def start_gateway(self, changes=None, nodes=None, ready=True):
        settings = merge(self.gateway_settings(nodes), changes or {})
        config = self.lab.write("roamgate.conf", libconfig(settings))
        self.gateway = self.lab.start(
            "gw",
            [self.program("roamgate"), "-c", config],
            cpus=f"0-{os.cpu_count() - 1}",
        )
        if ready:
            self.gateway.wait_line(r"^roamgate: ready")
        return self.gateway

    def drops(self):
        """Counters by verdict, summed over directions."""
        return drop_counts(self.roamctl("roamgate", "show", "drops"))


def drop_counts(answer):
    """{reason: packets} of "show drops", over all directions; what never happened counts 0."""
    counts = defaultdict(int)
    for row in answer["rows"]:
        counts[row["reason"]] += row["count"]
    return counts


def received(sock, seconds):
    """IPv4 packets that a packet socket receives until the time is over."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        ready, _, _ = select.select([sock], [], [], max(left, 0))
        if not ready:
            return
        frame = sock.recv(65535)
        if frame[12:14] == b"\x08\x00":
            packet = parse_ip(frame[14:], time.time_ns())
            if packet:
                yield packet


def take(sock, wanted, seconds, count=None):
    """Packets that are wanted: all within the time, or the first count of them."""
    found = []
    for packet in received(sock, seconds):
        if wanted(packet):
            found.append(packet)
            if len(found) == count:
                break
    return found


class Border(Site):
    """The gateway with two wires: namespace "out" with the router, "in" with everybody inside."""

    def __init__(self, build, nodes=None, virtio=False):
        super().__init__(build, nodes)
        lab = self.lab
        self.virtio = virtio
        for name in ("out", "in"):
            lab.namespace(name)
        self.lay_wires()
        lab.ip("out", f"addr add {OUTSIDE_ROUTER}/24 dev gwo1")
        lab.ip(
            "in",
            f"addr add {HOME_AGENT_INSIDE}/24 dev gwi1",
            f"addr add {CORRESPONDENT}/24 dev gwi1",
            f"addr add {HOME_AGENT}/32 dev lo",
        )
        self.outside = lab.packet_socket("out", "gwo1")
        self.inside = lab.packet_socket("in", "gwi1")
        self.router_mac, self.lan_mac = lab.mac("out", "gwo1"), lab.mac("in", "gwi1")
        self.outside_mac = self.inside_mac = None
        self.bridge = None

    def lay_wires(self):
        """Both wires, with their ends "gwo1" in namespace "out" and "gwi1" in namespace "in"."""
        lab = self.lab
        for name in ("gw", "dpdk"):
            lab.namespace(name)
        holder = "dpdk" if self.virtio else "gw"
        lab.link(holder, "gwo0", "out", "gwo1")
        lab.link(holder, "gwi0", "in", "gwi1")
        lab.hand_to_dpdk(holder, "gwo0")
        lab.hand_to_dpdk(holder, "gwi0")

    def close(self):
        self.outside.close()
        self.inside.close()
        super().close()

    def start_gateway(self, changes=None, nodes=None, ready=True):
        self.started_with = (changes, nodes)
        changes = changes or {}
        if self.virtio:
            changes = merge(
                {
                    "outside": {"device": f"net_vhost0,iface={self.lab.path('o.vhost')},queues=1"},
                    "inside": {"device": f"net_vhost1,iface={self.lab.path('i.vhost')},queues=1"},
                },
                changes,
            )
        super().start_gateway(changes, nodes, ready=ready and not self.virtio)
        if self.virtio:
            self._start_virtio_guest()
            if ready:
                self.gateway.wait_line(r"^roamgate: ready")
        if ready:
            self.outside_mac = self.lab.neighbour("out", OUTSIDE, "gwo1", 10)
            self.inside_mac = self.lab.neighbour("in", INSIDE, "gwi1", 10)
        return self.gateway

    # --- the test as everybody else -----------------------------------------------------------

    def send_outside(self, datagram):
        self.outside.send(ethernet(self.outside_mac, self.router_mac, datagram))

    def send_inside(self, datagram):
        self.inside.send(ethernet(self.inside_mac, self.lan_mac, datagram))

    def quiet(self):
        """Forgets what has come in so far."""
        for sock in (self.outside, self.inside):
            list(received(sock, 0))

    def seen_outside(self, seconds=0.3, count=None):
        """ESP that the gateway sends, until count of them or the end of the time."""
        return take(self.outside, lambda p: p.proto == ESP and p.src == OUTSIDE, seconds, count)

    def seen_inside(self, seconds=0.3, count=None):
        """What the gateway forwards to the inside (its own SIU apart)."""
        return take(self.inside, lambda p: p.src != INSIDE, seconds, count)

    def clear_outside(self, seconds=0.3):
        """Home-address traffic that left the gateway without protection."""
        return take(self.outside, lambda p: p.proto != ESP and p.src != OUTSIDE, seconds)

    def start_gateway_again(self):
        """With the configuration of the last start."""
        return self.start_gateway(*self.started_with)

    def _start_virtio_guest(self):
        """The other side of the gateway's vhost ports: virtio-user ports joined to the wires."""
        if self.bridge:
            self.bridge.stop()
        for name in ("o.vhost", "i.vhost"):
            laboratory.wait_until(
                lambda name=name: os.path.exists(self.lab.path(name)), 20, f"socket {name}"
            )
        argv = [
            "nice", "-n", "19", "dpdk-testpmd", "--lcores", "0@0,1@0", "--no-huge", "-m", "128",
            "--no-pci", "--no-telemetry", "--file-prefix", self.lab.prefix + "guest",
            "--vdev", f"net_virtio_user0,path={self.lab.path('o.vhost')},queues=1",
            "--vdev", f"net_af_packet0,iface=gwo0,framesz=2048",
            "--vdev", f"net_virtio_user1,path={self.lab.path('i.vhost')},queues=1",
            "--vdev", f"net_af_packet1,iface=gwi0,framesz=2048",
            "--", "--port-topology=paired", "--forward-mode=io", "--stats-period", "60",
            "--total-num-mbufs=4096", "--no-mlockall", "--txd=256", "--rxd=256",
        ]  # fmt: skip
        self.bridge = self.lab.start("dpdk", argv, "dpdk-testpmd")
        self.bridge.wait_line(r"Press enter to exit|Port statistics|start packet forwarding")


class World(Site):
    """The whole scenario of the drawing above, with any of the three programs running."""

    def __init__(self, build, delay_ms=20, relay=(), inside_relay=(), nodes=None):
        """relay, inside_relay: options of the relays before the node (or by visited network) and
        the home agent."""
        super().__init__(build, nodes)
        self.node = self.nodes[0]
        self.home_agent = self.mobile = self.place = None
        self.relays = {}
        self.lay_wires(delay_ms, relay, inside_relay)
        self.give_addresses()
        self.enter_home()

    def lay_wires(self, delay_ms, relay, inside_relay):
        """All namespaces and links, the node's links to the visited networks down."""
        lab = self.lab
        for name in ("corr", "lan", "gw", "ra", "rb", "mn"):
            lab.namespace(name)
        lab.namespace("ha", forward=True)
        lab.namespace("net", forward=True)

        lab.ip("lan", "link add name br0 type bridge", "link set dev br0 up")
        near_agent = "ha"
        if inside_relay:
            lab.namespace("rh")
            lab.link("ha", "in0", "rh", "agent0")
            near_agent = "rh"
        for namespace, interface, port in (
            ("corr", "eth0", "to-corr"),
            (near_agent, "lan0" if inside_relay else "in0", "to-ha"),
            ("gw", "gwi0", "gwi1"),
        ):
            lab.link(namespace, interface, "lan", port)
            lab.ip("lan", f"link set dev {port} master br0")
        if inside_relay:
            argv = [self.program("relay"), "--delay", 0, *inside_relay, "agent0", "lan0"]
            lab.start("rh", argv, "relay inside").wait_line("relay: ready")
        lab.link("gw", "gwo0", "net", "gwo1")
        lab.hand_to_dpdk("gw", "gwo0")
        lab.hand_to_dpdk("gw", "gwi0")
        lab.link("ha", "home0", "mn", "home0")
        for name, namespace in (("A", "ra"), ("B", "rb")):
            interface = VISITED[name][0]
            options = relay.get(name, ()) if isinstance(relay, dict) else relay
            lab.link("net", interface, namespace, "wan0")
            lab.link(namespace, "lan0", "mn", interface)
            lab.ip("mn", f"link set dev {interface} down")
            self.relays[name] = lab.start(
                namespace,
                [self.program("relay"), "--delay", delay_ms, *options, "wan0", "lan0"],
                f"relay {name}",
            )
            self.relays[name].wait_line("relay: ready")

    def give_addresses(self):
        """Everybody's but the node's."""
        lab = self.lab
        lab.ip(
            "corr",
            f"addr add {CORRESPONDENT}/24 dev eth0",
            f"route add 10.1.0.0/16 via {HOME_AGENT_INSIDE}",
        )
        lab.ip(
            "ha",
            f"addr add {HOME_AGENT_INSIDE}/24 dev in0",
            f"addr add {HOME_AGENT}/24 dev home0",
        )
        lab.ip(
            "net",
            f"addr add {OUTSIDE_ROUTER}/24 dev gwo1",
            *(f"addr add {router}/24 dev {interface}" for interface, router, _ in VISITED.values()),
        )

    # --- moving -----------------------------------------------------------------------------

    def leave(self):
        """The node loses the link it is on."""
        interface = "home0" if self.place == "home" else VISITED[self.place][0]
        self.lab.ip("mn", f"addr flush dev {interface}", f"link set dev {interface} down")
        self.place = None

    def enter_home(self):
        self.lab.ip(
            "mn",
            "link set dev home0 up",
            f"addr add {self.node.home_address}/24 dev home0",
            f"route replace 10.2.0.0/16 via {HOME_AGENT} dev home0",
        )
        self.place = "home"

    def enter(self, place, care_of=None):
        """A new link with its address and default route, all at once as DHCP would give them."""
        if place == "home":
            self.enter_home()
            return
        interface, router, own = VISITED[place]
        self.lab.ip(
            "mn",
            f"link set dev {interface} up",
            f"addr add {care_of or own}/24 dev {interface}",
            f"route replace default via {router} dev {interface}",
        )
        self.place = place

    def move(self, place, care_of=None):
        """Breaks the old link, then takes the new one. Returns the times in ns of both."""
        lost = time.time_ns()
        self.leave()
        new = time.time_ns()
        self.enter(place, care_of)
        return lost, new

    # --- programs ---------------------------------------------------------------------------

    def home_agent_settings(self):
        lab = self.lab
        return {
            "state_dir": lab.path("state-ha"),
            "control_socket": self.socket("roamgate-ha"),
            "log_level": "debug",
            "address": HOME_AGENT,
            "home_interface": "home0",
            "inside_prefixes": Array(["10.1.0.0/16", "10.2.0.0/16"]),
            "siu": {"listen": f"{HOME_AGENT_INSIDE}:{SIU_PORT}"},
            "gateways": [
                {
                    "name": "gw1",
                    "address": f"{INSIDE}:{SIU_PORT}",
                    "key_id": 1,
                    "secret_file": lab.path("siu.key"),
                }
            ],
            "mobile_nodes": [
                {
                    "name": node.name,
                    "home_address": node.home_address,
                    "gateway": "gw1",
                    "authentication": [
                        {
                            "spi": MIP_SPI,
                            "algorithm": "hmac-sha256",
                            "key_file": lab.path(f"{node.name}-mip.key"),
                        }
                    ],
                }
                for node in self.nodes
            ],
        }

    def mobile_settings(self):
        lab, node = self.lab, self.node
        return {
            "state_dir": lab.path("state-mn"),
            "control_socket": self.socket("roamgate-mn"),
            "log_level": "debug",
            "home_address": node.home_address,
            "home_prefix": HOME_PREFIX,
            "home_agent": HOME_AGENT,
            "gateway": OUTSIDE,
            "tunnel_routes": Array(["10.1.0.0/16", "10.2.0.0/16"]),
            "authentication": {
                "spi": MIP_SPI,
                "algorithm": "hmac-sha256",
                "key_file": lab.path(f"{node.name}-mip.key"),
            },
            "inbound": {
                "spi": node.spi_down,
                "algorithm": node.algorithm,
                "key_file": lab.path(f"{node.name}-out.key"),
                "esn": node.esn,
                "replay_window": 1024,
            },
            "outbound": {
                "spi": node.spi_up,
                "algorithm": node.algorithm,
                "key_file": lab.path(f"{node.name}-in.key"),
                "esn": node.esn,
            },
        }

    def start_home_agent(self, changes=None):
        settings = merge(self.home_agent_settings(), changes or {})
        config = self.lab.write("roamgate-ha.conf", libconfig(settings))
        self.home_agent = self.lab.start("ha", [self.program("roamgate-ha"), "-c", config])
        self.home_agent.wait_line(r"^roamgate-ha: ready")
        return self.home_agent

    def start_mobile(self, changes=None):
        settings = merge(self.mobile_settings(), changes or {})
        config = self.lab.write("roamgate-mn.conf", libconfig(settings))
        self.mobile = self.lab.start("mn", [self.program("roamgate-mn"), "-c", config])
        self.mobile.wait_line(r"^roamgate-mn: ready")
        return self.mobile

    def start_all(self):
        self.start_gateway()
        self.start_home_agent()
        self.start_mobile()

    def start_pings(self, interval_ms):
        """Echo requests both ways; captures tell what became of them."""
        pinger, node = self.program("pinger"), self.node.home_address
        return [
            self.lab.start("corr", [pinger, CORRESPONDENT, node, interval_ms]),
            self.lab.start("mn", [pinger, node, CORRESPONDENT, interval_ms]),
        ]

    def reaches(self, count=1, interval=0.2, deadline=1):
        """How many of count pings from the correspondent to the home address are answered."""
        out = self.lab.run(
            "corr", "ping", "-n", "-q", "-c", count, "-i", interval, "-W", deadline,
            self.node.home_address, check=False,
        )  # fmt: skip
        return int(out.split(" received")[0].split()[-1])

    def wait_reachable(self, seconds=10):
        laboratory.wait_until(lambda: self.reaches(), seconds, "the node's home address")
