# SPDX-License-Identifier: BSD-3-Clause
"""Two real nodes behind one NAT, with the same address in there, and all programs running.

    mn  192.168.1.5 --- lan1 \\
                              NAT box 198.18.7.50 --- net --- gateway, home agent, correspondent
    mn2 192.168.1.5 --- lan2 /
"""
import time
from concurrent.futures import ThreadPoolExecutor

import lab as laboratory
import pytest
from nat_box import NatBox
from world import CORRESPONDENT, Node, Site, World, libconfig, merge

PUBLIC, OTHER_PUBLIC, PUBLIC_ROUTER = "198.18.7.50", "198.18.7.51", "198.18.7.1"
PRIVATE, PRIVATE_ROUTER = "192.168.1.5", "192.168.1.1"
KEEPALIVE_S = 1


class NatWorld(World):
    """A World whose nodes are behind one NAT; none of them is ever at home."""

    def __init__(self, build):  # pylint: disable=super-init-not-called
        Site.__init__(self, build, [Node(1), Node(2)])
        self.node = self.nodes[0]
        self.home_agent = self.mobile = self.place = None
        self.relays = {}
        self.lay_wires(0, (), ())
        self.give_addresses()
        lab = self.lab
        lab.namespace("nat")
        lab.namespace("mn2")
        lab.link("net", "pub0", "nat", "pub1")
        lab.ip("net", f"addr add {PUBLIC_ROUTER}/24 dev pub0")
        networks = {}
        for node, namespace in zip(self.nodes, ("mn", "mn2")):
            node.namespace, node.network = namespace, f"lan{node.number}"
            lab.link("nat", node.network, namespace, "eth0")
            networks[node.network] = lab.packet_socket("nat", node.network)
            self.arrive(node)
        self.box = NatBox(
            networks, PRIVATE_ROUTER, lab.packet_socket("nat", "pub1"), PUBLIC,
            lab.mac("net", "pub0"),
        )  # fmt: skip

    def close(self):
        self.box.close()
        super().close()

    def arrive(self, node):
        self.lab.ip(
            node.namespace,
            f"addr add {PRIVATE}/24 dev eth0",
            f"route replace default via {PRIVATE_ROUTER} dev eth0",
        )

    def start_node(self, node, **changes):
        self.node = node
        own = {
            "state_dir": self.lab.path(f"state-{node.namespace}"),
            "control_socket": self.socket(node.namespace),
            "nat_keepalive": KEEPALIVE_S,
        }
        settings = merge(merge(self.mobile_settings(), own), changes)
        config = self.lab.write(f"{node.namespace}.conf", libconfig(settings))
        argv = [self.program("roamgate-mn"), "-c", config]
        self.lab.start(node.namespace, argv).wait_line(r"^roamgate-mn: ready")

    def start_everything(self):
        nodes = [n.gateway_settings(self.lab, allow_nat=True) for n in self.nodes]
        self.start_gateway(nodes=nodes)
        self.start_home_agent()
        self.start_node(self.nodes[0])
        self.start_node(self.nodes[1], reverse_tunnel=True)
        for node in self.nodes:
            self.wait_registered(node)

    def status(self, node):
        return self.roamctl(node.namespace, "show", "status")

    def wait_registered(self, node, seconds=10):
        laboratory.wait_until(
            lambda: self.status(node)["registration"] == "registered",
            seconds, f"registration of {node.name}",
        )  # fmt: skip

    def remote(self, node):
        rows = self.roamctl("roamgate", "show", "nodes")["rows"]
        return next(row["remote"] for row in rows if row["node"] == node.name)

    def endpoint(self, node):
        return f"{self.box.address}:{self.box.port_of(node.network)}"

    def up(self, node, count=1, interval=0.02, deadline=1):
        """How many echo requests of the node to the correspondent are answered."""
        return self._ping(node.namespace, node.home_address, CORRESPONDENT, count, interval, deadline)

    def down(self, node, count=1, interval=0.02, deadline=1):
        return self._ping("corr", CORRESPONDENT, node.home_address, count, interval, deadline)

    def _ping(self, namespace, source, target, count, interval, deadline):
        out = self.lab.run(
            namespace, "ping", "-n", "-q", "-c", count, "-i", interval, "-W", deadline,
            "-I", source, target, check=False,
        )  # fmt: skip
        return int(out.split(" received")[0].split()[-1])


@pytest.fixture(scope="module")
def world(build):
    with NatWorld(build) as world:
        world.start_everything()
        yield world


@pytest.fixture
def nodes(world):
    for node in world.nodes:
        assert world.up(node) == 1
    return world.nodes


def test_both_are_reached_through_the_nat(world, nodes):
    remotes = [world.remote(node) for node in nodes]
    assert remotes == [world.endpoint(node) for node in nodes] and remotes[0] != remotes[1]
    rows = world.roamctl("roamgate", "show", "nodes")["rows"]
    assert [row["coa"] for row in rows] == [PRIVATE, PRIVATE]
    assert all(world.status(node)["udp"] for node in nodes)


