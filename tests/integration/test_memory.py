# SPDX-License-Identifier: BSD-3-Clause
"""The gateway with ten nodes fits into 512 MB without hugepages."""
import re

from world import Border, Node

LIMIT_KB = 512 * 1024


def test_ten_nodes_without_hugepages(build):
    with Border(build, [Node(n) for n in range(1, 11)]) as border:
        border.start_gateway()
        assert len(border.roamctl("roamgate", "show", "nodes")["rows"]) == 10
        with open(f"/proc/{border.gateway.pid}/status") as file:
            status = dict(re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.M))
        assert int(status["HugetlbPages"]) == 0
        assert 0 < int(status["VmHWM"]) < LIMIT_KB
