# SPDX-License-Identifier: BSD-3-Clause
"""What the running programs may do, and what a dump of their memory would hold."""
import glob
import hmac
import os
import re

import pytest
from world import World

CAPS = {"net_bind_service": 10, "net_admin": 12, "net_raw": 13, "ipc_lock": 14}
MAY = {  # after the start; the gateway's workers may do nothing
    "roamgate": {"net_admin", "ipc_lock"},
    "roamgate-ha": {"net_admin", "net_raw", "ipc_lock"},
    "roamgate-mn": {"net_admin", "net_raw", "net_bind_service", "ipc_lock"},
}


@pytest.fixture(scope="module")
def running(build):
    with World(build, delay_ms=1) as world:
        world.start_all()
        world.enter("A")
        world.wait_reachable()
        yield world, {
            "roamgate": world.gateway.pid,
            "roamgate-ha": world.home_agent.pid,
            "roamgate-mn": world.mobile.pid,
        }


def mask(names):
    return sum(1 << CAPS[name] for name in names)


def threads(pid):
    """{name of the thread and its number: what /proc says of it}"""
    found = {}
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path) as file:
            status = dict(re.findall(r"^(\w+):\s+(.*)$", file.read(), re.M))
        found[status["Name"] + "/" + status["Pid"]] = status
    return found


@pytest.mark.parametrize("program", MAY)
def test_capabilities_of_every_thread(running, program):
    """Effective, permitted and bounding set of each: what the program needs, no more."""
    _, pids = running
    for name, status in threads(pids[program]).items():
        have = int(status["CapEff"], 16)
        assert have & ~mask(MAY[program]) == 0, name
        assert int(status["CapPrm"], 16) == have, name
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0, name
        assert int(status["CapBnd"], 16) & ~mask(MAY[program]) == 0, name
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == "2", name
    main = next(s for s in threads(pids[program]).values() if int(s["Pid"]) == pids[program])
    assert int(main["CapEff"], 16) == mask(MAY[program])


def test_workers_may_nothing(running):
    """Packets of anybody meet the worker: no capability, and one more filter than the others."""
    _, pids = running
    workers = {n: s for n, s in threads(pids["roamgate"]).items() if n.startswith("rte-worker")}
    assert workers
    for name, status in workers.items():
        assert int(status["CapPrm"], 16) == 0, name
        assert int(status["Seccomp_filters"]) == 2, name


def areas(pid):
    """(first address, last, flags) of what the program can write to and a dump would look at."""
    area = None
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)", line)
            if head:
                area = (int(head[1], 16), int(head[2], 16), head[3], head[5])
            elif line.startswith("VmFlags:") and area[2].startswith("rw"):
                yield area[0], area[1], area[3], line.split()[1:]


def where(pid, secret):
    """Flags of each area that holds these bytes."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, name, flags in areas(pid):
            if name.startswith("/") and "memfd" not in name and "huge" not in name:
                continue  # the counters' file and the store's: they lie on the disk anyway
            try:
                memory.seek(start)
                data = b"".join(iter(lambda: memory.read(min(1 << 24, end - memory.tell())), b""))
            except (OSError, ValueError):
                continue
            if secret in data:
                found.append((name or hex(start), flags))
    return found


def siu_key(secret, direction, key_id=1):
    """siu/README.md section 2"""
    label = b"roamgate siu 1" + bytes([direction]) + key_id.to_bytes(2, "big")
    return hmac.new(secret, label, "sha256").digest()


def secrets(world):
    """{program: {name: bytes that must not get out}}"""
    node, siu = world.node, world.siu_key
    esp = {"in": node.key_up[:16], "out": node.key_down[:16]}  # without the salt
    tags = {"siu to gateway": siu_key(siu, 1), "siu to home agent": siu_key(siu, 2)}
    files = {"in": node.key_up, "out": node.key_down, "mip": node.key_mip, "siu": siu}
    texts = {name + " as text": key.hex().encode() for name, key in files.items()}
    return {
        "roamgate": {**esp, **tags, "siu": siu, **texts},
        "roamgate-ha": {**tags, "siu": siu, "mip": node.key_mip, **texts},
        "roamgate-mn": {**esp, "mip": node.key_mip, **texts},
    }


IN_USE = {  # a search that does not find these finds nothing
    "roamgate": {"in", "out", "siu to gateway", "siu to home agent"},
    "roamgate-ha": {"siu to gateway", "siu to home agent", "mip"},
    "roamgate-mn": {"in", "out", "mip"},
}


@pytest.mark.parametrize("program", MAY)
def test_no_key_in_a_dump(running, program):
    """Whoever gets a dump (the kernel's, gcore's) finds none: all of a secret's places are left out
    of dumps and locked into memory, so that no swap has it either."""
    world, pids = running
    found = set()
    for name, secret in secrets(world)[program].items():
        for area, flags in where(pids[program], secret):
            found.add(name)
            assert "dd" in flags, f"{name} would be dumped from {area}"
            assert "lo" in flags, f"{name} could be swapped from {area}"
    assert IN_USE[program] <= found
    assert not any(name.endswith("text") for name in found), "what the file said is wiped"
    if program == "roamgate":
        assert "siu" not in found, "the secret is wiped once the keys are derived"


@pytest.mark.parametrize("program", MAY)
def test_no_core_is_written(running, program):
    _, pids = running
    with open(f"/proc/{pids[program]}/limits") as file:
        assert re.search(r"Max core file size +0 +0", file.read())
    assert os.stat(f"/proc/{pids[program]}/environ").st_uid == 0  # not dumpable: root's
