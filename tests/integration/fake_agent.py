# SPDX-License-Identifier: BSD-3-Clause
"""A home agent in the hands of a test: siu_wire's Speaker, kept alive by a thread."""
import itertools
import threading
import time
from collections import defaultdict, namedtuple

import pcap
import siu_wire
from siu_wire import DEREGISTER, REPLY_ONLY  # noqa: F401
from world import HOME_AGENT_INSIDE, INSIDE, SIU_PORT

Ack = namedtuple("Ack", "result coa generation in_force")
Event = namedtuple("Event", "kind home_address observed")
Seen = namedtuple("Seen", "home_address coa identification observed")

# Generations outlive an agent of the test, as they do a home agent's run.
generations = itertools.count(1)


class FakeHomeAgent(siu_wire.Speaker):
    """Sends what the test wants and keeps what the gateway answers."""

    def __init__(self, border, address=HOME_AGENT_INSIDE, secret=None, key_id=1):
        self.border, self.address = border, address
        super().__init__(
            siu_wire.HOME_AGENT,
            secret or border.siu_key,
            key_id,
            peer=(INSIDE, SIU_PORT),
            sock=border.lab.udp_socket("in", address, SIU_PORT),
        )
        self.references = itertools.count(1)
        self.lock = threading.RLock()
        self.changed = threading.Condition()
        self.acks = defaultdict(list)
        self.seen = []
        self.events = []
        self.last_received = None
        self.pump = None
        self.stopping = False

    # --- the thread -------------------------------------------------------------------------

    def build(self, kind, entries, **header):
        with self.lock:
            return super().build(kind, entries, **header)

    def connect(self, timeout=10.0):
        self._stop()
        self.up = False
        super().connect(timeout)
        self.stopping = False
        self.pump = threading.Thread(target=self._pump, daemon=True)
        self.pump.start()
        time.sleep(0.05)  # our last HELLO makes the gateway's side come up
        return self

    def _stop(self):
        if self.pump:
            self.stopping = True
            self.pump.join()
            self.pump = None

    def close(self):
        self._stop()
        super().close()

    def _pump(self):
        while not self.stopping:
            datagram = self.receive(0.1)
            if datagram is None:
                continue
            with self.changed:
                self.last_received = datagram["bytes"]
                for entry in datagram["entries"]:
                    if datagram["type"] == siu_wire.ACK:
                        self.acks[entry["reference"]].append(
                            Ack(
                                entry["result"], entry.get("coa"), entry["generation"],
                                entry["in_force"],
                            )
                        )  # fmt: skip
                    elif datagram["type"] == siu_wire.RRQ_SEEN:
                        self.seen.append(
                            Seen(
                                entry["home_address"], entry["coa"], entry["identification"],
                                entry["observed"],
                            )
                        )  # fmt: skip
                    elif datagram["type"] == siu_wire.EVENT:
                        self.events.append(
                            Event(entry["kind"], entry["home_address"], entry.get("observed"))
                        )
                self.changed.notify_all()

    def _wait(self, get, timeout):
        end = time.monotonic() + timeout
        with self.changed:
            while not get():
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self.changed.wait(left)
            return get().pop(0)

    # --- what a test sends and waits for ----------------------------------------------------

    def entry(self, node, care_of, former=None, generation=None, **fields):
        """One entry of an UPDATE, as siu_wire has it."""
        entry = {
            "reference": next(self.references),
            "generation": generation or next(generations),
            "identification": 1,
            "lifetime": 600,
            "home_address": node.home_address,
            "former_coa": former,
            "new_coa": care_of,
        }
        return entry | fields

    def seal_updates(self, entries, key=None):
        """An UPDATE datagram, not sent; key: another than the right one."""
        kept, self.key_out = self.key_out, key or self.key_out
        try:
            return self.build(siu_wire.UPDATE, entries)
        finally:
            self.key_out = kept

    def send_datagram(self, datagram, source=None):
        """source: another address than ours, which no socket would send from."""
        if source is None:
            self.send_bytes(datagram)
            return
        data = pcap.udp(source, INSIDE, SIU_PORT, SIU_PORT, datagram)
        self.border.send_inside(pcap.ip(source, INSIDE, pcap.UDP, data))

    def send_updates(self, entries):
        self.send_bytes(self.seal_updates(entries))

    def wait_ack(self, entry, timeout=2.0):
        """The next ACK of an entry, or None."""
        return self._wait(lambda: self.acks[entry["reference"]], timeout)

    def wait_event(self, timeout=2.0):
        return self._wait(lambda: self.events, timeout)

    def wait_seen(self, timeout=2.0):
        return self._wait(lambda: self.seen, timeout)

    def move(self, node, care_of, **fields):
        """An UPDATE and its ACK."""
        entry = self.entry(node, care_of, **fields)
        self.send_updates([entry])
        ack = self.wait_ack(entry)
        assert ack is not None, "no ACK"
        return ack

    def deregister(self, node):
        return self.move(node, None, flags=DEREGISTER, lifetime=0)
