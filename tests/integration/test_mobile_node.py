# SPDX-License-Identifier: BSD-3-Clause
"""roamgate-mn on real interfaces against an imitated gateway with scapy's ESP."""
import fcntl
import os
import signal
import socket
import statistics
import struct
import time

import lab as laboratory
import mip
import pcap
import pytest
from fake_gateway import ARP, CORRESPONDENT, Surroundings, VISITED
from scapy.layers.inet import ICMP, IP, UDP
from world import HOME_AGENT, OUTSIDE, Array

A, B = VISITED["A"][2], VISITED["B"][2]
NODE = "10.1.0.10"
SIOCSIFADDR = 0x8916  # linux/sockios.h


@pytest.fixture
def site(build):
    with Surroundings(build) as surroundings:
        yield surroundings


@pytest.fixture
def away(site):
    """Registered at A, with the counts of that taken off."""
    site.start_node()
    site.enter("A")
    site.wait_registration("registered")
    return site


def tunnel_addresses(site):
    return site.lab.run("mn", "ip", "-4", "-o", "addr", "show", "dev", "rg-mn")


def rules(site):
    return site.lab.run("mn", "ip", "rule", "show")


def test_first_registration(site):
    """Address, then ESP from it with the request inside, three times the same, at 0/10/30 ms."""
    site.gateway.answer = False
    site.start_node()
    assert site.status()["place"] == "nowhere"
    capture = site.lab.capture("net", "va1", "first", "ip proto 50")
    started = time.time_ns()
    site.enter("A")
    site.gateway.wait(lambda: len(site.gateway.requests) == 3)
    time.sleep(0.3)
    requests = site.gateway.requests
    assert len(requests) == 3 and not site.gateway.errors
    assert len({r.raw for r in requests}) == 1
    first = requests[0]
    assert (first.outer, first.inner_source, first.care_of) == (A, A, A)
    assert (first.home, first.agent, first.lifetime) == (NODE, HOME_AGENT, 600)
    assert first.flags == mip.FLAG_D
    move = site.status()["last_move"]
    assert move["sas_updated_us"] <= move["rrq_sent_us"] < 5000
    assert move["rrp_received_us"] is None
    capture.stop()
    stamps = [p.at for p in pcap.packets(capture.path)][:3]
    print(
        f"address event to SAs {move['sas_updated_us']} us, to request {move['rrq_sent_us']} us; "
        f"start of the ip command to request on the wire {(stamps[0] - started) / 1e6:.1f} ms; "
        f"copies at {[round((s - stamps[0]) / 1e6, 1) for s in stamps]} ms"
    )
    assert 8e6 < stamps[1] - stamps[0] and 27e6 < stamps[2] - stamps[0]
    # a second later another one, with another Identification
    site.gateway.wait(lambda: len(requests) == 4)
    assert 0.95 < (requests[3].at - requests[2].at) / 1e9
    assert requests[3].number > first.number
    site.gateway.answer = True
    site.wait_registration("registered")


def test_address_to_wire(site):
    """From the kernel's address to ESP from it on the wire: both SAs have moved by then."""
    lab = site.lab
    site.start_node()
    capture = lab.capture("net", "va1", "wire", "ip proto 50")
    request = struct.pack("16sHH4s8x", b"va0", socket.AF_INET, 0, socket.inet_aton(A))
    taken = []
    with lab.inside("mn"):
        kernel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with kernel:
        for _ in range(5):
            came = len(site.gateway.requests)
            lab.ip("mn", "link set dev va0 up", "route add default via 198.51.100.1 dev va0 onlink")
            taken.append(time.time_ns())
            fcntl.ioctl(kernel, SIOCSIFADDR, request)
            site.gateway.wait(lambda came=came: len(site.gateway.requests) > came)
            lab.ip("mn", "addr flush dev va0", "link set dev va0 down")
            laboratory.wait_until(lambda: site.status()["place"] == "nowhere", 2, "no place")
    capture.stop()
    sent = [p.at for p in pcap.packets(capture.path)]
    first = [min(at for at in sent if at > begin) - begin for begin in taken]
    print(f"address to wire: {[round(t / 1e6, 2) for t in first]} ms")
    assert statistics.median(first) < 5e6, first


