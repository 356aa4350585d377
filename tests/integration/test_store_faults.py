# SPDX-License-Identifier: BSD-3-Clause
"""State that cannot be read or written: full, read-only or damaged, at the start and while running.

At the start: exit 2 and one line that names the file or folder. While running: nothing is promised
that is not on disk, what is in force stays, and it goes on by itself when there is room again.
"""
import contextlib
import glob
import os

import lab as laboratory
import pytest
from fake_agent import FakeHomeAgent
from test_home_agent import COA_A, COA_B, House
from world import Border, Node, World, libconfig

FOLDERS = {"roamgate": "state-gw", "roamgate-ha": "state-ha", "roamgate-mn": "state-mn"}
NO_RESOURCES = 130
GOOD = (0, 2)
SIZE = "64m"  # of a disk with room
# The state folder is another file system, in a mount namespace of the program's own.
IN_TMPFS = 'mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"'
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def on_disk(script, size, folder, argv):
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, size, folder, *argv]


@pytest.fixture(scope="module")
def world(build):
    with World(build) as world:
        yield world


def argv_of(world, name):
    settings = {
        "roamgate": world.gateway_settings,
        "roamgate-ha": world.home_agent_settings,
        "roamgate-mn": world.mobile_settings,
    }[name]
    return [world.program(name), "-c", world.lab.write("fault.conf", libconfig(settings()))]


def start(world, name, script=None, size="0"):
    argv = argv_of(world, name)
    if script:
        argv = on_disk(script, size, world.lab.path(FOLDERS[name]), argv)
    namespace = {"roamgate": "gw", "roamgate-ha": "ha", "roamgate-mn": "mn"}[name]
    return world.lab.start(namespace, argv, name)


def assert_refused(program, *said):
    """Exit 2 with one line, which holds one of these words; no crash."""
    assert program.process.wait(20) == 2, program.output()
    program.reader.join()
    lines = [line for line in program.output().splitlines() if "static keys" not in line]
    assert len(lines) == 1 and any(word in lines[0] for word in said), program.output()


def fresh_state(world, name):
    """A state folder as an earlier run left it; its path."""
    folder = world.lab.path(FOLDERS[name])
    for path in glob.glob(folder + "/*"):
        os.unlink(path)
    program = start(world, name)
    program.wait_line(rf"^{name}: ready")
    assert program.stop() == 0
    return folder


def overwrite(path, data, at=0):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


DAMAGES = {
    "both meta pages are noise": lambda path: overwrite(path, os.urandom(8192)),
    "both meta pages are zero": lambda path: overwrite(path, bytes(8192)),
    "cut to half a page": lambda path: os.truncate(path, 2048),
    "text": lambda path: overwrite(path, b"not a database\n" * 1000),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_damaged(world, name):
    for what, damage in DAMAGES.items():
        folder = fresh_state(world, name)
        damage(os.path.join(folder, "data.mdb"))
        print(what)
        assert_refused(start(world, name), "data.mdb")


@pytest.mark.parametrize("name", ["roamgate", "roamgate-mn"])
def test_damaged_counters(world, name):
    """Without them no IV or sequence number would be safe."""
    for damage in (
        lambda path: overwrite(path, os.urandom(64)),
        lambda path: os.truncate(path, 100),
    ):
        folder = fresh_state(world, name)
        damage(os.path.join(folder, "counters"))
        assert_refused(start(world, name), "counters")


@pytest.mark.parametrize("name", FOLDERS)
def test_read_only(world, name):
    folder = fresh_state(world, name)
    assert_refused(start(world, name, READ_ONLY), folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_full_at_the_start(world, name):
    assert_refused(start(world, name, IN_TMPFS, "8k"), world.lab.path(FOLDERS[name]))


# --- while running -------------------------------------------------------------------------------


@contextlib.contextmanager
def full(program, folder):
    """The program's file system has no room meanwhile."""
    path = f"/proc/{program.pid}/root{folder}/filler"
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    os.unlink(path)


def test_home_agent_disk_full(build):
    """A registration that cannot be made durable is denied, and nobody is told of it."""
    with House(build) as house:
        folder = house.lab.path("state")
        config = house.lab.write("ha.conf", libconfig(house.settings()))
        argv = on_disk(IN_TMPFS, SIZE, folder, [*house.program, "-c", config])
        house.agent = house.lab.start("ha", argv, "roamgate-ha")
        house.agent.wait_line(r"^roamgate-ha: ready")
        gateway = house.connect_gateway()
        house.move(gateway, COA_A)
        with full(house.agent, folder):
            house.ask_by_gateway(COA_B, house.rrq(COA_B))
            assert gateway.wait_reply_only()[1] == NO_RESOURCES
            assert gateway.wait_move(COA_B, 0.2) is None
            assert house.binding()["in_force"]["coa"] == COA_A
            assert house.destination() == COA_A, "traffic goes on"
            assert house.drops()["store_failed"] >= 1
        house.move(gateway, COA_B)
        assert house.destination() == COA_B


def test_gateway_disk_full(build):
    """What is not on disk is not acknowledged: it is when there is room again."""
    with Border(build, [Node(1)]) as border:
        folder = border.lab.path("state-gw")
        config = border.lab.write("roamgate.conf", libconfig(border.gateway_settings()))
        argv = on_disk(IN_TMPFS, SIZE, folder, [border.program("roamgate"), "-c", config])
        border.gateway = border.lab.start("gw", argv, "roamgate")
        border.gateway.wait_line(r"^roamgate: ready")
        border.outside_mac = border.lab.neighbour("out", "192.0.2.1", "gwo1", 10)
        border.inside_mac = border.lab.neighbour("in", "10.2.0.254", "gwi1", 10)
        agent = FakeHomeAgent(border)
        agent.connect()
        node = border.nodes[0]
        assert agent.move(node, COA_A).result in GOOD
        entry = agent.entry(node, COA_B)
        with full(border.gateway, folder):
            agent.send_updates([entry])
            ack = agent.wait_ack(entry, 0.5)
            assert ack is None or ack.result == NO_RESOURCES
            laboratory.wait_until(
                lambda: border.roamctl("roamgate", "show", "siu")["store"]["failures"] > 0, 3,
                "a failure that is counted",
            )  # fmt: skip
            assert border.gateway.is_running()
        ack = agent.wait_ack(entry, 5)
        assert ack is not None and ack.result in GOOD and ack.coa == COA_B
        said = [line for line in border.gateway.output().splitlines() if "No space" in line]
        assert 1 <= len(said) <= 10, "told, and not without end"
        agent.close()


def test_node_disk_full(build):
    """Its state is a convenience (the clock's offset): it goes on."""
    with World(build, delay_ms=5) as world:
        world.start_gateway()
        world.start_home_agent()
        world.mobile = start(world, "roamgate-mn", IN_TMPFS, SIZE)
        world.mobile.wait_line(r"^roamgate-mn: ready")
        with full(world.mobile, world.lab.path("state-mn")):
            world.move("A")
            world.wait_reachable(5)
        world.move("B")
        world.wait_reachable(5)
