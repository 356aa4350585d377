# SPDX-License-Identifier: BSD-3-Clause
"""Bad configuration: each key of the shipped examples, wrong in every way its kind allows.

Each fault must give FILE:LINE on stderr, with the line of the fault, and exit 1; nothing starts.
"""
import os
import re
import subprocess

import pytest
import world
from esp_algorithms import ALGORITHMS, material_bytes

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROGRAMS = ("roamgate", "roamgate-ha", "roamgate-mn")
FOLDERS = {"roamgate": "gw", "roamgate-ha": "ha", "roamgate-mn": "mn"}

# Smallest and largest value, from the comments of the examples.
RANGES = {
    "grace_ms": {"roamgate-mn": (0, 2000), "": (0, 10000)},
    "provisional_credit": (1500, 16777216),
    "unverified_credit": (1500, 16777216),
    "tfc_pad": (0, 9000),
    "tfc_dummies": (0, 1000),
    "move_rate": (1, 1000),
    "move_burst": (1, 1000),
    "registration_rate": (1, 1000),
    "memory_mb": (64, 65536),
    "mbufs": (1024, 1048576),
    "max_nodes": (1, 4000000),
    "max_routes": (1, 1000000),
    "max_neighbours": (1, None),
    "mtu": (576, 9000),
    "vlan": (0, 4094),
    "tunnel_mtu": (576, 9000),
    "key_id": (0, 65535),
    "next_key_id": (0, 65535),
    "spi": (256, 4294967295),
    "replay_window": (64, 4096),
    "rekey_time": (1, 366 * 86400),
    "life_time": (1, 366 * 86400),
    "rekey_packets": (1, 10**18),
    "life_packets": (1, 10**18),
    "rekey_bytes": (1, 10**18),
    "life_bytes": (1, 10**18),
    "max_lifetime": (10, 65534),
    "lifetime": (10, 65534),
    "timestamp_tolerance": (1, 300),
    "rrq_seen_wait_ms": (0, 1000),
    "max_attempts": (1, 20),
    "mark": (1, 0x7FFFFFFF),
    "nat_keepalive": (1, 3600),
}
# Keys that have a default, so that leaving them out is no fault.
OPTIONAL = {
    "control_socket", "log_level", "after_power_loss", "keep_keys", "grace_ms", "move_rate",
    "provisional_credit", "unverified_credit",
    "move_burst", "registration_rate", "forbidden_coas", "control_cpu", "worker_cpus",
    "no_huge", "memory_mb", "mbufs", "file_prefix", "crypto_engine", "max_nodes", "max_routes",
    "max_neighbours", "mtu", "vlan", "tunnel_source_v6",
    "strict_inner_source", "strict_outer_source", "allow_nat", "bicast", "provisional",
    "return_routability", "tfc_pad", "tfc_dummies", "source", "esn", "replay_window",
    "tunnel_interface", "tunnel_mtu", "max_lifetime", "timestamp_tolerance", "rrq_seen_wait_ms",
    "interfaces", "mark", "reverse_tunnel", "lifetime", "max_attempts", "gateway@roamgate-ha",
    "tcp_mss_clamp", "df", "dscp_map",
    "fallback_command", "rekey_command", "care_of", "directly_attached", "nat_traversal", "nat_keepalive",
    "gateways", "require_esp",
    "destination", "protocol", "source_ports", "destination_ports",
}  # fmt: skip
ADDRESSES = {"home_address", "tunnel_source", "tunnel_source_v6", "via", "home_agent", "gateway", "address", "care_of"}
CHOICES = {"log_level", "after_power_loss", "crypto_engine", "algorithm", "nat_traversal", "df", "action", "direction",
           "protocol"}
NAMES = {"home_agent@roamgate", "gateway@roamgate-ha"}  # of another list, not addresses
PATHS = {"state_dir", "control_socket", "fallback_command", "rekey_command"}
INTERFACES = {"mirror", "home_interface", "tunnel_interface"}
CPUS = {"control_cpu", "worker_cpus"}
KEY_FILES = {"key_file", "secret_file", "next_secret_file"}

OPTIONAL |= {f"{end}_{kind}" for end in ("rekey", "life") for kind in ("time", "packets", "bytes")}

