# SPDX-License-Identifier: BSD-3-Clause
"""The gateway on two net_vhost ports without hugepages, and a guest's virtio cards on them.

Nothing lies between the two: no veth, no bridge, no interface of this machine.
"""
import os

import lab as laboratory
from guest import Card, Guest
from world import Site, merge

class VirtioSite(Site):
    """The gateway here, everything else in one guest: eth0 is its outside wire, eth1 its inside."""

    def __init__(self, build, kernel, archive, nodes=None):
        super().__init__(build, nodes)
        self.kernel, self.archive = kernel, archive
        self.guest = None
        self.lab.namespace("gw")

    def start(self, changes=None, nodes=None, cards=(), append=""):
        """Starts gateway and guest; cards: what the guest has beside the two wires."""
        sockets = [self.lab.path(f"{side}.vhost") for side in ("outside", "inside")]
        vhost = {
            side: {"device": f"net_vhost{i},iface={sockets[i]},queues=1"}
            for i, side in enumerate(("outside", "inside"))
        }
        self.start_gateway(merge(vhost, changes or {}), nodes, ready=False)
        for path in sockets:
            laboratory.wait_until(lambda path=path: os.path.exists(path), 20, path)
        wires = [Card(socket=path) for path in sockets]
        self.guest = Guest(
            self.lab, self.kernel, self.archive, [*wires, *cards], append=append
        )
        self.gateway.wait_line(r"^roamgate: ready")
