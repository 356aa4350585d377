# SPDX-License-Identifier: BSD-3-Clause
"""The gateway as a carrier deploys it: in a guest, on virtio-net PCI devices, with hugepages.

Debian's cloud kernel has no VFIO without an IOMMU, so the devices are bound to uio_pci_generic, once
as virtio 1.0 and once as what was before it. The worker has a virtual CPU for itself.
Each is a TAP here, in namespace "out" and "in"; scapy is the node, the test the home agent.
"""
import glob
import os

import lab as laboratory
import pytest
from fake_agent import FakeHomeAgent
from guest import Card, Guest
from guest_lab import GuestLab
from test_scapy_peer import Peer, tunnelled
from world import INSIDE, OUTSIDE, Border, Node, merge

PMDS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-*"
DRIVERS = ("bus_pci", "bus_vdev", "mempool_ring", "net_virtio")
HUGEPAGES = 80  # of 2 MB
MEMORY_MB = 448
CARE_OF = ["198.51.100.7", "198.51.100.8"]
MOVED_TO = "203.0.113.7"


def give_dpdk(archive, drivers):
    """DPDK's drivers to a guest, as Debian has them: one file by two names, else the loader would
    load it twice."""
    for driver in drivers:
        (path,) = glob.glob(f"{PMDS}/librte_{driver}.so.*.0")
        library = "/lib/x86_64-linux-gnu/" + os.path.basename(path).rsplit(".", 1)[0]
        archive.program(path, library)
        archive.link(path.lstrip("/"), library)


class Appliance(Border):
    """Border with the gateway in a guest."""

    def __init__(self, build, kernel, archive, virtio):
        self.kernel, self.archive, self.version = kernel, archive, virtio
        self.devices = []
        try:
            super().__init__(build, [Node(1), Node(2, "aes256gcm16")])
        except Exception:
            self.lab.close()
            raise

    def lay_wires(self):
        for name in ("roamgate", "roamctl"):
            self.archive.program(self.program(name), self.program(name))
        give_dpdk(self.archive, DRIVERS)
        cards = [
            Card(tap=(namespace, tap), only=self.version)
            for namespace, tap in (("out", "gwo1"), ("in", "gwi1"))
        ]
        guest = Guest(
            self.lab, self.kernel, self.archive, cards, memory_mb=MEMORY_MB, vcpus=2,
            append=f"hugepages={HUGEPAGES}", cpus=f"0-{os.cpu_count() - 1}",
        )  # fmt: skip
        self.devices = guest.run(BIND).split()
        self.lab = GuestLab(self.lab, guest)
        self.lab.call_root("gw")

    def gateway_settings(self, nodes=None):
        pci = {
            "dpdk": {"control_cpu": "0", "worker_cpus": "1", "no_huge": False, "memory_mb": 128},
            "outside": {"device": self.devices[0]},
            "inside": {"device": self.devices[1]},
        }
        return merge(super().gateway_settings(nodes), pci)

    def roamctl_text(self, program, *argv):
        return self.lab.run("gw", self.program("roamctl"), "-s", self.socket(program), *argv)


BIND = """set -e
modprobe -a tun uio_pci_generic
mount -t hugetlbfs huge /dev/hugepages
for card in eth0 eth1; do
	device=$(readlink -f /sys/class/net/$card/device/..)
	echo ${device##*/} >$device/driver/unbind
	echo uio_pci_generic >$device/driver_override
	echo ${device##*/} >/sys/bus/pci/drivers_probe
	[ -d $device/uio ]
	echo ${device##*/}
done
"""


@pytest.fixture(scope="module", params=["modern", "legacy"])
def appliance(request, build, kernel, archive):
    with Appliance(build, kernel, archive, request.param) as border:
        settings = [n.gateway_settings(border.lab, c) for n, c in zip(border.nodes, CARE_OF)]
        border.start_gateway(nodes=settings)
        border.peers = [Peer(border, n, c) for n, c in zip(border.nodes, CARE_OF)]
        yield border


def test_forwards_both_ways(appliance):
    for peer in appliance.peers:
        appliance.quiet()
        for size in (0, 63, 1370):
            text = (bytes(range(256)) * 6)[:size]
            appliance.send_outside(peer.seal(peer.data(text)))
            (packet,) = appliance.seen_inside(5, count=1)
            assert packet.raw == bytes(peer.data(text, ttl=63))
            datagram, inner = tunnelled(peer.node, peer.care_of, text)
            appliance.send_inside(datagram)
            (packet,) = appliance.seen_outside(5, count=1)
            assert (packet.src, packet.dst) == (OUTSIDE, peer.care_of)
            plain = peer.open(packet)
            assert bytes(plain)[20:] == inner
    assert appliance.clear_outside(0.1) == []


def test_linux_in_the_guest_has_what_is_not_for_the_packet_path(appliance):
    """ARP was answered before; so is a ping to each of the gateway's own addresses."""
    for namespace, address in (("out", OUTSIDE), ("in", INSIDE)):
        said = appliance.lab.run(namespace, "ping", "-n", "-c", "2", "-W", "5", address)
        assert " 2 received" in said


def test_drops_and_counts(appliance):
    peer = appliance.peers[0]
    good = peer.seal(peer.data())
    forged = good[:-1] + bytes([good[-1] ^ 1])
    before = appliance.drops()
    appliance.quiet()
    appliance.send_outside(forged)
    laboratory.wait_until(
        lambda: appliance.drops()["bad_icv"] == before["bad_icv"] + 1, 5, "the forged packet's end"
    )
    appliance.send_outside(good)
    assert len(appliance.seen_inside(5, count=1)) == 1
    appliance.send_outside(good)
    laboratory.wait_until(
        lambda: appliance.drops()["replay"] == before["replay"] + 1, 5, "the replay's end"
    )
    assert appliance.seen_inside(0.2) == []


def test_a_handover_by_the_home_agent(appliance):
    """SIU to the guest: the path moves, and the next packet goes to the new address."""
    peer, node = appliance.peers[1], appliance.nodes[1]
    agent = FakeHomeAgent(appliance).connect()
    try:
        agent.move(node, MOVED_TO)
        appliance.quiet()
        datagram, inner = tunnelled(node, MOVED_TO)
        appliance.send_inside(datagram)
        (packet,) = appliance.seen_outside(5, count=1)
        assert packet.dst == MOVED_TO
        assert bytes(peer.open(packet))[20:] == inner
    finally:
        agent.close()
