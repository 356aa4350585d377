# SPDX-License-Identifier: BSD-3-Clause
"""The three systemd units, as they are, under Debian's systemd in a guest.

systemd is the first process of a PID namespace in the guest, with the targets that the units name
and nothing else. The gateway drives two virtio cards by uio_pci_generic, with hugepages: the unit's
limits must leave room for that.
"""
import glob
import os
import re
import time

import lab as laboratory
import pytest
from guest import Card, Guest
from test_appliance import BIND, DRIVERS, HUGEPAGES, MEMORY_MB, give_dpdk
from test_config import ROOT
from world import HOME_AGENT, HOME_AGENT_INSIDE, Site, World, libconfig, merge

SYSTEMD = "/lib/systemd/systemd"
UNITS = "/usr/lib/systemd/system"
TARGETS = """sysinit basic multi-user network network-pre network-online shutdown umount final
    sockets timers paths slices local-fs local-fs-pre swap""".split()
PROGRAMS = ("roamgate", "roamgate-ha", "roamgate-mn")
LIBGCC = "/lib/x86_64-linux-gnu/libgcc_s.so.1"  # the C library loads it when threads are cancelled
START_S = 90  # a guest without KVM is slow

BOOT = f"""set -e
modprobe -a tun dummy
for name in home0 in0; do ip link add $name type dummy; ip link set $name up; done
ip addr add {HOME_AGENT}/24 dev home0
ip addr add {HOME_AGENT_INSIDE}/24 dev in0
mkdir -p /var/tmp /var/lib
unshare -mpf --mount-proc {SYSTEMD} --system --unit=multi-user.target --log-target=console \
    >/run/systemd.said 2>&1 &
while pid=$(cat /proc/$!/task/$!/children); [ -z "$pid" ]; do sleep 0.1; done
echo $pid
while [ "$(nsenter -t $pid -m -p /usr/bin/systemctl is-system-running)" != running ]; do sleep 0.2; done
"""


def given_systemd(archive):
    for path in (SYSTEMD, "/usr/bin/systemctl"):
        archive.program(path, path)
    for name in TARGETS:
        archive.add(f"{UNITS}/{name}.target", f"/lib/systemd/system/{name}.target")
    archive.link("lib/systemd/system", UNITS)
    archive.add("etc/systemd/system.conf", b"[Manager]\nDefaultStandardOutput=null\n")
    archive.add("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")


class Machine(World):
    """A guest with the programs where the package has them, and systemd running."""

    def __init__(self, build, kernel, archive):
        Site.__init__(self, build)
        try:
            self.node = self.nodes[0]
            for name in PROGRAMS:
                archive.program(self.program(name), f"/usr/sbin/{name}")
                archive.add(f"{UNITS}/{name}.service", f"{ROOT}/config/systemd/{name}.service")
            archive.program(self.program("roamctl"), "/usr/bin/roamctl")
            give_dpdk(archive, DRIVERS)
            archive.program(LIBGCC, LIBGCC)
            given_systemd(archive)
            self.guest = Guest(
                self.lab, kernel, archive, [Card(hub=1), Card(hub=2)], memory_mb=MEMORY_MB, vcpus=2,
                append=f"hugepages={HUGEPAGES}", cpus=f"0-{os.cpu_count() - 1}",
            )  # fmt: skip
            devices = self.guest.run(BIND).split()
            self.configure(devices)
            self.systemd = int(self.guest.run(BOOT).split()[0])
        except Exception:
            self.close()
            raise

    def configure(self, devices):
        """The tests' configurations, with the units' own folders."""
        gateway = self.gateway_settings()
        pci = {
            "dpdk": {"control_cpu": "0", "worker_cpus": "1", "no_huge": False, "memory_mb": 128},
            "outside": {"device": devices[0]},
            "inside": {"device": devices[1]},
        }
        for name, settings in zip(
            PROGRAMS, (merge(gateway, pci), self.home_agent_settings(), self.mobile_settings())
        ):
            settings["state_dir"] = f"/var/lib/{name}"
            settings["control_socket"] = f"/run/{name}.sock"
            self.put(f"/etc/roamgate/{name}.conf", self.moved(libconfig(settings)))
        for path in glob.glob(self.lab.path("*.key")):
            with open(path) as file:
                self.put(self.moved(path), file.read())

    def moved(self, text):
        return text.replace(self.lab.directory, "/etc/roamgate")

    def put(self, path, text):
        self.guest.run(
            f"mkdir -p /etc/roamgate && umask 077 && cat >{path} <<'end'\n{text.rstrip()}\nend"
        )

    def inside(self, command, check=True):
        """Among the processes and mounts of systemd."""
        return self.guest.run(f"nsenter -t {self.systemd} -m -p {command}", check, START_S)

    def proc(self, pid, name):
        return self.inside(f"cat /proc/{pid}/{name}")

    def systemctl(self, *argv, check=True):
        return self.inside(f"/usr/bin/systemctl {' '.join(argv)}", check)

    def show(self, name):
        wanted = "ActiveState,SubState,MainPID,NRestarts,Result"
        return dict(
            line.split("=", 1)
            for line in self.systemctl("show", name, "-p", wanted).strip().splitlines()
        )


