"""The mark rule and the local route that tproxy needs, through pyroute2.

A packet with our mark bit is looked up in our own routing table, whose one route per family delivers everything
locally: so the kernel hands it to the portal's socket although the destination is somebody else's address. The mask
in the rule leaves the operator's other mark bits alone. Everything is found again by table number and mark, so a
restart adds nothing twice and :meth:`Steering.remove` cleans up what an earlier daemon made.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from edged.errors import KernelBusy, KernelDenied, KernelError

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_RTN_LOCAL = 2
_PROTOCOL = 0xED
"""Routing protocol number that marks our route as ours in ``ip route``."""


@dataclass(frozen=True, slots=True)
class Steering:
    """One mark bit, one table number, one rule priority."""

    mark_bit: int
    table: int
    priority: int

    def ensure(self) -> list[str]:
        """Make what is missing; returns what that was. Raises KernelError."""
        made: list[str] = []
        with _Route("setting up the portal's route") as ipr:
            for name, family in FAMILIES.items():
                try:
                    if not any(self._rules(ipr, family)):
                        ipr.rule(
                            "add",
                            family=family,
                            table=self.table,
                            priority=self.priority,
                            fwmark=self.mark_bit,
                            fwmask=self.mark_bit,
                        )
                        made.append(f"rule v{name}")
                    if not any(self._routes(ipr, family)):
                        lo = ipr.link_lookup(ifname="lo")[0]
                        ipr.route("add", **self._route(family), oif=lo)
                        made.append(f"route v{name}")
                except NetlinkError as e:
                    if e.code != errno.EEXIST:
                        raise
        return made

    def missing(self) -> list[str]:
        """What is not there of rule and route, by family. Raises KernelError."""
        gone: list[str] = []
        with _Route("reading the portal's route") as ipr:
            for name, family in FAMILIES.items():
                gone += [f"rule v{name}"] if not any(self._rules(ipr, family)) else []
                gone += [f"route v{name}"] if not any(self._routes(ipr, family)) else []
        return gone

    @staticmethod
    def hindrances() -> list[str]:
        """Settings of this machine with which no restricted browser reaches the portal, each with its remedy."""
        try:
            marked = Path("/proc/sys/net/ipv4/conf/all/src_valid_mark").read_text("ascii").strip()
        except OSError:
            return []
        if marked != "1":
            return []
        why = "packets on their way to the portal are dropped as martians; set it to 0, see docs/kernel.md"
        return [f"net.ipv4.conf.all.src_valid_mark is 1 (wg-quick sets it): {why}"]

    def remove(self) -> list[str]:
        """Take everything away that is ours; returns what that was. Raises KernelError."""
        gone: list[str] = []
        with _Route("removing the portal's route") as ipr:
            for name, family in FAMILIES.items():
                for rule in list(self._rules(ipr, family)):
                    ipr.rule(
                        "del",
                        family=family,
                        table=self.table,
                        priority=rule.get_attr("FRA_PRIORITY") or 0,
                        fwmark=self.mark_bit,
                        fwmask=self.mark_bit,
                    )
                    gone.append(f"rule v{name}")
                for _ in list(self._routes(ipr, family)):
                    ipr.route("del", **self._route(family), oif=ipr.link_lookup(ifname="lo")[0])
                    gone.append(f"route v{name}")
        return gone

    def _route(self, family: int) -> dict[str, Any]:
        everything = "0.0.0.0/0" if family == socket.AF_INET else "::/0"
        out: dict[str, Any] = {"dst": everything, "table": self.table, "type": _RTN_LOCAL, "family": family}
        return out | {"proto": _PROTOCOL, "scope": 254 if family == socket.AF_INET else 0}

    def _rules(self, ipr: IPRoute, family: int) -> Iterator[Any]:
        for rule in ipr.get_rules(family=family):
            table = rule.get_attr("FRA_TABLE") or rule["table"]
            if table == self.table and rule.get_attr("FRA_FWMARK") == self.mark_bit:
                yield rule

    def _routes(self, ipr: IPRoute, family: int) -> Iterator[Any]:
        for route in ipr.get_routes(family=family, table=self.table):
            if route["type"] == _RTN_LOCAL and route["dst_len"] == 0:
                yield route


class _Route:
    """An IPRoute whose errors are ours."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ipr: IPRoute | None = None

    def __enter__(self) -> IPRoute:
        self._ipr = IPRoute()
        return self._ipr

    def __exit__(self, kind: object, e: BaseException | None, trace: object) -> None:
        if self._ipr is not None:
            self._ipr.close()
        if isinstance(e, NetlinkError):
            message = f"{self._what}: {e}"
            if e.code in (errno.EPERM, errno.EACCES):
                raise KernelDenied(f"{message}; edged needs CAP_NET_ADMIN", e.code) from e
            kind_ = KernelBusy if e.code in (errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN) else KernelError
            raise kind_(message, e.code) from e
        if isinstance(e, OSError):
            raise KernelError(f"{self._what}: {e}", e.errno or 0) from e
