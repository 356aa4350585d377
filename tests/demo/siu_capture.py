# SPDX-License-Identifier: BSD-3-Clause
"""The SIU messages of a capture, each with a good tag."""
import analysis
import pcap
import siu_wire
from analysis import Siu

SIU_PORT = analysis.SIU_PORT
GOOD = (0, 1, 2, 3)  # siu/README.md section 7: done, or done before


def read_siu(path, secret, key_id=1, forged=False):
    """[Siu], an item for each entry of UPDATE and ACK and one for each other message.

    forged: datagrams without a good tag are somebody else's and left out; else they are an error.
    """
    keys = {
        True: siu_wire.derive_key(secret, key_id, siu_wire.HOME_AGENT),
        False: siu_wire.derive_key(secret, key_id, siu_wire.GATEWAY),
    }
    names = {
        siu_wire.HELLO: "hello", siu_wire.UPDATE: "update", siu_wire.ACK: "ack",
        siu_wire.RRQ_SEEN: "rrq_seen", siu_wire.EVENT: "event", siu_wire.SYNC: "sync",
    }  # fmt: skip
    found = []
    for packet in pcap.packets(path):
        if packet.proto != pcap.UDP or SIU_PORT not in pcap.udp_ports(packet):
            continue
        data = packet.payload[8:]
        for to_gateway, key in keys.items():
            datagram = siu_wire.decode(data, key)
            if datagram is not None:
                break
        else:
            if forged:
                continue
            raise ValueError("a datagram on the SIU port has no good tag")
        for entry in datagram["entries"] or [{}]:
            flags = entry.get("flags", 0)
            found.append(
                Siu(
                    packet.at,
                    names[datagram["type"]],
                    to_gateway,
                    entry.get("new_coa") or "",
                    entry.get("generation", 0),
                    bool(flags & siu_wire.DEREGISTER),
                    bool(flags & siu_wire.REPLY_ONLY),
                    entry.get("result", 0) in GOOD,
                )
            )
    return found
