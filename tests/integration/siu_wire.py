# SPDX-License-Identifier: BSD-3-Clause
"""SIU datagrams, written from siu/README.md alone: a second opinion on the format, and a home agent
or gateway for tests to play (Speaker), honest or not.

A datagram is a dict: type, entries (dicts too), and the header's fields by name; what is left out
has a sensible value, and any of them may be given a wrong one (length, count, version, tag ...).
Entries hold the fields of their fixed part, the TLVs by name ("home_address": "10.1.0.10",
"observed": ("192.0.2.1", 4500), "rrp": bytes) and "extra": [(type, value), ...] for others.
"""
import hashlib
import hmac
import ipaddress
import os
import socket
import struct
import time

PORT = 4340
VERSION = 1
HEADER = struct.Struct(">BBHHHIIQIHH")
TAG_BYTES = 16
DATAGRAM_MAX = 1400
MUST = 0x8000

HELLO, UPDATE, ACK, RRQ_SEEN, EVENT, SYNC = range(1, 7)
REPLY_ONLY, DEREGISTER, PROVISIONAL, BICAST = 1, 2, 4, 8
HOME_AGENT, GATEWAY = 1, 2
HELLO_UP = 1
BEGIN, END, BEGIN_ACK, END_ACK = 1, 2, 3, 4

RESULTS = {
    0: "ok", 1: "ok_provisional", 2: "ok_state_differed", 3: "duplicate", 4: "stale",
    64: "bad_version", 65: "malformed", 66: "unknown_tlv", 128: "no_sa", 129: "not_authorised",
    130: "no_resources", 131: "bad_coa", 132: "coa_not_observed", 133: "sa_expired",
    134: "rate_limited", 135: "no_route", 137: "family_unsupported", 138: "resync_needed",
    139: "bad_rrp",
}

# Fixed part of each entry: names and layout. "_" must be 0.
FIXED = {
    HELLO: (">BBBBIQQ", "version_min version_max role flags capabilities nonce echo"),
    UPDATE: (">QQQIHH", "reference generation identification node lifetime flags"),
    ACK: (">QQQIHH", "reference generation in_force node result flags"),
    RRQ_SEEN: (">QI", "identification node"),
    EVENT: (">HHI", "kind _ node"),
    SYNC: (">IBBH", "id step _ result"),
}
DEFAULTS = {"version_min": VERSION, "version_max": VERSION}
TLVS = {
    "home_address": 0x8101,
    "former_coa": 0x8102,
    "new_coa": 0x8103,
    "coa": 0x8104,
    "observed": 0x8105,
    "rrp": 0x8106,
}
NAMES = {number: name for name, number in TLVS.items()}


def derive_key(secret, key_id, sender):
    """The key that `sender` (HOME_AGENT or GATEWAY) tags with."""
    label = b"roamgate siu 1" + struct.pack(">BH", sender, key_id)
    return hmac.new(secret, label, hashlib.sha256).digest()


def tag_of(key, covered):
    return hmac.new(key, covered, hashlib.sha256).digest()[:TAG_BYTES]


def tlv(number, value):
    return struct.pack(">HH", number, len(value)) + value


def _address(text, port=None):
    address = ipaddress.ip_address(text)
    middle = b"" if port is None else struct.pack(">H", port)
    return bytes([address.version]) + middle + address.packed


def _inner(name, value):
    if name == "rrp":
        return value
    return _address(*value) if name == "observed" else _address(value)


def encode_entry(kind, entry):
    layout, names = FIXED[kind]
    body = struct.pack(layout, *(entry.get(n, DEFAULTS.get(n, 0)) for n in names.split()))
    for name, number in TLVS.items():
        if entry.get(name) is not None:
            body += tlv(number, _inner(name, entry[name]))
    for number, value in entry.get("extra", ()):
        body += tlv(number, value)
    return tlv(entry.get("tlv", MUST | kind), body)


