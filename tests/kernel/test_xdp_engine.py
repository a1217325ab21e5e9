"""The engine in a namespace of its own, over real maps and devices: where it attaches, and how it lets go."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edged.errors import EdgedError
from edged.xdp import interfaces, layout, leftovers, libbpf, rtnetlink
from edged.xdp.binding import BpfError
from edged.xdp.engine import Engine, Wanted
from edged.xdp.layout import Settings
from edged.xdp.moves import KEPT
from edged.xdp.ours import NOTES, PROGRAM
from edged.xdp.rtnetlink import Attached
from tests import worlds
from tests.kernel.accelerator import texts
from tests.lab.netns import Namespace, mount_bpffs, unmount
from tests.lab.programs import Attentive, Linked, passing
from tests.unit.core import Core

KEY = b"\x04\x64\x40\x00\x0a"
BLOCK = {"op": "block", "sub": "100.64.0.10", "reason": "debt"}


class World:
    """A core over the fake sets, followed by an engine over the real maps. ``heard`` are its errors."""

    def __init__(self, space: Namespace, folder: Path) -> None:
        self.space = space
        self.bpffs = folder / "bpf"
        mount_bpffs(self.bpffs)
        self.core = Core(folder / "state")
        self.heard: list[str] = []
        self.engine: Engine | None = None

    def start(
        self,
        mode: str = "auto",
        *,
        interfaces: tuple[str, ...] = ("sub*",),
        bpffs: Path | None = None,
        named: tuple[str, ...] = (),
    ) -> Engine:
        self.stop()
        notes = self.bpffs.parent / NOTES
        wanted = Wanted(mode, interfaces, named, bpffs or self.bpffs, Settings(texts()), notes)
        self.engine = engine = Engine(wanted, lambda e: self.heard.append(str(e)) if e else None)
        self.space.call(engine.open)
        self.core.enforcer.follower = engine.mirror
        self.core.refill()
        self.space.call(engine.look)
        return engine

    def stop(self) -> None:
        if self.engine is not None:
            self.core.enforcer.follower = None
            self.engine.close()

    def attached(self, name: str) -> Attached:
        return self.space.call(lambda: rtnetlink.attached(self.index(name)))

    def index(self, name: str) -> int:
        return int(self.space.run("cat", f"/sys/class/net/{name}/ifindex").stdout)

    @property
    def pins(self) -> Path:
        return self.bpffs / "edged" / str(layout.VERSION)

    def lose_pins(self) -> None:
        """What ``rm``, ``umount`` or a container's restart do."""
        for path in list(self.pins.iterdir()):
            path.unlink()
        self.pins.rmdir()

    def listens(self, name: str) -> bool:
        """Whether any frame that comes in there is taken for a subscriber's."""
        fd = libbpf.pinned(self.pins / "links")
        assert fd is not None
        try:
            found = libbpf.lookup(fd, self.index(name).to_bytes(4, "little"), layout.LINK.itemsize)
            return found is not None and any(found[:4])
        finally:
            libbpf.close_all([fd])


@pytest.fixture
def world() -> Iterator[World]:
    with worlds.namespace() as space, tempfile.TemporaryDirectory(prefix="edged-xdp-") as folder:
        made = World(space, Path(folder))
        space.ip("link add sub0 type veth peer name far0", "link set sub0 up", "link set far0 up")
        try:
            yield made
        finally:
            made.stop()
            made.core.store.close()
            unmount(made.bpffs)


def test_devices_come_and_go(world: World) -> None:
    engine = world.start()
    assert engine.state == "generic"
    assert world.attached("far0").mode == ""
    world.space.ip("link add sub1 type veth peer name far1", "link set sub1 up", "link del sub0")
    world.space.call(engine.look)
    assert list(engine.told()["interfaces"]) == ["sub1"]
    assert world.listens("sub1")
    world.space.ip("link del sub1")
    world.space.call(engine.look)
    assert engine.state == "off"
    assert "no interface" in engine.told()["why"]


