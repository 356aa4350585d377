# SPDX-License-Identifier: BSD-3-Clause
"""Start of each program: what is missing gives exit 2 and one line; ready is told to the manager."""
import os
import socket

import pytest
from world import World, libconfig, merge


@pytest.fixture(scope="module")
def world(build):
    with World(build) as world:
        yield world


def start(world, name, changes=None, before=()):
    namespace, settings = {
        "roamgate": ("gw", world.gateway_settings),
        "roamgate-ha": ("ha", world.home_agent_settings),
        "roamgate-mn": ("mn", world.mobile_settings),
    }[name]
    text = libconfig(merge(settings(), changes or {}))
    config = world.lab.write("start.conf", text)
    return world.lab.start(namespace, [*before, world.program(name), "-c", config], name)


@pytest.mark.parametrize(
    "name, changes, said",
    [
        ("roamgate", {"outside": {"device": "net_af_packet0,iface=absent0"}}, "absent0"),
        # No machine has as many of them free.
        ("roamgate", {"dpdk": {"no_huge": False, "memory_mb": 65536}}, "hugepages"),
        ("roamgate", {"dpdk": {"worker_cpus": "1023"}}, "worker_cpus"),
        ("roamgate", {"state_dir": "/proc/absent"}, "/proc/absent"),
        ("roamgate-ha", {"home_interface": "absent0"}, "absent0"),
        ("roamgate-ha", {"siu": {"listen": "192.0.2.77:4340"}}, "192.0.2.77"),
        ("roamgate-ha", {"state_dir": "/proc/absent"}, "/proc/absent"),
        ("roamgate-mn", {"state_dir": "/proc/absent"}, "/proc/absent"),
        ("roamgate-mn", {"tunnel_interface": "va0"}, "va0"),
    ],
)
def test_what_is_missing(world, name, changes, said):
    program = start(world, name, changes)
    assert program.process.wait(20) == 2, program.output()
    program.reader.join()
    assert len(program.lines) == 2 and program.lines[-1][1] is None, program.output()
    assert said in program.output()


def test_panic_is_told(world):
    """DPDK aborts where it lacks what it needs, such as file descriptors: its reason is not lost."""
    said = []
    for limit in range(10, 26):
        program = start(world, "roamgate", before=("prlimit", f"--nofile={limit}"))
        code = program.process.wait(20)
        program.reader.join()
        if "libgcc_s" in program.output():
            continue  # glibc's own end of a thread
        assert code == 2, f"{limit} descriptors: {code} {program.output()}"
        said.append([line for _, line in program.lines if line and line.startswith("roamgate: ")])
    assert all(said), said
    assert any(lines[0].startswith("roamgate: DPDK gave up: Cannot create") for lines in said), said


@pytest.mark.parametrize("name", ["roamgate", "roamgate-ha", "roamgate-mn"])
def test_manager_is_told(world, name, monkeypatch):
    path = world.lab.path("notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        program = start(world, name)
        assert manager.recv(64) == b"READY=1"
        program.wait_line(rf"^{name}: ready", 1)
    os.unlink(path)
    assert program.stop() == 0
