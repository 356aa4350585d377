# SPDX-License-Identifier: BSD-3-Clause
"""DPDK is linked into the gateway alone."""
import os

import lab
import pytest

PROGRAMS = {
    "control/gw/roamgate": True,
    "control/ha/roamgate-ha": False,
    "control/mn/roamgate-mn": False,
    "control/ctl/roamctl": False,
}


@pytest.mark.parametrize("path, dpdk", PROGRAMS.items())
def test_dpdk_is_in_the_gateway_alone(build, path, dpdk):
    libraries = lab.run("ldd", os.path.join(build, path))
    assert "libc.so" in libraries
    assert ("librte_" in libraries) == dpdk
