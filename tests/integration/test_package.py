# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package: what "make package" makes of the build, unpacked and looked at."""
import os
import re
import stat
import subprocess

import pytest
from test_config import ROOT, example

SBIN = ("roamgate", "roamgate-ha", "roamgate-mn")


def call(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def package(build):
    path = call(os.path.join(ROOT, "config/packaging/deb"), build).splitlines()[-1]
    yield path
    os.unlink(path)


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("package"))
    call("dpkg-deb", "-x", package, folder)
    return folder


def test_depends_on_its_libraries(package):
    """Every library that a program needs comes with a package that it depends on."""
    depends = call("dpkg-deb", "-f", package, "Depends")
    for name in ("libc6", "libssl3", "libipsec-mb1", "librte-eal", "liblmdb0", "librte-meta-mempool"):
        assert re.search(rf"\b{name}", depends), depends


@pytest.mark.parametrize("program", SBIN)
def test_units_name_what_is_there(unpacked, program):
    """Each program that a unit starts is in the package, at that path, and is what it says."""
    with open(os.path.join(unpacked, f"usr/lib/systemd/system/{program}.service")) as file:
        commands = re.findall(r"^Exec\w+=(/usr/\S+)", file.read(), re.M)
    assert f"/usr/sbin/{program}" in commands
    for command in commands:
        assert os.access(unpacked + command, os.X_OK), command
    assert program in call(f"{unpacked}/usr/sbin/{program}", "--version")


@pytest.mark.parametrize("program", SBIN)
def test_examples_are_good(unpacked, program, tmp_path):
    """The example in the package is the one that the tests know, and the program takes it."""
    path = os.path.join(unpacked, f"usr/share/doc/roamgate/examples/{program}.conf")
    with open(path) as file, open(os.path.join(ROOT, f"config/{program}.conf")) as ours:
        assert file.read() == ours.read()
    config = tmp_path / "example.conf"
    config.write_text("\n".join(example(program, str(tmp_path))) + "\n")
    config.chmod(0o600)
    call(f"{unpacked}/usr/sbin/{program}", "--check", "-c", str(config))


def test_keys_have_a_place_of_their_own(package, unpacked):
    assert stat.S_IMODE(os.stat(os.path.join(unpacked, "etc/roamgate")).st_mode) == 0o700
    owners = {line.split()[1] for line in call("dpkg-deb", "-c", package).splitlines()}
    assert owners == {"root/root"}