def test_what_cannot_be_believed_answers_nothing_until_it_was_filled_anew(world: World) -> None:
    engine = world.start()
    world.core.send(BLOCK)
    assert engine.mirror is not None
    assert world.listens("sub0")
    engine.mirror.doubt(EdgedError("a doubt"))
    assert not world.listens("sub0")
    assert engine.state == "off"
    assert engine.told()["why"] == "a doubt"
    world.space.call(engine.look)
    assert not world.listens("sub0")
    for _ in world.core.enforcer.follow(world.core.store, lambda: world.core.now):
        pass
    world.space.call(engine.look)
    assert world.listens("sub0")
    assert engine.state == "generic"
    assert engine.mirror.truth(KEY) is not None
    assert world.heard == ["a doubt"]


def test_a_start_takes_the_place_of_the_one_before_and_another_device_is_left(world: World) -> None:
    world.start()
    before = world.attached("sub0").program
    world.space.ip("link add sub1 type veth peer name far1")
    engine = world.start(interfaces=("sub1",))
    assert world.attached("sub0").program == 0
    assert world.attached("sub1").program not in {0, before}
    assert engine.state == "generic"


def test_a_renamed_device_loses_the_program_where_its_new_name_is_nobodys(world: World) -> None:
    engine = world.start()
    world.space.ip("link set sub0 down", "link set sub0 name sub7", "link set sub7 up")
    world.space.call(engine.look)
    assert engine.told()["interfaces"] == {"sub7": "generic"}
    assert world.listens("sub7")
    engine.mirror.doubt(EdgedError("a doubt"))  # type: ignore[union-attr]  # forgets what is linked
    world.space.ip("link set sub7 down", "link set sub7 name old7", "link set old7 up")
    world.core.refill()
    world.space.call(engine.look)
    assert world.attached("old7").program == 0
    assert not world.listens("old7")
    assert engine.told()["interfaces"] == {}
    world.space.ip("link set old7 down", "link set old7 name sub0")
    world.space.call(engine.look)
    assert engine.state == "generic"
    world.stop()
    world.space.ip("link set sub0 name old0")
    world.start()
    assert world.attached("old0").program == 0, "an earlier start's, found under another name"


def test_a_device_that_went_into_another_namespace_is_told(world: World) -> None:
    world.space.ip("link add sub1 type veth peer name far1")
    engine = world.start()
    with worlds.namespace() as other:
        world.space.ip(f"link set sub0 netns {other.name}", "link del sub1")
        world.space.call(engine.look)
        why = engine.told()["why"]
        assert "sub0 went into another network namespace" in why
        assert "sub1" not in why
        other.ip("link set sub0 xdpgeneric off", f"link set sub0 netns {world.space.name}")
    world.space.call(engine.look)
    assert engine.state == "generic"
    assert "another network namespace" not in engine.told()["why"]


def test_what_went_away_with_the_program_is_told_when_everything_is_taken_away(world: World) -> None:
    """Also what went since the last look: ``stop --open`` must not say that nothing is left."""
    world.space.ip("link add sub1 type veth peer name far1", "link add sub2 type veth peer name far2")
    engine = world.start()
    with worlds.namespace() as other:
        world.space.ip(f"link set sub0 netns {other.name}")
        world.space.call(engine.look)
        world.space.ip(f"link set sub1 netns {other.name}")
        with pytest.raises(EdgedError, match=r"^sub0, sub1 went into another network namespace") as told:
            world.space.call(engine.remove)
        assert "ip link set dev sub1 xdp off" in str(told.value)
        assert world.attached("sub2").program == 0, "what can be reached is taken away"
        assert other.call(lambda: rtnetlink.attached(socket.if_nametoindex("sub1"))).program


