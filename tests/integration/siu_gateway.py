# SPDX-License-Identifier: BSD-3-Clause
"""A gateway's side of SIU in the hands of a test: siu_wire's Speaker, kept alive by a thread.

It answers every UPDATE entry with `result` (a number, None: not at all, or a function of the
entry) and keeps what it was told: `updates` in order, `nodes` as a gateway would have them.
"""
import threading
import time

import siu_wire
from siu_wire import ACK, BEGIN, DEREGISTER, END, EVENT, GATEWAY, REPLY_ONLY, RRQ_SEEN, UPDATE

REPLY_OFFSET = 28  # of the registration reply in the datagram of an RRP


class SiuGateway(siu_wire.Speaker):
    def __init__(self, secret, sock, peer, result=0, key_id=1):
        super().__init__(GATEWAY, secret, key_id, peer=peer, sock=sock)
        self.result = result
        self.updates = []  # (monotonic time, entry)
        self.nodes = {}  # home address: (generation, care-of address)
        self.marked = None
        self.syncs = 0
        self.lock = threading.RLock()
        self.changed = threading.Condition()
        self.stopping = False
        self.pump = None

    def build(self, kind, entries, **header):
        with self.lock:
            return super().build(kind, entries, **header)

    def connect(self, timeout=10.0):
        super().connect(timeout)
        self.pump = threading.Thread(target=self._pump, daemon=True)
        self.pump.start()
        return self

    def close(self):
        self.stopping = True
        if self.pump:
            self.pump.join()
        super().close()

    def _pump(self):
        while not self.stopping:
            datagram = self.receive(0.05)
            if datagram and datagram["type"] == UPDATE:
                with self.changed:
                    for entry in datagram["entries"]:
                        self._take(entry)
                    self.changed.notify_all()

    def _take(self, entry):
        self.updates.append((time.monotonic(), entry))
        result = self.result(entry) if callable(self.result) else self.result
        if result is not None:
            self.answer(entry, result)

    def _take_sync(self, datagram):
        super()._take_sync(datagram)
        step = datagram["entries"][0]["step"]
        if step == BEGIN:
            self.marked = set()
        elif step == END and self.marked is not None:
            self.nodes = {home: at for home, at in self.nodes.items() if home in self.marked}
            self.marked = None
            with self.changed:
                self.syncs += 1
                self.changed.notify_all()

    def answer(self, entry, result=0):
        home = entry["home_address"]
        generation, _ = self.nodes.get(home, (0, None))
        if result == 0 and not entry["flags"] & REPLY_ONLY:
            if entry["generation"] < generation:
                result = 4
            elif entry["generation"] == generation:
                result = 3
            else:
                self.nodes[home] = (entry["generation"], entry.get("new_coa"))
            if self.marked is not None:
                self.marked.add(home)
        generation, care_of = self.nodes.get(home, (0, None))
        self.send(ACK, {
            "reference": entry["reference"], "generation": entry["generation"],
            "in_force": generation, "result": result, "flags": entry["flags"],
            "home_address": home, "coa": care_of,
        })  # fmt: skip

    # --- what a test sends and waits for ----------------------------------------------------

    def wait(self, wanted, timeout=2.0):
        """The first update that is wanted and was not given out yet: (time, entry), or None."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                for i, (_, entry) in enumerate(self.updates):
                    if wanted(entry):
                        return self.updates.pop(i)
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self.changed.wait(left)

    def wait_move(self, care_of, timeout=2.0):
        return self.wait(lambda e: not e["flags"] and e.get("new_coa") == care_of, timeout)

    def wait_reply_only(self, timeout=2.0):
        """The registration reply inside, or None."""
        found = self.wait(lambda e: e["flags"] & REPLY_ONLY, timeout)
        return found[1]["rrp"][REPLY_OFFSET:] if found else None

    def wait_deregister(self, timeout=2.0):
        return self.wait(lambda e: e["flags"] & DEREGISTER, timeout)

    def wait_sync(self, count, timeout=3.0):
        with self.changed:
            return self.changed.wait_for(lambda: self.syncs >= count, timeout)

    def seen(self, home, number, care_of, observed=("198.51.100.7", 0)):
        self.send(RRQ_SEEN, {"identification": number, "node": 1, "home_address": home,
                             "coa": care_of, "observed": observed})  # fmt: skip

    def event(self, home, kind):
        self.send(EVENT, {"kind": kind, "node": 1, "home_address": home})
