# SPDX-License-Identifier: BSD-3-Clause
"""The laboratory's verbs, but for namespaces, programs and captures inside a guest.

GuestLab stands where a Lab stood, so that what is written for namespaces of this machine (World)
runs in a guest. Files are this machine's; those that a program may read go into the guest, to the
same path, just before it starts. What is not known in the guest is the real lab's.
"""
import base64
import contextlib
import io
import os
import re
import shlex
import tarfile
import time

from lab import READY_S, STOP_S, LabError

POLL_S = 0.1


class GuestProgram:
    """A program in a guest, in the namespace of that path: what lab.Program is here."""

    count = 0

    def __init__(self, guest, namespace, argv, name):
        self.guest, self.name = guest, name
        GuestProgram.count += 1
        self.log = f"/run/program.{GuestProgram.count}"
        command = " ".join(shlex.quote(str(a)) for a in argv)
        self.pid = int(
            guest.run(
                f"nsenter --net={namespace} {command} >{self.log} 2>&1 &\necho $!"
            )
        )

    def output(self):
        return self.guest.run(f"cat {self.log}")

    def is_running(self):
        return self.guest.run(f"kill -0 {self.pid} 2>/dev/null && echo yes", check=False) != ""

    def wait_line(self, pattern, seconds=READY_S):
        """(None, match) of the first line that matches."""
        end = time.monotonic() + seconds
        while True:
            said = self.guest.run(f"cat {self.log}; kill -0 {self.pid}", check=False)
            match = re.search(pattern, said, re.M)
            if match:
                return None, match
            if time.monotonic() > end or "No such process" in said:
                raise LabError(f"{self.name}: no {pattern!r} within {seconds} s:\n{said}")
            time.sleep(POLL_S)

    def kill(self, signal="KILL", seconds=STOP_S):
        """Sends the signal and waits for the end; SIGKILL when it does not come. Its last output."""
        return self.guest.run(
            f"kill -{signal} {self.pid}; i=0\n"
            f"while kill -0 {self.pid}; do i=$((i + 1)); sleep 0.05\n"
            f"[ $i -lt {int(seconds * 20)} ] || kill -KILL {self.pid}; done 2>/dev/null\n"
            f"cat {self.log}",
        )

    def stop(self):
        return self.kill("TERM")


class GuestCapture:
    """tcpdump in a guest; stop() brings the file here."""

    def __init__(self, lab, namespace, interface, name, expression, snap):
        self.lab, self.path = lab, lab.path(f"{name}.pcap")
        self.there = f"/run/{name}.pcap"
        self.dropped = None
        argv = [
            "tcpdump", "-i", interface, "-w", self.there, "-Z", "root", "-n", "-B", "4096", "-U",
            "--time-stamp-precision=nano", "--immediate-mode", "-s", snap, *expression.split(),
        ]  # fmt: skip
        self.program = lab.start(namespace, argv, f"tcpdump {interface}")
        self.program.wait_line("listening on")

    def stop(self):
        match = re.search(r"(\d+) packets? dropped by kernel", self.program.kill("INT"))
        self.dropped = int(match.group(1)) if match else 0
        with open(self.path, "wb") as file:
            file.write(self.lab.guest.run_bytes(f"cat {self.there}"))
        return self.path


class Script(list):
    """Commands that the guest runs together; then said is their output."""

    said = ""


class GuestLab:
    """See above."""

    def __init__(self, lab, guest):
        self.lab, self.guest = lab, guest
        self.paths = {}  # of the guest's namespaces, by name
        self.script = None
        self.copied = set()

    def __getattr__(self, name):
        return getattr(self.lab, name)

    def namespace(self, name, forward=False):
        """In the guest."""
        self.do(
            f"ip netns add {name} && ip -n {name} link set lo up && "
            f"nsenter --net=/run/netns/{name} sysctl -qw net.ipv4.ip_forward={int(forward)} "
            "net.ipv4.icmp_ratelimit=0 net.ipv6.conf.all.disable_ipv6=1 "
            "net.ipv6.conf.default.disable_ipv6=1"
        )
        self.paths[name] = f"/run/netns/{name}"

    def call_root(self, name):
        """The guest's first namespace, where its cards are, gets a name."""
        self.paths[name] = "/proc/1/ns/net"

    def ip(self, namespace, *commands):
        if namespace not in self.paths:
            return self.lab.ip(namespace, *commands)
        lines = "\n".join(commands)
        return self.do(f"nsenter --net={self.paths[namespace]} ip -batch - <<'end'\n{lines}\nend")

    def do(self, command):
        """Runs a command, or puts it into the script that is being written."""
        if self.script is not None:
            self.script.append(command)
            return ""
        return self.guest.run(command)

    @contextlib.contextmanager
    def one_script(self):
        """What do(), ip() and namespace() are told in here is run at the end, in one go."""
        self.script = script = Script()
        try:
            yield script
        finally:
            self.script = None
        script.said = self.guest.run("set -e\n" + "\n".join(script))

    def run(self, namespace, *argv, check=True):
        if namespace not in self.paths:
            return self.lab.run(namespace, *argv, check=check)
        command = " ".join(shlex.quote(str(a)) for a in argv)
        return self.guest.run(f"nsenter --net={self.paths[namespace]} {command}", check=check)

    def start(self, namespace, argv, name=None, **options):
        if namespace not in self.paths:
            return self.lab.start(namespace, argv, name, **options)
        self._copy_files()
        return GuestProgram(self.guest, self.paths[namespace], argv, name or os.path.basename(str(argv[0])))

    def capture(self, namespace, interface, name=None, expression="", snap=2048):
        return GuestCapture(
            self, namespace, interface, name or f"{namespace}-{interface}", expression, snap
        )

    def _copy_files(self):
        """Configuration and keys to the same path in the guest."""
        files = [e for e in os.scandir(self.lab.directory) if e.name.endswith((".conf", ".key"))]
        seen = {(e.path, e.stat().st_mtime_ns) for e in files}
        if seen == self.copied:
            return
        self.copied = seen
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for entry in files:
                tar.add(entry.path)
        text = base64.b64encode(packed.getvalue()).decode()
        self.guest.run(f"echo {text} | base64 -d | tar -xz -C /")