@pytest.mark.parametrize("heard", [True, False], ids=["all heard", "messages lost"])
def test_many_devices_that_went_are_told_in_few_words(world: World, heard: bool) -> None:
    n = 20 if not heard else KEPT + 6
    world.space.ip(*[f"link add sub{i} type veth peer name far{i}" for i in range(1, n)])
    engine = world.start()
    if not heard:
        assert engine._moves is not None
        assert engine._moves._socket is not None
        engine._moves._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with worlds.namespace() as other:
        for first in range(0, n, 10):
            world.space.ip(*[f"link set sub{i} netns {other.name}" for i in range(first, min(first + 10, n))])
            world.space.call(engine.look)
        why = engine.told()["why"]
        assert "at least sub" in why or (not heard and "devices with the program went while" in why)
        assert len(why) < 500
        assert f"and {KEPT - 3} more went into" in why or not heard
        with pytest.raises(EdgedError) as told:
            world.space.call(engine.remove)
        assert str(told.value) in why


def test_what_is_not_answered_on_a_device_is_told_while_it_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    there = interfaces.places

    def lacking(*given: Any) -> dict[int, interfaces.Place]:
        return {i: replace(place, lacks=f"sub0.5 on {place.name}") for i, place in there(*given).items()}

    engine = world.start()
    assert "sub0.5" not in engine.told()["why"]
    monkeypatch.setattr(interfaces, "places", lacking)
    world.space.call(engine.look)
    assert engine.state == "generic"
    assert "sub0.5 on sub0" in engine.told()["why"]


def test_one_device_too_many_is_told_and_the_others_go_on(world: World) -> None:
    world.space.ip(*[f"link add sub{i} type veth peer name far{i}" for i in (1, 2)])
    world.space.ip("link set sub0 down", "link set sub0 name nobodys")
    engine = world.start(interfaces=("sub1",))
    assert engine._maps is not None
    for index in range(10**6, 10**6 + layout.LINKS - 2):
        engine._maps.link(index, layout.Frames.PLAIN, [b"\2\0\0\0\0\1"])
    engine.wanted = engine.wanted._replace(subscribers=("sub*",))
    world.space.ip("link set nobodys name sub0")
    world.lose_pins()
    for _ in range(3):
        world.space.call(engine.look)
    told = engine.told()
    assert sorted(told["interfaces"].values()) == ["generic", "generic", "off"]
    off = next(name for name, mode in told["interfaces"].items() if mode == "off")
    assert f"{off}: XDP has room for 4096 devices, which are taken" in told["why"]
    assert world.attached(off).program == 0
    assert len([h for h in world.heard if "has room for" in h]) == 1
    assert world.pins.exists(), "the look has ended"
    engine._maps.unlink(10**6)
    world.space.call(engine.look)
    assert set(engine.told()["interfaces"].values()) == {"generic"}
    assert engine.told()["why"].count("is one end of a veth pair") == 1


def test_one_list_says_of_every_device_what_it_says_when_asked_alone(world: World) -> None:
    """Of devices enough for several parts of the list, and while others come and go."""
    world.space.ip(
        *[f"link add idle{i} type veth peer name over{i}" for i in range(30)], "link add sub1 type veth peer name far1"
    )
    fleeting = "link add came type bridge\nlink del came\n" * 40
    with (
        contextlib.closing(Attentive(world.space, "sub0", libbpf.GENERIC)),
        contextlib.closing(Attentive(world.space, "far0")),
        contextlib.closing(Attentive(world.space, "sub1")),
    ):
        names = {world.index(name): name for name in ("sub0", "far0", "sub1")}
        alone = {index: world.space.call(rtnetlink.attached, index) for index in names}
        assert {index: now.name for index, now in alone.items()} == names
        assert [now.mode for now in alone.values()] == ["generic", "native", "native"]
        assert all(now.program for now in alone.values())
        assert world.space.call(rtnetlink.everywhere) == alone
        typing = ["ip", "-n", world.space.name, "-batch", "-"]
        with subprocess.Popen(typing, stdin=subprocess.PIPE, text=True) as beside:
            assert beside.stdin
            beside.stdin.write(fleeting)
            beside.stdin.close()
            while beside.poll() is None:
                assert world.space.call(rtnetlink.everywhere) == alone
        assert beside.returncode == 0
    assert world.space.call(rtnetlink.attached, world.index("idle0")) == (*rtnetlink.NOTHING[:2], "idle0")
    assert world.space.call(rtnetlink.attached, 10**6) == rtnetlink.NOTHING, "there is none"