def test_traffic_both_ways(away):
    assert away.ping(20) == 20
    sources = {IP(raw).src for _, outer, raw in away.gateway.packets if outer == A}
    assert sources == {NODE}
    assert not away.gateway.errors
    traffic = away.status()["traffic"]
    assert traffic["tx_packets"] >= 20 and traffic["rx_packets"] >= 20
    rows = {row["direction"]: row for row in away.call("show-sa")["rows"]}
    assert rows["inbound"]["destination"] == rows["outbound"]["source"] == A


def test_move_does_not_wait(away):
    """T=0: the home address's packets leave from the new address before the reply."""
    gateway = away.gateway
    gateway.answer = False
    away.move("B")
    gateway.wait(lambda: any(r.outer == B for r in gateway.requests))
    assert away.ping(1, deadline=0.3) in (0, 1)
    assert any(outer == B and IP(raw).src == NODE for _, outer, raw in gateway.packets)
    status = away.status()
    assert status["care_of"] == B and status["registration"] == "requesting"
    assert status["last_move"]["sas_updated_us"] < 5000
    # The home agent tunnels to the former address as label until the gateway has acknowledged
    gateway.care_of = B
    gateway.to_node(IP(src=CORRESPONDENT, dst=NODE) / ICMP(type=8, id=7), label=A, to=B)
    gateway.wait(lambda: any(b"\x00" == raw[20:21] for _, _, raw in gateway.packets), 2, "echo reply")
    gateway.answer = True
    away.wait_registration("registered")
    assert away.ping(5) == 5


def test_make_before_break(away):
    """The new link comes before the old one goes: what still comes to the old address is taken."""
    gateway = away.gateway
    interface, router, own = VISITED["B"]
    away.lab.ip(
        "mn",
        f"link set dev {interface} up",
        f"addr add {own}/24 dev {interface}",
        f"route add default via {router} dev {interface} metric 50",
    )
    gateway.wait(lambda: any(r.outer == B for r in gateway.requests))
    echo = IP(src=CORRESPONDENT, dst=NODE) / ICMP(type=8, id=9)
    gateway.to_node(echo, label=A, to=A)

    def answered():
        return any(outer == B and IP(raw)[ICMP].id == 9 for _, outer, raw in gateway.packets)

    gateway.wait(answered, 2, "answer to what came to the former address")
    time.sleep(2.2)  # grace_ms
    del gateway.packets[:]
    gateway.to_node(echo, label=A, to=A)
    time.sleep(0.3)
    assert not answered()
    assert away.drops()["no_sa_in"]["in"] == 1


def test_route_comes_late(site):
    """DHCP clients set the default route some time after the address."""
    site.start_node()
    site.lab.ip("mn", "link set dev va0 up", f"addr add {A}/24 dev va0")
    time.sleep(0.2)
    assert not site.gateway.requests
    began = time.time_ns()
    site.lab.ip("mn", "route add default via 198.51.100.1 dev va0")
    site.gateway.wait(lambda: site.gateway.requests)
    assert (site.gateway.requests[0].at - began) / 1e9 < 0.5  # not at the next retransmission
    site.wait_registration("registered")
    assert site.ping(3) == 3


