# SPDX-License-Identifier: BSD-3-Clause
"""siu_wire.py against tests/vectors/siu.txt, which the C codec is held to as well
(tests/unit/siu/golden_test.c). Run as a program it prints the vectors."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import siu_wire as siu  # noqa: E402

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors", "siu.txt")
SECRET = bytes(range(32))
HA, GW = siu.HOME_AGENT, siu.GATEWAY
HEAD = {"key_id": 0x0102, "sender_id": 0x0A020001, "epoch": 0x00ABCDEF,
        "sequence": 0x1122334455667788, "peer_epoch": 0x00012345}

MESSAGES = {
    "hello": (HA, siu.HELLO, [
        {"role": HA, "flags": siu.HELLO_UP, "nonce": 0x0123456789ABCDEF,
         "echo": 0xFEDCBA9876543210}]),
    "update": (HA, siu.UPDATE, [
        {"reference": 0x0000000500000007, "generation": 42, "identification": 0xE5A1B2C3D4E5F607,
         "node": 9, "lifetime": 600, "home_address": "10.1.0.10", "former_coa": "198.51.100.7",
         "new_coa": "203.0.113.7", "rrp": bytes(range(0x40, 0x70))},
        {"reference": 8, "generation": 43, "node": 10, "flags": siu.DEREGISTER,
         "home_address": "2001:db8::10", "former_coa": "2001:db8:1::1"}]),
    "ack": (GW, siu.ACK, [
        {"reference": 0x0000000500000007, "generation": 42, "in_force": 42, "node": 9, "result": 2,
         "home_address": "10.1.0.10", "coa": "203.0.113.7"},
        {"reference": 8, "generation": 43, "in_force": 44, "result": 4, "flags": siu.DEREGISTER,
         "home_address": "2001:db8::10"}]),
    "rrq_seen": (GW, siu.RRQ_SEEN, [
        {"identification": 0xE5A1B2C3D4E5F607, "node": 9, "home_address": "10.1.0.10",
         "coa": "192.168.0.2", "observed": ("203.0.113.9", 4500)}]),
    "event": (GW, siu.EVENT, [
        {"kind": 2, "node": 9, "home_address": "10.1.0.10", "observed": ("2001:db8::9", 61000)}]),
    "sync": (HA, siu.SYNC, [{"id": 3, "step": siu.END}]),
    "sync_answer": (GW, siu.SYNC, [{"id": 3, "step": siu.END_ACK, "result": 138}]),
}


def built(name):
    sender, kind, entries = MESSAGES[name]
    key = siu.derive_key(SECRET, HEAD["key_id"], sender)
    return siu.encode(dict(HEAD, type=kind, entries=entries), key), key


def vectors():
    with open(VECTORS) as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name: bytes.fromhex(text) for name, text in lines}


def test_all_vectors_are_covered():
    assert sorted(vectors()) == sorted(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_encode(name):
    assert built(name)[0].hex() == vectors()[name].hex()


@pytest.mark.parametrize("name", MESSAGES)
def test_decode(name):
    data, key = vectors()[name], built(name)[1]
    datagram = siu.decode(data, key)
    assert {field: datagram[field] for field in HEAD} == HEAD
    for entry, want in zip(datagram["entries"], MESSAGES[name][2]):
        assert {field: entry[field] for field in want} == want
    assert siu.encode(datagram, key) == data


@pytest.mark.parametrize("name", MESSAGES)
def test_tag_covers_every_byte(name):
    data, key = built(name)
    for at in range(len(data)):
        assert siu.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:], key) is None


if __name__ == "__main__":
    for each in MESSAGES:
        print(each, built(each)[0].hex())