def test_an_earlier_starts_program_is_told_where_it_stays_and_not_where_it_was_replaced(world: World) -> None:
    world.space.ip("link add sub1 type veth peer name far1", "link add sub2 type veth peer name far2")
    engine = world.start(interfaces=("sub*",), named=("sub0", "sub1"))
    earlier = passing(PROGRAM)
    for name in ("sub1", "sub2"):
        world.space.ip(f"link set {name} xdpgeneric off")
        world.space.call(libbpf.attach, world.index(name), earlier, libbpf.GENERIC)
    libbpf.close_all([earlier])
    assert sorted(world.space.call(engine.stray)) == ["sub1", "sub2"]
    world.space.call(engine.look)
    assert world.attached("sub1").program == world.attached("sub0").program
    why = engine.told()["why"]
    assert "nobody keeps true is still on sub2:" in why
    world.space.call(engine.look)
    assert engine.told()["why"] == why, "as when nothing was changed by the look"


def test_a_bridge_is_left_to_nftables_unless_generic_is_asked_for_by_name(world: World) -> None:
    world.space.ip("link add br0 type bridge", "link set sub0 master br0")
    told = world.start(interfaces=("br0",), named=("sub0",)).told()
    assert told["interfaces"] == {"sub0": "off"}
    assert "come in by sub0 itself" in told["why"]
    assert world.attached("sub0").mode == ""
    assert world.start("generic", interfaces=("br0",)).state == "generic"
    engine = world.start(interfaces=("br0",))
    assert "br0 is of the kind bridge" in engine.told()["why"]
    assert world.attached("br0").mode == "", "what an earlier start put there is gone"
    assert len(list((world.bpffs / "edged").glob("*/program-*"))) == 1, "and its pin"
    world.space.call(engine.look)
    assert len(world.heard) == 2, "each said once"


