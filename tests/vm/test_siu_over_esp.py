# SPDX-License-Identifier: BSD-3-Clause
"""SIU in ESP (siu.require_esp), by the kernel of a guest in which both ends run.

    gateway (root namespace): outside eth0 == hub 1    inside eth1 == hub 2 == eth2 home agent ("ha")

The machine's own kernel need not have ESP.
"""
import time

import pytest
from guest import Card, Guest
from guest_lab import GuestLab
from pcap import ESP, ICMP, packets
from test_appliance import BIND, DRIVERS, HUGEPAGES, MEMORY_MB, give_dpdk
from world import HOME_AGENT, HOME_AGENT_INSIDE, INSIDE, Site, World, merge

SILENT_S = 8  # three HELLOs missed, and a slow guest
ENC = "enc cbc(aes) 0x{:032x} auth-trunc hmac(sha256) 0x{:064x} 128"
# (source, destination, SPI): a key for each, as for any SA
PAIRS = ((INSIDE, HOME_AGENT_INSIDE, 0x501), (HOME_AGENT_INSIDE, INSIDE, 0x502))


class Guarded(World):
    """The gateway and the home agent in one guest, SIU between them by ESP alone."""

    def __init__(self, build, kernel, archive):
        Site.__init__(self, build)
        try:
            self.boot(kernel, archive)
        except Exception:
            self.close()
            raise

    def boot(self, kernel, archive):
        give_dpdk(archive, DRIVERS)
        for name in ("roamgate", "roamgate-ha", "roamctl"):
            archive.program(self.program(name), self.program(name))
        cards = [Card(hub=1), Card(hub=2), Card(hub=2)]
        guest = Guest(
            self.lab, kernel, archive, cards, memory_mb=MEMORY_MB, vcpus=2,
            append=f"hugepages={HUGEPAGES}", cpus="0-1",
        )  # fmt: skip
        self.devices = guest.run(BIND).split()
        self.lab = lab = GuestLab(self.lab, guest)
        lab.call_root("gw")
        with lab.one_script():
            lab.do("modprobe dummy")
            lab.namespace("ha", forward=True)
            lab.do("ip link set eth2 netns ha name in0")
            lab.ip(
                "ha",
                "link set dev in0 up",
                "link add home0 type dummy",
                "link set dev home0 up",
                f"addr add {HOME_AGENT_INSIDE}/24 dev in0",
                f"addr add {HOME_AGENT}/24 dev home0",
            )

    def gateway_settings(self, nodes=None):
        changes = {
            "dpdk": {"control_cpu": "0", "worker_cpus": "1", "no_huge": False, "memory_mb": 128},
            "outside": {"device": self.devices[0]},
            "inside": {"device": self.devices[1]},
            "siu": {"require_esp": True},
        }
        return merge(super().gateway_settings(nodes), changes)

    def roamctl_text(self, program, *argv):
        namespace = "gw" if program == "roamgate" else "ha"
        return self.lab.run(namespace, self.program("roamctl"), "-s", self.socket(program), *argv)

    def give_sas(self):
        """The lines of siu/README.md, on both ends."""
        for namespace in ("gw", "ha"):
            self.lab.ip(
                namespace,
                *(
                    f"xfrm state add src {source} dst {destination} proto esp spi {spi} "
                    f"mode transport {ENC.format(spi * 0x10001, spi * 0x100001)}"
                    for source, destination, spi in PAIRS
                ),
            )

    def take_sas(self):
        for namespace in ("gw", "ha"):
            self.lab.ip(namespace, "xfrm state flush")

    def is_up(self):
        return [
            self.roamctl(name, "show", "siu")["rows"][0]["up"] for name in ("roamgate", "roamgate-ha")
        ]

    def wait(self, up, seconds):
        end = time.monotonic() + seconds
        while self.is_up() != up:
            assert time.monotonic() < end, (self.is_up(), up)
            time.sleep(0.2)


@pytest.fixture
def guarded(build, kernel, archive):
    with Guarded(build, kernel, archive) as world:
        yield world


def test_association_by_esp_or_not_at_all(guarded):
    guarded.start_gateway()
    guarded.give_sas()
    wire = guarded.lab.capture("ha", "in0", "siu")
    guarded.start_home_agent({"siu": {"require_esp": True}})
    guarded.wait([True, True], 30)
    guarded.take_sas()
    guarded.wait([False, False], SILENT_S)
    guarded.give_sas()
    guarded.wait([True, True], SILENT_S)

    seen = [p for p in packets(wire.stop()) if {p.src, p.dst} == {INSIDE, HOME_AGENT_INSIDE}]
    # What came before the home agent had its socket, its Linux answers by ICMP: it is no SIU.
    assert {p.proto for p in seen} <= {ESP, ICMP}
    spis = {(p.src, p.dst, int.from_bytes(p.payload[:4], "big")) for p in seen if p.proto == ESP}
    assert spis == set(PAIRS)