def test_what_is_not_taken(away):
    gateway = away.gateway
    echo = IP(src=CORRESPONDENT, dst=NODE) / ICMP(type=8, id=5)
    good = IP(src=HOME_AGENT, dst=A) / echo

    def flipped():
        datagram = bytearray(gateway.seal(good, A))
        datagram[-1] ^= 1
        return bytes(datagram)

    old = gateway.sent[-1]  # the registration reply
    rows = [
        ("replayed", old, "replay"),
        ("wrong tag", flipped(), "bad_icv"),
        ("another gateway", gateway.seal(good, A, source="192.0.2.9"), "no_sa_in"),
        ("unknown SPI", gateway.seal(good, A, key={"spi": 0x9999}), "no_sa_in"),
        ("runt", gateway.seal(good, A)[:40], "runt"),
        ("not in IP-in-IP", gateway.seal(echo, A), "bad_address"),
        ("not the home agent", gateway.seal(IP(src="10.1.0.2", dst=A) / echo, A), "bad_address"),
        ("a label of others", gateway.seal(IP(src=HOME_AGENT, dst=B) / echo, A), "bad_address"),
        (
            "not the home address",
            gateway.seal(IP(src=HOME_AGENT, dst=A) / IP(src=CORRESPONDENT, dst="10.1.0.11") / b"", A),
            "bad_address",
        ),
        (
            "no registration",
            gateway.seal(IP(src=HOME_AGENT, dst=A) / UDP(sport=435, dport=434) / b"x", A),
            "registration",
        ),
        (
            "TCP to the label",
            gateway.seal(IP(src=HOME_AGENT, dst=A, proto=6) / (b"x" * 20), A),
            "registration",
        ),
    ]
    for name, datagram, verdict in rows:
        before = away.drops()
        gateway.send_raw(datagram)
        laboratory.wait_until(
            lambda: away.drops()[verdict]["in"] == before[verdict]["in"] + 1, 2, name
        )
    assert away.status()["traffic"]["rx_packets"] == 0
    gateway.send(good, A)
    gateway.wait(lambda: gateway.packets, 2, "the good one")
    assert away.call("show-drops")["ecn_unusual"] == 0
    marked = bytearray(gateway.seal(good, A))
    marked[1] = 2  # ECT(0) outside, Not-ECT inside: RFC 6040 section 4.2
    gateway.send_raw(bytes(marked))
    laboratory.wait_until(lambda: away.status()["traffic"]["rx_packets"] == 2, 2, "taken as well")
    assert away.call("show-drops")["ecn_unusual"] == 1


def test_replies_not_believed(away):
    gateway = away.gateway
    last = gateway.requests[-1]
    key = away.node.key_mip
    rows = [
        ("wrong_identification", mip.reply(NODE, HOME_AGENT, last.number ^ 1, 0x101, key)),
        ("wrong_agent", mip.reply(NODE, "10.1.0.2", last.number, 0x101, key)),
        ("bad_authenticator", mip.reply(NODE, HOME_AGENT, last.number, 0x101, bytes(32))),
        ("malformed", b"\x03\x00"),
    ]
    for name, message in rows:
        gateway.send(IP(src=HOME_AGENT, dst=A) / UDP(sport=434, dport=434) / message, A)
        laboratory.wait_until(lambda: away.status()["replies"][name] == 1, 2, name)
    assert away.status()["registration"] == "registered"


def test_clock_is_adopted(site):
    site.gateway.clock_ahead = 5000
    site.start_node()
    site.enter("A")
    site.wait_registration("registered", 3)
    status = site.status()
    assert 4995 <= status["clock_offset_s"] <= 5005
    # and remembered
    time.sleep(1.3)
    site.mobile.kill(signal.SIGKILL)
    before = len(site.gateway.requests)
    site.start_node()
    site.wait_registration("registered", 3)
    assert site.status()["replies"]["clock_adopted"] == 0
    assert len(site.gateway.requests) > before


def test_home(away):
    gateway = away.gateway
    arp = away.lab.packet_socket("net", "home1")
    arp.settimeout(2)
    assert NODE in tunnel_addresses(away) and "5248" in rules(away)
    away.leave()
    time.sleep(0.1)
    sent = len(gateway.sequences)
    away.enter_home()
    away.wait_registration("at_home")
    assert tunnel_addresses(away) == ""
    assert "5247" not in rules(away)
    request = gateway.home_requests[0]
    assert (request.inner_source, request.care_of, request.lifetime) == (NODE, NODE, 0)
    assert len(gateway.sequences) == sent  # nothing by the tunnel
    frames = []
    end = time.monotonic() + 2
    while time.monotonic() < end and len(frames) < 2:
        frame = arp.recv(2048)
        if frame[12:14] == ARP.to_bytes(2, "big") and frame[28:32] == frame[38:42]:
            frames.append(frame)
    assert frames and frames[0][28:32] == socket.inet_aton(NODE)
    assert frames[0][6:12] == frames[0][22:28] == away.lab.mac("mn", "home0")
    arp.close()
    # away again
    away.move("B")
    away.wait_registration("registered")
    assert away.ping(3) == 3


