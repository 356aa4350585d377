# SPDX-License-Identifier: BSD-3-Clause
"""A guest of QEMU, owned by a Lab: it dies with it, and with this process.

Its network cards are Card objects. All of them are virtio-net; what differs is the other end:
  vhost   a DPDK program's net_vhost port, by its socket (no interface of this machine in between)
  hub     other cards of the same guest with the same hub number: a wire inside the machine
  tap     a TAP interface in a namespace of the lab
"""
import base64
import contextlib
import fcntl
import os
import socket
import struct
import time
from dataclasses import dataclass

from lab import LabError

BOOT_S = 60  # beside busy workers a guest without KVM needs up to 30 s
ANSWER_S = 60
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
# The guest sees cards in this order: eth0, eth1, ...
MAC = "52:54:00:72:67:{:02x}"


@dataclass
class Card:
    """One virtio-net card. socket: of a vhost port; hub: a number; tap: (namespace, name)."""

    socket: str = ""
    hub: int = 0
    tap: tuple = ()
    only: str = ""  # "modern": virtio 1.0 by memory; "legacy": virtio 0.95 by I/O ports; "": both


def has_kvm():
    """True where a stock kernel runs by KVM: some machines have the device without the CPU's part."""
    with open("/proc/cpuinfo") as file:
        flags = file.read().split()
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)


class Guest:
    """A running guest; run() executes scripts in it."""

    def __init__(
        self, lab, kernel, archive, cards, name="guest", memory_mb=256, vcpus=1, append="", cpus=None
    ):
        """append: for the kernel's command line; cpus: of this machine, as taskset wants them."""
        self.lab, self.name, self.cards = lab, name, cards
        self.console = lab.path(f"{name}.console")
        self.channel = self.channel_file = None
        initrd = lab.path(f"{name}.initrd")
        archive.write(initrd)
        lab.namespace(name)
        self.descriptors = []
        argv = [
            "qemu-system-x86_64",
            *self._machine(memory_mb, vcpus),
            "-kernel", kernel.image, "-initrd", initrd,
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on {append}",
            "-serial", f"file:{self.console}",
            "-device", "virtio-serial-pci,vectors=0",
            "-chardev", f"socket,id=channel,path={lab.path(name + '.channel')},server=on,wait=off",
            "-device", "virtserialport,chardev=channel,name=channel",
        ]  # fmt: skip
        for number, card in enumerate(cards):
            argv += self._card(number, card)
        started = time.monotonic()
        self.program = lab.start(name, argv, name, cpus, pass_fds=self.descriptors)
        for descriptor in self.descriptors:
            os.close(descriptor)
        self._connect()
        self.boot_s = time.monotonic() - started

    @staticmethod
    def _machine(memory_mb, vcpus):
        machine = ["-accel", "kvm", "-cpu", "host"] if has_kvm() else ["-accel", "tcg", "-cpu", "max"]
        return machine + [
            "-machine", "pc,memory-backend=ram", "-smp", str(vcpus), "-m", str(memory_mb),
            # a vhost port reads and writes the guest's memory itself, so it must be a file
            "-object", f"memory-backend-memfd,id=ram,size={memory_mb}M,share=on",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        ]  # fmt: skip

    def _card(self, number, card):
        wire = f"n{number}"
        if card.socket:
            argv = ["-chardev", f"socket,id=c{number},path={card.socket}"]
            argv += ["-netdev", f"vhost-user,id={wire},chardev=c{number}"]
        elif card.tap:
            self.descriptors.append(self._open_tap(*card.tap))
            argv = ["-netdev", f"tap,id={wire},fd={self.descriptors[-1]}"]
        else:
            argv = ["-netdev", f"hubport,id={wire},hubid={card.hub}"]
        # QEMU 7.2 without KVM crashes over MSI-X with vhost-user: no vectors.
        options = "vectors=0" + {
            "": "",
            "modern": ",disable-legacy=on",
            "legacy": ",disable-modern=on",
        }[card.only]
        device = f"virtio-net-pci,netdev={wire},mac={MAC.format(number)},{options}"
        return argv + ["-device", device]

    def _open_tap(self, namespace, name):
        """A descriptor for QEMU of a new TAP interface, which lives as long as the descriptor."""
        with self.lab.inside(namespace):
            tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        self.lab.ip(namespace, f"link set dev {name} up")
        return tap

    def _connect(self):
        """Waits until init has written its first line."""
        end = time.monotonic() + BOOT_S
        self.channel = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.channel.connect(self.lab.path(f"{self.name}.channel"))
                break
            except OSError as error:
                self._check(end, f"no channel: {error}")
                time.sleep(0.02)
        self.channel_file = self.channel.makefile("rb")
        if self._line(end) != b"ready\n":
            raise LabError(f"{self.name}: another first line than \"ready\"\n{self.said()}")

    def _check(self, end, what):
        if not self.program.is_running() or time.monotonic() > end:
            raise LabError(f"{self.name}: {what}\n{self.program.output()}\n{self.said()}")

    def _line(self, end):
        self.channel.settimeout(max(end - time.monotonic(), 0.01))
        try:
            line = self.channel_file.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise LabError(f"{self.name}: no answer\n{self.program.output()}\n{self.said()}")
        return line

    def said(self):
        """The end of the guest's console."""
        with contextlib.suppress(OSError):
            with open(self.console, errors="replace") as file:
                return file.read()[-4000:]
        return ""

    def run_bytes(self, script, check=True, seconds=ANSWER_S):
        """What the script wrote to stdout and stderr; LabError if it failed or took longer."""
        self.channel.sendall(b"%d\n" % len(script.encode()) + script.encode())
        text, code = self._line(time.monotonic() + seconds).split(b" ")
        said = base64.b64decode(text)
        if check and int(code) != 0:
            raise LabError(f"{self.name}: {script}: {int(code)}: {said.decode(errors='replace')}")
        return said

    def run(self, script, check=True, seconds=ANSWER_S):
        return self.run_bytes(script, check, seconds).decode(errors="replace")

    def stop(self):
        self.channel.close()
        self.program.kill()
