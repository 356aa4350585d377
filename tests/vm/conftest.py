# SPDX-License-Identifier: BSD-3-Clause
"""Tests with virtual machines: the laboratory of tests/integration, and one kernel for all guests."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "integration"), os.path.join(HERE, "..", "demo")]

import image  # noqa: E402
import lab  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default="build", help="meson's build folder")


def pytest_configure(config):
    lab.end_on_signals(lambda number, _: pytest.exit(f"signal {number}", 128 + number))


@pytest.fixture(scope="session")
def build(request):
    return os.path.abspath(request.config.getoption("--build"))


@pytest.fixture(scope="session")
def kernel(build):
    try:
        return image.Kernel(os.path.join(build, "vm"))
    except image.NoGuests as reason:
        pytest.skip(f"no virtual machines: {reason}")


@pytest.fixture(scope="module")
def archive(kernel):
    """The base of an initramfs; each guest adds what it needs."""
    try:
        return image.base(kernel)
    except image.NoGuests as reason:
        pytest.skip(f"no virtual machines: {reason}")
