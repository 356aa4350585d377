# SPDX-License-Identifier: BSD-3-Clause
"""What all integration tests share: where the programs are, and an orderly end."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "demo"))

import lab  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default="build", help="meson's build folder")


def pytest_configure(config):
    lab.end_on_signals(lambda number, _: pytest.exit(f"signal {number}", 128 + number))


@pytest.fixture(scope="session")
def build(request):
    return os.path.abspath(request.config.getoption("--build"))


@pytest.fixture(scope="session")
def is_long():
    """True in "make check-long"."""
    return os.environ.get("ROAMGATE_LONG") == "1"
