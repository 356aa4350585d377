# SPDX-License-Identifier: BSD-3-Clause
"""What a guest boots: Debian's own cloud kernel, and an initramfs of this machine's programs.

The kernel's package is downloaded and unpacked into BUILD/vm, never installed. The initramfs is a
cpio archive (format "newc") without compression: a guest without KVM would be slow to unpack it.
"""
import glob
import os
import re
import shutil
import stat
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
META = "linux-image-cloud-amd64"  # depends on the newest kernel for virtual machines
LZ4_LEGACY = bytes.fromhex("02214c18")  # magic of the compressed kernel inside vmlinuz
TOOLS = ("qemu-system-x86_64", "lz4", "depmod", "apt-get", "dpkg-deb")
DOWNLOAD_S = 120

PROGRAMS = ("dash", "ip", "ping", "iperf3", "tcpdump", "kmod", "nsenter", "ss", "date")
NAMED_ALIKE = {"sh": "dash", "modprobe": "kmod", "lsmod": "kmod"}
MODULES = (
    "virtio_pci virtio_net virtio_console xfrm_user esp4 esp6 ipip ip6_tunnel sit authenc authencesn "
    "echainiv seqiv xfrm_interface udp_tunnel tun dummy veth bridge macvlan 8021q af_packet sch_netem "
    "uio_pci_generic nf_tables"
).split()
MODULE_FOLDERS = ("crypto", "arch/x86/crypto", "lib/crypto")  # wholly: they ask for each other by alias


class NoGuests(Exception):
    """This machine cannot run guests; the reason is for the reader of a skip."""