KEY_LINE = re.compile(r"^(\s*)(\w+)\s*=\s*([^{(].*?);\s*(#.*)?$")


def example(program, directory):
    """The shipped example with folders of this run and keys that exist."""
    with open(os.path.join(ROOT, "config", program + ".conf")) as file:
        text = file.read()
    text = text.replace("/etc/roamgate", directory).replace("/var/lib", directory)
    text = text.replace("/run/", directory + "/")
    text = text.replace("0000:03:00.0", "net_af_packet0,iface=absent0")
    text = text.replace("0000:04:00.0", "net_af_packet1,iface=absent1")
    sizes = {"node1-in": 20, "node1-out": 20, "node1-mip": 32, "siu-ha1": 32, "siu-ha1-next": 32}
    for name, size in sizes.items():
        path = os.path.join(directory, name + ".key")
        if not os.path.exists(path):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(os.urandom(size).hex() + "\n")
    lines = []
    for line in text.splitlines():
        # Keys without a default value to show stand there as comments.
        line = re.sub(r"^(\s*)# (\w+ = [^{]*;)$", r"\1\2", line)
        # A group on one line becomes a group on several, so that each key has its own line.
        group = re.match(r"^\s*\{ (.*;) \}(,?)$", line)
        if group:
            keys = [f"    {key.strip()};" for key in group.group(1).split(";")[:-1]]
            lines += ["  {", *keys, "  }" + group.group(2)]
        else:
            lines.append(line)
    return lines


def is_in(table, key, program):
    return key in table and f"{key}@{program}" not in NAMES or f"{key}@{program}" in table


def wrong_values(key, value, program, group):
    """Values that must be refused in place of value."""
    if value in ("true", "false"):
        return ["1", '"true"', "[ true ]"]
    if re.match(r"^(0x)?[0-9a-fA-F]+L?$", value):
        limits = RANGES[key]
        if isinstance(limits, dict):
            limits = limits.get(program, limits[""])
        low, high = limits
        wrong = ['"text"', "true", f"{low - 1}", "1.5"]
        if high is None or high < 99999999999:
            wrong.append("99999999999L")
        if high is not None:
            wrong.append(f"{high + 1}" + ("L" if high > 0x7FFFFFFE else ""))
        return wrong
    if value.startswith("["):
        return ['"10.1.0.0/16"', "[ 1 ]", "3"] + (
            [] if key == "interfaces" else [
                '[ "10.1.0.0/33" ]', '[ "10.1.0/16" ]', '[ "" ]', '[ "net" ]'
            ]
        )  # fmt: skip
    wrong = ["3", "true", '[ "a" ]', '""']
    endpoint = key == "listen" or key == "address" and group in ("home_agents", "gateways")
    if endpoint:
        wrong += ['"10.2.0.256:4340"', '"10.2.0.1:70000"', '"10.2.0.1:x"', '"gw"', '":4340"']
    elif f"{key}@{program}" in NAMES:
        wrong += ['"nobody"']
    elif key in ADDRESSES:
        wrong += ['"10.1.0.256"', '"10.1.0"', '"host"', '"10.1.0.1/24"']
    elif key in ("to", "home_prefix"):
        wrong += ['"10.1.0.0/33"', '"10.1.0.0/x"', '"net"']
    if key in CHOICES:
        wrong += ['"other"', '"INFO "']
    if key in PATHS:
        wrong += ['"relative/path"']
    if key in INTERFACES:
        wrong += ['"name-that-is-too-long"', '"a/b"']
    if key in CPUS:
        wrong += ['"x"', '"1,"', '"-1"', '"100000"']
    if key in KEY_FILES:
        wrong += ['"/nowhere/key"', '"/etc"']
    if key in ("source_ports", "destination_ports"):
        wrong += ['"65536"', '"2-1"', '"-1"', '"http"', "[ ]", '[ "1", "any" ]', '[ "1,2" ]']
    if key in ("source", "destination"):
        wrong += ['"some"', '"10.1.0.256"', "[ ]", '[ "10.1.0.1", "any" ]', '[ "10.1.0.1/24" ]']
    return wrong