def encode(datagram, key):
    get = datagram.get
    kind = datagram["type"]
    entries = get("entries", ())
    body = b"".join(encode_entry(kind, entry) for entry in entries)
    for number, value in get("extra", ()):
        body += tlv(number, value)
    body += get("tail", b"")
    length = HEADER.size + len(body) + TAG_BYTES
    covered = HEADER.pack(
        get("version", VERSION), get("wire_type", kind), get("flags", 0), get("length", length),
        get("key_id", 0), get("sender_id", 0), get("epoch", 0), get("sequence", 0),
        get("peer_epoch", 0), get("count", len(entries)), 0) + body
    return covered + get("tag", tag_of(key, covered))


class Malformed(Exception):
    pass


def _tlvs(data):
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("TLV header")
        number, length = struct.unpack_from(">HH", data, at)
        if at + 4 + length > len(data):
            raise Malformed("TLV value")
        yield number, data[at + 4:at + 4 + length]
        at += 4 + length


def _inner_value(name, value):
    if name == "rrp":
        if not 1 <= len(value) <= 512:
            raise Malformed(name)
        return value
    head = 3 if name == "observed" else 1
    if len(value) < head or (value[0], len(value)) not in ((4, head + 4), (6, head + 16)):
        raise Malformed(name)
    text = str(ipaddress.ip_address(value[head:]))
    return (text, struct.unpack_from(">H", value, 1)[0]) if head == 3 else text


def decode_entry(kind, value):
    layout, names = FIXED[kind]
    size = struct.calcsize(layout)
    if len(value) < size:
        raise Malformed("fixed part")
    entry = dict(zip(names.split(), struct.unpack_from(layout, value)))
    entry.pop("_", None)
    for number, inner in _tlvs(value[size:]):
        name = NAMES.get(number)
        if name is None:
            entry.setdefault("extra", []).append((number, inner))
        elif name in entry:
            raise Malformed("twice " + name)
        else:
            entry[name] = _inner_value(name, inner)
    return entry


def decode(data, key):
    """None if the tag is wrong; else the dict."""
    if not hmac.compare_digest(tag_of(key, data[:-TAG_BYTES]), data[-TAG_BYTES:]):
        return None
    fields = ("version", "type", "flags", "length", "key_id", "sender_id", "epoch", "sequence",
              "peer_epoch", "count", "_")
    datagram = dict(zip(fields, HEADER.unpack_from(data)))
    datagram.pop("_")
    kind = datagram["type"]
    if datagram["length"] != len(data) or kind not in FIXED:
        raise Malformed("header")
    datagram["entries"] = []
    for number, value in _tlvs(data[HEADER.size:-TAG_BYTES]):
        if number == MUST | kind:
            datagram["entries"].append(decode_entry(kind, value))
        else:
            datagram.setdefault("extra", []).append((number, value))
    if len(datagram["entries"]) != datagram["count"]:
        raise Malformed("count")
    return datagram