def test_a_vlan_that_comes_later_takes_the_program_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel here may lack VLANs: the device is made up, everything else is there."""
    engine = world.start()
    assert world.listens("sub0")
    there = interfaces.links
    vlan = interfaces.Link(9999, "sub0.5", below=world.index("sub0"), vlan=5)
    monkeypatch.setattr(interfaces, "links", lambda: [*there(), vlan])
    world.space.call(engine.look)
    assert engine.state == "off"
    assert "sub0 is one end of a veth pair and has VLANs" in engine.told()["why"]
    assert world.attached("sub0").mode == ""
    assert not world.listens("sub0")
    monkeypatch.undo()
    world.space.call(engine.look)
    assert engine.state == "generic"
    assert world.listens("sub0")


def test_a_folder_of_a_bpffs_that_alone_can_be_seen(world: World) -> None:
    """As ``edged-core.service`` shows it: the file system itself is behind a mode that the daemon cannot pass."""
    (world.bpffs / "edged").mkdir()
    seen = world.bpffs.parent / "seen"
    (seen / "edged").mkdir(parents=True)
    subprocess.run(["mount", "--bind", world.bpffs / "edged", seen / "edged"], check=True)
    try:
        assert world.start(bpffs=seen).state == "generic"
        assert any((world.bpffs / "edged").iterdir())
        world.stop()
        assert world.space.call(leftovers.remove, world.bpffs) == ["XDP program on sub0"], "from outside"
    finally:
        unmount(seen)  # only where it was not taken for what it is
        unmount(seen / "edged")


def test_native_where_the_far_end_takes_part(world: World) -> None:
    with contextlib.closing(Attentive(world.space, "far0")):
        engine = world.start("native")
        assert engine.state == "native"
        assert engine.told()["why"] is None


def test_anothers_program_is_left_where_it_is(world: World) -> None:
    with contextlib.closing(Attentive(world.space, "sub0")):
        theirs = world.attached("sub0")
        engine = world.start()
        assert engine.state == "off"
        assert "another's XDP program" in engine.told()["why"]
        assert world.attached("sub0") == theirs
        world.space.call(engine.look)
        assert len(world.heard) == 1, "said once"
        assert world.space.call(engine.remove) == []
        assert world.attached("sub0") == theirs


def test_off_and_a_place_that_is_none_leave_nothing_behind(world: World) -> None:
    world.start()
    world.stop()
    assert world.attached("sub0").mode == "generic"
    file = world.bpffs.parent / "file"
    file.write_text("not a folder")
    assert world.start(bpffs=file / "bpf").state == "off"
    assert "no place for the XDP maps" in world.heard[0]
    assert world.attached("sub0").mode == "", "it is known without its pins"
    engine = world.start("off")
    assert engine.told()["why"] == "xdp.mode is off"
    assert world.attached("sub0").mode == ""
    assert leftovers.remove(world.bpffs) == []


def test_settings_that_the_maps_cannot_say(world: World) -> None:
    world.start()
    wanted = Wanted("auto", ("sub*",), (), world.bpffs, Settings(texts(), lengths6=tuple(range(48, 57))))
    world.stop()
    world.engine = engine = Engine(wanted, lambda e: world.heard.append(str(e)) if e else None)
    world.space.call(engine.open)
    assert "at most 8 prefix lengths" in engine.why
    assert world.attached("sub0").mode == "", "an earlier start's program would go by old settings"


# -- without pins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [True, False], ids=["root", "not root"])
def test_a_program_without_its_pin_is_taken_away_before_anything_else(
    world: World, root: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start()
    before = world.attached("sub0").program
    world.stop()
    world.lose_pins()
    if root:  # by its name
        (world.bpffs.parent / NOTES).unlink()
    else:  # by the note: the kernel tells names to root alone

        def refused(number: int) -> int:
            raise BpfError(f"program {number} cannot be opened: Operation not permitted", 1)

        monkeypatch.setattr(libbpf, "program", refused)
    engine = Engine(engine_of(world).wanted, lambda e: world.heard.append(str(e)) if e else None)
    world.engine = engine
    world.space.call(engine.open)
    assert world.attached("sub0").program == 0, "nobody can change what it goes by"
    assert "whose maps are lost" in world.heard[0]
    world.stop()
    assert world.start().state == "generic"
    assert world.attached("sub0").program not in {0, before}
    world.stop()
    world.lose_pins()
    world.start("off")
    assert world.attached("sub0").program == 0


def engine_of(world: World) -> Engine:
    assert world.engine is not None
    return world.engine


def test_pins_that_go_while_it_runs_are_made_anew(world: World) -> None:
    engine = world.start()
    names = sorted(path.name for path in world.pins.iterdir())
    world.lose_pins()
    world.space.call(engine.look)
    assert sorted(path.name for path in world.pins.iterdir()) == names
    assert engine.state == "generic"
    assert "were gone" in world.heard[0]
    assert engine.mirror is not None
    assert engine.mirror.wanted, "whoever took them may have written, too"
    world.space.call(engine.look)
    assert len(world.heard) == 1
    world.lose_pins()
    assert world.space.call(engine.remove) == ["XDP program on sub0"]
    assert world.attached("sub0").program == 0


def test_what_belongs_to_another_namespace_stays(world: World) -> None:
    engine = world.start()
    with worlds.namespace() as other:
        assert other.call(leftovers.remove, world.bpffs) == []
        second = Engine(engine.wanted, lambda e: world.heard.append(str(e)) if e else None)
        other.call(second.open)
        assert "in another network namespace" in second.why
    assert any(world.pins.glob("program-*"))
    world.space.call(engine.look)
    assert world.heard == [f"no XDP: {second.why}"]
    assert world.attached("sub0").mode == "generic"


def test_what_cannot_be_taken_away_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.xdp.engine.FRESH_SECONDS", 0)
    engine = world.start("off")
    assert not world.space.call(engine.unknowable)
    with contextlib.closing(Linked(world.space, "sub0", "edged_xdp")):
        assert world.space.call(engine.unknowable)
        with pytest.raises(EdgedError, match="is still on sub0: ip link set dev sub0 xdp off"):
            world.space.call(engine.remove)
        engine = world.start("off")
        assert "still on sub0" in engine.told()["why"]
        assert "still on sub0" in world.start().told()["why"]