def faults(program, directory):
    """(what, text, lines that may be named) of each faulty file."""
    lines = example(program, directory)
    groups = [("", 0)]  # name and line of each open group
    last_list = ""
    for number, line in enumerate(lines):
        code = line.split("#")[0].rstrip()
        match = KEY_LINE.match(line)
        opened = re.match(r"^\s*(\w+)\s*=\s*[({]*\s*$", code)
        if opened and code.endswith("("):
            last_list = opened.group(1)
        if code.endswith("{"):
            groups.append((opened.group(1) if opened else last_list, number))
            unknown = lines[: number + 1] + ["  no_such_key = 1;"] + lines[number + 1 :]
            yield f"unknown key in {groups[-1][0]}", unknown, {number + 2}
        elif code.strip().startswith("}"):
            groups.pop()
        if not match:
            continue
        indent, key, value, _ = match.groups()
        group, opening = groups[-1]

        def replaced(text, number=number):
            return lines[:number] + [text] + lines[number + 1 :]

        for wrong in wrong_values(key, value, program, group):
            yield f"{group}.{key} = {wrong}", replaced(f"{indent}{key} = {wrong};"), {number + 1}
        yield f"{group}.{key} is a group", replaced(indent + key + " = { a = 1; };"), {number + 1}
        yield f"{group}.{key} twice", replaced(f"{indent}{key} = {value}; {key} = {value};"), {
            number + 1, number + 2
        }  # fmt: skip
        yield f"{group}.{key} misspelt", replaced(f"{indent}{key}_ = {value};"), {number + 1}
        if not is_in(OPTIONAL, key, program):
            # The group's own line; libconfig gives line 0 to the file's top level.
            at = {opening + 1} if group else {0, 1, *range(1, len(lines) + 1)}
            yield f"{group}.{key} left out", replaced(""), at
    yield "unknown key", ["no_such_key = 1;"] + lines, {1}
    yield "a brace is missing", lines + ["x = {"], {len(lines) + 1, len(lines) + 2}
    yield "not libconfig", ["<xml/>"] + lines, {1}


def run(build, program, *argv):
    path = os.path.join(build, "control", FOLDERS[program], program)
    return subprocess.run([path, *argv], capture_output=True, text=True, timeout=30)


@pytest.fixture(params=PROGRAMS)
def program(request):
    return request.param


def write(directory, lines):
    path = os.path.join(directory, "bad.conf")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def judge(done, path, lines, what):
    """What is wrong with the program's answer to a faulty file, or None."""
    if done.returncode != 1:
        return f"{what}: exit {done.returncode}: {done.stderr.strip()[:300]}"
    named = {int(n) for n in re.findall(rf"^{re.escape(path)}:(\d+): \S", done.stderr, re.M)}
    if not named & lines:
        return f"{what}: line {sorted(lines)[:3]} is not named: {done.stderr.strip()[:300]}"
    return None


def test_shipped_example_is_good(build, program, tmp_path):
    path = write(tmp_path, example(program, str(tmp_path)))
    done = run(build, program, "--check", "-c", path)
    assert done.returncode == 0, done.stderr


def test_every_key_wrong_in_every_way(build, program, tmp_path):
    wrong, count = [], 0
    for what, text, lines in faults(program, str(tmp_path)):
        path = write(tmp_path, text)
        count += 1
        fault = judge(run(build, program, "--check", "-c", path), path, lines, what)
        if fault:
            wrong.append(fault)
    assert count > 100
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


def test_nothing_is_started(build, program, tmp_path):
    """Without --check, too: no state folder, no socket, no TUN, exit 1 at once."""
    before = set(os.listdir("/sys/class/net"))
    for number, (what, text, lines) in enumerate(faults(program, str(tmp_path))):
        if number % 25 == 0:
            path = write(tmp_path, text)
            assert judge(run(build, program, "-c", path), path, lines, what) is None
    left = {e for e in os.listdir(tmp_path) if not e.endswith((".key", ".conf"))}
    assert left == set()
    assert set(os.listdir("/sys/class/net")) == before


def test_missing_file_and_missing_option(build, program, tmp_path):
    path = str(tmp_path / "absent.conf")
    done = run(build, program, "--check", "-c", path)
    assert done.returncode == 1 and path in done.stderr
    assert run(build, program, "--no-such-option").returncode == 1


