# SPDX-License-Identifier: BSD-3-Clause
"""A laboratory of network namespaces: links, programs, captures, and an end that always comes.

Names carry the process id of their run ("rgt<pid>-gw"), so that runs do not meet and what a killed
run left behind is found and removed by the next. Programs die with this process.
"""
import atexit
import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

PREFIX = "rgt"
READY_S = 20  # a program must be ready within this
STOP_S = 5  # and gone within this after SIGTERM
SNAP = 2048  # bytes; the size of a slot in the ring of a capture, so more would lose packets
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something of the laboratory itself went wrong."""


def run(*argv, data=None, check=True):
    """A short command; its output, or LabError with what it said."""
    done = subprocess.run(argv, input=data, capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        said = done.stdout + done.stderr + (data or "")
        raise LabError(f"{' '.join(argv)}: {done.returncode}: {said}")
    return done.stdout


def wait_until(condition, seconds, what):
    """Polls condition() until it is true and returns its value; LabError after the deadline."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def _die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Program:
    """A started program: its process id is the program's own, its stderr is kept in lines.

    stdin: nothing, or subprocess.PIPE for say(). pass_fds: open files that it gets under their numbers.
    """

    def __init__(self, name, argv, cpus=None, stdin=subprocess.DEVNULL, pass_fds=()):
        self.name = name
        self.argv = argv
        self.lines = []
        self.changed = threading.Condition()
        if cpus:
            argv = ["taskset", "-c", cpus] + argv
        self.started_at = time.time()
        self.process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append((time.time(), line.decode(errors="replace").rstrip("\n")))
                self.changed.notify_all()
        with self.changed:
            self.lines.append((time.time(), None))
            self.changed.notify_all()

    def wait_line(self, pattern, seconds=READY_S, start=0):
        """(time, match) of the first line from number start on that matches."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for at, line in self.lines[start:]:
                    if line is None:
                        raise LabError(
                            f"{self.name} ended ({self.process.wait()}) before {pattern!r}:\n"
                            + self.output()
                        )
                    match = re.search(pattern, line)
                    if match:
                        return at, match
                start = len(self.lines)
                left = end - time.monotonic()
                if left <= 0:
                    raise LabError(
                        f"{self.name}: no {pattern!r} within {seconds} s:\n" + self.output()
                    )
                self.changed.wait(left)

    def say(self, line):
        """Writes a line to the program's stdin."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def output(self):
        return "\n".join(line for _, line in self.lines if line is not None)

    def is_running(self):
        return self.process.poll() is None

    def kill(self, number=signal.SIGKILL, seconds=STOP_S):
        """Sends the signal and waits for the end; SIGKILL when it does not come."""
        if self.is_running():
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(STOP_S)
        return self.process.returncode

    def stop(self):
        return self.kill(signal.SIGTERM)


class Capture:
    """tcpdump on one interface into a pcap file with nanosecond stamps of the kernel."""

    def __init__(self, lab, namespace, interface, path, expression="", snap=SNAP):
        self.path = path
        argv = [
            "tcpdump", "-i", interface, "-w", path, "-Z", "root", "-n", "-B", "16384",
            "--time-stamp-precision=nano", "--immediate-mode", "-U", "-s", str(snap),
        ]
        self.program = lab.start(namespace, argv + expression.split(), f"tcpdump {interface}")
        self.program.wait_line("listening on")
        self.dropped = None

    def stop(self):
        """Ends the capture; returns the file's name. dropped: what the kernel could not deliver."""
        if self.program.is_running():
            self.program.kill(signal.SIGINT)
            match = re.search(r"(\d+) packets? dropped by kernel", self.program.output())
            self.dropped = int(match.group(1)) if match else 0
        return self.path


