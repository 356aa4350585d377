# SPDX-License-Identifier: BSD-3-Clause
"""Packets that do not fit: cut before ESP, or their sender learns what does fit."""
import re
import time

import pytest
from world import CORRESPONDENT, World

OUTSIDE_MTU = 1300
# IPv4, SPI and number, IV, tag; text of whole words, two bytes of it trailer; the tunnel's header.
FITS = (OUTSIDE_MTU - 20 - 8 - 8 - 16) // 4 * 4 - 2 - 20
INSIDE_MTU = 1000


@pytest.fixture(scope="module")
def world(build):
    with World(build) as world:
        world.start_gateway({"outside": {"mtu": OUTSIDE_MTU}, "inside": {"mtu": 1500}})
        world.start_home_agent()
        world.start_mobile({"tunnel_mtu": 1200})  # what comes back fits too
        world.wait_reachable()
        world.move("A")
        time.sleep(0.5)
        yield world


def ping(world, namespace, to, size, df):
    """Output of three pings with an IP packet of this size."""
    return world.lab.run(
        namespace, "ping", "-c3", "-i0.2", "-W1", f"-s{size - 28}", "-Mdo" if df else "-Mdont", to,
        check=False,
    )


def test_path_mtu_is_told(world):
    """The correspondent learns by ICMP what fits, to the byte, and that gets through."""
    to = world.node.home_address
    world.lab.ip("corr", "route flush cache")
    out = ping(world, "corr", to, FITS + 1, True)
    told = re.search(r"mtu ?= ?(\d+)", out)
    assert told and int(told.group(1)) == FITS, out
    assert "10.2.0.254" in out, out
    assert " 3 received" in ping(world, "corr", to, FITS, True)


def test_cut_before_esp(world):
    """Without DF all sizes get through, and no piece outside is itself a fragment."""
    world.lab.ip("corr", "route flush cache")
    before = world.drops()
    for size in (FITS + 1, 1400):
        out = ping(world, "corr", world.node.home_address, size, False)
        assert " 3 received" in out, out
    after = world.drops()
    assert after["fragmented"] - before["fragmented"] == 6
    assert after["too_big"] == before["too_big"]


def test_ttl(world):
    """traceroute sees the gateway, from both ends."""
    out = world.lab.run(
        "mn", "ping", "-c1", "-W1", "-t1", "-I", world.node.home_address, CORRESPONDENT, check=False
    )
    assert "Time to live exceeded" in out and "10.2.0.254" in out, out
