"""The program, its maps and its places together: opened, looked after, put out of use, taken away.

Everything here is for the thread that owns store and kernel. Nothing of it is needed for a packet to be treated
rightly, so no method but :meth:`Engine.remove` raises: what does not work is said in ``why`` and in the errors heard.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edged.errors import EdgedError
from edged.xdp import interfaces, layout, leftovers, rtnetlink
from edged.xdp.attach import Attacher, Attachment
from edged.xdp.interfaces import Place
from edged.xdp.kernel import KernelMaps
from edged.xdp.mirror import Mirror
from edged.xdp.moves import Moves, Runaways
from edged.xdp.ours import elsewhere
from edged.xdp.rtnetlink import Attached
from edged.xdp.summary import remains, summary

FRESH_SECONDS = 1.0
"""So long an answer about strange programs holds: a gateway may have a thousand devices."""


class Wanted(NamedTuple):
    """What the configuration says. ``named``: xdp.interfaces; ``subscribers``: network.subscriber_interfaces."""

    mode: str
    subscribers: tuple[str, ...]
    named: tuple[str, ...]
    bpffs: Path
    settings: layout.Settings
    notes: Path | None = None
    """File in which each start notes its program (:mod:`edged.xdp.ours`)."""


def hindrance(settings: layout.Settings) -> str:
    """Why these settings cannot be said in the maps; empty when they can."""
    try:
        layout.settings(settings, layout.gardens({}), 1)
    except layout.LayoutError as e:
        return str(e)
    return ""


class Engine:
    """The constructor touches nothing. ``heard`` is told each new error, and None whenever something changed."""

    def __init__(self, wanted: Wanted, heard: Callable[[EdgedError | None], None] = lambda _: None) -> None:
        self.wanted = wanted
        self.mirror: Mirror | None = None
        self.why = ""
        """Why there is no program at all; empty where there is one."""
        self._heard = heard
        self._said = ""
        """The last look's error."""
        self._maps: KernelMaps | None = None
        self._attacher: Attacher | None = None
        self._places: dict[int, Place] = {}
        """Index -> as it is linked now."""
        self._found: dict[str, Attachment] = {}
        """Name of a device the program should be on -> how that went."""
        self._on: dict[int, str] = {}
        """The devices that have a program of ours, by index: names change."""
        self._moves: Moves | None = None
        self._away = Runaways()
        self._stray: list[str] = []
        """Devices with a program of ours that goes by other maps than these."""
        self._looked, self._unknowable = -math.inf, False
        self._pins = ""
        """What is wrong with the pins."""

    # -- begin and end ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Load the program and find the maps of an earlier start, or take away what one left."""
        if self.wanted.mode == "off":
            self._give_up("xdp.mode is off", quiet=True)
        elif cannot := hindrance(self.wanted.settings):
            self._give_up(cannot)
        else:
            try:
                self._open()
            except (EdgedError, OSError) as e:
                self._give_up(str(e))

    def _open(self) -> None:
        leftovers.remove(self.wanted.bpffs, but=layout.VERSION)
        pins = self.wanted.bpffs / leftovers.FOLDER / str(layout.VERSION)
        if elsewhere(pins):
            raise EdgedError(
                f"the maps in {pins} are those of an edged in another network namespace: give this one an xdp.bpffs"
                f" of its own, or rm -r {pins} if that one is gone"
            )
        self._maps = KernelMaps.open(self.wanted.bpffs)
        self._attacher = Attacher(self._maps, self.wanted.notes)
        for found in self._attacher.expel():
            self._heard(EdgedError(f"{found}: an earlier start's, whose maps are lost; it was taken away"))
        self._moves = Moves()
        self._on = self._attacher.everywhere()
        self.mirror = Mirror(self._maps, self.wanted.settings, stop=self._stop, heard=self._heard)

    def _give_up(self, why: str, *, quiet: bool = False) -> None:
        """Nobody keeps the maps true, so nothing may look at them."""
        self.why = why
        self._close()
        if not quiet:
            self._heard(EdgedError(f"no XDP: {why}"))
        try:
            leftovers.remove(self.wanted.bpffs, notes=self.wanted.notes)
        except (EdgedError, OSError) as e:
            self._heard(EdgedError(f"XDP of an earlier start: {e}"))
        with contextlib.suppress(EdgedError, OSError):
            self._stray = self.stray()

    def _close(self) -> None:
        mirror, self.mirror = self.mirror, None
        if mirror is not None:
            mirror.close()
        self._found, self._places, self._on, self._away = {}, {}, {}, Runaways()
        moves, self._moves = self._moves, None
        if moves is not None:
            moves.close()
        attacher, self._attacher = self._attacher, None
        maps, self._maps = self._maps, None
        if attacher is not None:
            attacher.close()
        if maps is not None:
            maps.close()

    def close(self) -> None:
        """Give everything back; what is attached and pinned goes on."""
        self._close()

    def remove(self) -> list[str]:
        """Detach and unpin, for ``edged stop --open``; returns what there was. Raises EdgedError where some stays."""
        gone: list[str] = []
        failed: list[str] = []
        here = {index for index, _ in socket.if_nameindex()}
        self._away.note({i: name for i, name in self._on.items() if i not in here}, self._moves)
        away = self._away
        for attacher in filter(None, [self._attacher]):
            try:
                gone += attacher.expel(all_of_them=True)  # the pins may be gone
            except EdgedError as e:
                failed.append(str(e))
        try:
            gone += leftovers.remove(self.wanted.bpffs, notes=self.wanted.notes)
        except (EdgedError, OSError) as e:
            failed.append(str(e))
        self.why = "taken away by edged stop --open"
        self._close()
        left = self.stray()
        failed = [*([remains(left)] if left else []), *dict.fromkeys(failed), *filter(None, [away.told()])]
        if failed:
            raise EdgedError("; ".join(failed))
        return gone

    def stray(self, has: Mapping[int, Attached] | None = None) -> list[str]:
        """Subscribers' devices on which a program of ours goes by other maps than these. Raises EdgedError.

        ``has``: what the kernel has just said of all devices; None: it is asked.
        """
        keep = self._attacher.reads if self._attacher is not None else lambda _: False
        return leftovers.left((*self.wanted.subscribers, *self.wanted.named), self.wanted.notes, keep, has)

    def unknowable(self) -> bool:
        """Whether packets may meet a program of ours that cannot be asked what it goes by; looks once a second."""
        if time.monotonic() - self._looked >= FRESH_SECONDS:
            try:
                self._unknowable = bool(self.stray())
            except (EdgedError, OSError):
                self._unknowable = True
            self._looked = time.monotonic()
        return self._unknowable

    # -- places ----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Be attached where the program should be and nowhere else, and answer there while the maps are true."""
        if self.mirror is None or self._attacher is None or self._maps is None or not self.mirror.true:
            return
        before = self.state, dict(self._found)
        try:
            failed = self._look(self._attacher, self._maps)
        except (EdgedError, OSError) as e:
            failed = str(e)
        if failed and failed != self._said:
            self._heard(EdgedError(f"XDP: {failed}"))
        self._said = failed
        if before != (self.state, self._found):
            self._heard(None)

    def _look(self, attacher: Attacher, maps: KernelMaps) -> str:
        """Returns what went wrong with devices that it should leave; of the others ``why`` says it."""
        there = interfaces.places(interfaces.links(), self.wanted.subscribers, self.wanted.named, self.wanted.mode)
        for index in self._places.keys() - there.keys():
            maps.unlink(index)
            del self._places[index]
        failed, left = "", {}
        for index in self._on.keys() - there.keys():
            try:
                attacher.leave(index)
            except (EdgedError, OSError) as e:
                failed = str(e)
            else:
                left[index] = self._on.pop(index)
        self._away.note(left, self._moves)
        wanted = {place.name: place for place in there.values()}
        self._away.back(wanted.keys())
        self._found = {name: made for name, made in self._found.items() if name in wanted}
        has, same = rtnetlink.everywhere(), not left
        for place in wanted.values():
            try:
                same &= self._keep(attacher, maps, place, has.get(place.index, rtnetlink.NOTHING))
            except (EdgedError, OSError) as e:  # no room for one more, or a device that goes while it is looked at
                same = False
                self._places.pop(place.index, None)
                with contextlib.suppress(EdgedError, OSError):
                    attacher.silence(place.index)
                self._note(place.name, Attachment("off", f"{place.name}: {e}"))
        if all(a.mode != "off" or wanted[name].mode == "off" for name, a in self._found.items()):
            attacher.settle()
        self._stray = self.stray(has if same else None)
        self._pin(attacher)
        return failed

    def _keep(self, attacher: Attacher, maps: KernelMaps, place: Place, has: Attached) -> bool:
        """Be as wanted on one device, which has that; whether it was so."""
        had, now = self._found.get(place.name), attacher.mode(has)
        same = not (had is None or had.mode != now or now == "off" or place.mode not in {"auto", now})
        if not same:
            made = self._put(attacher, place)
            self._places.pop(place.index, None)
            self._note(place.name, made)
            if made.mode == "off":
                return False
            self._on[place.index] = place.name
        if self._places.get(place.index) != place:
            maps.link(place.index, place.frames, place.macs, place.vlans or None)
            self._places[place.index] = place
        return same

    def _note(self, name: str, made: Attachment) -> None:
        had, self._found[name] = self._found.get(name), made
        if made.mode == "off" and had != made:
            self._heard(EdgedError(f"no XDP on {name}: {made.why}"))

    def _pin(self, attacher: Attacher) -> None:
        """Without its pins a restart would not find what is attached, nor anybody clean it up."""
        before, self._pins = self._pins, ""
        try:
            gone = attacher.pin()
        except (EdgedError, OSError) as e:
            self._pins = f"the pins are gone and cannot be made anew: {e}"
            if self._pins != before:
                self._heard(EdgedError(self._pins))
            return
        if gone and self.mirror is not None:
            self.mirror.wanted = True  # whoever took them may have written, too
            self._heard(
                EdgedError(f"the pins of the XDP maps under {self.wanted.bpffs} were gone; they were made anew")
            )

    @staticmethod
    def _put(attacher: Attacher, place: Place) -> Attachment:
        if place.mode == "off":
            attacher.detach(place.name)
            return Attachment("off", place.why)
        made = attacher.attach(place.name, place.mode, place.frames, place.vlans or None)
        return made._replace(why="; ".join(filter(None, (made.why, place.why)))) if made.mode == "off" else made

    def _stop(self) -> None:
        """Put the program out of use at once: no frame anywhere is a subscriber's; else it goes."""
        if self._attacher is None or self._maps is None:
            return
        listening, self._places = {*self._places, *self._on}, {}
        for index in listening:
            try:
                self._attacher.silence(index)
            except EdgedError as e:
                self._heard(e)

    # -- questions -------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``native``, ``generic`` or ``off``: the slowest way by which it answers anywhere."""
        modes = {found.mode for found in list(self._found.values())} - {"off"}  # asked from other threads, too
        if self.mirror is None or not self.mirror.true or not modes:
            return "off"
        return "generic" if "generic" in modes else "native"

    def told(self) -> dict[str, Any]:
        """For ``edged status``."""
        found = dict(self._found)
        whys = [self.why, *summary({name: a.why for name, a in sorted(found.items())})]
        whys += [place.lacks for place in list(self._places.values())]
        whys += [remains(self._stray)] if self._stray else []
        whys += [self._away.told(), self._pins]
        if self.mirror is not None and not found:
            whys.append("no interface of xdp.interfaces or network.subscriber_interfaces is there with Ethernet frames")
        if self.mirror is not None and not self.mirror.true:
            whys = [self.mirror.error or "its maps are being filled"]
        return {
            "mode": self.state,
            "wanted": self.wanted.mode,
            "interfaces": {name: a.mode for name, a in sorted(found.items())},
            "why": "; ".join(filter(None, whys)) or None,
            "fills": self.mirror.fills if self.mirror else 0,
            "last_error": (self.mirror.error if self.mirror else "") or None,
        }

    def counters(self) -> Mapping[str, int]:
        """Packets by action. Raises EdgedError."""
        return self._maps.counters() if self._maps is not None else {}