class Lab:
    """Owner of namespaces, links, files and programs of one run. Use it with "with"."""

    count = 0

    def __init__(self):
        if os.geteuid() != 0:
            raise LabError("network namespaces need root")
        _sweep()
        Lab.count += 1
        self.prefix = f"{PREFIX}{os.getpid()}-{Lab.count}-"
        self.directory = tempfile.mkdtemp(prefix=self.prefix, dir="/tmp")
        self.namespaces = []
        self.programs = []
        _live.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stops the programs (last started first), then removes namespaces and files."""
        if self not in _live:
            return
        _live.discard(self)
        for program in reversed(self.programs):
            with contextlib.suppress(Exception):
                program.kill(signal.SIGTERM, 2)
        for name in self.namespaces:
            run("ip", "netns", "del", self.prefix + name, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        _remove_dpdk_files(self.prefix)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text, mode=0o600):
        """A file of this run; returns its path."""
        path = self.path(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, mode), "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    # --- namespaces and links ---------------------------------------------------------------

    def namespace(self, name, forward=False):
        full = self.prefix + name
        run("ip", "netns", "add", full)
        self.namespaces.append(name)
        settings = [
            "net.ipv6.conf.all.disable_ipv6=1",
            "net.ipv6.conf.default.disable_ipv6=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            f"net.ipv4.ip_forward={int(forward)}",
            "net.ipv4.icmp_ratelimit=0",
        ]
        run("nsenter", self.net(name), "sysctl", "-qw", *settings)
        self.ip(name, "link set lo up")

    def net(self, name):
        return f"--net=/run/netns/{self.prefix}{name}"

    def ip(self, namespace, *commands):
        """ip commands in a namespace, in one process so that they follow closely."""
        data = "\n".join(commands) + "\n"
        return run("ip", "-n", self.prefix + namespace, "-batch", "-", data=data)

    def link(self, a, interface_a, b, interface_b):
        """A veth pair, up, without offloads: captures and packet sockets see real frames."""
        run(
            "ip", "link", "add", "name", interface_a, "netns", self.prefix + a, "type", "veth",
            "peer", "name", interface_b, "netns", self.prefix + b,
        )  # fmt: skip
        for namespace, interface in ((a, interface_a), (b, interface_b)):
            run(
                "nsenter", self.net(namespace), "ethtool", "-K", interface,
                "tx", "off", "gso", "off", "tso", "off", "gro", "off",
            )  # fmt: skip
            self.ip(namespace, f"link set dev {interface} up")

    def hand_to_dpdk(self, namespace, interface):
        """What a veth needs before net_af_packet takes it: no address, no ARP, all frames."""
        self.ip(namespace, f"link set dev {interface} arp off promisc on")

    def mac(self, namespace, interface):
        link = json.loads(run("ip", "-n", self.prefix + namespace, "-j", "link", "show", interface))
        return bytes.fromhex(link[0]["address"].replace(":", ""))

    def neighbour(self, namespace, address, interface, seconds=3):
        """The MAC that the namespace's kernel finds for address by ARP."""

        def known():
            argv = ["ip", "-n", self.prefix + namespace, "-j", "neigh", "show", address]
            for entry in json.loads(run(*argv, "dev", interface) or "[]"):
                if "lladdr" in entry and entry["state"][0] not in ("FAILED", "INCOMPLETE"):
                    return bytes.fromhex(entry["lladdr"].replace(":", ""))
            with self.inside(namespace):
                probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with probe, contextlib.suppress(OSError):
                probe.sendto(b"", (address, 9))
            return None

        return wait_until(known, seconds, f"ARP for {address}")

    @contextlib.contextmanager
    def inside(self, namespace):
        """What is opened in here belongs to the namespace (this thread only)."""
        with open("/proc/thread-self/ns/net") as home:
            with open(f"/run/netns/{self.prefix}{namespace}") as there:
                if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                    raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")
            try:
                yield
            finally:
                if libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                    os._exit(3)  # in a foreign namespace nothing sensible can be done

    def packet_socket(self, namespace, interface):
        """Sends whole frames and receives what others send."""
        with self.inside(namespace):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind((interface, 3))
        sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        return sock

    def udp_socket(self, namespace, address, port):
        with self.inside(namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
        return sock

    # --- programs ---------------------------------------------------------------------------

    def start(
        self, namespace, argv, name=None, cpus=None, stdin=subprocess.DEVNULL, pass_fds=()
    ):
        argv = ["nsenter", self.net(namespace)] + [str(a) for a in argv]
        program = Program(name or os.path.basename(argv[2]), argv, cpus, stdin, pass_fds)
        self.programs.append(program)
        return program

    def run(self, namespace, *argv, check=True):
        return run("nsenter", self.net(namespace), *[str(a) for a in argv], check=check)

    def capture(self, namespace, interface, name=None, expression="", snap=SNAP):
        path = self.path(f"{name or namespace + '-' + interface}.pcap")
        return Capture(self, namespace, interface, path, expression, snap)


_live = set()


def _remove_dpdk_files(prefix):
    """What a killed DPDK program with this file prefix left behind."""
    for path in glob.glob(f"/var/run/dpdk/{prefix.rstrip('-')}*"):
        shutil.rmtree(path, ignore_errors=True)


def _sweep():
    """Removes what runs whose process is gone have left."""
    for line in run("ip", "netns", "list").splitlines():
        match = re.match(PREFIX + r"(\d+)-\S+", line)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            run("ip", "netns", "del", match.group(0), check=False)
    for path in glob.glob(f"/tmp/{PREFIX}[0-9]*") + glob.glob(f"/var/run/dpdk/{PREFIX}[0-9]*"):
        match = re.match(PREFIX + r"(\d+)-", os.path.basename(path))
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            shutil.rmtree(path, ignore_errors=True)


def close_all():
    for lab in list(_live):
        lab.close()


def _on_signal(number, _):
    raise SystemExit(128 + number)


def end_on_signals(end=_on_signal):
    """SIGTERM and SIGHUP end this process the orderly way, with everything removed.

    end: the handler that raises what ends it, for who takes SystemExit for a failed test.
    """
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)


atexit.register(close_all)