class Speaker:
    """One end of an association over a UDP socket, driven by the test: no thread, no timer.

    It answers HELLOs and SYNC while it waits for something (auto_sync), and nothing else: UPDATEs,
    ACKs and their loss or repetition are the test's business.
    """

    def __init__(self, role, secret, key_id=1, bind=("0.0.0.0", 0), peer=None, epoch=None,
                 auto_sync=True, sock=None):
        self.role, self.key_id, self.peer = role, key_id, peer
        self.key_out = derive_key(secret, key_id, role)
        self.key_in = derive_key(secret, key_id, GATEWAY if role == HOME_AGENT else HOME_AGENT)
        self.epoch = int.from_bytes(os.urandom(3), "big") + 1 if epoch is None else epoch
        self.auto_sync = auto_sync
        self.sequence = 0
        self.nonces = []  # the last 4, newest first
        self.peer_nonce = self.peer_epoch = 0
        self.up = False
        self.hello_due = 0.0
        self.sync_id = 0
        self.sock = sock or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if sock is None:
            self.sock.bind(bind)

    def close(self):
        self.sock.close()

    def build(self, kind, entries, **header):
        """Bytes of the next datagram; header fields may be overridden."""
        self.sequence += 1
        datagram = {"type": kind, "entries": entries, "key_id": self.key_id, "epoch": self.epoch,
                    "sequence": self.sequence, "peer_epoch": self.peer_epoch}
        datagram.update(header)
        return encode(datagram, self.key_out)

    def send_bytes(self, data):
        self.sock.sendto(data, self.peer)

    def send(self, kind, *entries, **header):
        """Builds and sends; returns the bytes, to repeat or to spoil them."""
        data = self.build(kind, entries, **header)
        self.send_bytes(data)
        return data

    def hello(self):
        self.nonces = [int.from_bytes(os.urandom(8), "big") or 1] + self.nonces[:3]
        self.hello_due = time.monotonic() + 1.0
        self.send(HELLO, {"role": self.role, "flags": HELLO_UP if self.up else 0,
                          "nonce": self.nonces[0], "echo": self.peer_nonce})

    def _take_hello(self, datagram):
        hello = datagram["entries"][0]
        proven = hello["echo"] in self.nonces
        if datagram["epoch"] != self.peer_epoch:
            self.up = False
        self.peer_epoch, self.peer_nonce = datagram["epoch"], hello["nonce"]
        if proven:
            self.up = True
        if not proven or not hello["flags"] & HELLO_UP:
            self.hello()

    def _take_sync(self, datagram):
        sync = datagram["entries"][0]
        if self.role == GATEWAY and sync["step"] in (BEGIN, END):
            self.send(SYNC, {"id": sync["id"], "step": sync["step"] + 2})

    def receive(self, timeout=1.0):
        """The next datagram that is not a HELLO (nor, with auto_sync, a SYNC to be answered); None:
        none came in time. A bad tag raises."""
        end = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            if now >= self.hello_due and self.peer is not None:
                self.hello()
            left = min(end, self.hello_due) - now if self.peer is not None else end - now
            if now >= end:
                return None
            self.sock.settimeout(max(left, 0.001))
            try:
                data, sender = self.sock.recvfrom(65535)
            except (socket.timeout, ConnectionRefusedError):
                continue
            self.peer = self.peer or sender
            datagram = decode(data, self.key_in)
            if datagram is None:
                raise Malformed("bad tag from %s:%d" % sender)
            datagram["bytes"] = data
            if datagram["type"] == HELLO:
                self._take_hello(datagram)
                continue
            if datagram["type"] == SYNC and self.auto_sync and self.role == GATEWAY:
                self._take_sync(datagram)
                continue
            return datagram

    def connect(self, timeout=5.0):
        """Until both sides are up (a home agent's peer then takes UPDATEs). Returns self."""
        end = time.monotonic() + timeout
        self.hello()
        while not self.up:
            if time.monotonic() >= end:
                raise TimeoutError("SIU: the peer does not come up")
            self.receive(0.05)
        self.hello()  # our echo, so that the peer is up as well
        return self

    def expect(self, kind, timeout=2.0):
        """The next datagram of this type; others are dropped. Raises TimeoutError."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            datagram = self.receive(end - time.monotonic())
            if datagram is not None and datagram["type"] == kind:
                return datagram
        raise TimeoutError("SIU: no datagram of type %d" % kind)

    def sync(self, bindings=(), timeout=5.0):
        """Home agent: a whole SYNC with these UPDATE entries. Returns their results."""
        self.sync_id += 1
        self.step(BEGIN, timeout)
        results = []
        for start in range(0, len(bindings), 16):
            part = bindings[start:start + 16]
            self.send(UPDATE, *part)
            while part:
                answers = {e["reference"]: e["result"] for e in
                           self.expect(ACK, timeout)["entries"]}
                results += [answers[e["reference"]] for e in part if e["reference"] in answers]
                part = [e for e in part if e["reference"] not in answers]
        self.step(END, timeout)
        return results

    def step(self, step, timeout=5.0):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.send(SYNC, {"id": self.sync_id, "step": step})
            try:
                answer = self.expect(SYNC, 0.2)["entries"][0]
            except TimeoutError:
                continue
            if (answer["id"], answer["step"]) == (self.sync_id, step + 2):
                return answer["result"]
        raise TimeoutError("SIU: no answer to SYNC step %d" % step)