def advertise(site, source, sequence, to="224.0.0.1"):
    """A foreign agent's advertisement with R bit and care-of address (RFC 5944 section 2.1)."""
    body = struct.pack(">BBHBBH", 9, 16, 0, 1, 2, 30) + socket.inet_aton(source) + bytes(4)
    body += struct.pack(">BBHHH", 16, 10, sequence, 600, 0x9000) + socket.inet_aton(source)
    body = body[:2] + struct.pack(">H", pcap.checksum(body)) + body[4:]
    datagram = pcap.ip(source, to, pcap.ICMP, body, ttl=1)
    wire = site.lab.packet_socket("net", "va1")
    mac = b"\x01\x00\x5e\x00\x00\x01" if to == "224.0.0.1" else site.lab.mac("mn", "va0")
    wire.send(pcap.ethernet(mac, site.lab.mac("net", "va1"), datagram))
    wire.close()


def test_agent_advertisements(away):
    """Another agent on the link: registers anew, with the node's own address, not the agent's."""
    gateway = away.gateway
    time.sleep(1.1)  # a registration younger than a second is not repeated
    before = len(gateway.requests)
    advertise(away, "198.51.100.2", 300)
    advertise(away, "198.51.100.2", 301)
    advertise(away, "198.51.100.3", 7, to=A)  # unicast is not taken
    time.sleep(0.2)
    assert len(gateway.requests) == before
    status = away.status()
    assert (status["agent"], status["agent_demands"]) == ("198.51.100.2", True)
    advertise(away, "198.51.100.3", 7)
    gateway.wait(lambda: len(gateway.requests) > before, 2, "a new registration")
    assert {r.care_of for r in gateway.requests} == {A}
    assert gateway.requests[-1].number > gateway.requests[before - 1].number
    away.wait_registration("registered")


def test_starts_at_home(site):
    site.enter_home()
    site.start_node()
    site.wait_registration("at_home")
    assert site.status()["place"] == "home"
    assert not site.gateway.requests


def test_home_is_quick(away):
    """One round trip on the home link, with a strict reverse path filter, and no way around."""
    away.lab.run("mn", "sysctl", "-qw", "net.ipv4.conf.home0.rp_filter=1")
    away.leave()
    away.enter_home()
    away.wait_registration("at_home")
    status = away.status()
    assert status["place"] == "home" and not status["home_pending"]
    move = status["last_move"]
    print(f"home: request after {move['rrq_sent_us']} us, reply after {move['rrp_received_us']} us")
    assert move["rrq_sent_us"] < 5000 and move["rrp_received_us"] < 100_000


def in_clear(packets):
    """What a link saw of the company's traffic outside ESP; registrations are no traffic."""
    return [
        p for p in packets
        if NODE in (p.src, p.dst) and p.proto != pcap.ESP and not is_registration(p)
    ]  # fmt: skip


def is_registration(packet):
    if packet.proto != pcap.UDP or HOME_AGENT not in (packet.src, packet.dst):
        return False
    return pcap.udp_ports(packet) == (mip.PORT, mip.PORT)


def test_feigned_home(away):
    """A network that hands out the home address is not taken for home, whatever it answers."""
    gateway, lab = away.gateway, away.lab
    gateway.answer_home = lambda request: mip.reply(
        request.home, request.agent, request.number, 0x101, bytes(32), lifetime=0
    )
    # the hostile network pretends to be all of the company, beside a tunnel that works
    capture = lab.capture("net", "home1", "feigned", "ip")
    away.enter_home()
    gateway.wait(lambda: gateway.home_requests, 2, "the deregistration")
    laboratory.wait_until(lambda: away.status()["replies"]["bad_authenticator"], 2, "the forgery")
    status = away.status()
    assert status["place"] == "away" and status["home_pending"]
    assert away.ping(5) == 5  # by the tunnel
    # and with no other way out: nothing is sent at all
    away.lab.ip("mn", "link set dev va0 down")
    laboratory.wait_until(lambda: away.status()["place"] == "home-pending", 2, "no other place")
    before = away.drops()["no_path"]["out"]
    assert away.ping(3, deadline=0.2) == 0
    laboratory.wait_until(lambda: away.drops()["no_path"]["out"] > before, 4, "held, then dropped")
    assert NODE in tunnel_addresses(away) and "5248" in rules(away)
    gateway.answer_home = None  # the home agent itself, at the next retransmission
    away.wait_registration("at_home", 10)
    assert away.status()["place"] == "home"
    capture.stop()
    seen = list(pcap.packets(capture.path))
    assert any(is_registration(p) for p in seen)
    assert in_clear(seen) == []