def test_traffic_of_both_at_once(world, nodes):
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(way, node, 40) for node in nodes for way in (world.up, world.down)]
        assert [job.result() for job in jobs] == [40] * 4


def test_tunnel_carries_full_packets(world, nodes):
    """The tunnel's MTU has room for the UDP header (and the reverse tunnel)."""
    for node in nodes:
        link = world.lab.run(node.namespace, "ip", "-o", "link", "show", "dev", "rg-mn")
        mtu = int(link.split(" mtu ")[1].split()[0])
        out = world.lab.run(
            node.namespace, "ping", "-n", "-q", "-c", 2, "-i", 0.05, "-W", 1, "-M", "do",
            "-s", mtu - 28, "-I", node.home_address, CORRESPONDENT, check=False,
        )  # fmt: skip
        assert mtu >= 1400 and " 2 received" in out, (mtu, out)


def test_new_port_in_the_middle_of_traffic(world, nodes):
    """The NAT forgets a port while packets flow: the next packet of the node mends it."""
    node, other = nodes
    before = world.remote(node), world.remote(other)
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(world.up, node, 200, 0.01)
        for _ in range(4):
            time.sleep(0.4)
            world.box.forget(node.network)
        answered = job.result()
    print(f"{200 - answered} of 200 lost by 4 new ports")
    assert answered >= 192
    assert world.remote(node) == world.endpoint(node) != before[0]
    assert world.remote(other) == before[1]
    assert world.down(node, 3) == 3 and world.down(other, 3) == 3
    assert world.roamctl("roamgate", "show", "siu")["port_moves"] >= 4
    world.home_agent.wait_line(r"event=endpoint_changed .*198\.18\.7\.50:")


def test_new_address_takes_a_registration(world, nodes):
    node = nodes[0]
    before = world.remote(node)
    world.box.renumber(OTHER_PUBLIC)
    try:
        # The uplink is good from anywhere; the way down does not follow it.
        assert world.up(node, 3, deadline=0.3) == 0
        assert world.remote(node) == before
        world.lab.ip(node.namespace, "addr flush dev eth0")
        world.arrive(node)
        world.wait_registered(node)
        laboratory.wait_until(
            lambda: world.remote(node) == world.endpoint(node), 5, "the new address"
        )
        assert world.remote(node).startswith(OTHER_PUBLIC)
        assert world.up(node, 3) == 3 and world.down(node, 3) == 3
    finally:
        world.box.renumber(PUBLIC)
        for each in nodes:
            world.lab.ip(each.namespace, "addr flush dev eth0")
            world.arrive(each)
        for each in nodes:
            world.wait_registered(each)
            laboratory.wait_until(
                lambda each=each: world.remote(each) == world.endpoint(each), 5, "the old address"
            )


def test_keepalives_in_silence(world, nodes):
    """After a second of silence one a second; none while there is traffic; each is dropped."""
    box, node = world.box, nodes[0]
    time.sleep(0.1)
    before, sent = box.keepalives[node.network], world.status(node)["keepalives"]
    dropped = world.drops()["keepalive"]
    assert world.up(node, 30, 0.05) == 30
    assert box.keepalives[node.network] == before
    time.sleep(2.3 * KEEPALIVE_S)
    counted = box.keepalives[node.network] - before
    assert counted == 2 and world.status(node)["keepalives"] - sent == counted
    assert world.drops()["keepalive"] - dropped >= counted


def test_never_and_always(world, nodes):
    """What the configuration says beats the address."""
    node = nodes[0]
    programs = [p for p in world.lab.programs if p.is_running() and "mn.conf" in p.argv[-1]]
    programs[-1].stop()
    # Not in UDP: this NAT knows nothing else, so nothing gets out, and port 4500 is left alone.
    sent = world.box.seen[node.network]
    world.start_node(node, nat_traversal="never")
    with world.lab.udp_socket(node.namespace, "0.0.0.0", 4500):
        time.sleep(0.3)
        assert not world.status(node)["udp"] and world.box.seen[node.network] == sent
        world.lab.programs[-1].stop()
        # Port 4500 has somebody else: told in one line, with the mend.
        config = world.lab.path("mn.conf")
        argv = [world.program("roamgate-mn"), "-c", config]
        text = open(config).read().replace('"never"', '"always"')
        world.lab.write("mn.conf", text)
        refused = world.lab.start(node.namespace, argv)
        refused.wait_line(r"UDP port 4500: Address already in use; .*nat_traversal")
        assert refused.process.wait(5) == 2
    world.start_node(node, nat_traversal="always")
    world.wait_registered(node)
    assert world.status(node)["udp"] and world.up(node, 3) == 3
