"""The real maps and the program that reads them. See :mod:`edged.xdp.maps` for the theory of operation."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from edged.xdp import layout, leftovers, libbpf
from edged.xdp.binding import BpfError
from edged.xdp.layout import Array, Held, Network
from edged.xdp.maps import Generation, room_for
from edged.xdp.ours import PROGRAM

BPFFS = Path("/sys/fs/bpf")
OBJECT = Path(__file__).parent / "bpf" / "edged.bpf.o"
_OUTER = {4: "restricted4", 6: "restricted6", 0: "gardens_of"}
_KEYS = {4: layout.KEY4.itemsize, 6: layout.KEY6.itemsize, 0: layout.NETWORK.itemsize}
_VALUES = {4: layout.ENTRY.itemsize, 6: layout.ENTRY.itemsize, 0: 4}
_BPF_FS_MAGIC = 0xCAFE4A11
_ZERO = b"\0\0\0\0"


class KernelMaps:
    """The maps in the kernel, and the program loaded over them. Made by :meth:`open` only."""

    def __init__(self, pins: Path | None, fds: dict[str, int], program: int) -> None:
        self._pins = pins
        self._fds = fds
        self.program = program
        """Descriptor of the loaded program; attached elsewhere."""
        self.live: Generation | None = None
        self._settings: layout.Settings | None = None
        self._gardens: dict[str, list[Network]] = {}
        self._seed = 0
        self._changes = 0

    @classmethod
    def open(cls, bpffs: Path | None = BPFFS, *, path: Path = OBJECT) -> Self:
        """Load the program over the pinned maps, or over new ones, which are then pinned.

        ``bpffs`` None: no pins, everything ends with this process unless it is attached. Raises BpfError.
        """
        pins = _prepared(bpffs) if bpffs is not None else None
        try:
            return cls._opened(pins, path)
        except BpfError:
            if pins is None or not any(pins.iterdir()):
                raise
            leftovers.detach(pins)
            _empty(pins)  # made by an edged that should have had another layout number
            return cls._opened(pins, path)

    @classmethod
    def _opened(cls, pins: Path | None, path: Path) -> Self:
        if not path.exists():
            raise BpfError(f"{path.name} is missing: edged was installed without compiling it (clang, libbpf-dev)")
        known = {name: libbpf.pinned(pins / name) for name in layout.MAPS} if pins else {}
        if pins and None in known.values():
            libbpf.close_all([fd for fd in known.values() if fd is not None])
            leftovers.detach(pins)
            _empty(pins)
            known = {}
        compiled = libbpf.Object(path)
        with contextlib.ExitStack() as closing:
            closing.callback(compiled.close)
            for name, fd in known.items():
                if fd is not None:
                    closing.callback(os.close, fd)
                    compiled.reuse(name, fd)
            compiled.load()
            fds = {name: compiled.map(name) for name in layout.MAPS}
            made = cls(pins, fds, compiled.program(PROGRAM))
        if pins and not known:
            for name, fd in fds.items():
                libbpf.pin(fd, pins / name)
        made._adopt()
        return made

    def _adopt(self) -> None:
        """Take over what packets look at, if an earlier process left it; remove the rest of what it left."""
        self._changes = int(np.frombuffer(self._read("live", 0), layout.LIVE)[0]["changes"])
        slot = self._slot()
        row = np.frombuffer(self._read("settings", slot), layout.SETTINGS)[0]
        found = {f: libbpf.pinned(_inner(self._pins, f, slot)) for f in _OUTER} if self._pins else {}
        if row["layout"] == layout.VERSION and found and None not in found.values():
            fds = {f: fd for f, fd in found.items() if fd is not None}
            self.live = Generation(fds, (libbpf.entries(fds[4]), libbpf.entries(fds[6])))
        else:
            libbpf.close_all([fd for fd in found.values() if fd is not None])
        self._seed = int(row["seed"]) or secrets.randbits(64) | 1
        self._clean(1 - slot)

    # -- generations ---------------------------------------------------------------------------------------------

    def begin(self, count4: int, count6: int) -> Generation:
        sizes = (room_for(count4), room_for(count6))
        fds: dict[int, int] = {}
        try:
            for family, size in ((4, sizes[0]), (6, sizes[1])):
                fds[family] = libbpf.create_hash(_OUTER[family], _KEYS[family], _VALUES[family], size)
        except BpfError:
            libbpf.close_all(list(fds.values()))
            raise
        return Generation(fds, sizes)

    def write(self, generation: Generation, family: int, keys: Array, values: npt.NDArray[np.void]) -> None:
        fd = generation.fds[family]
        if len(keys) == 1:
            libbpf.update(fd, keys.tobytes(), values.tobytes())
        else:
            libbpf.update_batch(fd, keys.tobytes(), values.tobytes(), len(keys))
        self._changed(generation)

    def delete(self, generation: Generation, family: int, keys: Array) -> None:
        fd = generation.fds[family]
        if len(keys) == 1:
            libbpf.delete(fd, keys.tobytes())
        else:
            libbpf.delete_batch(fd, keys.tobytes(), _KEYS[family])
        self._changed(generation)

    def switch(self, generation: Generation, settings: layout.Settings) -> None:
        before = self.live
        self._install(generation, settings, self._gardens)
        if before is not None and before is not generation:
            before.close()

    @staticmethod
    def discard(generation: Generation) -> None:
        generation.close()

    def set_settings(self, settings: layout.Settings) -> None:
        if self.live is not None:
            self._install(self.live, settings, self._gardens)
        self._settings = settings

    def set_gardens(self, networks: Mapping[str, Iterable[Network]]) -> None:
        wanted = {garden: list(members) for garden, members in networks.items()}
        if self.live is not None and self._settings is not None:
            self._install(self.live, self._settings, wanted)
        self._gardens = wanted

    def _install(
        self, generation: Generation, settings: layout.Settings, gardens: Mapping[str, Iterable[Network]]
    ) -> None:
        """Put all into the free slot, then say that this is the slot: the one moment."""
        table = layout.gardens(gardens)
        text = layout.settings(settings, table, self._seed)
        old = self._slot()
        new = 1 - old if self.live is not None else old
        fd = libbpf.create_hash(_OUTER[0], _KEYS[0], _VALUES[0], len(table.keys))
        try:
            libbpf.update_batch(fd, table.keys.tobytes(), table.values.tobytes(), len(table.keys))
            fds = {**generation.fds, 0: fd}
            self._clean(new)
            for family, name in _OUTER.items():
                libbpf.update(self._fds[name], _number(new), _number(fds[family]))
                if self._pins:
                    libbpf.pin(fds[family], _inner(self._pins, family, new))
            libbpf.update(self._fds["settings"], _number(new), text)
            self._tell(new)
        except BpfError:
            os.close(fd)
            raise
        if 0 in generation.fds:
            os.close(generation.fds[0])
        generation.fds[0] = fd
        self.live, self._settings = generation, settings
        if new != old:
            self._clean(old)

    def _changed(self, generation: Generation | None) -> None:
        """What the program remembers of floods is forgotten: something it may depend on is another."""
        if generation is not None and generation is self.live:
            self._tell(self._slot())

    def _tell(self, slot: int) -> None:
        self._changes = (self._changes + 1) & 0xFFFFFFFF
        libbpf.update(self._fds["live"], _ZERO, struct.pack("=II", slot, self._changes))

    def _clean(self, slot: int) -> None:
        """Empty a slot that no packet looks at (a packet still on its way then finds nothing and passes)."""
        for family, name in _OUTER.items():
            libbpf.delete(self._fds[name], _number(slot))
            if self._pins:
                _inner(self._pins, family, slot).unlink(missing_ok=True)

    # -- the rest ------------------------------------------------------------------------------------------------

    def link(
        self, ifindex: int, frames: layout.Frames, macs: Iterable[bytes], vlans: Iterable[int] | None = None
    ) -> None:
        try:
            libbpf.update(self._fds["links"], _number(ifindex), layout.link(frames, macs, vlans))
        except BpfError as error:
            if error.errno != errno.E2BIG:
                raise
            raise BpfError(
                f"XDP has room for {layout.LINKS} devices, which are taken: name those that need it in xdp.interfaces",
                errno.E2BIG,
            ) from error
        self._changed(self.live)

    def unlink(self, ifindex: int) -> None:
        libbpf.delete(self._fds["links"], _number(ifindex))
        self._changed(self.live)

    def read(self, family: int, key: bytes) -> Held | None:
        if self.live is None:
            return None
        value = libbpf.lookup(self.live.fds[family], key, layout.ENTRY.itemsize)
        return None if value is None else layout.held(value)

    def everything(self, family: int) -> dict[bytes, Held]:
        return dict(self._walk(family)) if self.live is not None else {}

    def _walk(self, family: int) -> Iterator[tuple[bytes, Held]]:
        fd = self.live.fds[family] if self.live else -1
        key = libbpf.next_key(fd, None, _KEYS[family])
        while key is not None:
            value = libbpf.lookup(fd, key, layout.ENTRY.itemsize)
            if value is not None:
                yield key, layout.held(value)
            key = libbpf.next_key(fd, key, _KEYS[family])

    def counters(self) -> dict[str, int]:
        cpus = libbpf.cpus()
        raw = (libbpf.lookup(self._fds["counters"], _number(a), 8 * cpus) or bytes(8 * cpus) for a in layout.Action)
        return layout.counted(b"".join(raw), cpus)

    def pin(self) -> bool:
        """Make the pins anew that are gone or are not ours any more; whether there were such. Raises BpfError."""
        if self._pins is None:
            return False
        wanted = {self._pins / name: fd for name, fd in self._fds.items()}
        if self.live is not None:
            wanted |= {_inner(self._pins, family, self._slot()): fd for family, fd in self.live.fds.items()}
        gone = {path: fd for path, fd in wanted.items() if not libbpf.is_pinned(fd, path)}
        if gone:
            _prepared(self._pins.parent.parent)
        for path, fd in gone.items():
            path.unlink(missing_ok=True)
            libbpf.pin(fd, path)
        return bool(gone)

    def some(self, family: int, after: bytes | None, n: int) -> list[bytes]:
        found: list[bytes] = []
        fd = self.live.fds[family] if self.live else -1
        while self.live and len(found) < n:
            after = libbpf.next_key(fd, after, _KEYS[family])
            if after is None:
                break
            found.append(after)
        return found

    def clear(self) -> None:
        if self._pins and self._pins.exists():
            _empty(self._pins)
            self._pins.rmdir()
            with contextlib.suppress(OSError):
                self._pins.parent.rmdir()
            self._pins = None

    def close(self) -> None:
        if self.live is not None:
            self.live.close()
            self.live = None
        libbpf.close_all([*self._fds.values(), self.program])
        self._fds = {}

    @property
    def pins(self) -> Path | None:
        """The directory of the pins."""
        return self._pins

    def _slot(self) -> int:
        return int(np.frombuffer(self._read("live", 0), layout.LIVE)[0]["slot"])

    def _read(self, name: str, place: int) -> bytes:
        size = {"live": layout.LIVE.itemsize, "settings": layout.SETTINGS.itemsize}[name]
        return libbpf.lookup(self._fds[name], _number(place), size) or bytes(size)


def _inner(pins: Path, family: int, slot: int) -> Path:
    return pins / f"{_OUTER[family]}-{slot}"  # a bpffs takes no dots


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


# -- the bpffs --------------------------------------------------------------------------------------------------------


def _prepared(bpffs: Path) -> Path:
    """The directory of this layout's pins; mounts a bpffs where there is none."""
    try:
        if not (_is_bpffs(bpffs / "edged") or _is_bpffs(bpffs)):  # the unit shows the daemon that folder alone
            bpffs.mkdir(parents=True, exist_ok=True)
            _mount(bpffs)
        pins = bpffs / leftovers.FOLDER / str(layout.VERSION)
        pins.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BpfError(
            f"no place for the XDP maps under {bpffs}: {error.strerror}; mount it (mount -t bpf bpf {bpffs}),"
            ' or set xdp.mode = "off"',
            error.errno or 0,
        ) from error
    return pins


def _is_bpffs(path: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    room = (ctypes.c_long * 32)()
    return libc.statfs(os.fsencode(path), room) == 0 and room[0] & 0xFFFFFFFF == _BPF_FS_MAGIC


def _mount(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", 0, b"mode=0700"):
        code = ctypes.get_errno()
        if code != errno.EBUSY:
            raise OSError(code, os.strerror(code), str(path))


def _empty(pins: Path) -> None:
    for name in pins.iterdir():
        name.unlink()