def test_starts_at_a_feigned_home(site):
    site.gateway.answer = False
    capture = site.lab.capture("net", "home1", "feigned", "ip")
    site.enter_home()
    site.start_node()
    site.gateway.wait(lambda: site.gateway.home_requests, 2, "the deregistration")
    assert site.status()["place"] == "home-pending"
    site.ping(2, deadline=0.2)
    # the tunnel is there as soon as another network is
    site.gateway.answer = True
    site.gateway.answer_home = lambda request: b""
    site.enter("A")
    site.wait_registration("registered")
    assert site.ping(3) == 3
    capture.stop()
    assert in_clear(pcap.packets(capture.path)) == []


def test_trust_ends_with_the_link(site):
    """Behind a link that was down there may be another network."""
    gateway = site.gateway
    site.enter_home()
    site.start_node()
    site.wait_registration("at_home")
    gateway.answer = False
    asked = len(gateway.home_requests)
    site.lab.ip("mn", "link set dev home0 down", "link set dev home0 up")
    gateway.wait(lambda: len(gateway.home_requests) > asked, 3, "asked again")
    assert site.status()["place"] == "home-pending"
    assert NODE in tunnel_addresses(site)


def test_kill_and_restart(away):
    gateway = away.gateway
    assert away.ping(5) == 5
    old = list(gateway.sent)
    away.mobile.kill(signal.SIGKILL)
    gateway.answer = True
    away.start_node()
    ready = time.monotonic()
    while away.ping(1, deadline=0.1) == 0:
        assert time.monotonic() < ready + 2
    assert away.ping(5) == 5
    assert not gateway.errors
    assert len(set(gateway.ivs)) == len(gateway.ivs)
    assert gateway.sequences == sorted(set(gateway.sequences))
    before = away.drops()["replay"]["in"]
    for datagram in old:
        gateway.send_raw(datagram)
    laboratory.wait_until(
        lambda: away.drops()["replay"]["in"] == before + len(old), 2, "replays refused"
    )


def test_fallback(site):
    called = site.lab.path("called")
    command = site.lab.write("new-tunnel", f'#!/bin/sh\necho "$#" "$1" >>{called}\n', 0o700)
    site.gateway.answer = False
    node = site.start_node(max_attempts=1, fallback_command=command)
    site.enter("A")
    node.wait_line("registration failed 1 times in a row.*a new tunnel is needed", 4)
    laboratory.wait_until(lambda: os.path.exists(called), 2, "the fallback command")
    time.sleep(0.1)
    with open(called) as file:
        assert file.read() == f"1 {A}\n"


def life_rows(site):
    return {row["direction"]: (row["state"], row["cause"]) for row in site.call("show-sa")["rows"]}


def outbound_packets(site):
    return next(r["packets"] for r in site.call("show-sa")["rows"] if r["direction"] == "outbound")


def test_lifetimes(site):
    """The operator's command is run for each end, one after the other; behind the hard one is nothing,
    also in the next run."""
    called = site.lab.path("called")
    script = f'#!/bin/sh\nmkdir {called}.lock || echo twice >>{called}\n'
    script += f'echo "$*" >>{called}\nsleep 0.2\nrmdir {called}.lock\n'
    changes = {
        "rekey_command": site.lab.write("rekey", script, 0o700),
        "inbound": {"rekey_packets": 5, "life_packets": 1000},
        "outbound": {"rekey_packets": 6, "life_packets": 20},
    }

    def told():
        with open(called) as file:
            return sorted(file.read().splitlines())

    site.start_node(**changes)
    site.enter("A")
    site.wait_registration("registered")
    assert life_rows(site) == {"inbound": ("live", None), "outbound": ("live", None)}
    sent = len(site.gateway.packets) + len(site.gateway.requests)
    assert sent < 6
    assert 10 < site.ping(30, deadline=0.3) < 20
    node = site.node
    spi_in, spi_out = f"0x{node.spi_down:x}", f"0x{node.spi_up:x}"
    soft = [f"soft in {spi_in} packets", f"soft out {spi_out} packets"]
    hard = f"hard out {spi_out} packets"
    laboratory.wait_until(lambda: os.path.exists(called) and len(told()) == 3, 4, "three calls")
    assert told() == sorted([*soft, hard])
    assert life_rows(site) == {"inbound": ("rekey", "packets"), "outbound": ("expired", "packets")}
    assert site.drops()["expired"]["out"] > 0
    # Exactly 20 left. The first registration's may be lost before the link knows its neighbours.
    numbers = site.gateway.sequences
    assert outbound_packets(site) == 20
    assert numbers[0] <= 3 and numbers == list(range(numbers[0], 21))
    # Not one more, in no later run.
    site.mobile.kill()
    os.unlink(called)
    site.start_node(**changes)
    laboratory.wait_until(lambda: os.path.exists(called) and len(told()) == 3, 4, "three calls")
    assert told() == sorted([*soft, hard])
    assert site.ping(3, deadline=0.2) == 0 and max(site.gateway.sequences) == 20