@pytest.fixture(scope="module")
def machine(build, kernel, archive):
    for path in (SYSTEMD, "/usr/bin/systemctl"):
        if not os.access(path, os.X_OK):
            pytest.skip(f"{path} is not installed")
    machine = Machine(build, kernel, archive)
    yield machine
    machine.close()


@pytest.fixture(params=PROGRAMS)
def unit(request, machine):
    yield request.param
    machine.systemctl("stop", request.param)


def assert_limits(machine, unit, pid):
    """What the unit asks for is in force: nothing was left out for want of a kernel's part."""
    status = dict(re.findall(r"^(\w+):\s*(\S+)", machine.proc(pid, "status"), re.M))
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    with open(f"{ROOT}/config/systemd/{unit}.service") as file:
        allowed = re.findall(r"CAP_\w+", " ".join(re.findall(r"^Capab.*", file.read(), re.M)))
    bits = {"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "IPC_LOCK": 14, "SYS_RAWIO": 17,
            "SYS_ADMIN": 21, "SYS_NICE": 23, "SETPCAP": 8, "DAC_READ_SEARCH": 2}  # fmt: skip
    assert int(status["CapBnd"], 16) & ~sum(1 << bits[name[4:]] for name in allowed) == 0
    mounts = {}
    for line in machine.proc(pid, "mountinfo").splitlines():
        mounts[line.split()[4]] = (line.split()[3], line.split()[5].split(","))
    assert "ro" in mounts["/"][1] and "rw" in mounts[f"/var/lib/{unit}"][1]
    assert "systemd-private" in mounts["/tmp"][0] and "ro" in mounts["/sys/fs/cgroup"][1]


def test_starts_is_limited_and_comes_back(machine, unit):
    machine.systemctl("start", unit)  # returns when the program said that it was ready
    first = machine.show(unit)
    assert (first["SubState"], first["NRestarts"]) == ("running", "0")
    assert_limits(machine, unit, first["MainPID"])
    machine.systemctl("kill", "-s", "KILL", unit)

    def is_back():
        now = machine.show(unit)
        return now["SubState"] == "running" and now["MainPID"] != first["MainPID"]

    laboratory.wait_until(is_back, START_S, f"{unit} after kill -9")
    assert machine.show(unit)["NRestarts"] == "1"
    if unit != "roamgate-mn":
        machine.systemctl("reload", unit)
    machine.systemctl("stop", unit)
    assert machine.show(unit)["Result"] == "success"


def test_wrong_configuration_is_not_tried_again(machine, unit):
    config = f"/etc/roamgate/{unit}.conf"
    machine.guest.run(f"echo nonsense >>{config}")
    machine.systemctl("start", unit, check=False)
    time.sleep(1.5)  # the longest RestartSec is 1 s
    now = machine.show(unit)
    machine.guest.run(f"sed -i '$d' {config}")
    machine.systemctl("reset-failed", unit)
    assert (now["ActiveState"], now["NRestarts"]) == ("failed", "0")


def test_systemd_took_every_line(machine):
    """It says on the console which it does not know."""
    said = machine.guest.said()
    assert "systemd" in said and "Startup finished" in said
    assert not re.search(r"\.service:\d+:|Unknown|ignoring.*roamgate|roamgate.*gnoring", said)
