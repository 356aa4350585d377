# SPDX-License-Identifier: BSD-3-Clause
"""The gateway on two net_vhost ports without hugepages, and a guest's virtio cards on them.

Nothing lies between the two: no veth, no bridge, no interface of this machine.
"""
import os

import lab as laboratory
from guest import Card, Guest
from world import merge

SIDES = ("outside", "inside")


def start_on_virtio(site, kernel, archive, changes=None, nodes=None, cards=(), append=""):
    """Starts the site's gateway and a guest, and returns the guest.

    The guest's eth0 is the gateway's outside wire, its eth1 the inside one; cards come after them.
    """
    sockets = [site.lab.path(f"{side}.vhost") for side in SIDES]
    ports = {
        side: {"device": f"net_vhost{i},iface={sockets[i]},queues=1"}
        for i, side in enumerate(SIDES)
    }
    site.start_gateway(merge(ports, changes or {}), nodes, ready=False)
    for path in sockets:
        laboratory.wait_until(lambda path=path: os.path.exists(path), 20, path)
    wires = [Card(socket=path) for path in sockets]
    guest = Guest(site.lab, kernel, archive, [*wires, *cards], append=append)
    site.gateway.wait_line(r"^roamgate: ready")
    return guest