def test_lifetime_in_seconds(site):
    site.start_node(outbound={"rekey_time": 1, "life_time": 3})
    site.enter("A")
    site.wait_registration("registered")
    laboratory.wait_until(lambda: life_rows(site)["outbound"] == ("rekey", "time"), 3, "soft end")
    assert site.ping(1) == 1
    site.mobile.wait_line("SA expired direction=out .*cause=time", 5)
    assert life_rows(site) == {"inbound": ("live", None), "outbound": ("expired", "time")}
    assert site.ping(1, deadline=0.2) == 0
    site.mobile.stop()
    site.start_node(outbound={"rekey_time": 1, "life_time": 3})
    assert life_rows(site)["outbound"] == ("expired", "time")
    before = max(site.gateway.sequences)
    assert site.ping(2, deadline=0.2) == 0 and max(site.gateway.sequences) == before


def test_reverse_tunnel(site):
    gateway = site.gateway
    site.start_node(reverse_tunnel=True)
    site.enter("A")
    site.wait_registration("registered")
    assert gateway.requests[0].flags == mip.FLAG_D | mip.FLAG_T
    assert site.ping(2) == 2
    outer = [IP(raw) for _, _, raw in gateway.packets]
    assert {(p.src, p.dst, p.proto) for p in outer} == {(A, HOME_AGENT, 4)}
    assert {p.payload.src for p in outer} == {NODE}
    # until the reply the former address, in ESP from the new one; then the new one
    gateway.answer = False
    site.move("B")
    gateway.wait(lambda: any(r.outer == B for r in gateway.requests))
    del gateway.packets[:]
    site.ping(1, deadline=0.2)
    assert {(o, IP(raw).src) for _, o, raw in gateway.packets} == {(B, A)}
    gateway.answer = True
    site.wait_registration("registered")
    del gateway.packets[:]
    assert site.ping(1) == 1
    assert {(o, IP(raw).src) for _, o, raw in gateway.packets} == {(B, B)}


def test_full_tunnel(site):
    gateway = site.gateway
    site.lab.run("mn", "sysctl", "-qw", "net.ipv4.conf.va0.rp_filter=1")
    site.start_node(tunnel_routes=Array(["0.0.0.0/0"]))
    site.enter("A")
    site.wait_registration("registered")
    site.lab.run("mn", "ping", "-n", "-q", "-c", 1, "-W", 1, "8.8.8.8")
    assert any(IP(raw).dst == "8.8.8.8" and IP(raw).src == NODE for _, _, raw in gateway.packets)


def test_nothing_in_clear_without_a_link(away):
    """A visited network cannot draw the company's traffic out of the tunnel."""
    away.lab.ip("mn", f"route add 10.2.0.0/24 via {VISITED['A'][1]} dev va0")
    capture = away.lab.capture("net", "va1", "clear", "ip and not proto 50")
    away.ping(3)
    away.leave()
    away.ping(2, deadline=0.2)
    capture.stop()
    assert [p for p in pcap.packets(capture.path) if p.dst == CORRESPONDENT] == []


def test_second_instance_is_refused(away):
    config = away.lab.path("roamgate-mn.conf")
    second = away.lab.start("mn", [away.program("roamgate-mn"), "-c", config])
    assert second.process.wait(5) == 2
    assert away.ping(1) == 1
    assert OUTSIDE not in second.output()