@pytest.mark.parametrize("kind", ["time", "packets", "bytes"])
@pytest.mark.parametrize("soft, hard, good", [(4, 5, True), (5, 5, False), (6, 5, False)])
def test_soft_end_comes_before_the_hard_one(build, tmp_path, kind, soft, hard, good):
    lines = example("roamgate", str(tmp_path))
    lines = [re.sub(rf"\brekey_{kind} = \w+", f"rekey_{kind} = {soft}", l) for l in lines]
    lines = [re.sub(rf"\blife_{kind} = \w+", f"life_{kind} = {hard}", l) for l in lines]
    path = write(tmp_path, lines)
    done = run(build, "roamgate", "--check", "-c", path)
    at = {n for n, l in enumerate(lines, 1) if f"rekey_{kind}" in l}
    assert len(at) == 2  # both directions
    if good:
        assert done.returncode == 0, done.stderr
    else:
        assert judge(done, path, at, kind) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_key_file_that_others_can_read(build, program, tmp_path, mode):
    lines = example(program, str(tmp_path))
    os.chmod(tmp_path / "node1-in.key", mode)
    os.chmod(tmp_path / "node1-mip.key", mode)
    path = write(tmp_path, lines)
    done = run(build, program, "--check", "-c", path)
    at = {n for n, l in enumerate(lines, 1) if "node1-in.key" in l or "node1-mip.key" in l}
    assert judge(done, path, at, f"mode {mode:o}") is None


@pytest.mark.parametrize("content", ["", "00", "zz" * 20, "00" * 19 + "0", "00" * 100])
def test_key_file_with_wrong_content(build, program, tmp_path, content):
    lines = example(program, str(tmp_path))
    for name in ("node1-in.key", "node1-mip.key"):
        (tmp_path / name).write_text(content)
    path = write(tmp_path, lines)
    done = run(build, program, "--check", "-c", path)
    at = {n for n, l in enumerate(lines, 1) if "node1-in.key" in l or "node1-mip.key" in l}
    assert judge(done, path, at, content) is None
    assert len(content) < 8 or content not in done.stderr, "a key must never be shown"


def test_inline_key_needs_a_private_file(build, tmp_path):
    lines = example("roamgate", str(tmp_path))
    lines = [l.replace("key_file", "key") if "node1-in.key" in l else l for l in lines]
    key = os.urandom(20).hex()
    at = {n for n, l in enumerate(lines, 1) if "node1-in.key" in l}
    lines = [re.sub(r'"[^"]*node1-in.key"', f'"{key}"', l) for l in lines]
    path = write(tmp_path, lines)
    assert run(build, "roamgate", "--check", "-c", path).returncode == 0
    os.chmod(path, 0o644)
    done = run(build, "roamgate", "--check", "-c", path)
    assert judge(done, path, at, "inline key in a public file") is None
    assert key not in done.stderr


@pytest.mark.parametrize(
    "where, change",
    [
        ("same key in both directions", ("node1-out.key", "node1-in.key")),
        ("key and key_file", ("algorithm = ", 'key = "00"; algorithm = ')),
    ],
)
def test_keys_that_must_not_be(build, tmp_path, where, change):
    """One key stands in one SA and one direction only."""
    lines = example("roamgate", str(tmp_path))
    lines = [l.replace(*change) for l in lines]
    path = write(tmp_path, lines)
    done = run(build, "roamgate", "--check", "-c", path)
    assert done.returncode == 1, where
    assert re.search(rf"^{re.escape(path)}:\d+: ", done.stderr, re.M), done.stderr


@pytest.mark.parametrize("program", ["roamgate", "roamgate-mn"])
@pytest.mark.parametrize(
    "keys_in, keys_out, why",
    [
        ("ab", "cd", None),
        ("ab", "cb", "HMAC"),
        ("ab", "ad", "cipher"),
        ("ab", "bd", "cipher"),
        ("aa", "cd", "is the same for cipher and HMAC"),
    ],
)
def test_hmac_keys_that_must_not_be(build, tmp_path, program, keys_in, keys_out, why):
    """The keys of cipher and HMAC each stand in one SA and one direction, and in one place of it."""
    lines = example(program, str(tmp_path))
    for direction, keys in (("in", keys_in), ("out", keys_out)):
        at = next(n for n, l in enumerate(lines) if re.match(rf"\s*{direction}bound = ", l))
        while not re.search(r"^[^#]*key_file", lines[at]):
            at += 1
        material = "".join(key.encode().hex() * 32 for key in keys)
        lines[at] = re.sub(r'key_file = "[^"]*"', f'key = "{material}"', lines[at])
    lines = [l.replace('"aes128gcm16"', '"aes256-sha256"') for l in lines]
    done = run(build, program, "--check", "-c", write(tmp_path, lines))
    assert done.returncode == (1 if why else 0), done.stderr
    assert why is None or why in done.stderr


