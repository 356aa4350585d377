# SPDX-License-Identifier: BSD-3-Clause
"""The whole handover over virtio: the scenario of World, but with a guest as all the networks.

The gateway has net_vhost ports without hugepages. The guest's namespaces are the node, the router
of the visited networks, the home agent and the correspondent; they are wired by virtio cards.

    gateway outside == gwo1 net        net  va0 == va0 mn       "==": virtio-net on both ends
    gateway inside  == gwi1 lan        net  vb0 == vb0 mn
         corr eth0, ha in0: macvlan    ha home0 == home0 mn
"""
import time

import pytest
from guest import Card
from guest_lab import GuestLab
from roaming import prove, roam
from virtio import start_on_virtio
from world import VISITED, World

WIRES = ("va0", "vb0", "home0")  # one hub each; the guest has both ends
ENDS = {"va0": ("net", "mn"), "vb0": ("net", "mn"), "home0": ("ha", "mn")}


class VirtualWorld(World):
    """World with the gateway here and everybody else in a guest."""

    def __init__(self, build, kernel, archive):
        self.kernel, self.archive = kernel, archive
        try:
            super().__init__(build)
        except Exception:
            self.close()
            raise

    def lay_wires(self, *_):
        self.lab.namespace("gw")
        for name in ("roamgate-ha", "roamgate-mn", "pinger"):
            self.archive.program(self.program(name), self.program(name))
        cards = [Card(hub=1 + i) for i in range(len(WIRES)) for _ in range(2)]
        guest = start_on_virtio(self, self.kernel, self.archive, cards=cards)
        self.lab = lab = GuestLab(self.lab, guest)
        with lab.one_script():
            lab.do(f"modprobe -a tun macvlan; date -s @{time.time_ns() / 1e9:.9f}")
            self._wire_namespaces()

    def _wire_namespaces(self):
        lab = self.lab
        for name in ("corr", "lan", "mn"):
            lab.namespace(name)
        lab.namespace("ha", forward=True)
        lab.namespace("net", forward=True)
        self._give("eth0", "net", "gwo1")
        self._give("eth1", "lan", "gwi1")
        for number, wire in enumerate(WIRES):
            for end, namespace in enumerate(ENDS[wire]):
                self._give(f"eth{2 + 2 * number + end}", namespace, wire)
        for interface, _, _ in VISITED.values():
            lab.ip("mn", f"link set dev {interface} down")
        for name, interface in (("corr", "eth0"), ("ha", "in0")):
            lab.ip("lan", f"link add link gwi1 name m-{name} type macvlan mode bridge")
            lab.ip("lan", f"link set m-{name} netns {name} name {interface}")
            lab.ip(name, f"link set dev {interface} up")

    def _give(self, card, namespace, interface):
        """A card of the guest to one of its namespaces."""
        self.lab.do(f"ip link set {card} netns {namespace} name {interface}")
        self.lab.ip(namespace, f"link set dev {interface} up")

    def move(self, place, care_of=None):
        """As World does, but in one script with the guest's own clock."""
        with self.lab.one_script() as script:
            self.lab.do("date +%s%N")
            self.leave()
            self.lab.do("date +%s%N")
            self.enter(place, care_of)
        return tuple(int(at) for at in script.said.split())


@pytest.fixture
def world(build, kernel, archive):
    with VirtualWorld(build, kernel, archive) as world:
        yield world


def test_the_whole_handover_over_virtio(world):
    world.start_home_agent()
    world.start_mobile()
    world.wait_reachable()
    places = ["A", "B", "A", "home"]
    moves, end, paths = roam(world, places, stay_s=1.5, ping_ms=20, arrive_s=20)
    prove(world, moves, end, paths, delay_ms=0, gap_ms=10000)  # a guest without KVM may be slow
    assert world.reaches(3) == 3
    assert len(world.roamctl("roamgate", "show", "handovers")["rows"]) >= 3