def _call(*argv, cwd=None, seconds=60):
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoGuests(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise NoGuests(f"{' '.join(argv)}: {(done.stdout + done.stderr).strip()[-300:]}")
    return done.stdout


class Kernel:
    """Debian's kernel under folder: "vmlinux", and its modules below "root"."""

    def __init__(self, folder):
        for tool in TOOLS:
            if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
                raise NoGuests(f"{tool} is not installed")
        os.makedirs(folder, exist_ok=True)
        self.root = os.path.join(folder, "root")
        self.image = os.path.join(folder, "vmlinux")
        if not os.path.exists(self.image):
            self._unpack(self._package(folder), folder)
        (self.version,) = os.listdir(os.path.join(self.root, "lib/modules"))
        self.modules = os.path.join(self.root, "lib/modules", self.version)

    @staticmethod
    def _package(folder):
        """The path of the kernel's package, downloaded if it is not there."""

        def cached():
            return sorted(glob.glob(os.path.join(folder, "linux-image-*.deb")))

        if cached():
            return cached()[-1]
        depends = re.search(r"Depends: (linux-image-\S+)", _call("apt-cache", "depends", META))
        if depends is None:
            raise NoGuests(f"{META} does not say which kernel is the newest")
        get = ("apt-get", "-o", "APT::Sandbox::User=root", "download", depends.group(1))
        try:
            _call(*get, cwd=folder, seconds=DOWNLOAD_S)
        except NoGuests:  # lists that are too old name a file that is gone
            _call("apt-get", "update", "-qq", seconds=DOWNLOAD_S)
            _call(*get, cwd=folder, seconds=DOWNLOAD_S)
        return cached()[-1]

    def _unpack(self, package, folder):
        """vmlinux comes last and by a rename: it says that all the rest is there."""
        shutil.rmtree(self.root, ignore_errors=True)
        _call("dpkg-deb", "-x", package, self.root)
        (compressed,) = glob.glob(os.path.join(self.root, "boot/vmlinuz-*"))
        (version,) = os.listdir(os.path.join(self.root, "lib/modules"))
        _call("/sbin/depmod", "-b", self.root, version)
        with open(compressed, "rb") as file:
            data = file.read()
        packed = os.path.join(folder, "vmlinux.lz4")
        with open(packed, "wb") as file:
            file.write(data[data.find(LZ4_LEGACY):])
        # What follows the compressed part makes lz4 complain at its end; the ELF header tells.
        subprocess.run(["lz4", "-qdf", packed, packed + ".elf"], capture_output=True, check=False)
        with open(packed + ".elf", "rb") as file:
            if file.read(4) != b"\x7fELF":
                raise NoGuests(f"{compressed} is not compressed by LZ4 as it used to be")
        os.unlink(packed)
        os.rename(packed + ".elf", self.image)

    def files(self, names):
        """{path in the guest: path here} of modules, with all that they depend on."""
        depends = {}
        with open(os.path.join(self.modules, "modules.dep")) as file:
            for line in file:
                module, needs = line.split(":")
                name = os.path.basename(module).split(".ko")[0].replace("-", "_")
                depends[name] = [module] + needs.split()
        wanted = {name.replace("-", "_") for name in names}
        for name, chain in depends.items():
            if chain[0].startswith(tuple(f"kernel/{folder}/" for folder in MODULE_FOLDERS)):
                wanted.add(name)
        paths = {path for name in wanted for path in depends.get(name, ())}
        paths |= {os.path.basename(p) for p in glob.glob(os.path.join(self.modules, "modules.*"))}
        return {f"lib/modules/{self.version}/{p}": os.path.join(self.modules, p) for p in paths}


def libraries(program):
    """{path in the guest: path here} of the shared libraries that a program loads."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return {path.lstrip("/"): path for path in re.findall(r"(/\S+\.so\S*) \(0x", said)}


class Archive:
    """The files of one guest, by their path there; write() makes the initramfs of them."""

    def __init__(self):
        # path: (mode, content as bytes, or a path here). DPDK refuses a root that all may write to.
        self.entries = {".": (stat.S_IFDIR | 0o755, b"")}

    def folder(self, path):
        while path:
            self.entries.setdefault(path, (stat.S_IFDIR | 0o755, b""))
            path = os.path.dirname(path)

    def add(self, path, content, mode=0o644):
        """content: bytes, or the path of a file here."""
        path = path.lstrip("/")
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | mode, content)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def program(self, path, there=None):
        """A program of this machine, with its libraries, into the guest's /bin or to another path."""
        self.add(os.path.join("bin", there or os.path.basename(path)), os.path.realpath(path), 0o755)
        for library, here in libraries(path).items():
            self.add(library, os.path.realpath(here), 0o755)

    def write(self, path):
        with open(path, "wb") as out:
            for number, name in enumerate(sorted(self.entries)):
                mode, content = self.entries[name]
                if isinstance(content, str):
                    with open(content, "rb") as file:
                        content = file.read()
                self._entry(out, number + 1, name, mode, content)
            self._entry(out, 0, "TRAILER!!!", 0, b"")

    @staticmethod
    def _entry(out, inode, name, mode, content):
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        for part in (head, content):
            out.write(part + b"\0" * (-len(part) % 4))


def base(kernel):
    """The archive that every guest has: busybox, iproute2, ping, iperf3, tcpdump, modules, init."""
    busybox = "/bin/busybox"
    if not os.path.exists(busybox):
        raise NoGuests("busybox-static is not installed")
    archive = Archive()
    for path in ("dev", "proc", "sys", "run", "tmp", "root", "etc", "var"):
        archive.folder(path)
    archive.link("var/run", "/run")
    archive.link("sbin", "bin")
    for applet in _call(busybox, "--list").split():
        archive.link(f"bin/{applet}", "busybox")
    archive.add("bin/busybox", busybox, 0o755)
    # Over busybox' applets of the same names. Its sh would prefer its own ip and ping, too.
    for name in PROGRAMS:
        path = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if path is None:
            raise NoGuests(f"{name} is not installed")
        archive.program(path, name)
    for name, target in NAMED_ALIKE.items():
        archive.link(f"bin/{name}", target)
    archive.add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.add("init", os.path.join(HERE, "init"), 0o755)
    for there, here in kernel.files(MODULES).items():
        archive.add(there, here)
    return archive