@pytest.mark.parametrize("program", ["roamgate", "roamgate-mn"])
@pytest.mark.parametrize(
    "algorithm, why",
    [
        ("des-sha256", "RFC 8221 says MUST NOT"),
        ("3des-sha256", "RFC 8221 says SHOULD NOT"),
        ("aes128-md5", "RFC 8221 says MUST NOT"),
        ("null", "no integrity protection"),
        ("aes128gcm8", "ICV of 16 bytes"),
        ("rot13", "is not known"),
    ],
)
def test_weak_algorithms(build, tmp_path, program, algorithm, why):
    """The line and the reason (RFC 8221)."""
    lines = [l.replace("aes128gcm16", algorithm) for l in example(program, str(tmp_path))]
    at = {n for n, l in enumerate(lines, 1) if f'algorithm = "{algorithm}"' in l}
    path = write(tmp_path, lines)
    done = run(build, program, "--check", "-c", path)
    assert judge(done, path, at, algorithm) is None
    assert why in done.stderr


@pytest.mark.parametrize("program", ["roamgate", "roamgate-mn"])
def test_all_algorithms(build, tmp_path, program):
    """Each is taken with its own size of key material, and with no other."""
    for algorithm in ALGORITHMS:
        lines = [l.replace("aes128gcm16", algorithm) for l in example(program, str(tmp_path))]
        path = write(tmp_path, lines)
        for more, code in ((0, 0), (1, 1), (-1, 1)):
            for name in ("node1-in.key", "node1-out.key"):
                key = os.urandom(material_bytes(algorithm) + more).hex()
                (tmp_path / name).write_text(key)
            done = run(build, program, "--check", "-c", path)
            assert done.returncode == code, (algorithm, done.stderr)


def test_two_nodes_may_not_share(build, tmp_path):
    """Name, home address, inbound SPI and keys belong to one node."""
    site_lines = example("roamgate", str(tmp_path))
    for name in ("node2-in", "node2-out"):
        (tmp_path / f"{name}.key").write_text(os.urandom(20).hex())
        os.chmod(tmp_path / f"{name}.key", 0o600)
    base = {
        "name": "node2",
        "home_address": "10.1.0.11",
        "home_agent": "ha1",
        "inbound": {
            "spi": 0x1002, "algorithm": "aes128gcm16",
            "key_file": str(tmp_path / "node2-in.key"),
        },
        "outbound": {
            "spi": 0x2002, "algorithm": "aes128gcm16",
            "key_file": str(tmp_path / "node2-out.key"),
        },
    }  # fmt: skip
    changes = [
        {"name": "node1"},
        {"home_address": "10.1.0.10"},
        {"inbound": {"spi": 0x1001}},
        {"inbound": {"key_file": str(tmp_path / "node1-in.key")}},
        {"inbound": {"key_file": str(tmp_path / "node1-out.key")}},
        {"outbound": {"key_file": str(tmp_path / "node1-in.key")}},
        {"home_address": "10.9.0.1"},
        {"care_of": "10.1.0.77"},
        {"care_of": "127.0.0.1"},
        {"care_of": "224.0.0.1"},
    ]
    end = max(n for n, l in enumerate(site_lines) if l.startswith(");"))

    def with_node(node):
        text = "  ,{\n" + world.libconfig(node, "    ") + "  }"
        return site_lines[:end] + text.splitlines() + site_lines[end:]

    path = write(tmp_path, with_node(base))
    assert run(build, "roamgate", "--check", "-c", path).returncode == 0
    for change in changes:
        path = write(tmp_path, with_node(world.merge(base, change)))
        done = run(build, "roamgate", "--check", "-c", path)
        named = {int(n) for n in re.findall(rf"^{re.escape(path)}:(\d+): ", done.stderr, re.M)}
        assert done.returncode == 1 and named and min(named) > end, (change, done.stderr)
